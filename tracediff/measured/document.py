"""`evidence.json`: read and checked as a whole before anything is made of it, and written.

docs/reduction-order.md describes the file:

    {"schema": 1, "model", "dtype", "tokens", "batches": [1, 2, …], "phases": ["prefill", "decode[0]", …],
     "pairs": [{"batches": [1, 2],
                "logits": {phase: BITS}, "tokens": {phase: [token at a, token at b]},
                "modules": {phase: {module: [BITS on equal inputs, BITS in the run]}},
                "first_origin": [phase, module] | null,
                "repair": {"minimal": [kind…], "logits_equal", "complement_logits_equal", "tried"} | null}, …],
     "notes": [sentence…],
     "controls": {"run_to_run" | "neighbours" | "position" | "profiler":
                  {"equal", "compared", "first", "share", "max_ulp"}},
     "seconds"}

BITS is true (equal), [share of differing elements, largest distance in ULP or null], or null (not measured). `notes`
and `seconds` may be missing (older files); keys that are not known here are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tracediff.measured.model import Bits, Control, Evidence, ModuleBits, PairEvidence, Repair

SCHEMA = 1

# Larger whole numbers fit neither SQLite nor the counts they stand for.
_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_BitsInFile = bool | tuple[_Share, _Whole | None] | None

# A difference share of 0.123456789 says no more than one of 0.1235.
_SHARE_DIGITS = 4


class MalformedEvidenceError(ValueError):
    """The document is not what this version reads; the text says where and why."""


class _Repair(Struct, frozen=True):
    minimal: tuple[str, ...]
    logits_equal: bool
    complement_logits_equal: bool | None
    tried: _Whole


class _Control(Struct, frozen=True):
    equal: bool | None
    compared: str
    first: str | None
    share: _Share
    max_ulp: _Whole | None


class _Pair(Struct, frozen=True):
    batches: tuple[_Whole, _Whole]
    logits: dict[str, _BitsInFile]
    tokens: dict[str, tuple[_Whole, _Whole]]
    modules: dict[str, dict[str, tuple[_BitsInFile, _BitsInFile]]]
    first_origin: tuple[str, str] | None
    repair: _Repair | None


class _Schema(Struct, frozen=True):
    schema: int


class _Document(Struct, frozen=True, kw_only=True, omit_defaults=True):
    schema: int
    model: str
    dtype: str
    tokens: _Whole
    batches: tuple[_Whole, ...]
    phases: tuple[str, ...]
    pairs: tuple[_Pair, ...]
    notes: tuple[str, ...] = ()
    controls: dict[str, _Control]
    seconds: Annotated[float, Meta(ge=0)] | None = None


def read_evidence(path: Path) -> Evidence:
    """Read and check a file.

    Raises:
        OSError: It cannot be read.
        MalformedEvidenceError: It is no JSON, of another schema, or anything in it is not what is described above.
    """
    return decode_evidence(path.read_bytes())


def decode_evidence(text: bytes | str) -> Evidence:
    """Read and check the file's text.

    Raises:
        MalformedEvidenceError: It is no JSON, of another schema, or anything in it is not what is described above.
    """
    try:
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema != SCHEMA:
            raise MalformedEvidenceError(f"it has schema {schema}, this version reads {SCHEMA}")
        return _evidence(msgspec.json.decode(text, type=_Document))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
        controls={
            name: _Control(control.equal, control.compared, control.first, control.share, control.max_ulp)
            for name, control in evidence.controls.items()
        },
        seconds=evidence.seconds,
    )
    return msgspec.json.encode(document).decode() + "\n"


def _evidence(document: _Document) -> Evidence:
    return Evidence(
        model=document.model,
        dtype=document.dtype,
        tokens=document.tokens,
        batches=document.batches,
        phases=document.phases,
        pairs=tuple(map(_pair, document.pairs)),
        notes=document.notes,
        controls={
            name: Control(
                equal=control.equal,
                compared=control.compared,
                first=control.first,
                share=control.share,
                max_ulp=control.max_ulp,
            )
            for name, control in document.controls.items()
        },
        seconds=document.seconds,
    )


def _pair(pair: _Pair) -> PairEvidence:
    return PairEvidence(
        batches=pair.batches,
        logits={phase: _bits(bits, f"logits of {phase}") for phase, bits in pair.logits.items()},
        tokens=pair.tokens,
        modules={
            phase: {
                module: ModuleBits(isolated=_bits(isolated, module), propagated=_bits(propagated, module))
                for module, (isolated, propagated) in measured.items()
            }
            for phase, measured in pair.modules.items()
        },
        first_origin=pair.first_origin,
        repair=None
        if pair.repair is None
        else Repair(
            minimal=pair.repair.minimal,
            logits_equal=pair.repair.logits_equal,
            complement_logits_equal=pair.repair.complement_logits_equal,
            tried=pair.repair.tried,
        ),
    )


def _pair_in_file(pair: PairEvidence) -> _Pair:
    repair = pair.repair
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
        repair=None
        if repair is None
        else _Repair(repair.minimal, repair.logits_equal, repair.complement_logits_equal, repair.tried),
    )


def _bits(value: _BitsInFile, where: str) -> Bits | None:
    if value is None:
        return None
    if value is True:
        return Bits(equal=True)
    if value is False:
        raise MalformedEvidenceError(f"bits are true or [share, ULP], not false: {where}")
    share, ulp = value
    return Bits(equal=False, share=share, max_ulp=ulp)


def _bits_in_file(bits: Bits | None) -> _BitsInFile:
    if bits is None:
        return None
    return True if bits.equal else (float(f"{bits.share:.{_SHARE_DIGITS}g}"), bits.max_ulp)
