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


def read(name: str, spelling: Spelling) -> KernelName | None:
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
    tail = _Tail(tokens[position + 1 :])
    return KernelName(
        name=name,
        family="cudnn_legacy",
        role="gemm",
        arch=arch,
        types=Types(a=tail.inputs, b=tail.inputs, accumulate=ACCUMULATOR_LETTERS[core.group(1)], output=output),
        tile=(tail.tile[0], tail.tile[1], None) if tail.tile else None,
        mma=mma_shape(core.group(2)),
        layout=tail.layout,
        split_k_form="stated" if tail.split else None,
        sliced_k=tail.sliced_k,
        epilogue=tail.epilogue,
        unparsed="_".join(tail.unparsed) or None,
        op_class="tensorop" if core.group(2) else "simt",
        details=(*details, *tail.details()),
    )


class _Tail:
    """What follows the core name."""

    def __init__(self, tokens: list[str]) -> None:
        self.tile: tuple[int, ...] | None = None
        self.inputs: str | None = None
        self.layout: str | None = None
        self.sliced_k: int | None = None
        self.epilogue: str | None = None
        self.split = False
        self.unparsed: list[str] = []
        self._loads: list[int] = []
        self._version: str | None = None
        self._options: list[str] = []
        if tokens and not _LAYOUTS.intersection(tokens[-2:]):
            self.unparsed.append(tokens.pop())  # cut short: the last token may be cut too
        for token in tokens:
            if "x" in token and self.tile is None and (numbers := integers(token)) and len(numbers) == 2:
                self.tile = numbers
            elif token in _LAYOUTS:
                self.layout = token
            elif token == "splitK":
                self.split = True
            elif token in ("relu", "gelu"):
                self.epilogue = token
            elif token.startswith("sliced") and (numbers := integers(token[6:])) and len(numbers) == 2:
                self.sliced_k = numbers[1]
            elif token.startswith("ldg") and (number := integer(token[3:])) is not None:
                self._loads.append(number)
            elif token in PRECISIONS and self.tile is None:
                self.inputs = PRECISIONS[token]
            elif token in _OPTIONS:
                self._options.append(token)
            elif token.startswith("v") and integer(token[1:]) is not None:
                self._version = token
            else:
                self.unparsed.append(token)

    def details(self) -> list[tuple[str, Detail]]:
        """Return what has no field of its own."""
        found: list[tuple[str, Detail]] = []
        if self._loads:
            found.append(("ldg", self._loads[0] if len(self._loads) == 1 else tuple(self._loads)))
        if self._version is not None:
            found.append(("version", self._version))
        if self._options:
            found.append(("options", "+".join(self._options)))
        return found
