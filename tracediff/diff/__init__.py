"""Align kernel tables by module and phase, compare them, and say what each change means."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from tracediff.diff.compare import diff_tables
from tracediff.diff.many import ManyDiff, diff_many, side_by_side
from tracediff.diff.result import Kernel, Pair, Row, Side, TraceDiff, Verdict

__all__ = [
    "Kernel",
    "ManyDiff",
    "Pair",
    "Row",
    "Side",
    "TraceDiff",
    "Verdict",
    "diff_many",
    "diff_tables",
    "side_by_side",
]


class _CallablePackage(ModuleType):
    """This package, which called compares two traces: `tracediff.diff(a, b)`.

    Function and package have the one name that fits both, and importing a package sets it on its parent. The function
    is a part of the library's interface, which is above this package and is found when it is called.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return import_module("tracediff.api").diff(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
