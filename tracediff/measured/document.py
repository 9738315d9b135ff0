"""`evidence.json`: read and checked as a whole before anything is made of it, and written.

docs/reduction-order.md describes the file:

    {"schema": 2, "model", "dtype", "attention", "tokens", "batches": [1, 2, …], "phases": ["prefill", "decode[0]", …],
     "weights", "gpu", "traces": {batch size: SHA-256 of its trace}, "repeats",
     "steady_attentions": [attention…] | null,
     "unstable": [{"phase", "module", "batch", "outcomes", "repeats", "kernels": [name…]}, …],
     "pairs": [{"batches": [1, 2],
                "logits": {phase: BITS}, "pinned_logits": {phase: BITS}, "tokens": {phase: [token at a, token at b]},
                "moves": {phase: {"max_abs", "scale", "margins": [at a, at b], "top_changes": [of a, of b]}},
                "modules": {phase: {module: [BITS on equal inputs, BITS in the run]}},
                "first_origin": [phase, module] | null,
                "repair": {"minimal": [kind…], "logits_equal", "complement_logits_equal", "tried"} | null}, …],
     "notes": [sentence…],
     "controls": {"run_to_run" | "neighbours" | "position" | "profiler":
                  {"answer": "equal" | "differs" | "cannot tell", "why", "compared", "first", "share", "max_ulp",
                   "held_out"}},
     "seconds"}

BITS is true (equal), [share of differing elements, largest distance in ULP or null], or null (not measured, or
unstable). Fields with an empty value may be missing; keys that are not known here are ignored.

Schema 1 (tracediff 0.1) has no noise measured: none of "attention", "repeats", "steady_attentions", "unstable",
"pinned_logits" and "moves", and controls with "equal" (true, false, null) that were made once, on whole runs. Where
such a control found different bits and noise could explain them, it is read as "cannot tell".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict

from tracediff.json_input import parse_json
from tracediff.measured.confounded import without_confounded
from tracediff.measured.files import EVIDENCE_FILE, LOGITS_FILE
from tracediff.measured.model import (
    Bits,
    Control,
    ControlResult,
    Evidence,
    LogitsMove,
    ModuleBits,
    PairEvidence,
    Repair,
    Unstable,
    worst_by_place,
)

SCHEMA = 2
_FIRST_SCHEMA = 1

# Larger whole numbers fit neither SQLite nor what they count.
_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_BitsInFile = bool | tuple[_Share, _Whole | None] | None

# A difference share of 0.123456789 says no more than one of 0.1235.
_SHARE_DIGITS = 4


_EQUAL_BITS = Bits(equal=True)
_EQUAL = {ControlResult.EQUAL: True, ControlResult.DIFFERS: False, ControlResult.CANNOT_TELL: None}


class MalformedEvidenceError(ValueError):
    """The document is not what this version reads; the text says where and why."""


class _Repair(Struct, frozen=True):
    minimal: tuple[str, ...]
    logits_equal: bool
    complement_logits_equal: bool | None
    tried: _Whole


class _FirstControl(Struct, frozen=True, kw_only=True):
    """A control of schema 1."""

    equal: bool | None
    compared: str
    first: str | None
    share: _Share
    max_ulp: _Whole | None


class _Control(Struct, frozen=True, kw_only=True):
    answer: ControlResult
    compared: str
    why: str | None = None
    first: str | None = None
    share: _Share = 0.0
    max_ulp: _Whole | None = 0
    held_out: _Whole = 0


class _Unstable(Struct, frozen=True, kw_only=True):
    phase: str
    module: str
    batch: _Whole
    outcomes: _Count
    repeats: _Count
    kernels: tuple[str, ...] = ()


class _Move(Struct, frozen=True, kw_only=True):
    max_abs: float | None
    scale: float | None
    margins: tuple[float | None, float | None]
    top_changes: tuple[float | None, float | None]


class _Pair(Struct, frozen=True, kw_only=True, omit_defaults=True):
    batches: tuple[_Whole, _Whole]
    logits: dict[str, _BitsInFile]
    tokens: dict[str, tuple[_Whole, _Whole]]
    modules: dict[str, dict[str, tuple[_BitsInFile, _BitsInFile]]]
    first_origin: tuple[str, str] | None
    repair: _Repair | None
    moves: dict[str, _Move] = {}
    pinned_logits: dict[str, _BitsInFile] = {}


class _Schema(Struct, frozen=True):
    schema: int


class _Common(Struct, frozen=True, kw_only=True, omit_defaults=True):
    schema: int
    model: str
    dtype: str
    tokens: _Whole
    batches: tuple[_Whole, ...]
    phases: tuple[str, ...]
    pairs: tuple[_Pair, ...]
    notes: tuple[str, ...] = ()
    seconds: Annotated[float, Meta(ge=0)] | None = None


class _FirstDocument(_Common, frozen=True, kw_only=True):
    """Schema 1."""

    controls: dict[str, _FirstControl]


class _Document(_Common, frozen=True, kw_only=True, omit_defaults=True):
    controls: dict[str, _Control]
    attention: str | None = None
    repeats: _Whole | None = None
    unstable: tuple[_Unstable, ...] = ()
    steady_attentions: tuple[str, ...] | None = None
    weights: str | None = None
    gpu: str | None = None
    traces: dict[_Whole, str] = {}


def read_evidence(path: Path) -> Evidence:
    """Read and check a file.

    Raises:
        OSError: It cannot be read.
        MalformedEvidenceError: It is no JSON, of another schema, or anything in it is not what is described above.
    """
    return decode_evidence(path.read_bytes())


def read_evidence_of(directory: Path) -> Evidence | None:
    """Read what a capture measured: `evidence.json`, completed by the logits beside it; None where there is none.

    Raises:
        OSError: It cannot be read.
        MalformedEvidenceError: As `read_evidence`.
        TracediffError: The stored logits are damaged.
    """
    path = directory / EVIDENCE_FILE
    if not path.is_file():
        return None
    evidence = read_evidence(path)
    logits = directory / LOGITS_FILE
    if not logits.is_file() or all(pair.moves for pair in evidence.pairs):
        return evidence
    # Only older files lack the moves; numpy and the logits are read for them alone.
    from tracediff.measured.logits import read_logits  # noqa: PLC0415
    from tracediff.measured.moves import with_moves  # noqa: PLC0415

    return with_moves(evidence, read_logits(logits))


def decode_evidence(text: bytes | str) -> Evidence:
    """Read and check the file's text.

    Raises:
        MalformedEvidenceError: It is no JSON, of another schema, or anything in it is not what is described above.
    """
    try:
        schema = parse_json(text, _Schema).schema
        if schema == _FIRST_SCHEMA:
            return without_confounded(_first_evidence(parse_json(text, _FirstDocument)))
        if schema != SCHEMA:
            raise MalformedEvidenceError(f"it has schema {schema}, this version reads {_FIRST_SCHEMA} and {SCHEMA}")
        return _evidence(parse_json(text, _Document))
    except MalformedEvidenceError:
        raise
    except ValueError as error:
        raise MalformedEvidenceError(str(error)) from error


def encode_evidence(evidence: Evidence) -> str:
    """Return the file's text; `decode_evidence` reads it back."""
    document = _Document(
        schema=SCHEMA,
        model=evidence.model,
        dtype=evidence.dtype,
        tokens=evidence.tokens,
        batches=evidence.batches,
        phases=evidence.phases,
        pairs=tuple(map(_pair_in_file, evidence.pairs)),
        notes=evidence.notes,
        controls={name: _control_in_file(control) for name, control in evidence.controls.items()},
        seconds=evidence.seconds,
        attention=evidence.attention,
        repeats=evidence.repeats,
        unstable=tuple(_Unstable(**asdict(each)) for each in evidence.unstable),
        steady_attentions=evidence.steady_attentions,
        weights=evidence.weights,
        gpu=evidence.gpu,
        traces=dict(evidence.traces),
    )
    return msgspec.json.encode(document).decode() + "\n"


