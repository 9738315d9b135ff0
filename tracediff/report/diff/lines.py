"""The lines that reports for people show: one per folded (phase, module), each cell in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracediff.diff.fold import FoldedRow, fold, layer_span
from tracediff.diff.result import Pair, Row, TraceDiff, Verdict
from tracediff.kernels.compare import differing_fields
from tracediff.measured import Bits
from tracediff.report.words import change, count, duration, split_k_words
from tracediff.text import printable, shorten, sizes_in_words

_NO_SUM = frozenset({"elementwise", "copy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a table for people; every string is printable.

    Attributes:
        phase: Outermost range.
        layers: `0–31`, empty outside the blocks.
        module: Path inside the block, or the whole path outside the blocks.
        change: What changed, in words: differing fields of the names, or of the launch.
        split_k: `3 → 2`, empty without a GEMM.
        splitk_reduce: `1 → 1`, empty where neither side has any.
        time: GPU time of all folded rows, both sides and the change.
        verdict: The rows' verdict.
        reason: Why.
        bits: What was measured for the rows, in words; empty where nothing was.
    """

    phase: str
    layers: str
    module: str
    change: str
    split_k: str
    splitk_reduce: str
    time: str
    verdict: Verdict
    reason: str
    bits: str


def lines(diff: TraceDiff, everything: bool = False, unfold: bool = False) -> tuple[Line, ...]:
    """Return the lines to show.

    Args:
        diff: The result.
        everything: Also rows that run the same kernels in the same order of sums.
        unfold: One line per row, repeated blocks too.
    """
    rows = [row for row in diff.rows if everything or matters(row)]
    folded = (each for row in rows for each in fold([row])) if unfold else fold(rows)
    return tuple(_line(each) for each in folded)


def matters(row: Row) -> bool:
    """Whether a row is worth a line: other kernels ran, or its bits may change. Other grids alone are not."""
    return row.names_differ or row.verdict in {Verdict.UNKNOWN, Verdict.ORDER_CHANGED}


def hidden_in_words(diff: TraceDiff) -> str:
    """Say how many rows `lines` leaves out, empty when none."""
    hidden = sum(not matters(row) for row in diff.rows)
    return f"{count(hidden, 'module')} with the same kernels and order of sums not shown" if hidden else ""


def phases(shown: Iterable[Line]) -> dict[str, list[Line]]:
    """Group lines by phase, in order."""
    result: dict[str, list[Line]] = {}
    for line in shown:
        result.setdefault(line.phase, []).append(line)
    return result


def _line(folded: FoldedRow) -> Line:
    row = folded.row
    before = sum(each.duration_ns[0] for each in folded.rows)
    after = sum(each.duration_ns[1] for each in folded.rows)
    reduces = row.splitk_reduce
    return Line(
        phase="(outside every range)" if row.phase is None else printable(row.phase),
        layers=layer_span(folded.layers),
        module=printable(folded.module) or ("(directly in the phase)" if row.phase is not None else "(no range)"),
        change=change_in_words(row),
        split_k=_sides(split_k_words(row.a), split_k_words(row.b)),
        splitk_reduce=_sides(*map(str, reduces)) if any(reduces) else "",
        time=f"{duration(before)} → {duration(after)} ({change(before, after)})",
        verdict=row.verdict,
        reason=printable(row.reason),
        bits=bits_in_words(folded.rows),
    )


def change_in_words(row: Row) -> str:
    """Say what changed in a module; grids of kernels that never reduce are counted, not listed."""
    told, grids = [], 0
    for pair in row.pairs:
        words = change_of_pair(pair)
        if words and pair.a and pair.b and pair.a.identity == pair.b.identity and pair.a.parsed.role in _NO_SUM:
            grids += 1
        elif words and not words.endswith(row.reason):  # the reason stands beside it
            told.append(words)
    if grids:
        told.append(f"launch of {count(grids, 'kernel')} without sums")
    return "; ".join(dict.fromkeys(told))


def change_of_pair(pair: Pair) -> str:
    """Say what differs between two aligned kernels, empty where nothing does."""
    if pair.a is None or pair.b is None:
        kernel = pair.b if pair.a is None else pair.a
        if kernel is None:
            return ""
        return (
            f"{'new' if pair.a is None else 'gone'}: {kernel.parsed.role} {shorten(printable(kernel.parsed.name), 60)}"
        )
    if pair.a.identity != pair.b.identity:
        fields = differing_fields(pair.a.parsed, pair.b.parsed)
        return ", ".join(printable(field.text) for field in fields) or "another name"
    parts = [
        f"{words} {sizes_in_words(a)} → {sizes_in_words(b)}"
        for words, a, b in (("grid", pair.a.grid, pair.b.grid), ("block", pair.a.block, pair.b.block))
        if a != b
    ]
    parts += [
        f"{words} {a:,} → {b:,}"
        for words, a, b in (
            ("registers", pair.a.registers, pair.b.registers),
            ("shared memory", pair.a.shared_memory_bytes, pair.b.shared_memory_bytes),
        )
        if a != b
    ]
    return f"{pair.a.parsed.role} {', '.join(parts)}" if parts else ""


def bits_in_words(rows: Sequence[Row]) -> str:
    """Say what was measured for a module in all its layers: bits with equal inputs and in the run."""
    parts = []
    measured = [row.evidence for row in rows if row.evidence is not None]
    for words, bits in (
        ("equal inputs", [each.isolated for each in measured]),
        ("in the run", [each.propagated for each in measured]),
    ):
        known = [each for each in bits if each is not None]
        if known:
            parts.append(f"{words}: {_measured(known)}")
    return "; ".join(parts)


def _measured(measured: Sequence[Bits]) -> str:
    differing = [each for each in measured if not each.equal]
    if not differing:
        return "bits equal"
    where = f" in {len(differing)} of {len(measured)}" if len(differing) < len(measured) else ""
    distances = [each.max_ulp for each in differing if each.max_ulp is not None]
    return f"bits differ{where}" + (f" (≤ {max(distances):,} ULP)" if distances else "")


def _sides(a: str, b: str) -> str:
    return f"{a} → {b}" if a or b else ""
