"""The GEMMs that cuBLAS has carried as hand-tuned machine code since Maxwell.

    [trt_]<maxwell|volta|turing|ampere>_[<C>_]<acc>[<inst>]gemm_[<AB>_]<M>x<N>[_sliced<a>x<b>][_ldg<n>][_relu|_gelu][_f2f]
        [_stages_<K>x<S>][_raggedMn]_<nn|nt|tn|tt>[_v<n>]

- architecture word: generation the code was written for (sm50, 70, 75, 80), not the device it runs on. [verified]
- `<C>` fp16, bf16, int8: output type; missing: the accumulator's. [inferred (f32 weight gradients)]
- `<acc>` s, h, d, i, c, z (g + letter: Gaussian complex): accumulator. [verified (cuBLAS' letters)]
- `<inst>` 884, 1688, 16816: shape of the matrix instruction; missing: FFMA. [verified]
- `<AB>`: input type; missing: the accumulator's. [inferred]
- `sliced<a>x<b>`: k cut among b groups of warps in one CTA. [inferred (CUTLASS' sliced-K; no reduction kernel ever
  follows)]
- `ldg<n>`: elements of one global load. [inferred]
- `f2f`: unknown; kept in `options`. [unknown]
- `stages_<K>x<S>`: k-step × pipeline stages. [verified (cuBLASLt's `STAGES_64x5`)]
- `relu`, `gelu`: epilogue the kernel *can* apply; also printed where none was asked for. [inferred]
- layout: transposition of A and B, column-major. [verified]
- split-K: **not in the name**. [verified]

The output of `igemm` without `<C>` is left open: both int8 and int32 forms exist.

Examples: `ampere_fp16_s16816gemm_fp16_64x64_sliced1x2_ldg8_f2f_stages_64x5_tn`, `volta_sgemm_128x64_nn`,
`turing_fp16_s884gemm_fp16_128x128_ldg8_f2f_tn`.

Details: `ldg`, `options` (`f2f`, `raggedMn`), `version`, `gaussian`, `library`.
"""

import re

from tracediff.kernels.cpp_types import ACCUMULATOR_LETTERS, integer, integers
from tracediff.kernels.meanings import INFERRED, PAIR, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.mma import mma_shape
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

GENERATIONS = {
    "kepler": "sm35",
    "maxwell": "sm50",
    "pascal": "sm60",
    "volta": "sm70",
    "turing": "sm75",
    "ampere": "sm80",
    "hopper": "sm90",
}
PRECISIONS = {
    "fp16": "f16",
    "bf16": "bf16",
    "fp32": "f32",
    "tf32": "tf32",
    "fp64": "f64",
    "int8": "s8",
    "uint8": "u8",
    "int32": "s32",
}
_CORE = re.compile(r"(g?)([hsdicz])(\d*)gemm")
_LAYOUTS = frozenset({"nn", "nt", "tn", "tt", "nc", "cn", "tc", "ct", "cc"})


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of cuBLAS' hand-tuned GEMMs; None where it is not one."""
    tokens = spelling.procedural.split("_")
    details: list[tuple[str, Detail]] = []
    if tokens[0] == "trt" and len(tokens) > 1:
        details.append(("library", "trt"))
        del tokens[0]
    arch = GENERATIONS.get(tokens[0])
    position = 1
    output = PRECISIONS.get(tokens[1]) if len(tokens) > 1 else None
    if output is not None:
        position = 2
    core = _CORE.fullmatch(tokens[position]) if len(tokens) > position else None
    if core is None:
        return None
    accumulate = ACCUMULATOR_LETTERS[core.group(2)]
    if core.group(1):
        details.append(("gaussian", True))
    position += 1
    inputs = PRECISIONS.get(tokens[position]) if len(tokens) > position else None
    if inputs is not None:
        position += 1
    elif tokens[position : position + 1] and tokens[position].startswith("<"):
        inputs = PRECISIONS.get(tokens[position][1:].partition(",")[0].lower(), "")
        position += 1
    if output is None and inputs != "" and accumulate != "s32":
        output = accumulate
    tail = _Tail(tokens[position:])
    if tail.layout is None and position < len(tokens):
        # Cut short: the last token may be cut too, so nothing is read from it.
        tail = _Tail(tokens[position:-1])
        tail.unparsed.append(tokens[-1])
    if inputs is None and tail.tile is not None:
        inputs = accumulate
    return KernelName(
        name=name,
        family="cublas_legacy",
        role="gemm",
        arch=arch,
        types=Types(a=inputs or None, b=inputs or None, accumulate=accumulate, output=output),
        tile=(tail.tile[0], tail.tile[1], tail.k_step) if tail.tile else None,
        stages=tail.stages,
        mma=mma_shape(core.group(3)),
        layout=tail.layout,
        split_k_form="stated" if tail.split else None,
        sliced_k=tail.sliced_k,
        epilogue="+".join(tail.epilogue) or None,
        unparsed="_".join(tail.unparsed) or None,
        kind="gemm",
        op_class="tensorop" if core.group(3) else "simt",
        details=tuple(details + tail.details()),
    )


