"""A fleet as text and as JSON."""

from __future__ import annotations

import re
from dataclasses import asdict

from tracediff.fleet.groups import Choice, Difference, Fleet, Group
from tracediff.text import json_text, printable, shorten

_SHOWN = 8
_NUMBER = re.compile(r"\d+")


def as_json(fleet: Fleet) -> str:
    """Return everything, as one JSON document."""
    return json_text({"schema": 1, **asdict(fleet)}, indent=1) + "\n"


def as_text(fleet: Fleet) -> str:
    """Return the groups for people: the usual one, then each other with what it does otherwise."""
    traces = sum(len(group.traces) for group in fleet.groups)
    usual, *others = fleet.groups
    lines = [f"{traces} traces, {fleet.modules} modules, {len(fleet.groups)} choices of kernels"]
    lines += ["", f"usual: {_traces(usual)}"]
    for group in others:
        lines += ["", f"otherwise in {len(group.differences)} modules: {_traces(group)}"]
        folded = _folded(group.differences)
        for place, difference in list(folded.items())[:_SHOWN]:
            lines.append(f"  {printable(place)}")
            lines.append(f"    usual  {_kernels(difference.usual)}")
            lines.append(f"    here   {_kernels(difference.here)}")
        if len(folded) > _SHOWN:
            lines.append(f"  … and {len(folded) - _SHOWN} more")
    return "\n".join(lines) + "\n"


def _traces(group: Group) -> str:
    shown = ", ".join(printable(shorten(trace, 80)) for trace in group.traces[:_SHOWN])
    more = f" and {len(group.traces) - _SHOWN} more" if len(group.traces) > _SHOWN else ""
    return f"{len(group.traces)} traces ({shown}{more})"


def _folded(differences: tuple[Difference, ...]) -> dict[str, Difference]:
    """Fold modules that differ in a number alone and differ alike: the same change in every layer is one line."""
    alike: dict[tuple[str, Choice, Choice], list[Difference]] = {}
    for each in differences:
        name = _NUMBER.sub("#", f"{each.phase or 'outside every range'} {each.module or ''}".strip())
        alike.setdefault((name, each.usual, each.here), []).append(each)
    folded = {}
    for (name, _, _), same in alike.items():
        one = same[0]
        place = f"{one.phase or 'outside every range'} {one.module or ''}".strip()
        folded[f"{name} ({len(same)} times)" if len(same) > 1 else place] = one
    return folded


def _kernels(choice: Choice) -> str:
    if not choice:
        return "no such module"
    shown = " + ".join(printable(shorten(name, 60)) for name in choice[:3])
    return f"{shown} + {len(choice) - 3} more" if len(choice) > 3 else shown
