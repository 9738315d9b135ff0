"""A fleet as text: the usual group, then each other with the modules in which it runs other kernels."""

from __future__ import annotations

import re

from tracediff.fleet.groups import Difference, Fleet, KernelNames, TraceGroup
from tracediff.text import count, printable, shorten

_SHOWN = 8
_NUMBER = re.compile(r"\d+")


def fleet_to_text(fleet: Fleet) -> str:
    """Return the groups for people, the usual one first."""
    usual, *others = fleet.groups
    traces = count(sum(len(group.traces) for group in fleet.groups), "trace")
    groups = f"{count(len(fleet.groups), 'group')} by the kernels of their {count(fleet.modules, 'module')}"
    lines = [f"{traces} in {groups}", "", f"usual: {_traces(usual)}"]
    for group in others:
        lines += ["", f"other kernels in {count(len(group.differences), 'module')}: {_traces(group)}"]
        folded = _folded(group.differences)
        for place, difference in folded[:_SHOWN]:
            lines.append(f"  {printable(place)}")
            lines.append(f"    usual  {_kernels(difference.usual)}")
            lines.append(f"    here   {_kernels(difference.here)}")
        if len(folded) > _SHOWN:
            lines.append(f"  … and {len(folded) - _SHOWN} more (--format json has all)")
    return "\n".join(lines) + "\n"


def _traces(group: TraceGroup) -> str:
    shown = ", ".join(printable(shorten(trace, 80)) for trace in group.traces[:_SHOWN])
    more = f" and {len(group.traces) - _SHOWN} more" if len(group.traces) > _SHOWN else ""
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


def _kernels(names: KernelNames) -> str:
    if not names:
        return "no such module"
    shown = " + ".join(printable(shorten(name, 60)) for name in names[:3])
    return f"{shown} + {len(names) - 3} more" if len(names) > 3 else shown