def _common(document: _Common, unstable: Sequence[Unstable]) -> dict[str, Any]:
    return {
        "model": document.model,
        "dtype": document.dtype,
        "tokens": document.tokens,
        "batches": document.batches,
        "phases": document.phases,
        "pairs": tuple(_pair(pair, unstable) for pair in document.pairs),
        "notes": document.notes,
        "seconds": document.seconds,
    }


def _first_evidence(document: _FirstDocument) -> Evidence:
    controls = {name: Control(**msgspec.structs.asdict(control)) for name, control in document.controls.items()}
    return Evidence(**_common(document, ()), controls=controls)


def _evidence(document: _Document) -> Evidence:
    unstable = tuple(Unstable(**msgspec.structs.asdict(each)) for each in document.unstable)
    return Evidence(
        **_common(document, unstable),
        controls={name: _control(control) for name, control in document.controls.items()},
        attention=document.attention,
        repeats=document.repeats,
        unstable=unstable,
        steady_attentions=document.steady_attentions,
        weights=document.weights,
        gpu=document.gpu,
        traces=document.traces,
    )


def _control(control: _Control) -> Control:
    fields = msgspec.structs.asdict(control)
    return Control(equal=_EQUAL[fields.pop("answer")], **fields)


def _control_in_file(control: Control) -> _Control:
    fields = asdict(control)
    del fields["equal"]
    return _Control(answer=control.answer, **fields)


