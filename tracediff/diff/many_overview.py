"""Many traces at a glance: the modules of one kind in one row, a column per trace."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tracediff.diff.many import ManyRow
from tracediff.diff.places import section_name, short_names
from tracediff.diff.result import Row
from tracediff.diff.standing import RANK, Standing, standing


class InTrace(Struct, frozen=True, kw_only=True):
    """What one trace ran in the modules of one kind, compared with the first trace.

    Attributes:
        rows: Its modules, in the order of the run; empty where neither trace launched a kernel in them.
    """

    rows: tuple[Row, ...]

    @property
    def standing(self) -> Standing | None:
        """The worst that is known of their bits; None where there are none."""
        return min(map(standing, self.rows), key=RANK.__getitem__, default=None)

    @property
    def worst(self) -> tuple[Row, ...]:
        """The modules with that standing."""
        worst = self.standing
        return tuple(row for row in self.rows if standing(row) is worst)


class ManyGroup(Struct, frozen=True, kw_only=True):
    """Modules of one kind, over layers and steps.

    Attributes:
        name: Last part of the module's path (`q_proj`), or the whole of it where two kinds share that.
        reference: The modules, each in the first comparison that has it: side `a` is the first trace.
        traces: Each other trace.
    """

    name: str
    reference: tuple[Row, ...]
    traces: tuple[InTrace, ...]

    @property
    def standing(self) -> Standing:
        """The worst that is known of their bits in any trace."""
        return min(map(standing, self._rows), key=RANK.__getitem__)

    @property
    def _rows(self) -> list[Row]:
        return [row for trace in self.traces for row in trace.rows]


class ManySection(Struct, frozen=True, kw_only=True):
    """Phases of one name (`decode` for `decode[0]`, `decode[1]`, …); None outside every range.

    Attributes:
        name: Their name without the step.
        groups: In the order of the run.
    """

    name: str | None
    groups: tuple[ManyGroup, ...]

    @property
    def worst_first(self) -> list[ManyGroup]:
        """The groups, in the order of the run where equally bad."""
        return sorted(self.groups, key=lambda group: RANK[group.standing])


def many_overview(rows: Sequence[ManyRow], unfold: bool = False) -> tuple[ManySection, ...]:
    """Return the sections, those that run blocks of a model first, kernels outside every range last.

    Args:
        rows: As in `ManyDiff`.
        unfold: Make a group of every module instead, named by its path.
    """
    names = short_names([row.first for row in rows])
    sections: dict[str | None, dict[object, list[ManyRow]]] = {}
    for number, row in enumerate(rows):
        kind = number if unfold else row.first.kind
        sections.setdefault(section_name(row.phase), {}).setdefault(kind, []).append(row)
    found = [
        ManySection(
            name=name,
            groups=tuple(
                _group(members[0].module if unfold else names[members[0].first.kind], members)
                for members in kinds.values()
            ),
        )
        for name, kinds in sections.items()
    ]
    return tuple(sorted(found, key=_comes_late))


def _group(name: str, rows: Sequence[ManyRow]) -> ManyGroup:
    columns = zip(*(row.rows for row in rows), strict=True)
    return ManyGroup(
        name=name,
        reference=tuple(row.first for row in rows),
        traces=tuple(InTrace(rows=tuple(row for row in column if row is not None)) for column in columns),
    )


def _comes_late(section: ManySection) -> tuple[bool, bool]:
    return section.name is None, all(row.layer is None for group in section.groups for row in group.reference)
