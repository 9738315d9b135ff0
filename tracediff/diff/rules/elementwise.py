"""Kernels that never sum: each output element depends on fixed input elements, whatever the launch.

Which elements a thread works on cannot change bits; another function or another element type can.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.facts import change, same_name
from tracediff.diff.rules.rule import Rule, always
from tracediff.kernels.cpp_types import CPP_TYPES

_WORD = re.compile(r"\w+")
# Parts of PyTorch's names that say how elements are walked, not what is computed.
_WALKS = re.compile(
    r"(?:vectorized|unrolled|legacy)?_?elementwise_kernel\w*|gpu_kernel\w*|\w*(?:Loader|Storer|Calculator|Policy)\w*"
    r"|Array|array|std|at|c10|native|detail|void|const|T\d|TensorIteratorBase|lambda\w*|instance|operator|unnamed"
    r"|anonymous|namespace|TrivialOffset\w*|memory|LoadWithoutCast|StoreWithoutCast|char|u?int\w*|unsigned|long|bool"
    r"|\d\w*|true|false|ul?"
)
_TYPE_WORDS = {name.rpartition("::")[2]: word for name, word in CPP_TYPES.items()}


def element_types(kernel: Kernel) -> frozenset[str]:
    """Floating-point element types that the template arguments name, in short words."""
    return _element_types(kernel.parsed.name)


@lru_cache(maxsize=4096)
def _element_types(name: str) -> frozenset[str]:
    if "<" not in name:
        name = name.partition("(")[0]
    words = (_TYPE_WORDS.get(word) for word in _WORD.findall(name[:2000]))
    return frozenset(word for word in words if word is not None and "f" in word)


def same_function(a: Kernel, b: Kernel) -> bool:
    """Whether PyTorch's names say that both compute the same function of the same element types."""
    if a.parsed.family != "at_native" or b.parsed.family != "at_native":
        return False
    first, second = _computed(a), _computed(b)
    return bool(first) and first == second


def _computed(kernel: Kernel) -> frozenset[str]:
    """Words of the functor in a name: `BinaryFunctor`, `Half`, `MulFunctor`, `float`."""
    name = kernel.parsed.name
    _, _, listed = name.partition("<")
    return frozenset(word for word in _WORD.findall(listed[:2000]) if not _WALKS.fullmatch(word))


def _other_types(a: Kernel, b: Kernel) -> bool:
    first, second = element_types(a), element_types(b)
    return bool(first) and bool(second) and first != second


def _types_changed(a: Kernel, b: Kernel) -> str:
    return change("element types", *(" ".join(sorted(element_types(x))) for x in (a, b)))


ELEMENTWISE = (
    Rule(
        name="same kernel",
        when=same_name,
        verdict=Verdict.SAME_ORDER,
        reason="elementwise, never reduces",
        source="one thread computes an element from its operands alone (PyTorch CUDALoops.cuh)",
    ),
    Rule(
        name="same function, walked in another way",
        when=same_function,
        verdict=Verdict.SAME_ORDER,
        reason="elementwise, never reduces",
        source="PyTorch CUDALoops.cuh: vectorized, unrolled or strided access around one functor",
    ),
    Rule(
        name="other element types",
        when=_other_types,
        verdict=Verdict.UNKNOWN,
        reason=_types_changed,
        source="values are rounded to another type",
    ),
    Rule(
        name="other function",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason="a different elementwise kernel",
        source="another function of the elements, or the same, fused in another way",
    ),
)

COPY = (
    Rule(
        name="other element types",
        when=lambda a, b: not same_name(a, b) and _other_types(a, b),
        verdict=Verdict.UNKNOWN,
        reason=_types_changed,
        source="a copy into another type rounds",
    ),
    Rule(
        name="copy",
        when=always,
        verdict=Verdict.SAME_ORDER,
        reason="moves values, never reduces",
        source="no arithmetic",
    ),
)