def _pair(pair: _Pair, unstable: Sequence[Unstable]) -> PairEvidence:
    worst = worst_by_place(unstable, pair.batches)
    return PairEvidence(
        batches=pair.batches,
        logits={phase: _bits(bits, f"logits of {phase}") for phase, bits in pair.logits.items()},
        tokens=pair.tokens,
        modules={
            phase: {
                module: ModuleBits(
                    isolated=_bits(isolated, module),
                    propagated=_bits(propagated, module),
                    unstable=worst.get((phase, module)),
                )
                for module, (isolated, propagated) in measured.items()
            }
            for phase, measured in pair.modules.items()
        },
        first_origin=pair.first_origin,
        repair=None if pair.repair is None else Repair(**msgspec.structs.asdict(pair.repair)),
        moves={phase: LogitsMove(**msgspec.structs.asdict(move)) for phase, move in pair.moves.items()},
        pinned_logits={phase: _bits(bits, f"pinned logits of {phase}") for phase, bits in pair.pinned_logits.items()},
    )


def _pair_in_file(pair: PairEvidence) -> _Pair:
    return _Pair(
        batches=pair.batches,
        logits={phase: _bits_in_file(bits) for phase, bits in pair.logits.items()},
        tokens=dict(pair.tokens),
        modules={
            phase: {
                module: (_bits_in_file(found.isolated), _bits_in_file(found.propagated))
                for module, found in measured.items()
            }
            for phase, measured in pair.modules.items()
        },
        first_origin=pair.first_origin,
        repair=None if pair.repair is None else _Repair(**asdict(pair.repair)),
        moves={phase: _Move(**asdict(move)) for phase, move in pair.moves.items()},
        pinned_logits={phase: _bits_in_file(bits) for phase, bits in pair.pinned_logits.items()},
    )


def _bits(value: _BitsInFile, where: str) -> Bits | None:
    if value is None:
        return None
    if value is True:
        return _EQUAL_BITS
    if value is False:
        raise MalformedEvidenceError(f"bits are true or [share, ULP], not false: {where}")
    share, ulp = value
    return Bits(equal=False, share=share, max_ulp=ulp)


def _bits_in_file(bits: Bits | None) -> _BitsInFile:
    if bits is None:
        return None
    return True if bits.equal else (float(f"{bits.share:.{_SHARE_DIGITS}g}"), bits.max_ulp)
