"""Marlin: GEMMs with quantized weights (vLLM, SGLang), plain and for mixtures of experts.

    marlin::Marlin<a, b, c, s, threads, m_blocks, n_blocks, k_blocks, m_block_size_8, stages, group_blocks, is_zp_float>

a, b, c, s (activations, weights, output, scales) are numbers that vLLM's ScalarType packs into bits: 8 exponent, 8
mantissa, 1 signed, 32 bias, 1 finite only, 8 kind of NaN. Blocks are 16 wide. Source: vLLM's
csrc/core/scalar_type.hpp and the kernel's template. Verified. Older template lists (`Marlin<half, …>`, `Marlin<256,
4, …>`) differ by version and are not read.

How Marlin cuts k over CTAs is decided at run time: `split_k_form` is None.

Details: `group_size` (elements of k per scale; -1 one per column), `scale_type`, `m_block_size_8`.
"""

from tracediff.kernels.meanings import VERIFIED, Meanings
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, boolean_literal, integer_literal

_ARGUMENTS = 12
_BLOCK = 16
_NAMED = {(5, 10, 1): "f16", (8, 7, 1): "bf16", (8, 23, 1): "f32", (8, 0, 0): "ue8m0"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one Marlin name."""
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    found = _read_list(listed) if len(listed) == _ARGUMENTS else None
    if found is None:
        return KernelName(
            name=name,
            family="marlin",
            role="gemm",
            kernel="Marlin",
            unparsed=spelling.text[spelling.open :] if spelling.open >= 0 else None,
        )
    types, numbers, details = found
    threads, m_blocks, n_blocks, k_blocks, stages = numbers
    return KernelName(
        name=name,
        family="marlin",
        role="gemm",
        types=types,
        tile=(m_blocks * _BLOCK, n_blocks * _BLOCK, k_blocks * _BLOCK),
        stages=stages,
        kernel="Marlin",
        threads=threads,
        details=details,
    )


def _read_list(
    listed: list[str],
) -> tuple[Types, tuple[int, int, int, int, int], tuple[tuple[str, Detail], ...]] | None:
    words = [scalar_type(number) if (number := integer_literal(text)) is not None else None for text in listed[:4]]
    numbers = [integer_literal(listed[place]) for place in (4, 5, 6, 7, 9, 10)]
    half_block = boolean_literal(listed[8])
    if None in words or half_block is None:
        return None
    threads, m_blocks, n_blocks, k_blocks, stages, group = numbers
    if threads is None or m_blocks is None or n_blocks is None or k_blocks is None or stages is None or group is None:
        return None
    details: tuple[tuple[str, Detail], ...] = (
        ("group_size", group * _BLOCK if group > 0 else group),
        ("scale_type", words[3] or ""),
        ("m_block_size_8", half_block),
    )
    types = Types(a=words[0], b=words[1], output=words[2])
    return types, (threads, m_blocks, n_blocks, k_blocks, stages), details


def scalar_type(number: int) -> str | None:
    """Return the word of one of vLLM's ScalarType numbers; None for a number that is none."""
    if number <= 0 or number >> 58:
        return None
    exponent, mantissa = number & 0xFF, number >> 8 & 0xFF
    signed, bias = number >> 16 & 1, number >> 17 & 0xFFFFFFFF
    if exponent == 0 and mantissa == 0:
        return None
    if exponent == 0:
        return f"{'s' if signed else 'u'}{mantissa + signed}" + (f"b{bias}" if bias else "")
    return _NAMED.get((exponent, mantissa, signed)) or f"{'' if signed else 'u'}e{exponent}m{mantissa}"


MEANINGS = Meanings(
    arguments={
        ("Marlin", 12): (
            ("type of the activations (packed ScalarType)", VERIFIED),
            ("type of the weights", VERIFIED),
            ("type of the output", VERIFIED),
            ("type of the scales", VERIFIED),
            ("threads of a block", VERIFIED),
            ("tile M in blocks of 16", VERIFIED),
            ("tile N in blocks of 16", VERIFIED),
            ("tile K in blocks of 16", VERIFIED),
            ("blocks of m are 8 high", VERIFIED),
            ("pipeline stages", VERIFIED),
            ("blocks of k per scale", VERIFIED),
            ("zero points are floats", VERIFIED),
        ),
    }
)
