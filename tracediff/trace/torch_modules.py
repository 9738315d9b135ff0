"""Module paths out of a recorded Python call stack.

The profiler writes `nn.Module: Linear_7`: the class, and a number that counts its instances. Which module that is
follows from where it was called: `Decoder.Block[1].Mlp.Linear[2]` is the third Linear that the second Block's Mlp
calls. There is an index only where a module calls several of one class.
"""

from __future__ import annotations

import numpy as np

from tracediff.trace.ranges import NONE
from tracediff.trace.table import Int64

PREFIX = "nn.Module: "


def module_paths(parent: Int64, text: Int64, texts: tuple[str, ...]) -> dict[int, str]:
    """Return the path of each module, by the code of its text.

    Args:
        parent: Index of the range around each range, -1 for none; ranges in order of their starts.
        text: Code of each range's text.
        texts: The texts, modules as the profiler writes them.
    """
    modules = {code for code, each in enumerate(texts) if each.startswith(PREFIX)}
    caller: dict[int, int] = {}
    first = np.unique(text, return_index=True)[1]
    for index in np.sort(first).tolist():
        code = int(text[index])
        if code in modules:
            around = int(parent[index])
            while around != NONE and int(text[around]) not in modules:
                around = int(parent[around])
            caller[code] = int(text[around]) if around != NONE else NONE
    siblings: dict[tuple[int, str], list[int]] = {}
    for code, by in caller.items():
        siblings.setdefault((by, _class_of(texts[code])), []).append(code)
    paths: dict[int, str] = {NONE: ""}
    for code, by in caller.items():  # callers come first
        name = _class_of(texts[code])
        alike = siblings[by, name]
        step = f"{name}[{alike.index(code)}]" if len(alike) > 1 else name
        paths[code] = f"{paths.get(by, '')}.{step}".removeprefix(".")
    del paths[NONE]
    return paths


def _class_of(text: str) -> str:
    name, _, number = text.removeprefix(PREFIX).rpartition("_")
    return name if name and number.isdecimal() else text.removeprefix(PREFIX)
