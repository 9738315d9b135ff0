"""What `evidence.json` may hold, checked as a whole before anything is made of it: JSON only, no torch.

`tracediff.measure.evidence` writes the file, docs/reduction-order.md describes it:

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
may be missing (older files); keys that are not known here are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.text import printable, shorten

FILE_NAME = EVIDENCE_FILE = "evidence.json"
LOGITS_FILE = "logits.safetensors"
ACTIVATIONS_FILE = "activations.safetensors"
SCHEMA = 1

# Larger whole numbers fit neither SQLite nor the counts they stand for.
_LARGEST = 2**63 - 1


class MalformedEvidenceError(ValueError):
    """The document is not what this version reads; the text says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBits:
    """How outputs compared.

    Attributes:
        equal: Whether all bits are equal.
        share: Share of differing elements, 0 to 1.
        max_ulp: Largest distance in ULP of the output type; None where a NaN stands against a number.
    """

    equal: bool
    share: float = 0.0
    max_ulp: int | None = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as reports show it."""
        return {"equal": self.equal, "share": self.share, "max_ulp": self.max_ulp}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRepair:
    """What makes the logits bit-identical.

    Attributes:
        minimal: Kinds of modules that have to be computed row by row.
        logits_equal: Whether that does it.
        complement_logits_equal: Whether all other kinds together do; None where that was not tried.
        tried: Forwards that the search took.
    """

    minimal: tuple[str, ...]
    logits_equal: bool
    complement_logits_equal: bool | None
    tried: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as reports show it."""
        return {
            "minimal": list(self.minimal),
            "logits_equal": self.logits_equal,
            "complement_logits_equal": self.complement_logits_equal,
            "tried": self.tried,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredControl:
    """One control.

    Attributes:
        equal: Whether it held; None where it could not be made.
        compared: What was compared, in words.
        first: Where bits first differed.
        share: Largest share of differing logits.
        max_ulp: Largest distance in ULP; None where unknown.
    """

    equal: bool | None
    compared: str
    first: str | None
    share: float
    max_ulp: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as reports show it."""
        return {
            "equal": self.equal,
            "compared": self.compared,
            "first": self.first,
            "share": self.share,
            "max_ulp": self.max_ulp,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPair:
    """Two batch sizes compared, row 0.

    Attributes:
        batches: The two batch sizes.
        logits: By phase; None where not measured.
        tokens: Greedy choice at either batch size, by phase.
        modules: Bits on equal inputs and in the run, by phase and module.
        first_origin: Phase and module that first made a difference.
        repair: None where none was needed or sought.
    """

    batches: tuple[int, int]
    logits: dict[str, StoredBits | None]
    tokens: dict[str, tuple[int, int]]
    modules: dict[str, dict[str, tuple[StoredBits | None, StoredBits | None]]]
    first_origin: tuple[str, str] | None
    repair: StoredRepair | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvidence:
    """The document.

    Attributes:
        model, dtype: Of what it was measured, as the traces' manifest names them.
        tokens: Length of the prompt.
        batches: Batch sizes measured.
        phases: Their names, in the order of the run.
        pairs: Batch sizes compared.
        notes: What could not be measured, one sentence each.
        controls: By name.
    """

    model: str
    dtype: str
    tokens: int
    batches: tuple[int, ...]
    phases: tuple[str, ...]
    pairs: tuple[StoredPair, ...]
    notes: tuple[str, ...]
    controls: dict[str, StoredControl]


def read_evidence(path: Path) -> StoredEvidence:
    """Read and check a file.

    Raises:
        OSError: It cannot be read.
        MalformedEvidenceError: It is no JSON, of another schema, or anything in it is not what is described above.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedEvidenceError(f"it is no JSON ({error})") from error
    return check_evidence(document)


def check_evidence(document: Any) -> StoredEvidence:
    """Check a document that was read from JSON.

    Raises:
        MalformedEvidenceError: It is of another schema, or anything in it is not what is described above.
    """
    fields = _table(document, "the document")
    schema = _field(fields, "schema", "the document")
    if isinstance(schema, bool) or schema != SCHEMA:
        raise MalformedEvidenceError(f"it has schema {str(schema)[:20]}, this version reads {SCHEMA}")
    return StoredEvidence(
        model=_text(_field(fields, "model"), "model"),
        dtype=_text(_field(fields, "dtype"), "dtype"),
        tokens=_whole(_field(fields, "tokens"), "tokens"),
        batches=tuple(_whole(batch, "batches") for batch in _list(_field(fields, "batches"), "batches")),
        phases=_texts(_field(fields, "phases"), "phases"),
        pairs=tuple(
            _pair(pair, f"pairs[{number}]") for number, pair in enumerate(_list(_field(fields, "pairs"), "pairs"))
        ),
        notes=_texts(fields.get("notes", []), "notes"),
        controls={
            name: _control(control, f"controls.{shorten(printable(name), 40)}")
            for name, control in _table(_field(fields, "controls"), "controls").items()
        },
    )


def _pair(value: Any, where: str) -> StoredPair:
    fields = _table(value, where)
    tokens = _table(_field(fields, "tokens", where), f"{where}.tokens")
    logits = _table(_field(fields, "logits", where), f"{where}.logits")
    modules = _table(_field(fields, "modules", where), f"{where}.modules")
    first = _field(fields, "first_origin", where)
    repair = _field(fields, "repair", where)
    return StoredPair(
        batches=_two_whole(_field(fields, "batches", where), f"{where}.batches"),
        logits={phase: _bits(bits, f"{where}.logits") for phase, bits in logits.items()},
        tokens={phase: _two_whole(chosen, f"{where}.tokens") for phase, chosen in tokens.items()},
        modules={
            phase: {
                module: _two_bits(bits, f"{where}.modules")
                for module, bits in _table(measured, f"{where}.modules").items()
            }
            for phase, measured in modules.items()
        },
        first_origin=None if first is None else _two_texts(first, f"{where}.first_origin"),
        repair=None if repair is None else _repair(repair, f"{where}.repair"),
    )


def _repair(value: Any, where: str) -> StoredRepair:
    fields = _table(value, where)
    return StoredRepair(
        minimal=_texts(_field(fields, "minimal", where), f"{where}.minimal"),
        logits_equal=_flag(_field(fields, "logits_equal", where), f"{where}.logits_equal"),
        complement_logits_equal=_flag_or_none(
            _field(fields, "complement_logits_equal", where), f"{where}.complement_logits_equal"
        ),
        tried=_whole(_field(fields, "tried", where), f"{where}.tried"),
    )


def _control(value: Any, where: str) -> StoredControl:
    fields = _table(value, where)
    first = _field(fields, "first", where)
    return StoredControl(
        equal=_flag_or_none(_field(fields, "equal", where), f"{where}.equal"),
        compared=_text(_field(fields, "compared", where), f"{where}.compared"),
        first=None if first is None else _text(first, f"{where}.first"),
        share=_share(_field(fields, "share", where), f"{where}.share"),
        max_ulp=_whole_or_none(_field(fields, "max_ulp", where), f"{where}.max_ulp"),
    )


def _bits(value: Any, where: str) -> StoredBits | None:
    if value is None:
        return None
    if value is True:
        return StoredBits(equal=True)
    share, ulp = _list(value, where, 2)
    return StoredBits(equal=False, share=_share(share, where), max_ulp=_whole_or_none(ulp, where))


# -- JSON values of one type ------------------------------------------------------------------------------------------


def _field(fields: dict[str, Any], name: str, where: str = "the document") -> Any:
    if name not in fields:
        raise MalformedEvidenceError(f"{where} has no {name}")
    return fields[name]


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(value, where, "an object")
    return value


def _list(value: Any, where: str, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise _unfit(value, where, "a list" if length is None else f"a list of {length}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _unfit(value, where, "text")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(each, where) for each in _list(value, where))


def _two_texts(value: Any, where: str) -> tuple[str, str]:
    first, second = _list(value, where, 2)
    return _text(first, where), _text(second, where)


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise _unfit(value, where, "a whole number")
    return value


def _whole_or_none(value: Any, where: str) -> int | None:
    return None if value is None else _whole(value, where)


def _two_whole(value: Any, where: str) -> tuple[int, int]:
    first, second = _list(value, where, 2)
    return _whole(first, where), _whole(second, where)


def _two_bits(value: Any, where: str) -> tuple[StoredBits | None, StoredBits | None]:
    first, second = _list(value, where, 2)
    return _bits(first, where), _bits(second, where)


def _share(value: Any, where: str) -> float:
    # JSON as Python reads it knows NaN, which lies in no range.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _unfit(value, where, "a share from 0 to 1")
    return float(value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _unfit(value, where, "true or false")
    return value


def _flag_or_none(value: Any, where: str) -> bool | None:
    return None if value is None else _flag(value, where)


def _unfit(value: Any, where: str, expected: str) -> MalformedEvidenceError:
    found = shorten(json.dumps(value), 40)
    return MalformedEvidenceError(f"{where}: {expected} is expected, not {found}")
