"""AMD Tensile (`Cijk_…`): recognised as foreign, so that it is never read as an NVIDIA kernel.

    Cijk_A{ilk|lik}_B{ljk|jlk}_<types>_…_MT<m>x<n>x<k>_…_ISA<gfx>_…

- index order of A and B: `Alik` is A transposed, `Bjlk` is B transposed. [inferred]
- `MT`: macro tile. `ISA950`: gfx950. [inferred]
- `GSU`: split of K; with `UserArgs` or `GSU0` it is an argument at run time, so `split_k` stays None.

The other few dozen tuning words are AMD's own and are not read; they are not listed as `unparsed` either, since
`foreign` says so.

Details: `foreign` (always true).
"""

from tracediff.kernels.model import KernelName, make_kernel_name
from tracediff.kernels.spelling import Spelling
from tracediff.kernels.words import integers

_TRANSPOSED = {"Ailk": "n", "Alik": "t", "Bljk": "n", "Bjlk": "t"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one Tensile name; None where it is not one."""
    _, _, rest = spelling.procedural.partition("Cijk_")
    tokens = rest.split("_")
    if len(tokens) < 2 or tokens[0] not in _TRANSPOSED:
        return None
    arch = None
    tile = None
    for token in tokens[2:]:
        if tile is None and token.startswith("MT") and (numbers := integers(token[2:])) and len(numbers) == 3:
            tile = (numbers[0], numbers[1], numbers[2])
        elif arch is None and token.startswith("ISA") and token[3:].isalnum():
            arch = f"gfx{token[3:]}"
    second = _TRANSPOSED.get(tokens[1])
    return make_kernel_name(
        name=name,
        family="tensile",
        role="gemm",
        arch=arch,
        tile=tile,
        layout=_TRANSPOSED[tokens[0]] + second if second else None,
        kind="gemm",
        details=(("foreign", True),),
    )
