"""xmma: the kernel generator behind cuDNN, TensorRT and (fp32, and sm90 before nvjet) cuBLAS.

    sm<XX>_xmma_[sparse_]<gemm|{fprop|dgrad|wgrad}_implicit_gemm>[_indexed]_<in><out>_<math><acc>_<epi>_<ab>_<c>_tilesize<M>x<N>x<K>
        [_cgasize…][_stage<S>][_warpsize|_warpgroupsize<a>x<b>x<c>][_g<n>][_tensor<m>x<n>x<k>|_ffma][_aligna<a>][_alignc<c>][_t1r1s1]
        [_algo<n>][_execute_{kernel|split_k_kernel|segment_k_off_kernel|segment_k_on_kernel}|_kernel|…][<library>]

- `<in><out>_<math><acc>_<epi>`: input, output, multiply, accumulate and epilogue types. [inferred]
- `<ab>_<c>`: layouts of A and B, and of C (n: column-major). [inferred]
- `tilesize`: tile M×N×K. **Transposed against cuBLASLt's own tile**: 32x128 here is cuBLASLt's 128x32. [verified
  (362 cases)]
- `stage<S>`: pipeline stages. [verified (362 cases)]
- `warpsize<a>x<b>x<c>`: warps along m, n, k; 32·a·b·c threads. [verified (measured launches)]
- `warpgroupsize`: the same in warp groups (sm90); kept as `warpgroups`. [inferred]
- `_execute_kernel`: the GEMM. Whether K is split is **not visible**: of 285 split cases 206 launch a reduction, 79
  sum inside. [verified]
- `_execute_split_k_kernel`: the **reduction** behind a split GEMM of the same tile, not a GEMM. [verified (measured
  launches)]
- `segment_k_on`, `segment_k_off`: work cut along k as stream-K does. [inferred]
- `__5x_cublas`, `_trt`, `_cudnn_infer`: the library it is built into. [verified]

Family `xmma` for gemm, `xmma_conv` for the implicit GEMMs of convolutions.

Examples:
`sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3_warpsize1x4x1_ffma_aligna4_alignc4_execute_kernel__5x_cublas`.

Details: `warpgroups`, `align_a`, `align_c`, `segment_k`, `library`, `launched`, `groups`, `algo`, `indexed`,
`sparse`, `filter`.
"""

