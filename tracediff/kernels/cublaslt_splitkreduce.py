"""cublasLt's `splitKreduce_kernel`: sums the partial products of a split-K GEMM, applies the epilogue and writes D.

It runs right behind the GEMM whose parts it sums. Its template list has had four lengths, told apart by their
number alone:

    <T, T, T, T, b, b, b>                                             7 arguments (CUDA 10 and 11.0; all float)
    <32, 16, int, T4, T5, T6, T7, b, b, b>                            10 arguments
    <32, 16, int, T4, T5, T6, b, T, T, T, b, b, b>                    13 arguments
    <32, 16, int, T4, T5, T6, T7, b, T9, T10, T11, b, b, b, b>        15 arguments

Nsight Systems prints the generic signature, which tells what each argument types:
`(cublasSplitKParams<T6>, const T4 *, const T10 *, T9 *, T5 *, const T6 *, …)`.

- 1, 2: block of 32×16 threads. [verified (measured launches)]
- T4: **type of the partial sums**: the first pointer. `float` normally; 16 bits when the partial sums are rounded.
  [verified by the signature]
- T5: type of the output D: in the 15-argument form the `T5 *` among the pointers. Not read in the other forms.
  [inferred]
- T6: compute (scale) type. [verified by `cublasSplitKParams<T6>`]
- T10, T11: types of C and of bias or auxiliary output. [inferred, not read]
- the other types and the truth values: [unknown]

Details: `block`, `template_arguments`.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.meanings import INFERRED, UNKNOWN, VERIFIED, Argument, Meanings
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, integer_literal


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one splitKreduce name."""
    if spelling.open < 0:
        return _result(name, None, None, (), unparsed=None)
    listed, end = arguments(spelling.text, spelling.open)
    if end == len(spelling.text) and not spelling.text.endswith(">"):
        return _result(name, None, None, (), unparsed=spelling.text[spelling.open :])
    details: list[tuple[str, Detail]] = [("template_arguments", len(listed))]
    if len(listed) == 7:
        same = cpp_type(listed[0]) if len(set(listed[:4])) == 1 else None
        return _result(name, Types(partial=same) if same else None, None, tuple(details), unparsed=None)
    if len(listed) < 7:
        return _result(name, None, None, tuple(details), unparsed=spelling.text[spelling.open : end])
    block = (integer_literal(listed[0]), integer_literal(listed[1]))
    threads = None
    if block[0] is not None and block[1] is not None:
        details.append(("block", (block[0], block[1])))
        threads = block[0] * block[1]
    types = Types(
        partial=cpp_type(listed[3]),
        accumulate=cpp_type(listed[5]),
        output=cpp_type(listed[4]) if len(listed) == 15 else None,
    )
    return _result(name, types, threads, tuple(details), unparsed=None)


def _result(
    name: str, types: Types | None, threads: int | None, details: tuple[tuple[str, Detail], ...], unparsed: str | None
) -> KernelName:
    return KernelName(
        name=name,
        family="cublaslt_splitkreduce",
        role="splitk_reduce",
        types=types,
        split_k_form="parallel",
        kernel="splitKreduce_kernel",
        threads=threads,
        details=details,
        unparsed=unparsed,
    )


_SWITCH: Argument = ("a switch whose meaning is unknown", UNKNOWN)
_TYPE: Argument = ("a type whose use is unknown", UNKNOWN)
_PARTIAL: Argument = ("type of the partial sums", VERIFIED)
_SCALE: Argument = ("compute and scale type", VERIFIED)
_BLOCK: tuple[Argument, ...] = (
    ("threads of a block, x", VERIFIED),
    ("threads of a block, y", VERIFIED),
    ("index type", VERIFIED),
)

MEANINGS = Meanings(
    arguments={
        ("splitKreduce_kernel", 15): (
            *_BLOCK,
            _PARTIAL,
            ("type of D", INFERRED),
            _SCALE,
            _TYPE,
            _SWITCH,
            _TYPE,
            ("type of C", INFERRED),
            ("type of bias or auxiliary output", INFERRED),
            *(_SWITCH,) * 4,
        ),
        ("splitKreduce_kernel", 13): (
            *_BLOCK,
            _PARTIAL,
            _TYPE,
            _SCALE,
            _SWITCH,
            *(_TYPE,) * 3,
            *(_SWITCH,) * 3,
        ),
        ("splitKreduce_kernel", 10): (*_BLOCK, _PARTIAL, _TYPE, _SCALE, _TYPE, *(_SWITCH,) * 3),
    }
)
