"""The spellings that one kernel has in different tools, taken off before any family reads the name.

    void cutlass::Kernel2<NAME>(NAME::Params)          torch and kineto
    void cutlass::Kernel2<NAME>(T1::Params)            Nsight Systems: the generic signature
    _ZN7cutlass7Kernel2I<length>NAMEEEvNT_6ParamsE     mangled: nvprof, Nsight Compute, Triton caches
    void cutlass__5x_cudnn::Kernel<NAME>(…)            a CUTLASS inside cuDNN or cuBLAS
    std::enable_if<!(false), void>::type internal::gemvx::kernel<…>(…)

Template arguments that are values are printed in four ways: `(int)128`, `(bool)0` (Nsight Systems), `128`, `false`
(torch), `128`, `0` (Nsight Compute), `int=128` (nvprof), and with suffixes (`128u`, `16ul`) by demanglers. All seen
in real traces.

The identity of a kernel is its template argument list, never its parameter list: Nsight Systems writes the
parameters of the *generic* signature (`const T4 *`), the others of the instance.
"""

import re
from typing import NamedTuple

from tracediff.kernels.mangled import demangle


class Spelling(NamedTuple):
    """A name without its wrappers.

    Attributes:
        text: The whole name, demangled, without return type.
        path: The function with its namespaces, up to its template arguments or parameters.
        open: Where in `text` the template argument list's `<` is; -1 without one.
        procedural: The procedural name (`cutlass_80_…`, `nvjet_…`): the wrapped one, or `path` where nothing wraps it.
    """

    text: str
    path: str
    open: int
    procedural: str


_PATH_END = re.compile(r"[<(\[ ]")
_IDENTIFIER = re.compile(r"\w+")
_BRACKETS = re.compile(r"[<>()\[\]{},]")
_WRAPPERS = frozenset({"Kernel", "Kernel2", "device_kernel"})


def spelled(name: str) -> Spelling:
    """Take the wrappers off a kernel's name."""
    if name.isidentifier() and name[:2] != "_Z":
        return Spelling(name, name, -1, name)
    text = name
    if text.startswith("_Z"):
        text = demangle(text) or text
    text = text.removeprefix("void ").removeprefix("static ")
    if text.startswith("std::enable_if<"):
        _, found, rest = text.partition(">::type ")
        text = rest if found else text
    start = 0
    # An anonymous namespace has brackets of its own, which are no argument list.
    while True:
        end = _PATH_END.search(text, start)
        if end is None:
            return Spelling(text, text, -1, text)
        position = end.start()
        if text.startswith(("<unnamed>", "(anonymous namespace)"), position):
            start = text.index(">" if text[position] == "<" else ")", position) + 1
            continue
        break
    path = text[:position]
    if path.endswith("_"):
        # `volta_h16gemm_<BF16,BF16,float>_nt_v1`: no template, but types inside a procedural name.
        return Spelling(text, text, -1, text)
    if text[position] != "<":
        return Spelling(text, path, -1, path)
    if path.rpartition("::")[2] in _WRAPPERS:
        inner = _IDENTIFIER.match(text, position + 1)
        if inner is not None and not text.startswith("::", inner.end()):
            return Spelling(text, path, position, inner.group())
    return Spelling(text, path, position, path)


def arguments(text: str, opening: int) -> tuple[list[str], int]:
    """Split the bracketed list that opens at `text[opening]` at its own commas.

    One pass, no recursion. Where the text ends first (a truncated name) the last, cut argument is left out.

    Returns:
        The arguments, stripped, and the position behind the closing bracket; the text's length where it is missing.
    """
    found: list[str] = []
    depth = 0
    start = opening + 1
    for bracket in _BRACKETS.finditer(text, opening):
        sign = bracket.group()
        position = bracket.start()
        if sign == ",":
            if depth == 1:
                found.append(text[start:position].strip())
                start = position + 1
        elif sign in "<([{":
            depth += 1
        elif sign == ">" and text[position - 1] == "-":
            continue
        else:
            depth -= 1
            if depth == 0:
                last = text[start:position].strip()
                if last or found:
                    found.append(last)
                return found, position + 1
    return found, len(text)


def integer_literal(argument: str) -> int | None:
    """Read a template argument that is a number: `128`, `(int)128`, `128u`, `int=128`, `(deep_gemm::GemmType)0`."""
    text = argument
    if text.startswith("("):
        text = text[text.find(")") + 1 :]
    elif "=" in text:
        text = text.rpartition("=")[2]
    text = text.rstrip("ulUL")
    negative = text.startswith("-")
    digits = text[1:] if negative else text
    if not (digits.isdigit() and digits.isascii() and len(digits) <= 18):
        return None
    return -int(digits) if negative else int(digits)


def cute_shape(argument: str) -> tuple[int, ...] | None:
    """Read a static CuTe shape, `cute::tuple<cute::C<128>, cute::C<(int)64>, …>`; None for any other argument."""
    if not argument.startswith(("cute::tuple<", "tuple<", "cute::C<")):
        return None
    sizes: list[int] = []
    for part in _SIZE.finditer(argument):
        sizes.append(int(part.group(1)))
    return tuple(sizes) if sizes and argument.count("C<") == len(sizes) == argument.count(",") + 1 else None


def boolean_literal(argument: str) -> bool | None:
    """Read a template argument that is a truth value: `true`, `(bool)1`, `bool=1`, `1`."""
    text = argument
    if text.startswith("(bool)"):
        text = text[6:]
    elif text.startswith("bool="):
        text = text[5:]
    return _BOOLEANS.get(text)


_SIZE = re.compile(r"C<(?:\(int\)|int=)?(\d{1,9})>")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
