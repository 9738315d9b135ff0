"""What the numbers of a phase say and hide, and the links from kernel to token; `summarise` says the rest."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.report.diff.html.view import Step
from tracediff.report.words import count


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
    changed, renamed = sum(row.changed for row in rows), sum(row.names_differ for row in rows)
    reordered, unknown = diff.verdicts[Verdict.ORDER_CHANGED], diff.verdicts[Verdict.UNKNOWN]
    judged = [row.bits_equal for row in rows if row.bits_equal is not None]
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


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