class _Tail:
    """What follows the types; the tokens are told apart by their form, not their place."""

    def __init__(self, tokens: list[str]) -> None:
        self.tile: tuple[int, ...] | None = None
        self.k_step: int | None = None
        self.stages: int | None = None
        self.sliced_k: int | None = None
        self.layout: str | None = None
        self.split = False
        self.epilogue: list[str] = []
        self.unparsed: list[str] = []
        self._ldg: int | None = None
        self._version: str | None = None
        self._options: list[str] = []
        expect_stages = False
        for token in tokens:
            if expect_stages and (numbers := integers(token)) and len(numbers) == 2:
                self.k_step, self.stages = numbers
            elif token in _LAYOUTS:
                self.layout = token
            elif token in ("relu", "gelu"):
                self.epilogue.append(token)
            elif token in ("f2f", "raggedMn", "mufu", "bias"):
                self._options.append(token)
            elif token == "splitK":
                self.split = True
            elif token.startswith("ldg") and (number := integer(token[3:])) is not None:
                self._ldg = number
            elif token.startswith("sliced") and (numbers := integers(token[6:])) and len(numbers) == 2:
                self.sliced_k = numbers[1]
            elif self.tile is None and (numbers := integers(token)) and len(numbers) == 2:
                self.tile = numbers
            elif token.startswith("v") and integer(token[1:]) is not None:
                self._version = token
            elif token != "stages":
                self.unparsed.append(token)
            expect_stages = token == "stages"
        if expect_stages:
            self.unparsed.append("stages")

    def details(self) -> list[tuple[str, Detail]]:
        """Return what has no field of its own."""
        found: list[tuple[str, Detail]] = []
        if self._ldg is not None:
            found.append(("ldg", self._ldg))
        if self._options:
            found.append(("options", "+".join(self._options)))
        if self._version is not None:
            found.append(("version", self._version))
        return found


_TOKENS: tuple[TokenRule, ...] = (
    (r"kepler|maxwell|pascal|volta|turing|ampere|hopper", "generation that the code was written for", VERIFIED, True),
    (r"cudnn_(?:infer|train)", "library it is built into", VERIFIED, True),
    (r"trt|cudnn", "library it is built into", VERIFIED, False),
    (r"g?[hsdicz]\d*(?:gemm|cudnn)", "accumulator letter, shape of the matrix instruction, operation", VERIFIED, True),
    (
        r"fp16|bf16|fp32|tf32|fp64|u?int8|int32",
        "element type: before the operation the output, behind it the inputs",
        INFERRED,
        False,
    ),
    (PAIR, "tile M×N of one CTA", VERIFIED, True),
    (PAIR, "k-step × pipeline stages", VERIFIED, True),
    (r"stages", "introduces k-step × stages", VERIFIED, True),
    (r"sliced\d+x\d+", "k cut among the warps of one CTA", INFERRED, True),
    (r"ldg\d+", "elements of one global load", INFERRED, False),
    (r"relu|gelu|bias", "epilogue that the kernel can apply, not one that was asked for", INFERRED, False),
    (r"splitK", "K is split (the factor is not in the name)", VERIFIED, True),
    (r"f2f|raggedMn|mufu", "unknown", UNKNOWN, False),
    (r"[ntc]{2}", "transposition of A and B, column-major", VERIFIED, True),
    (r"v\d+", "version", INFERRED, True),
    (
        r"small|medium|large|interior|xregs|stridedB?|winograd|mobile|\w*nhwc\w*|nchw|exp|interleaved|3dconv|fprop|dgrad"
        r"|wgrad|gemm|singleBuffer|delta|tile148[nt]",
        "variant of a convolution",
        UNKNOWN,
        False,
    ),
    (r"<\w[\w,]*>", "element types", INFERRED, True),
)

MEANINGS = Meanings(
    tokens={"cublas_legacy": _TOKENS, "cudnn_legacy": _TOKENS},
)
