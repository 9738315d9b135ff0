"""Kernels and their changes in the fewest words that a reader can search for in a trace."""

from __future__ import annotations

import re
from itertools import takewhile

from tracediff.diff.result import Kernel, Pair
from tracediff.kernels import KernelName
from tracediff.kernels.compare import COLLECTIONS, differing_fields
from tracediff.text import printable, shorten, sizes_in_words

_PLAIN = re.compile(r"\w+")
_FIELDS = 2
_LONGEST = 60


def short_name(parsed: KernelName, width: int = _LONGEST) -> str:
    """Return the name itself where it is one word, else the function behind template and parameter lists."""
    name = parsed.name
    if not _PLAIN.fullmatch(name):
        name = f"{parsed.kernel or _function(name)}{_tile(parsed)}"
    return printable(shorten(name, width))


def tile_name(parsed: KernelName) -> str:
    """Return family and tile of a GEMM (`nvjet 128×8×64`), for columns too narrow for its name; else its short name."""
    return f"{parsed.family}{_tile(parsed)}" if parsed.role == "gemm" and parsed.tile else short_name(parsed)


def change_in_names(pair: Pair) -> str:
    """Return what changed between two kernels: `nvjet 128x8_64x12_4x1 → 64x16_64x16_2x1`; one name where it is kept."""
    if pair.a is None or pair.b is None:
        only = pair.b or pair.a
        return "" if only is None else f"{'new' if pair.a is None else 'gone'}: {short_name(only.parsed)}"
    a, b = pair.a.parsed, pair.b.parsed
    if pair.a.identity == pair.b.identity:
        return short_name(a)
    if a.family != b.family or a.family in COLLECTIONS:
        return f"{_which(a)} → {_which(b)}"
    if _PLAIN.fullmatch(a.name) and _PLAIN.fullmatch(b.name):
        before, after = _differing_parts(a.name.split("_"), b.name.split("_"))
        return printable(f"{a.family} {shorten(before, _LONGEST)} → {shorten(after, _LONGEST)}")
    fields = ", ".join(field.text for field in differing_fields(a, b)[:_FIELDS])
    return printable(f"{a.family} {fields}" if fields else f"{short_name(a)} → {short_name(b)}")


def leading(kernels: tuple[Kernel, ...]) -> Kernel | None:
    """Return the kernel that a module is known by: its first GEMM or attention, else its first reduction or kernel."""
    for roles in (("gemm", "attention"), ("reduction",)):
        for kernel in kernels:
            if kernel.parsed.role in roles:
                return kernel
    return kernels[0] if kernels else None


def _which(parsed: KernelName) -> str:
    """Return the least that tells which kernel it is: its function where the family holds unlike ones."""
    if parsed.family in COLLECTIONS or parsed.kernel:
        return printable(shorten(parsed.kernel or _function(parsed.name), _LONGEST))
    return f"{parsed.family} {parsed.role}{_tile(parsed)}"


def _tile(parsed: KernelName) -> str:
    return "" if parsed.tile is None else f" {sizes_in_words(parsed.tile)}"


def _differing_parts(a: list[str], b: list[str]) -> tuple[str, str]:
    """Return what is left of two names, cut at `_`, without what they share in front and behind."""
    head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
    a, b = a[head:], b[head:]
    tail = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
    a, b = a[: len(a) - tail], b[: len(b) - tail]
    return "_".join(a) or "–", "_".join(b) or "–"


def _function(name: str) -> str:
    """`void at::native::f<int>(T1)` is `at::native::f`."""
    head = name.removeprefix("void ").removeprefix("(anonymous namespace)::")
    return head.split("<")[0].split("(")[0].strip() or name
