"""The lines that reports for people show: what changed in which modules, worst first, equal ones folded together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from tracediff.diff.overview import Group, Section, sums_products
from tracediff.diff.places import layer_span, module_name
from tracediff.diff.result import Kernel, Row, Verdict
from tracediff.diff.standing import RANK, Standing
from tracediff.diff.words import listing
from tracediff.measured import Bits
from tracediff.report.diff.names import change_in_names
from tracediff.report.diff.signs import sign, sign_of
from tracediff.report.words import share
from tracediff.text import count, printable

#: A distance in ULP beyond this is of numbers near zero: it says nothing of the tensor.
_TELLING_ULP = 16

#: A longer list of layers is counted.
_LONGEST_SPAN = 14
_UNCHANGED = "same kernels, same launch"


class Sort(StrEnum):
    """The order of the lines."""

    SEVERITY = "severity"
    TIME = "time"
    ORDER = "order"


class Line(Struct, frozen=True, kw_only=True):
    """One line of a table for people; every string is printable.

    Attributes:
        standing: What is known of the bits of its modules.
        modules: Their names (`q_proj k_proj`).
        where: Layers, and the phases where not all of the section's: `0–31`, `2, 15 of decode[0]`.
        change: The kernels' change in the fewest words.
        split_k: `3 → 2`; empty without a GEMM whose factor is known on a side.
        bits: What was measured on equal inputs, or what the trace predicts, in words.
        time_ns: GPU time of one module on each side, the mean over all; None where none ran.
        rows: What it tells of.
    """

    standing: Standing
    modules: str
    where: str
    change: str
    split_k: str
    bits: str
    time_ns: tuple[float | None, float | None]
    rows: tuple[Row, ...]

    @property
    def measured(self) -> bool:
        """Whether its bits were measured, not predicted."""
        return self.rows[0].evidence is not None

    @property
    def sign(self) -> str:
        """One sign for the standing; colour says the same."""
        return sign(self.standing, self.measured)


class Fold(Struct, frozen=True, kw_only=True):
    """Modules whose bits are equal or predicted to be, told in one line.

    Attributes:
        modules: Their names.
        text: `161 modules: different kernel, same order, measured equal`.
        sign: One sign for what is known of their bits.
        rows: What it tells of.
    """

    modules: str
    text: str
    sign: str
    rows: tuple[Row, ...]


def open_lines(section: Section, sort: Sort = Sort.SEVERITY, everything: bool = False) -> tuple[Line, ...]:
    """Return the lines of a section whose bits may differ, or of all groups.

    Groups that changed alike share a line.
    """
    alike: dict[object, list[Group]] = {}
    for group in section.groups:
        if everything or group.standing.open:
            first = group.rows[0]
            # Norms and the like that differ here and there are one fact; products are told with their layers.
            place = (group.layers, group.phases) if everything or sums_products(first) else None
            key = (group.standing, place, _change(group), first.split_k, _bits_key(group))
            alike.setdefault(key, []).append(group)
    lines = [_line(groups, section) for groups in alike.values()]
    if sort is Sort.TIME:
        lines.sort(key=lambda line: -(line.time_ns[1] or 0) * len(line.rows))
    elif sort is Sort.SEVERITY:
        lines.sort(key=lambda line: (RANK[line.standing], not sums_products(line.rows[0])))
    else:
        places = {id(row): place for place, row in enumerate(section.rows)}
        lines.sort(key=lambda line: places[id(line.rows[0])])
    return tuple(lines)


def folds(section: Section) -> tuple[Fold, ...]:
    """Return the lines of a section whose bits are equal, as measured or predicted."""
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in section.groups:
        if not group.standing.open:
            alike.setdefault((_equal_words(group), sign_of(group.rows[0])), []).append(group)
    found = []
    for (words, mark), groups in sorted(alike.items(), key=lambda each: each[0][0] == _UNCHANGED):
        rows = tuple(row for group in groups for row in group.rows)
        names = " ".join(dict.fromkeys(module_name(group.name) for group in groups))
        found.append(Fold(modules=names, text=f"{count(len(rows), 'module')}: {words}", sign=mark, rows=rows))
    return tuple(found)


def unfolded(section: Section) -> Section:
    """Return the section with a group for every row."""
    groups = [
        Group(name=row.module, standing=group.standing, rows=(row,)) for group in section.groups for row in group.rows
    ]
    return Section(name=section.name, rows=section.rows, groups=tuple(groups))


def _line(groups: Sequence[Group], section: Section) -> Line:
    rows = tuple(row for group in groups for row in group.rows)
    first = groups[0]
    times = [group.mean_duration_ns for group in groups]
    return Line(
        standing=first.standing,
        modules=" ".join(dict.fromkeys(module_name(group.name) for group in groups)),
        where=_where(groups, section),
        change=_change(first),
        split_k=split_k_change(first.rows[0]),
        bits=_bits_words(groups),
        time_ns=(
            sum(a for a, _ in times) / len(times) if any(row.a for row in rows) else None,
            sum(b for _, b in times) / len(times) if any(row.b for row in rows) else None,
        ),
        rows=rows,
    )


def _where(groups: Sequence[Group], section: Section) -> str:
    group = groups[0]
    if len({(each.layers, each.phases) for each in groups}) > 1:
        return count(sum(len(each.rows) for each in groups), "module")
    layers = layer_span(group.layers)
    if len(layers) > _LONGEST_SPAN:
        layers = f"{len(group.layers)} of {group.layers[0]}–{group.layers[-1]}"
    if set(group.phases) == set(section.phases):
        return layers
    # The section's title names the phase; here its step is enough.
    phases = listing([printable(str(phase).removeprefix(str(section.name))) for phase in group.phases], limit=2)
    return f"{layers} of {phases}" if layers else phases


def _change(group: Group) -> str:
    """Say what changed: the kernels' names, and the reason where the names do not tell it."""
    pair, row = group.deciding, group.rows[0]
    if pair is None:
        return printable(row.reason)
    words = change_in_names(pair)
    # Where bits were not measured, their column holds the reason.
    kept = pair.a is not None and pair.b is not None and pair.a.identity == pair.b.identity
    if kept and row.bits_equal is not None:
        return f"{words}, {printable(row.reason)}"
    return words


