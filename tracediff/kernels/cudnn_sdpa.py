"""cuDNN's fused attention.

    cudnn_generated_fort_native_sdpa_sm<XX>_flash_<fprop|bprop>[_wgmma|_wmma]_<w>_knob_<k>_<Q>x<KV>x<D>_<a>x<b>x<c>[_cga<x>x<y>x<z>][_kernel<i>_<j>]

- `sm<XX>`: generation the kernel was generated for; `sm80` kernels run on later devices. [verified]
- `wmma`, `wgmma`: the matrix instruction. [verified]
- `<w>` `f16`: **the 16-bit class, not fp16**: bf16 runs print f16 too. Kept as `width_class`; `types` stays None.
  [verified]
- `knob_<k>`: variant number of the generator. [meaning unknown]
- `<Q>x<KV>x<D>`: tile of queries × keys, head dimension. [inferred, agrees with known runs]
- `<a>x<b>x<c>`: warps. [inferred (128 threads on sm80; on sm90 the block has 384)]
- `cga`: cluster. [inferred]

Whether keys are split between CTAs is not in the name.

Example: `cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_cga1x1x1_kernel0_0`.

Details: `direction`, `width_class`, `knob`, `kernel_index`.
"""

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.meanings import ARCH, INFERRED, TRIPLE, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName
from tracediff.kernels.spelling import Spelling

_INTRODUCTION = ("cudnn", "generated", "fort", "native", "sdpa")


def read(name: str, spelling: Spelling) -> KernelName | None:  # noqa: PLR0912 - one branch per token
    """Read one name of cuDNN's attention; None where it is not one."""
    tokens = spelling.procedural.split("_")
    if tuple(tokens[:5]) != _INTRODUCTION:
        return None
    details: list[tuple[str, Detail]] = []
    unparsed: list[str] = []
    arch = op_class = tile = head_dim = warps = cluster = kind = None
    position = 5
    while position < len(tokens):
        token = tokens[position]
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        if token.startswith("sm") and token[2:3].isdigit() and following:
            arch = token
        elif token == "flash":
            kind = "flash"
        elif token in ("fprop", "bprop"):
            details.append(("direction", token))
        elif token in ("wmma", "wgmma", "umma", "mma", "tcgen05"):
            op_class = token
        elif token in ("f16", "bf16", "f8", "fp8", "mxfp8", "e4m3", "e5m2", "f32"):
            details.append(("width_class", token))
        elif token == "knob" and (number := integer(following)) is not None:
            details.append(("knob", number))
            position += 1
        elif "x" in token and (numbers := integers(token)) and len(numbers) == 3:
            if tile is None and following:
                tile = (numbers[0], numbers[1], None)
                head_dim = numbers[2]
            elif tile is not None and warps is None:
                warps = numbers
            else:
                unparsed.append(token)
        elif token.startswith("cga") and (numbers := integers(token[3:])) and len(numbers) == 3:
            cluster = numbers
        elif token.startswith("kernel") and integer(token[6:]) is not None:
            details.append(("kernel_index", "_".join(tokens[position:])))
            break
        else:
            unparsed.append(token)
        position += 1
    return KernelName(
        name=name,
        family="cudnn_sdpa",
        role="attention",
        arch=arch,
        tile=tile,
        cluster=cluster,
        warps=warps,
        unparsed="_".join(unparsed) or None,
        kind=kind,
        op_class=op_class,
        head_dim=head_dim,
        details=tuple(details),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"cudnn_generated_fort_native_sdpa", "cuDNN's generated attention", VERIFIED, True),
    ARCH,
    (r"flash", "flash attention", VERIFIED, True),
    (r"fprop|bprop", "forward or backward", VERIFIED, True),
    (r"wgmma|wmma|umma|mma|tcgen05", "the matrix instruction", VERIFIED, True),
    (r"b?f16", "the 16-bit class: fp16 or bf16", VERIFIED, True),
    (r"\w*fp8|f8|f32|e\dm\d", "type class", INFERRED, True),
    (r"knob_\d+", "number of the variant; what it chooses is unknown", UNKNOWN, True),
    (TRIPLE, "queries × keys of one tile × head dimension", INFERRED, True),
    (TRIPLE, "warps", INFERRED, True),
    (r"cga[\dx]+", "thread-block cluster", INFERRED, True),
    (r"kernel\d+_\d+", "which of the generated kernels", INFERRED, True),
)

MEANINGS = Meanings(
    tokens={"cudnn_sdpa": _TOKENS},
)
