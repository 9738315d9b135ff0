"""The numbers the page's script needs, as columns: one list per field, every name once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracediff.report.diff.html.view import GroupView, PageView

Json = dict[str, Any]


class _Codes:
    """Strings held once; `code` gives a string's index."""

    def __init__(self) -> None:
        self.strings: dict[str, int] = {}

    def code(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings))


def payload(report: PageView) -> Json:
    """Return the columnar payload.

    Keys: `strings`; `groups` (one entry per line of the report: phase, kind, verdict, changed, the codes of the
    strings that free text is looked for in, and each module's kernels and split-K reductions on both sides);
    `modules` (one per module: group, layer, path, ns on both sides).
    """
    codes = _Codes()
    groups: Json = {name: [] for name in ("anchor", "phase", "kind", "verdict", "changed", "texts")}
    modules: Json = {name: [] for name in ("anchor", "group", "layer", "path", "ns_a", "ns_b")}
    shared: Json = {name: [] for name in ("kernels_a", "kernels_b", "reduce_a", "reduce_b")}
    for phase in report.phases:
        for group in phase.groups:
            number = len(groups["anchor"])
            groups["anchor"].append(group.anchor)
            groups["phase"].append(codes.code(phase.name))
            groups["kind"].append(codes.code(group.kind))
            groups["verdict"].append(codes.code(group.verdict))
            groups["changed"].append(int(group.changed))
            groups["texts"].append(sorted({codes.code(text) for text in _texts(group)}))
            # Folded modules run the same kernels, so these counts are the group's, divided.
            each = len(group.modules)
            for name, (a, b) in (("kernels", group.totals.kernels), ("reduce", group.totals.splitk_reduce)):
                shared[f"{name}_a"].append(a // each)
                shared[f"{name}_b"].append(b // each)
            for module in group.modules:
                modules["anchor"].append(module.anchor)
                modules["group"].append(number)
                modules["layer"].append(module.layer)
                modules["path"].append(module.module)
                modules["ns_a"].append(module.duration_ns[0])
                modules["ns_b"].append(module.duration_ns[1])
    return {
        "sides": report.side_names,
        "groups": {**groups, **shared},
        "modules": modules,
        "strings": list(codes.strings),
    }


def _texts(group: GroupView) -> Iterable[str]:
    yield group.kind
    yield group.reason
    for pair in group.pairs:
        yield pair.reason
        for kernel in (pair.a, pair.b):
            if kernel is not None:
                yield "".join(part.text for part in kernel.parts)
