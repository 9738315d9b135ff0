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
from tracediff.measured.near_ties import TYPICAL_CHANGES, is_near_tie, near_ties, typical_change

__all__ = [
    "ACTIVATIONS_FILE",
    "CAPTURED_FLIPS_FILE",
    "CONTROLS",
    "EVIDENCE_FILE",
    "LOGITS_FILE",
    "TYPICAL_CHANGES",
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
    "is_near_tie",
    "near_ties",
    "read_evidence",
    "read_evidence_of",
    "typical_change",
    "worst_by_place",
]