def split_k_change(row: Row) -> str:
    """Return `3 → 2`, a factor inferred from the launch as `3?`; empty where neither side has one."""
    gemms = [next((each for each in kernels if each.parsed.role == "gemm"), None) for kernels in (row.a, row.b)]
    sides = ["" if gemm is None else split_k_factor(gemm) for gemm in gemms]
    return " → ".join(side or "–" for side in sides) if any(sides) else ""


def split_k_factor(kernel: Kernel) -> str:
    """Return a kernel's split-K factor, `3?` where it is inferred from the launch; empty where it is not known."""
    if kernel.split_k is None:
        return ""
    return f"{kernel.split_k}{'?' if kernel.split_k_source == 'inferred' else ''}"


def _bits_key(group: Group) -> object:
    return group.rows[0].reason if group.standing in (Standing.CAN_DIFFER, Standing.UNKNOWN) else None


def _bits_words(groups: Iterable[Group]) -> str:
    rows = [row for group in groups for row in group.rows]
    first = rows[0]
    if varying := [row.evidence.unstable for row in rows if row.evidence is not None and row.evidence.unstable]:
        worst = max(varying, key=lambda unstable: unstable.outcomes / unstable.repeats)
        return f"vary by themselves: {worst.outcomes} outcomes in {worst.repeats} runs"
    measured = [row.isolated for row in rows if row.isolated is not None]
    if measured:
        return measured_words(measured)
    if first.verdict is Verdict.ORDER_CHANGED:
        return f"can differ: {printable(first.reason)}"
    if first.verdict is Verdict.UNKNOWN:
        return f"cannot tell: {printable(first.reason)}"
    return "predicted equal" if first.changed else "same kernels"


def measured_words(bits: Sequence[Bits]) -> str:
    """Say how much differs: `equal`, `≤ 1.1 % differ`, `≤ 0.02 % differ, 1 ULP`."""
    differing = [each for each in bits if not each.equal]
    if not differing:
        return "equal"
    largest_share = share(max(each.share for each in differing))
    words = f"{'' if largest_share[0] in '<>' else '≤ '}{largest_share} differ"
    distances = [each.max_ulp for each in differing]
    largest = max((distance for distance in distances if distance is not None), default=None)
    if largest is not None and None not in distances and largest <= _TELLING_ULP:
        words += f", {'≤ ' if largest > 1 else ''}{largest} ULP"
    return words


def _equal_words(group: Group) -> str:
    """Say what changed in modules that keep their bits, and how that is known."""
    row = group.rows[0]
    renamed = any(row.names_differ for row in group.rows)
    if group.standing is Standing.SAME:
        return _UNCHANGED
    what = "different kernel" if renamed else "different launch" if group.changed else "same kernels"
    order = {
        Verdict.ORDER_CHANGED: ", different order",
        Verdict.UNKNOWN: ", order not known",
        Verdict.SAME_ORDER: ", same order",
        Verdict.SAME_KERNELS: "",
    }[row.verdict]
    return f"{what}{order}" + (", measured equal" if group.standing is Standing.MEASURED_EQUAL else "")
