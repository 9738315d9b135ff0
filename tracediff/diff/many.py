"""Many traces at once: each is compared with the first, and the results are put side by side."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tracediff.diff.result import Row, Side, TraceDiff
from tracediff.trace import RangeKey


class ManyRow(Struct, frozen=True, kw_only=True):
    """One (phase, module) in every trace.

    Attributes:
        phase, layer, module: As in `Row`.
        rows: The comparison of the first trace with each of the others; None where neither launched a kernel here.
    """

    phase: str | None
    layer: int | None
    module: str
    rows: tuple[Row | None, ...]

    @property
    def first(self) -> Row:
        """The row of the first comparison that has one; its side `a` is the first trace."""
        return next(row for row in self.rows if row is not None)


class ManyDiff(Struct, frozen=True, kw_only=True):
    """The first trace against each of the others.

    Attributes:
        diffs: One comparison per other trace, in the order given.
        rows: Every (phase, module) that launched a kernel in any trace.
    """

    diffs: tuple[TraceDiff, ...]
    rows: tuple[ManyRow, ...]

    def __repr__(self) -> str:
        """Return one line: the rows hold every kernel."""
        return f"<ManyDiff {'; '.join(diff.in_a_line for diff in self.diffs)}>"

    @property
    def sides(self) -> tuple[Side, ...]:
        """All traces, the reference first."""
        return (self.diffs[0].a, *(diff.b for diff in self.diffs))


def side_by_side(diffs: Sequence[TraceDiff]) -> ManyDiff:
    """Put comparisons of one first trace with others side by side."""
    found = [{_key(row): row for row in diff.rows} for diff in diffs]
    keys = dict.fromkeys(key for rows in found for key in rows)
    return ManyDiff(
        diffs=tuple(diffs),
        rows=tuple(
            ManyRow(phase=key.phase, layer=key.layer, module=key.module, rows=tuple(rows.get(key) for rows in found))
            for key in keys
        ),
    )


def _key(row: Row) -> RangeKey:
    return RangeKey(phase=row.phase, module=row.module, layer=row.layer)
