"""A diff at a glance: phases that ran alike as one section, modules that say the same as one group, worst first."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tracediff.diff.places import phase_name, section_name, short_names
from tracediff.diff.result import Pair, Row
from tracediff.diff.standing import RANK, Standing, standing
from tracediff.text import count, printable


class Group(Struct, frozen=True, kw_only=True):
    """Modules of one kind that changed alike, with the same known of their bits, over layers and phases.

    Attributes:
        name: Last part of the module's path (`q_proj`), or the whole of it where two kinds share that.
        standing: What is known of their bits.
        rows: The rows, in the order of the run; the first speaks for all.
    """

    name: str
    standing: Standing
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        """Return one line: the rows hold every kernel."""
        return printable(f"<Group {self.name}: {count(len(self.rows), 'module')}, {self.standing}>")

    @property
    def phases(self) -> tuple[str | None, ...]:
        """The phases that the rows are of, in the order of the run."""
        return tuple(dict.fromkeys(row.phase for row in self.rows))

    @property
    def layers(self) -> tuple[int, ...]:
        """Block indices, ascending; empty outside the blocks."""
        return tuple(sorted({row.layer for row in self.rows if row.layer is not None}))

    @property
    def deciding(self) -> Pair | None:
        """The pair of kernels that the rows' verdict is about; None for a row of no kernels."""
        row = self.rows[0]
        return next((pair for pair in row.pairs if pair.verdict is row.verdict and pair.reason == row.reason), None)

    @property
    def mean_duration_ns(self) -> tuple[float, float]:
        """GPU time of one row on each side, the mean over all."""
        rows = len(self.rows)
        return sum(row.duration_ns[0] for row in self.rows) / rows, sum(row.duration_ns[1] for row in self.rows) / rows

    @property
    def changed(self) -> bool:
        """Whether a kernel, its launch or its split differs in any row."""
        return any(row.changed for row in self.rows)


class Section(Struct, frozen=True, kw_only=True):
    """Phases of one name (`decode` for `decode[0]`, `decode[1]`, …).

    Attributes:
        name: Their name without the step; None outside every range.
        rows: In the order of the run.
        groups: The same rows, grouped: worst first, in the order of the run where equally bad.
    """

    name: str | None
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]

    def __repr__(self) -> str:
        """Return one line: the rows hold every kernel."""
        return f"<Section {phase_name(self.name)}: {count(len(self.rows), 'module')}>"

    @property
    def phases(self) -> tuple[str | None, ...]:
        """The phases, as the rows name them."""
        return tuple(dict.fromkeys(row.phase for row in self.rows))

    @property
    def kernels(self) -> tuple[int, int]:
        """Kernels compared on each side."""
        return sum(len(row.a) for row in self.rows), sum(len(row.b) for row in self.rows)

    @property
    def splitk_reduce(self) -> tuple[int, int]:
        """Kernels on each side that only add the parts of a split-K GEMM."""
        return sum(row.splitk_reduce[0] for row in self.rows), sum(row.splitk_reduce[1] for row in self.rows)

    @property
    def factor_changed(self) -> int:
        """Modules whose split-K factor is known on both sides and differs."""
        return sum(None not in row.split_k and row.split_k[0] != row.split_k[1] for row in self.rows)

    @property
    def duration_ns(self) -> tuple[int, int]:
        """GPU time on each side."""
        return sum(row.duration_ns[0] for row in self.rows), sum(row.duration_ns[1] for row in self.rows)


def overview(rows: Sequence[Row]) -> tuple[Section, ...]:
    """Return the sections, those that run blocks of a model first, kernels outside every range last."""
    by_section: dict[str | None, list[Row]] = {}
    for row in rows:
        by_section.setdefault(section_name(row.phase), []).append(row)
    names = short_names(rows)
    sections = [
        Section(name=name, rows=tuple(members), groups=_groups(members, names)) for name, members in by_section.items()
    ]
    return tuple(sorted(sections, key=_comes_late))


def sums_products(row: Row) -> bool:
    """Whether a row runs a GEMM or an attention on either side: what a reader looks for first."""
    return any(kernel.parsed.role in ("gemm", "attention") for kernel in (*row.a, *row.b))


def _comes_late(section: Section) -> tuple[bool, bool]:
    return section.name is None, all(row.layer is None for row in section.rows)


def _groups(rows: Sequence[Row], names: dict[str, str]) -> tuple[Group, ...]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, standing(row), _change(row)), []).append(row)
    found = [
        Group(name=names[members[0].kind], standing=standing(members[0]), rows=tuple(members))
        for members in groups.values()
    ]
    return tuple(sorted(found, key=lambda group: RANK[group.standing]))


def _change(row: Row) -> object:
    """What must be equal for two rows to be told in one line: what decided, not every launch."""
    deciding = [pair for pair in row.pairs if pair.verdict is row.verdict and pair.reason == row.reason][:1]
    kernels = [(pair.a and pair.a.identity, pair.b and pair.b.identity) for pair in deciding]
    return row.verdict, row.reason, row.split_k, tuple(kernels)
