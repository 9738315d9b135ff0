"""AMD Tensile (`Cijk_…`): recognised as foreign, so that it is never read as an NVIDIA kernel.

    Cijk_A{ilk|lik}_B{ljk|jlk}_<types>_…_MT<m>x<n>x<k>_…_ISA<gfx>_…

- index order of A and B: `Alik` is A transposed, `Bjlk` is B transposed. [inferred]
- `MT`: macro tile. `ISA950`: gfx950. [inferred]
- `GSU`: split of K; with `UserArgs` or `GSU0` it is an argument at run time, so `split_k` stays None.

The other few dozen tuning words are AMD's own and are not read; they are not listed as `unparsed` either, since
`foreign` says so.

Details: `foreign` (always true).
"""

import re

from tracediff.kernels.meanings import INFERRED, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling

# A following token shows that the number is whole.
_TILE = re.compile(r"_MT([0-9]{1,5})x([0-9]{1,5})x([0-9]{1,5})(?=_)")
_ARCH = re.compile(r"_ISA([0-9a-z]{2,5})(?![0-9a-z])")
_TRANSPOSED = {"Ailk": "n", "Alik": "t", "Bljk": "n", "Bjlk": "t"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one Tensile name; None where it is not one."""
    _, _, rest = spelling.procedural.partition("Cijk_")
    tokens = rest.split("_", 2)
    if len(tokens) < 2 or tokens[0] not in _TRANSPOSED:
        return None
    tile = _TILE.search(rest)
    arch = _ARCH.search(rest)
    second = _TRANSPOSED.get(tokens[1])
    return KernelName(
        name=name,
        family="tensile",
        role="gemm",
        arch=f"gfx{arch.group(1)}" if arch else None,
        tile=(int(tile.group(1)), int(tile.group(2)), int(tile.group(3))) if tile else None,
        layout=_TRANSPOSED[tokens[0]] + second if second else None,
        kind="gemm",
        details=(("foreign", True),),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"Cijk", "AMD Tensile: not an NVIDIA kernel", VERIFIED, True),
    (r"A[ijkl]{3}|B[ijkl]{3}", "index order of an operand", INFERRED, False),
    (r"MT[\dx]+", "macro tile M×N×K", INFERRED, True),
    (r"ISA\w+", "gfx architecture", INFERRED, True),
    (r"\S+", "AMD's tuning word", UNKNOWN, False),
)

MEANINGS = Meanings(
    tokens={"tensile": _TOKENS},
)
