"""Rows of a phase, folded: modules that run the same kernels in the same way become one line of the report."""

from __future__ import annotations

from collections.abc import Sequence

from tracediff.diff.fold import FoldedRow, fold
from tracediff.diff.places import phase_name
from tracediff.diff.result import Row
from tracediff.diff.standing import Standing, standing
from tracediff.diff.words import layers_in_words
from tracediff.report.diff.html.kernels import pair_view
from tracediff.report.diff.html.measured import bits_in_words, contradiction, together
from tracediff.report.diff.html.places import anchor
from tracediff.report.diff.html.view import GroupView, HeatCell, HeatRow, ModuleView, Sign, Totals
from tracediff.report.diff.names import leading, short_name
from tracediff.report.diff.signs import sign
from tracediff.report.diff.spread import Spread
from tracediff.report.words import duration
from tracediff.text import printable


def totals(rows: Sequence[Row]) -> Totals:
    """Add up rows."""

    def both(values: Sequence[tuple[int, int]]) -> tuple[int, int]:
        return sum(a for a, _ in values), sum(b for _, b in values)

    return Totals(
        modules=len(rows),
        kernels=both([(len(row.a), len(row.b)) for row in rows]),
        splitk_reduce=both([row.splitk_reduce for row in rows]),
        duration_ns=both([row.duration_ns for row in rows]),
    )


def group_rows(rows: Sequence[Row], labels: dict[str, str], spread: Spread) -> tuple[GroupView, ...]:
    """Fold the rows of one phase, kind by kind in the order of the run."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    return tuple(_group(folded, labels[kind], spread) for kind, members in by_kind.items() for folded in fold(members))


def row_anchor(row: Row) -> str:
    """Return the id of a row's module in the page."""
    return anchor("m", phase_name(row.phase), row.module)


def _group(folded: FoldedRow, label: str, spread: Spread) -> GroupView:
    rows, row = folded.rows, folded.row
    modules = tuple(_module(member, spread) for member in rows)
    layers = [member.layer for member in rows]
    known = [member.bits_equal for member in rows if member.bits_equal is not None]
    mean = totals(rows).duration_ns[0] / len(rows), totals(rows).duration_ns[1] / len(rows)
    pairs = tuple(
        pair_view(position + 1, pair, _mean_durations(rows, position), len(rows), spread)
        for position, pair in enumerate(row.pairs)
    )
    lead = leading(row.a), leading(row.b)
    return GroupView(
        anchor="g" + modules[0].anchor[1:],
        kind=label,
        layers=layers_in_words(folded.layers),
        modules=modules,
        verdict=row.verdict.value,
        reason=printable(row.reason),
        changed=row.changed,
        one_sided=any(pair.a is None or pair.b is None for pair in row.pairs),
        chain=(short_name(lead[0].parsed) if lead[0] else "", short_name(lead[1].parsed) if lead[1] else ""),
        more_kernels=max(len(row.a), len(row.b)) - 1,
        pairs=pairs,
        totals=totals(rows),
        time=_time(*mean, spread, len(rows)),
        isolated=together([member.isolated for member in rows], layers),
        propagated=together([member.propagated for member in rows], layers),
        isolated_equal=all(known) if known else None,
        contradictions=sum(bool(module.contradiction) for module in modules),
    )


def _module(row: Row, spread: Spread) -> ModuleView:
    return ModuleView(
        anchor=row_anchor(row),
        layer=row.layer,
        module=printable(row.module),
        duration_ns=row.duration_ns,
        time=_time(*row.duration_ns, spread),
        measured=row.evidence,
        isolated=bits_in_words(row.isolated),
        propagated=bits_in_words(row.propagated),
        contradiction=contradiction(row),
    )


def _time(a: float, b: float, spread: Spread, parts: int = 1) -> tuple[str, str, str]:
    before, after = round(a), round(b)
    return duration(before or None), duration(after or None), spread.change(a, b, parts)


def _mean_durations(rows: Sequence[Row], position: int) -> tuple[float, float]:
    """Mean GPU time of the pair at `position`; folded rows have the same pairs."""
    pairs = [row.pairs[position] for row in rows]
    a = sum(pair.a.duration_ns for pair in pairs if pair.a) / len(rows)
    b = sum(pair.b.duration_ns for pair in pairs if pair.b) / len(rows)
    return a, b


def heat_rows(
    rows: Sequence[Row], labels: dict[str, str], layers: Sequence[int]
) -> tuple[tuple[HeatRow, ...], tuple[HeatRow, ...]]:
    """Return the heatmap's rows inside the blocks (one cell per layer) and outside them (one cell)."""
    column = {layer: position for position, layer in enumerate(layers)}
    inside: dict[str, list[HeatCell | None]] = {}
    outside: list[HeatRow] = []
    for row in rows:
        label = labels[row.kind]
        if row.layer is None:
            outside.append(HeatRow(kind=label, cells=(_cell(row, label),)))
        else:
            cells: list[HeatCell | None] = inside.setdefault(row.kind, [None] * len(layers))
            cells[column[row.layer]] = _cell(row, label)
    return tuple(HeatRow(kind=labels[kind], cells=tuple(cells)) for kind, cells in inside.items()), tuple(outside)


def _cell(row: Row, label: str) -> HeatCell:
    known = standing(row)
    words = [f"layer {row.layer} {label}" if row.layer is not None else label, row.verdict.value]
    if row.reason:
        words[-1] += f", {printable(row.reason)}"
    if row.isolated is not None:
        words.append(f"bits on equal inputs: {bits_in_words(row.isolated)}")
    if known in (Standing.CONTRADICTED, Standing.UNSTABLE):
        words.append(str(known))
    return HeatCell(anchor=row_anchor(row), sign=sign_view(known, row.bits_equal is not None), label="; ".join(words))


def sign_view(known: Standing, measured: bool) -> Sign:
    """Return how the map draws what is known of a module."""
    words = f"{known}, measured equal" if known is Standing.SAME and measured else str(known)
    return Sign(style=known.name.lower().replace("_", "-"), glyph=sign(known, measured), words=words)
