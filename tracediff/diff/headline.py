"""The story of a phase in one sentence, counted per kind of module over the blocks.

`In prefill, 7 of 7 projections run another kernel in every block; 2 of 7 sum in another order (q_proj and o_proj:
split-K 3 → 2).` Strings may hold what a trace held: whoever prints them makes them printable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracediff.diff.result import Row, Verdict
from tracediff.diff.words import listing

# Stories of phases told one by one; the phases beyond are counted.
_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """One kind of module over the blocks of a phase.

    Attributes:
        kind: Its path with the block index left open (`model.layers.*.self_attn.q_proj`).
        name: Last part of its path (`q_proj`).
        rows: Its rows, one per block.
        renamed: Rows whose kernel names differ.
        reordered, unknown: Rows with that verdict.
        reason: The most common reason of the reordered rows.
    """

    kind: str
    name: str
    rows: int
    renamed: int
    reordered: int
    unknown: int
    reason: str

    @property
    def whole(self) -> bool:
        """Whether every block sums in another order."""
        return self.reordered == self.rows


def gemm_kinds(rows: Iterable[Row]) -> list[KindCount]:
    """Count the kinds of modules inside the blocks that run a GEMM on either side, in order of the run."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        if row.layer is not None:
            by_kind.setdefault(row.kind, []).append(row)
    return [
        _count(kind, members)
        for kind, members in by_kind.items()
        if any(kernel.parsed.role == "gemm" for row in members for kernel in (*row.a, *row.b))
    ]


def _count(kind: str, rows: Sequence[Row]) -> KindCount:
    reordered = [row for row in rows if row.verdict is Verdict.ORDER_CHANGED]
    reasons = Counter(row.reason for row in reordered).most_common(1)
    return KindCount(
        kind=kind,
        name=kind.rsplit(".", 1)[-1],
        rows=len(rows),
        renamed=sum(row.names_differ for row in rows),
        reordered=len(reordered),
        unknown=sum(row.verdict is Verdict.UNKNOWN for row in rows),
        reason=reasons[0][0] if reasons else "",
    )


def by_phase(rows: Iterable[Row]) -> dict[str | None, list[Row]]:
    """Return the rows of each phase, in order of the run."""
    phases: dict[str | None, list[Row]] = {}
    for row in rows:
        phases.setdefault(row.phase, []).append(row)
    return phases


def main_phase(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of the phase that the first headline is about: the first told."""
    told = _told_phases(rows)
    return told[0] if told else []


def _told_phases(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the phases that run blocks; where none does, all of them, the one with most modules first."""
    phases = list(by_phase(rows).values())
    with_blocks = [members for members in phases if any(row.layer is not None for row in members)]
    return with_blocks or sorted(phases, key=len, reverse=True)


def headlines(rows: Sequence[Row]) -> list[str]:
    """Return one sentence per story, the main phase's first; phases with the same story share a sentence."""
    if not rows:
        return [headline(rows)]
    stories = _stories(rows)
    sentences = [_in_phases(story, [members[0].phase for members in phases]) for story, phases in stories[:_TOLD]]
    rest = sum(len(phases) for _, phases in stories[_TOLD:])
    if rest:
        sentences.append(f"{rest:,} more {'phases change' if rest > 1 else 'phase changes'} in other ways.")
    return sentences


def _stories(rows: Iterable[Row]) -> list[tuple[str, list[list[Row]]]]:
    """Return each story with the rows of each phase that it is true of."""
    stories: dict[str, list[list[Row]]] = {}
    for members in _told_phases(rows):
        stories.setdefault(headline(members), []).append(members)
    return list(stories.items())


def _in_phases(story: str, phases: Sequence[str | None]) -> str:
    named = [phase for phase in phases if phase is not None]
    return f"In {listing(named)}, {story[0].lower()}{story[1:]}" if named else story


def headline(rows: Sequence[Row]) -> str:
    """Return the story of one phase."""
    if not rows:
        return "Neither trace holds a kernel to compare."
    changed = sum(row.changed for row in rows)
    if not changed:
        return "Both traces launch the same kernels in the same way in every module."
    kinds = gemm_kinds(rows)
    if not kinds:
        reordered = sum(row.verdict is Verdict.ORDER_CHANGED for row in rows)
        return (
            f"{_of(changed, len(rows))} modules launch other kernels or launch them in another way; "
            f"{reordered or 'none'} certainly {'sums' if reordered < 2 else 'sum'} in another order."
        )
    return f"{_renamed(kinds)}; {_reordered(kinds)}."


def told_rows(rows: Sequence[Row]) -> set[tuple[str | None, str]]:
    """Return (phase, module) of the rows whose other order the headlines tell wholly: which modules, where and why."""
    told = set()
    for members in (members for _, phases in _stories(rows)[:_TOLD] for members in phases):
        reasons = {kind.kind: kind.reason for kind in gemm_kinds(members) if kind.whole}
        told |= {
            (row.phase, row.module) for row in members if row.layer is not None and reasons.get(row.kind) == row.reason
        }
    return told


def noun(kinds: Sequence[KindCount]) -> str:
    """Return what these modules are called: projections where every name says so."""
    if not all("proj" in kind.name for kind in kinds):
        return "module with a GEMM" if len(kinds) == 1 else "modules with a GEMM"
    return "projection" if len(kinds) == 1 else "projections"


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _renamed(kinds: Sequence[KindCount]) -> str:
    everywhere = sum(kind.renamed == kind.rows for kind in kinds)
    somewhere = sum(0 < kind.renamed < kind.rows for kind in kinds)
    if not everywhere and not somewhere:
        if len(kinds) == 1:
            return f"The {noun(kinds)} keeps its kernel in every block"
        return f"All {len(kinds)} {noun(kinds)} keep their kernel in every block"
    if not somewhere:
        verb = "runs" if everywhere == 1 else "run"
        return f"{_of(everywhere, len(kinds))} {noun(kinds)} {verb} another kernel in every block"
    verb = "runs" if everywhere + somewhere == 1 else "run"
    also = f"{everywhere} in every block, {somewhere} in some" if everywhere else "in some blocks"
    return f"{_of(everywhere + somewhere, len(kinds))} {noun(kinds)} {verb} another kernel, {also}"


def _reordered(kinds: Sequence[KindCount]) -> str:
    certain = [kind for kind in kinds if kind.reordered]
    unknown = sum(1 for kind in kinds if kind.unknown and not kind.reordered)
    open_question = f", {unknown} cannot be judged from the trace" if unknown else ""
    if not certain and unknown:
        return f"none of them is known to sum in another order{open_question}"
    if not certain:
        return "none sums in another order"
    by_reason: dict[str, list[str]] = {}
    for kind in certain:
        by_reason.setdefault(kind.reason, []).append(kind.name)
    said = "; ".join(f"{listing(names)}: {reason}" for reason, names in by_reason.items())
    blocks = "" if all(kind.whole for kind in certain) else " in some blocks"
    verb = "sums" if len(certain) == 1 else "sum"
    return f"{_of(len(certain), len(kinds))} {verb} in another order{blocks} ({said}){open_question}"
