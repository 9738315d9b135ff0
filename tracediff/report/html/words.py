"""The headline: one phase in one sentence, and the links from kernel to token; `summarise` says the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.report.html import units
from tracediff.report.html.data import Measured, Step
from tracediff.report.html.kernels import launched_alike
from tracediff.report.html.measured import read_measured
from tracediff.report.html.places import kind_of
from tracediff.report.words import count
from tracediff.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """One kind of module over the blocks of a phase.

    Attributes:
        name: Last part of its path (`q_proj`).
        rows: Its rows, one per block.
        renamed: Rows whose kernel names differ.
        reordered, unknown: Rows with that verdict.
        reason: The most common reason of the reordered rows.
    """

    name: str
    rows: int
    renamed: int
    reordered: int
    unknown: int
    reason: str


def row_changed(row: Row) -> bool:
    """Whether anything but time differs: a kernel, its launch configuration, or its split."""
    return not all(launched_alike(pair) for pair in row.pairs)


def gemm_kinds(rows: Iterable[Row]) -> list[KindCount]:
    """Count the kinds of modules inside the blocks that run a GEMM on either side, in order of the run."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        if row.layer is not None:
            by_kind.setdefault(kind_of(row), []).append(row)
    return [
        _count(kind, members)
        for kind, members in by_kind.items()
        if any(kernel.parsed.role == "gemm" for row in members for kernel in (*row.a, *row.b))
    ]


def _count(kind: str, rows: Sequence[Row]) -> KindCount:
    reordered = [row for row in rows if row.verdict is Verdict.ORDER_CHANGED]
    reasons = Counter(printable(row.reason) for row in reordered).most_common(1)
    return KindCount(
        name=printable(kind.rsplit(".", 1)[-1]),
        rows=len(rows),
        renamed=sum(row.names_differ for row in rows),
        reordered=len(reordered),
        unknown=sum(row.verdict is Verdict.UNKNOWN for row in rows),
        reason=reasons[0][0] if reasons else "",
    )


def _isolated(row: Row) -> bool | None:
    measured: Measured | None = read_measured(row.evidence)
    return measured.isolated.equal if measured is not None and measured.isolated is not None else None


def noun(kinds: Sequence[KindCount]) -> str:
    """Return what these modules are called: projections where every name says so."""
    return "projections" if all("proj" in kind.name for kind in kinds) else "modules with a GEMM"


def headline(rows: Sequence[Row]) -> str:
    """Return the result of one phase in one or two sentences."""
    if not rows:
        return "Neither trace holds a kernel to compare."
    changed = sum(map(row_changed, rows))
    kinds = gemm_kinds(rows)
    if not changed:
        return "Both traces launch the same kernels in the same way in every module."
    if not kinds:
        reordered = sum(row.verdict is Verdict.ORDER_CHANGED for row in rows)
        return (
            f"{_of(changed, len(rows))} modules launch other kernels or launch them in another way; "
            f"{reordered or 'none'} certainly {'sums' if reordered < 2 else 'sum'} in another order."
        )
    return f"{_renamed(kinds)}; {_reordered(kinds)}."


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _renamed(kinds: Sequence[KindCount]) -> str:
    everywhere = sum(kind.renamed == kind.rows for kind in kinds)
    somewhere = sum(0 < kind.renamed < kind.rows for kind in kinds)
    if not everywhere and not somewhere:
        return f"All {len(kinds)} {noun(kinds)} keep their kernel in every block"
    if not somewhere:
        verb = "runs" if everywhere == 1 else "run"
        return f"{_of(everywhere, len(kinds))} {noun(kinds)} {verb} another kernel in every block"
    also = f"{everywhere} in every block, {somewhere} in some" if everywhere else "in some blocks"
    return f"{_of(everywhere + somewhere, len(kinds))} {noun(kinds)} run another kernel, {also}"


def _reordered(kinds: Sequence[KindCount]) -> str:
    certain = [kind for kind in kinds if kind.reordered]
    unknown = sum(1 for kind in kinds if kind.unknown and not kind.reordered)
    open_question = f", {unknown} cannot be judged from the trace" if unknown else ""
    if not certain and unknown:
        return f"none of them is known to sum in another order{open_question}"
    if not certain:
        return "none sums in another order"
    by_reason: dict[str, list[KindCount]] = {}
    for kind in certain:
        by_reason.setdefault(kind.reason, []).append(kind)
    said = "; ".join(
        f"{units.listing(kind.name for kind in members)}: {reason}" for reason, members in by_reason.items()
    )
    blocks = "" if all(kind.reordered == kind.rows for kind in certain) else " in some blocks"
    verb = "sums" if len(certain) == 1 else "sum"
    return f"{_of(len(certain), len(kinds))} {verb} in another order{blocks} ({said}){open_question}"


def splitk_sentence(rows: Sequence[Row]) -> str:
    """Return what the count of splitK-reduce kernels says, and what it hides; empty where there is none."""
    before, after = (sum(row.splitk_reduce[side] for row in rows) for side in (0, 1))
    if not before and not after:
        return ""
    in_block: dict[int, tuple[int, int]] = {}
    for row in rows:
        if row.layer is not None:
            a, b = in_block.get(row.layer, (0, 0))
            in_block[row.layer] = a + row.splitk_reduce[0], b + row.splitk_reduce[1]
    if len(set(in_block.values())) == 1:
        a, b = next(iter(in_block.values()))
        counted = f"splitK-reduce kernels per block: {a} → {b}"
        if a == b:
            counted = f"{count(a, 'splitK-reduce kernel')} per block on both sides"
    elif before == after:
        counted = f"{count(before, 'splitK-reduce kernel')} on both sides"
    else:
        counted = f"splitK-reduce kernels: {before:,} → {after:,}"
    moved = sum(
        row.split_k[0] != row.split_k[1] for row in rows if row.split_k[0] is not None and row.split_k[1] is not None
    )
    if moved and before == after:
        return f"{counted}: the count shows no change, though {moved:,} modules have another split-K factor."
    return f"{counted}."


def chain(diff: TraceDiff, logits: Step, token: Step) -> tuple[Step, ...]:
    """Return the links from kernel to token over all rows; the last two come from the run's evidence."""
    rows = diff.rows
    changed, renamed = sum(map(row_changed, rows)), sum(row.names_differ for row in rows)
    reordered, unknown = diff.verdicts[Verdict.ORDER_CHANGED], diff.verdicts[Verdict.UNKNOWN]
    judged = [equal for equal in map(_isolated, rows) if equal is not None]
    origins = judged.count(False)
    return (
        Step(
            title="Kernel",
            value=_of(changed, len(rows)),
            text=f"modules launch other kernels ({renamed:,}) or the same ones in another way ({changed - renamed:,})",
            state="changed" if changed else "clear",
        ),
        Step(
            title="Reduction order",
            value=f"{reordered:,}",
            text="modules sum in another order" + (f"; {unknown:,} more cannot be judged" if unknown else ""),
            state="changed" if reordered else "open" if unknown else "clear",
        ),
        Step(
            title="Bits of one module",
            value=_of(origins, len(judged)) if judged else "not measured",
            text="modules give other bits on equal inputs" if judged else "capture with evidence to replay each module",
            state=("changed" if origins else "clear") if judged else "missing",
        ),
        logits,
        token,
    )
