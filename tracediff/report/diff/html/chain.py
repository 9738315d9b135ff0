"""The links from kernel to token, and what the count of split-K reductions says and hides."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.answer import Answer, Link
from tracediff.diff.result import Row, TraceDiff
from tracediff.measured import RunEvidence
from tracediff.report.diff.html.view import Step
from tracediff.text import count, printable


def splitk_sentence(rows: Sequence[Row]) -> str:
    """Return what the count of split-K reductions says, and what it hides; empty where there is none."""
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
        counted = f"split-K reductions per block: {a} → {b}"
        if a == b:
            counted = f"{count(a, 'split-K reduction')} per block on both sides"
    elif before == after:
        counted = f"{count(before, 'split-K reduction')} on both sides"
    else:
        counted = f"split-K reductions: {before:,} → {after:,}"
    moved = sum(
        row.split_k[0] != row.split_k[1] for row in rows if row.split_k[0] is not None and row.split_k[1] is not None
    )
    if moved and before == after:
        return f"{counted}: the count shows no change, though {moved:,} modules have a different split-K factor."
    return f"{counted}."


def chain(found: Answer, diff: TraceDiff) -> tuple[Step, ...]:
    """Return the answer's links from kernel to token, each with what its number means."""
    kernels, order, bits, logits, tokens = found.chain
    changed, reordered = kernels.differing or 0, order.differing or 0
    renamed = sum(row.names_differ for row in diff.judged.rows)
    unknown = f"; {order.unknown:,} more cannot be judged" if order.unknown else ""
    return (
        Step(
            title="Kernel",
            value=_of(changed, kernels.total),
            text=f"modules launch different kernels ({renamed:,}) or the same ones differently ({changed - renamed:,})",
            state="changed" if changed else "clear",
        ),
        Step(
            title="Reduction order",
            value=f"{reordered:,}",
            text=f"modules sum in a different order{unknown}",
            state="changed" if reordered else "open" if order.unknown else "clear",
        ),
        _bits_step(bits),
        _logits_step(logits, diff.evidence),
        _tokens_step(tokens, diff.evidence),
    )


def _bits_step(link: Link) -> Step:
    title = "Bits of one module"
    if link.differing is None:
        text = "capture with evidence to replay each module"
        return Step(title=title, value="not measured", text=text, state="missing")
    return Step(
        title=title,
        value=_of(link.differing, link.total),
        text="modules give different bits on equal inputs",
        state="changed" if link.differing else "clear",
    )


def _logits_step(link: Link, evidence: RunEvidence | None) -> Step:
    if link.differing is None or evidence is None:
        return Step(title="Logits", value="not measured", text="of the repeated row, per phase", state="missing")
    first = next((phase for phase, bits in evidence.logits.items() if bits is not None and not bits.equal), None)
    if first is None:
        return Step(title="Logits", value="equal bits", text=f"in {_all(link.total)}", state="clear")
    value = f"{_of(link.differing, link.total)} differ"
    return Step(title="Logits", value=value, text=f"first in {printable(first)}", state="changed")


def _tokens_step(link: Link, evidence: RunEvidence | None) -> Step:
    if link.differing is None or evidence is None:
        return Step(title="Token", value="not measured", text="greedy choice of the repeated row", state="missing")
    first = next(((phase, a, b) for phase, (a, b) in evidence.tokens.items() if a != b), None)
    if first is None:
        return Step(title="Token", value="same", text=f"in {_all(link.total)}", state="clear")
    phase, a, b = first
    value = f"{_of(link.differing, link.total)} flip"
    return Step(title="Token", value=value, text=f"first in {printable(phase)}: {a} → {b}", state="changed")


def _all(number: int) -> str:
    return "the one phase measured" if number == 1 else f"all {number} phases"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