import re

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.meanings import ARCH, INFERRED, TRIPLE, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.mma import mma_shape
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_PAIR = re.compile(r"((?:tf|bf|f|i|u|e)\d+(?:m\d)?)((?:tf|bf|f|i|u|e)\d+(?:m\d)?)")
_TYPE = re.compile(r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?")
_WORDS = {"i8": "s8", "i32": "s32", "i4": "s4"}
_CONVOLUTIONS = frozenset({"fprop", "dgrad", "wgrad", "deconv", "conv"})


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one xmma name; None where it is not one."""
    head, found, tail = spelling.procedural.partition("_tilesize")
    tokens = head.split("_")
    if len(tokens) < 3 or tokens[1] != "xmma":
        return None
    details: list[tuple[str, Detail]] = []
    position = 2
    if tokens[2] == "sparse":
        details.append(("sparse", True))
        position = 3
    operation: list[str] = []
    while position < len(tokens) and _PAIR.fullmatch(tokens[position]) is None:
        if tokens[position] == "indexed":
            details.append(("indexed", True))
        else:
            operation.append(tokens[position])
        position += 1
    # A name cut short ends in a token that is no token, or a shorter one: nothing is read from it.
    types, layout, unparsed = _types_and_layout(tokens[position:] if found else tokens[position:-1])
    rest = _Tail(("tilesize" + tail).split("_") if found else [])
    if not found:
        unparsed += [*([layout] if layout else []), *tokens[position:][-1:]]
        layout = None
    reduction = rest.execute == "split_k"
    return KernelName(
        name=name,
        family="xmma_conv" if not _CONVOLUTIONS.isdisjoint(operation) else "xmma",
        role="splitk_reduce" if reduction else "gemm",
        arch=tokens[0],
        types=types,
        tile=rest.tile,
        stages=rest.stages,
        cluster=rest.cluster,
        warps=rest.warps,
        mma=rest.mma,
        layout=layout,
        alignment=rest.alignment,
        split_k_form="parallel" if reduction else None,
        unparsed="_".join(unparsed + rest.unparsed) or None,
        kind="_".join(operation) or None,
        op_class=rest.op_class,
        details=tuple(details + rest.details),
    )


def _types_and_layout(tokens: list[str]) -> tuple[Types | None, str | None, list[str]]:
    """Read `bf16f32_bf16f32_f32_tn_n`; the tokens that do not fit come back as unparsed."""
    stored = _PAIR.fullmatch(tokens[0]) if tokens else None
    if stored is None:
        return None, None, tokens
    computed = _PAIR.fullmatch(tokens[1]) if len(tokens) > 1 else None
    position = 1 if computed is None else 2
    if len(tokens) > position and _TYPE.fullmatch(tokens[position]):
        position += 1  # the epilogue's type
    operand = _word(stored.group(1))
    types = Types(
        a=operand,
        b=operand,
        output=_word(stored.group(2)),
        math=_word(computed.group(1)) if computed else None,
        accumulate=_word(computed.group(2)) if computed else None,
    )
    return types, "_".join(tokens[position:]) or None, []


def _word(text: str) -> str:
    return _WORDS.get(text, text)


class _Tail:
    """What follows the layouts: each token says what it is."""

    def __init__(self, tokens: list[str]) -> None:
        self.tile: tuple[int | None, int | None, int | None] | None = None
        self.stages: int | None = None
        self.cluster: tuple[int, ...] | None = None
        self.warps: tuple[int, ...] | None = None
        self.mma: tuple[int, ...] | None = None
        self.op_class: str | None = None
        self.alignment: int | None = None
        self.execute: str | None = None
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        for position, token in enumerate(tokens):
            if token in ("execute", "kernel", "fused", "by"):
                self._read_end(tokens[position:])
                break
            # The last token of a name cut short may be cut too; an alignment is read even so: names may end in it.
            last = position == len(tokens) - 1 and not token.startswith("align")
            if last or not self._read(token):
                self.unparsed.append(token)

    def _read(self, token: str) -> bool:  # noqa: PLR0911 - one line per token
        if token.startswith("tilesize") and (numbers := integers(token[8:])) and len(numbers) == 3:
            self.tile = (numbers[0], numbers[1], numbers[2])
            return True
        if token.startswith("stage") and (number := integer(token[5:])) is not None:
            self.stages = number
            return True
        if token.startswith("warpsize") and (numbers := integers(token[8:])):
            self.warps = numbers
            return True
        if token.startswith("warpgroupsize") and (numbers := integers(token[13:])):
            self.details.append(("warpgroups", numbers))
            return True
        if token.startswith("tensor") and (shape := mma_shape(token[6:])):
            self.mma = shape
            self.op_class = "tensorop"
            return True
        if token == "ffma":
            self.op_class = "ffma"
            return True
        if token.startswith("aligna") and (number := integer(token[6:])) is not None:
            self.alignment = number
            self.details.append(("align_a", number))
            return True
        if token.startswith("alignc") and (number := integer(token[6:])) is not None:
            self.details.append(("align_c", number))
            return True
        if token.startswith("cgasize") and (numbers := integers(token[7:])):
            self.cluster = numbers
            return True
        if token.startswith("algo") and (number := integer(token[4:])) is not None:
            self.details.append(("algo", number))
            return True
        if token.startswith("g") and (number := integer(token[1:])) is not None:
            self.details.append(("groups", number))
            return True
        if token.startswith("t") and re.fullmatch(r"t\d+r\d+s\d+", token):
            self.details.append(("filter", token))
            return True
        return False

    def _read_end(self, tokens: list[str]) -> None:
        """Read `execute_split_k_kernel__5x_cublas`: which of the kernels it is, and whose."""
        ending, found, library = "_".join(tokens).partition("kernel")
        if not found:
            if ending in ("by_fusion_tactic", "fused"):
                self.details.append(("launched", ending))
            else:
                self.unparsed += tokens
            return
        self.execute = ending.removeprefix("execute").strip("_")
        if self.execute in ("segment_k_on", "segment_k_off"):
            self.details.append(("segment_k", self.execute == "segment_k_on"))
        elif self.execute not in ("", "split_k"):
            self.unparsed.append(self.execute)
        if library.strip("_"):
            self.details.append(("library", library.strip("_")))


_TOKENS: tuple[TokenRule, ...] = (
    ARCH,
    (r"xmma", "the kernel generator behind cuDNN, TensorRT and cuBLAS", VERIFIED, True),
    (r"(?:fprop|dgrad|wgrad|deconv|conv)_implicit_gemm", "operation: a convolution as a GEMM", VERIFIED, True),
    (r"sparse|gemm|indexed", "operation", VERIFIED, False),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "types: input and output", INFERRED, True),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "types: multiplied in, summed in", INFERRED, True),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "type of the epilogue", INFERRED, True),
    (r"[ntc]{2}|nhwc\w+|nchw\w+", "layouts of A and B", INFERRED, True),
    (r"[ntc]|nhwc\w*|nchw\w*", "layout of C", INFERRED, True),
    (r"tilesize" + TRIPLE, "tile M×N×K of one CTA, M and N swapped against cuBLASLt's own tile", VERIFIED, True),
    (r"stage\d+", "pipeline stages", VERIFIED, True),
    (r"warpsize" + TRIPLE, "warps along m, n, k", VERIFIED, True),
    (r"warpgroupsize" + TRIPLE, "warp groups along m, n, k", INFERRED, True),
    (r"cgasize[\dx]+", "thread-block cluster", INFERRED, True),
    (r"g\d+", "groups of a convolution", INFERRED, True),
    (r"tensor" + TRIPLE, "shape of the matrix instruction", VERIFIED, True),
    (r"ffma", "multiplies without tensor cores", VERIFIED, True),
    (r"aligna\d+", "alignment of A, in elements", INFERRED, True),
    (r"alignc\d+", "alignment of C, in elements", INFERRED, True),
    (r"t\d+r\d+s\d+", "filter size", INFERRED, True),
    (r"algo\d+", "unknown", UNKNOWN, True),
    (r"execute_split_k_kernel", "the reduction behind a split-K GEMM of the same tile, not a GEMM", VERIFIED, True),
    (r"execute_segment_k_on_kernel", "the kernel itself, with work cut along k as stream-K does", INFERRED, True),
    (r"execute_segment_k_off_kernel", "the kernel itself, with work not cut along k", INFERRED, True),
    (r"execute_kernel", "the kernel itself; whether K is split is not visible", VERIFIED, True),
    (r"kernel", "the kernel itself; whether K is split is not visible", VERIFIED, True),
    (r"by_fusion_tactic", "chosen by a fusion tactic", UNKNOWN, True),
    (r"fused", "unknown", UNKNOWN, True),
    (r"5x_(?:cublas|cudnn)|cudnn_(?:infer|train)", "library it is built into", VERIFIED, True),
    (r"trt|cublas|cudnn", "library it is built into", VERIFIED, False),
)

MEANINGS = Meanings(
    tokens={"xmma": _TOKENS, "xmma_conv": _TOKENS},
)
