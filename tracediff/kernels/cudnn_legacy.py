"""cuDNN's hand-tuned convolutions, from Maxwell on.

    [trt_|cudnn_[{infer|train}_]]<arch>_[<C>_]{s|h|i}<inst>cudnn_[winograd_][<AB>_]<M>x<N>_…_[{small|medium|large|interior}]_<layout>[_v<n>]

- arch word: generation the code was written for. [verified]
- s, h, i: accumulator. [verified: cuBLAS' letters]
- `<M>x<N>`: CTA tile. [inferred]
- `splitK`: K is split; the factor is not in the name, and without the word the name tells nothing. [verified]
- `sliced<a>x<b>`: k cut among groups of warps of one CTA. [inferred]
- `small`, `medium`, `large`, `interior`, `xregs`, `stridedB`, …: variants, kept in `options`. [unknown]

Examples: `cudnn_infer_volta_scudnn_128x64_relu_small_nn_v1`, `maxwell_scudnn_128x64_stridedB_splitK_small_nn_v0`,
`volta_fp16_s884cudnn_fp16_256x64_sliced1x2_ldg8_relu_exp_small_nhwc_tn_v1`.

Details: `library`, `ldg`, `options`, `version`.
"""

import re

from tracediff.kernels.cpp_types import ACCUMULATOR_LETTERS, integer, integers
from tracediff.kernels.cublas_legacy import GENERATIONS, PRECISIONS
from tracediff.kernels.mma import mma_shape
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_CORE = re.compile(r"([hsdi])(\d*)cudnn")
_LAYOUTS = frozenset({"nn", "nt", "tn", "tt"})
_OPTIONS = frozenset(
    "small medium large interior xregs stridedB strided winograd exp mufu interleaved nhwc nchw nhwc2nchw mobile "  # noqa: SIM905
    "tile148t tile148n fprop dgrad wgrad 3dconv gemm singleBuffer delta bias stages".split()
)


def read(name: str, spelling: Spelling) -> KernelName | None:  # noqa: PLR0912 - one branch per token
    """Read one name of cuDNN's hand-tuned convolutions; None where it is not one."""
    tokens = spelling.procedural.split("_")
    details: list[tuple[str, Detail]] = []
    position = 0
    if tokens[0] in ("cudnn", "trt"):
        position = 2 if tokens[1:2] in (["infer"], ["train"]) else 1
        details.append(("library", "_".join(tokens[:position])))
    arch = GENERATIONS.get(tokens[position]) if len(tokens) > position else None
    if arch is None:
        return None
    position += 1
    output = PRECISIONS.get(tokens[position]) if len(tokens) > position else None
    position += output is not None
    core = _CORE.fullmatch(tokens[position]) if len(tokens) > position else None
    if core is None:
        return None
    tile: tuple[int, ...] | None = None
    inputs = layout = sliced = epilogue = version = None
    split = False
    loads: list[int] = []
    options: list[str] = []
    unparsed: list[str] = []
    if not _LAYOUTS.intersection(tokens[-2:]):
        unparsed.append(tokens.pop())  # cut short: the last token may be cut too
    for token in tokens[position + 1 :]:
        if "x" in token and tile is None and (numbers := integers(token)) and len(numbers) == 2:
            tile = numbers
        elif token in _LAYOUTS:
            layout = token
        elif token == "splitK":
            split = True
        elif token in ("relu", "gelu"):
            epilogue = token
        elif token.startswith("sliced") and (numbers := integers(token[6:])) and len(numbers) == 2:
            sliced = numbers[1]
        elif token.startswith("ldg") and (number := integer(token[3:])) is not None:
            loads.append(number)
        elif token in PRECISIONS and tile is None:
            inputs = PRECISIONS[token]
        elif token in _OPTIONS:
            options.append(token)
        elif token.startswith("v") and integer(token[1:]) is not None:
            version = token
        else:
            unparsed.append(token)
    if loads:
        details.append(("ldg", loads[0] if len(loads) == 1 else tuple(loads)))
    if version is not None:
        details.append(("version", version))
    if options:
        details.append(("options", "+".join(options)))
    return KernelName(
        name=name,
        family="cudnn_legacy",
        role="gemm",
        arch=arch,
        types=Types(a=inputs, b=inputs, accumulate=ACCUMULATOR_LETTERS[core.group(1)], output=output),
        tile=(tile[0], tile[1], None) if tile else None,
        mma=mma_shape(core.group(2)),
        layout=layout,
        split_k_form="stated" if split else None,
        sliced_k=sliced,
        epilogue=epilogue,
        unparsed="_".join(unparsed) or None,
        op_class="tensorop" if core.group(2) else "simt",
        details=tuple(details),
    )
