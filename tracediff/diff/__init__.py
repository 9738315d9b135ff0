"""Align kernel tables by module and phase, compare them, and say what each change means."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from tracediff.diff.compare import diff_tables
from tracediff.diff.many import ManyDiff, side_by_side
from tracediff.diff.result import Kernel, Pair, Row, Side, TraceDiff, Verdict

__all__ = [
    "Kernel",
    "ManyDiff",
    "Pair",
    "Row",
    "Side",
    "TraceDiff",
    "Verdict",
    "diff_tables",
    "side_by_side",
]


class _CallablePackage(ModuleType):
    """This package, callable: `tracediff.diff(a, b)` compares two traces.

    The function and the package have one name, and importing the package sets it on its parent. So the package is
    callable; it looks the function up when it is called, since the library's interface is above this package.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("tracediff.api").diff(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
