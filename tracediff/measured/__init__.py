"""What was measured on a GPU beside a capture: the typed model of `evidence.json`, its reader and its writer."""

from tracediff.measured.document import (
    MalformedEvidenceError,
    decode_evidence,
    encode_evidence,
    read_evidence,
    read_evidence_of,
)
from tracediff.measured.files import ACTIVATIONS_FILE, CAPTURED_FLIPS_FILE, EVIDENCE_FILE, LOGITS_FILE
from tracediff.measured.model import (
    CONTROLS,
    Bits,
    Control,
    ControlResult,
    Evidence,
    LogitsMove,
    ModuleBits,
    PairEvidence,
    Repair,
    RunEvidence,
    State,
    Unstable,
    worst_by_place,
)

__all__ = [
    "ACTIVATIONS_FILE",
    "CAPTURED_FLIPS_FILE",
    "CONTROLS",
    "EVIDENCE_FILE",
    "LOGITS_FILE",
    "Bits",
    "Control",
    "ControlResult",
    "Evidence",
    "LogitsMove",
    "MalformedEvidenceError",
    "ModuleBits",
    "PairEvidence",
    "Repair",
    "RunEvidence",
    "State",
    "Unstable",
    "decode_evidence",
    "encode_evidence",
    "read_evidence",
    "read_evidence_of",
    "worst_by_place",
]
