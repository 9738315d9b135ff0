"""Memory-efficient attention of PyTorch and xFormers.

    fmha_cutlass{F|B}_<f16|bf16|f32>_<aligned|notaligned>_<Q>x<K>[_k<maxK>][_rf|_gmem][_dropout][_seqaligned]_sm<XX>

PyTorch prints the template beside the name: `fmha_cutlassF_f16_aligned_64x128_rf_sm80(…AttentionKernel<half_t,
Sm80, true, 64, 128, …>)`.

- F, B: forward, backward. Element type, architecture, alignment, tile of queries × keys. [verified by that template]
- `k<n>`: largest head dimension. [verified]
- `rf`, `gmem`: the output is accumulated in registers or in global memory; `dropout`, `seqaligned`. [inferred]

Details: `direction`, `aligned`, `max_k`, `accum_in`, `dropout`, `seq_aligned`.
"""

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.meanings import ARCH, INFERRED, PAIR, VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_DIRECTIONS = {"cutlassF": "fprop", "cutlassB": "bprop"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of the memory-efficient attention; None where it is not one."""
    tokens = spelling.procedural.split("_")
    direction = _DIRECTIONS.get(tokens[1]) if len(tokens) > 1 else None
    if direction is None:
        return None
    details: list[tuple[str, Detail]] = [("direction", direction)]
    arch = element = tile = None
    unparsed: list[str] = []
    if not tokens[-1].startswith("sm"):
        unparsed.append(tokens.pop())  # cut short
    for token in tokens[2:]:
        if token in ("f16", "bf16", "f32"):
            element = token
        elif token in ("aligned", "notaligned"):
            details.append(("aligned", token == "aligned"))
        elif "x" in token and (numbers := integers(token)) and len(numbers) == 2:
            tile = (numbers[0], numbers[1], None)
        elif token.startswith("k") and (number := integer(token[1:])) is not None:
            details.append(("max_k", number))
        elif token in ("rf", "gmem"):
            details.append(("accum_in", token))
        elif token in ("dropout", "seqaligned"):
            details.append(("dropout" if token == "dropout" else "seq_aligned", True))
        elif token.startswith("sm") and len(token) == 4 and integer(token[2:]) is not None:
            arch = token
        else:
            unparsed.append(token)
    return KernelName(
        name=name,
        family="fmha_cutlass",
        role="attention",
        arch=arch,
        types=Types(a=element, b=element) if element else None,
        tile=tile,
        unparsed="_".join(unparsed) or None,
        kind="fmha",
        details=tuple(details),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"fmha_cutlass[FB]", "memory-efficient attention, F forward, B backward", VERIFIED, True),
    (r"f16|bf16|f32", "element type", VERIFIED, True),
    (r"(?:not)?aligned", "whether operands are aligned", VERIFIED, True),
    (PAIR, "queries × keys of one tile", VERIFIED, True),
    (r"k\d+", "largest head dimension", VERIFIED, True),
    (r"rf|gmem", "where the output is accumulated: registers or global memory", INFERRED, True),
    (r"dropout|seqaligned", "variant", INFERRED, False),
    ARCH,
)

MEANINGS = Meanings(
    tokens={"fmha_cutlass": _TOKENS},
)
