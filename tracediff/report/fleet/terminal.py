"""A fleet as text: the usual group, then each other with the modules in which it runs other kernels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from tracediff.fleet.groups import Difference, Fleet, KernelNames, TraceGroup
from tracediff.kernels import parse
from tracediff.report.diff.names import short_name
from tracediff.text import count, printable, shorten

_SHOWN_TRACES = 8
_SHOWN_PLACES = 8
_SHOWN_GROUPS = 12
_KERNEL_WIDTH = 58
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[\w:]+|\W")


def fleet_to_text(fleet: Fleet) -> str:
    """Return the groups for people: the largest first, and what each other runs in place of its kernels."""
    largest, *others = fleet.groups
    usual = "usual" if not others or len(largest.traces) > len(others[0].traces) else "first"
    traces = count(sum(len(group.traces) for group in fleet.groups), "trace")
    groups = f"{count(len(fleet.groups), 'group')} by the kernels of their {count(fleet.modules, 'module')}"
    lines = [f"{traces} in {groups}", "", f"{usual}: {_traces(largest)}"]
    if usual == "first":
        lines.append("No group is larger than this one, so none is usual: the others are compared with it.")
    for group in others[:_SHOWN_GROUPS]:
        lines += ["", f"different kernels in {count(len(group.differences), 'module')}: {_traces(group)}"]
        folded = _folded(group.differences)
        for place, difference in folded[:_SHOWN_PLACES]:
            before, after = _changed(difference)
            lines += [f"  {printable(place)}", f"    {usual}  {before}", f"    here   {after}"]
        if len(folded) > _SHOWN_PLACES:
            lines.append(f"  … and {len(folded) - _SHOWN_PLACES} more (--format json has all)")
    if len(others) > _SHOWN_GROUPS:
        more = count(len(others) - _SHOWN_GROUPS, "more group", "more groups")
        lines += ["", f"… and {more} (--format json has all)"]
    return "\n".join(lines) + "\n"


def _traces(group: TraceGroup) -> str:
    shown = ", ".join(printable(shorten(trace, 80)) for trace in group.traces[:_SHOWN_TRACES])
    more = f" and {len(group.traces) - _SHOWN_TRACES} more" if len(group.traces) > _SHOWN_TRACES else ""
    return f"{count(len(group.traces), 'trace')} ({shown}{more})"


def _folded(differences: tuple[Difference, ...]) -> list[tuple[str, Difference]]:
    """Name each difference; modules whose names differ only in numbers and that differ alike become one."""
    alike: dict[tuple[str, KernelNames, KernelNames], list[Difference]] = {}
    for each in differences:
        alike.setdefault((_NUMBER.sub("#", _name(each)), each.usual, each.here), []).append(each)
    return [
        (f"{pattern} ({len(same)} times)" if len(same) > 1 else _name(same[0]), same[0])
        for (pattern, _, _), same in alike.items()
    ]


def _name(difference: Difference) -> str:
    return f"{difference.phase or 'outside every range'} {difference.module or ''}".strip()


def _changed(difference: Difference) -> tuple[str, str]:
    """Return the kernels that a module runs on one side alone: in the usual group, and here."""
    usual, here = difference.usual, difference.here
    if not usual or not here:
        return _kernels(usual, "no such module"), _kernels(here, "no such module")
    gone = list((Counter(usual) - Counter(here)).elements())
    new = list((Counter(here) - Counter(usual)).elements())
    if not gone and not new:
        return _kernels(usual, ""), "the same kernels in another order"
    before, after = _kernels(gone, "nothing in its place"), _kernels(new, "nothing in its place")
    if before != after:
        return before, after
    # One function with other template arguments: its short name hides what differs.
    return _arguments(gone[0], new[0]), _arguments(new[0], gone[0])


def _kernels(names: Sequence[str], none: str) -> str:
    if not names:
        return none
    more = f" + {len(names) - 1} more" if len(names) > 1 else ""
    return f"{short_name(parse(names[0]), _KERNEL_WIDTH - len(more))}{more}"


def _arguments(name: str, other: str) -> str:
    """Return a kernel's short name and the words of its full name that differ from another's."""
    mine, theirs = _WORD.findall(name), _WORD.findall(other)
    steps = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    words = " … ".join("".join(mine[first:last]) for kind, first, last, _, _ in steps if kind != "equal")
    function = short_name(parse(name), _KERNEL_WIDTH // 2)
    return f"{function} with {printable(shorten(words.strip() or '–', _KERNEL_WIDTH - len(function)))}"
