"""CUTLASS 2.x procedural names, from CUTLASS itself and from the copies inside cuBLAS and cuDNN.

    [cutlass_<cc>_|cutlass_]<op>_<ext>_<M>x<N>[_<K>x<S>]_<layout>[_align<a>]
    <op>   = simt | tensorop | wmma_tensorop | sptensorop
    <ext>  = [<C>_]<acc><inst><math>gemm[_planar_complex[_array]|_grouped][_relu][_forwardCompat][_<A>[_<B>]]
    conv   = [<C>_]<acc><inst><math>{fprop|dgrad|wgrad}_<iterator>[_<A>]_…_nhwc[_unity_stride][_align<a>]

Source: CUTLASS' generator (`GemmOperation.procedural_name`, `extended_name`, `core_name`,
`Conv2dOperation.configuration_name`). Verified unless said otherwise:

- `<cc>` 70, 75, 80: only in names embedded in cuBLAS and cuDNN: generation the code was written for; CUTLASS itself
  does not print it.
- `<C>`: output type, printed where it differs from the accumulator.
- `<acc>` h, s, d, i, c, z; g before it: Gaussian complex: accumulator type.
- `<inst>` 16816, 1688, …: shape of the matrix instruction, digits run together; absent for simt.
- `<math>` tf32, bf16, f16: what operands are converted to; `xor`, `and`: binary operations.
- `<A>`, `<B>`: input types, omitted where equal to the accumulator.
- `<M>x<N>`, `<K>x<S>`: CTA tile; k-step × stages. `<K>x<S>` is missing in names from cuBLAS 10 and 11.
- layout: n column-major, t row-major, c and h their conjugates.
- `align<a>`: largest alignment of A and B, in elements.
- `relu`: (inferred) an epilogue the embedded kernel can apply; printed also where none was asked for.
- split-K: **never in the name**; a `splitKreduce_kernel` may follow.

Family `cutlass2x`, for convolutions `cutlass2x_conv`.

BLAS-3 kernels (`syrk`, `trmm`, …) print side, fill and diagonal behind the layout; depthwise ones an output tile
and a filter.

Details: `iterator`, `unity_stride`, `gaussian`, `forward_compat`, `group_mode`, `schedule_mode`, `blas3`,
`output_tile`, `filter`, `stride`, `dilation`.
"""

import re

from tracediff.kernels.cpp_types import ACCUMULATOR_LETTERS, integer, integers
from tracediff.kernels.meanings import ELEMENT, INFERRED, PAIR, TRIPLE, VERIFIED, Meanings, TokenRule
from tracediff.kernels.mma import mma_shape
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

ELEMENT_TYPES = frozenset(
    [
        "void",
        "b1",
        "u2",
        "u4",
        "u8",
        "u16",
        "u32",
        "u64",
        "s2",
        "s4",
        "s8",
        "s16",
        "s32",
        "s64",
        "e4m3",
        "e5m2",
        "f8",
        "f6",
        "f4",
        "e2m3",
        "e3m2",
        "e2m1",
        "ue8m0",
        "ue4m3",
        "f16",
        "bf16",
        "f32",
        "tf32",
        "f64",
        "cf16",
        "cbf16",
        "cf32",
        "ctf32",
        "cf64",
        "cs8",
        "cs16",
        "cs32",
        "cu8",
        "cu16",
        "cu32",
    ]
)
OP_CLASSES = frozenset({"simt", "tensorop", "wmma", "sptensorop", "bstensorop", "bssptensorop"})
_CORE = re.compile(
    r"(g?)([hsdicz])(\d*)(tf32|bf16|f16|f32|xor|and|fastaccum|fastf32|)"
    r"(gemm|spgemm|fprop|dgrad|wgrad|deconv|fprop3d|dgrad3d|wgrad3d|trmm|symm|hemm|syrk|herk|syr2k|her2k)"
)
_LAYOUT = re.compile(r"[ntch]{2}|[ntch](?:2|32|64)[ntch](?:2|32|64)|n(?:[dg]?hw|d?chw|w)c?|nc\d+hw\d+")
# What follows the tile in nearly every name: k-step and stages, layouts, alignment.
_USUAL = re.compile(r"[0-9]{1,5}x[0-9]{1,5}_(?:([0-9]{1,4})x([0-9]{1,3})_)?([nt]{2}|nhwc)(?:_align([0-9]{1,3}))?")
_CONVOLUTIONS = frozenset({"fprop", "dgrad", "wgrad", "deconv", "fprop3d", "dgrad3d", "wgrad3d"})
_SYMMETRIC = frozenset({"trmm", "symm", "hemm", "syrk", "herk", "syr2k", "her2k"})
# Side, fill and diagonal of BLAS-3 kernels, and the single layout letter of the ones with one operand.
_BLAS3 = frozenset({"ls", "rs", "l", "u", "nu", "un"})
_ITERATORS = frozenset({"analytic", "optimized", "fixed_channels", "few_channels", "fixed_stride_dilation"})


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one CUTLASS 2.x procedural name; None where it is not one."""
    tokens = spelling.procedural.split("_")
    arch = None
    position = 1
    if len(tokens) > 1 and tokens[1].isdigit():
        arch = f"sm{tokens[1]}"
        position = 2
    if len(tokens) <= position or tokens[position] not in OP_CLASSES:
        return None
    op_class = tokens[position]
    position += 1
    if op_class == "wmma":
        op_class = "wmma_tensorop"
        position += 1
    output = None
    if len(tokens) > position and tokens[position] in ELEMENT_TYPES:
        output = tokens[position]
        position += 1
    core = _CORE.fullmatch(tokens[position]) if len(tokens) > position else None
    if core is None:
        return None
    gaussian, letter, instruction, math, kind = core.groups()
    convolution = kind in _CONVOLUTIONS
    tail = _Tail(tokens[position + 1 :], convolution, symmetric=kind in _SYMMETRIC)
    if tail.layout is None and not convolution and position + 1 < len(tokens):
        # Cut short: the last token may be cut too, so nothing is read from it.
        tail = _Tail(tokens[position + 1 : -1], convolution, kind in _SYMMETRIC)
        tail.unparsed.append(tokens[-1])
    if gaussian:
        tail.details.append(("gaussian", True))
    accumulate = ACCUMULATOR_LETTERS[letter]
    # Where the name ends before the tile, the input types may be among what is cut off.
    default = accumulate if tail.tile else None
    first = tail.inputs[0] if tail.inputs else default
    second = tail.inputs[1] if len(tail.inputs) > 1 else first if tail.tile else None
    return KernelName(
        name=name,
        family="cutlass2x_conv" if convolution else "cutlass2x",
        role="gemm",
        arch=arch,
        types=Types(a=first, b=second, accumulate=accumulate, output=output or accumulate, math=math or None),
        tile=(tail.tile[0], tail.tile[1], tail.k_step) if tail.tile else None,
        stages=tail.stages,
        cluster=tail.cluster,
        mma=mma_shape(instruction),
        layout=tail.layout,
        alignment=tail.alignment,
        split_k_form=tail.split_k_form,
        sliced_k=tail.sliced_k,
        epilogue=tail.epilogue,
        unparsed="_".join(tail.unparsed) or None,
        kind="_".join([kind, *tail.kind]),
        op_class=op_class,
        details=tuple(tail.details),
    )


class _Tail:
    """What follows the core name."""

    def __init__(self, tokens: list[str], convolution: bool, symmetric: bool) -> None:
        self.kind: list[str] = []
        self.inputs: list[str] = []
        self.tile: tuple[int, ...] | None = None
        self.k_step: int | None = None
        self.stages: int | None = None
        self.cluster: tuple[int, ...] | None = None
        self.layout: str | None = None
        self.alignment: int | None = None
        self.sliced_k: int | None = None
        self.split_k_form: str | None = None
        self.epilogue: str | None = None
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        blas3: list[str] = []
        position = 0
        while position < len(tokens):
            token = tokens[position]
            if self.tile is None and token in ELEMENT_TYPES and len(self.inputs) < 2:
                self.inputs.append(token)
            elif "x" in token and (numbers := integers(token)):
                if self.tile is None and (usual := _USUAL.fullmatch("_".join(tokens[position:]))):
                    self._usual(numbers, *usual.groups())
                    return
                self._shape(token, numbers)
            elif self.tile is not None and self.stages is None and (number := integer(token)) is not None:
                self.stages = number
            elif token.startswith("align") and (number := integer(token[5:])) is not None:
                self.alignment = number
            elif self.tile is not None and self.layout is None and _LAYOUT.fullmatch(token):
                self.layout = token
            elif symmetric and token in _BLAS3:
                blas3.append(token)
            elif symmetric and self.layout is None and token in ("n", "t", "c", "h"):
                self.layout = token
            elif convolution and (length := self._iterator(tokens, position)):
                position += length - 1
            else:
                self._word(token)
            position += 1
        if blas3:
            self.details.append(("blas3", "_".join(blas3)))

    def _usual(self, tile: tuple[int, ...], k: str | None, stages: str | None, layout: str, align: str | None) -> None:
        """Take all that follows the tile in nearly every name, in one go."""
        self.tile = tile
        self.layout = layout
        if k and stages:
            self.k_step, self.stages = int(k), int(stages)
        if align:
            self.alignment = int(align)

    def _shape(self, token: str, numbers: tuple[int, ...]) -> None:
        """Take `128x64`, `32x6`; of the forms for sm90 and depthwise kernels `128x64x32`, `2x1x1`, `1x8x8x32`."""
        if self.tile is None and len(numbers) in (2, 3):
            self.tile = numbers[:2]
            self.k_step = numbers[2] if len(numbers) == 3 else None
        elif self.stages is None and self.k_step is None and len(numbers) == 2:
            self.k_step, self.stages = numbers
        elif self.cluster is None and len(numbers) == 3:
            self.cluster = numbers
        elif len(numbers) == 4:
            self.details.append(("output_tile", numbers))
        else:
            self.unparsed.append(token)

    def _iterator(self, tokens: list[str], position: int) -> int:
        """Return how many tokens make an iterator's name (`few_channels`) here; 0 for none."""
        for length in (1, 2, 3):
            if "_".join(tokens[position : position + length]) in _ITERATORS:
                self.details.append(("iterator", "_".join(tokens[position : position + length])))
                return length
        return 0

    def _word(self, token: str) -> None:
        if token in ("planar", "complex", "array", "grouped") and self.tile is None:
            self.kind.append(token)
        elif token == "relu":
            self.epilogue = "relu"
        elif token == "forwardCompat":
            self.details.append(("forward_compat", True))
        elif token in ("scheduleDevice", "scheduleHost"):
            self.details.append(("schedule_mode", token.removeprefix("schedule").lower()))
        elif token in ("single", "multiple", "depthwise"):
            self.details.append(("group_mode", token))
        elif token == "unity":
            self.details.append(("unity_stride", True))
        elif token == "splitK":
            self.split_k_form = "stated"
        elif token in ("parallel", "serial") and self.split_k_form is not None:
            self.split_k_form = token
        elif token.startswith("sliced") and (numbers := integers(token[6:])) and len(numbers) == 2:
            self.sliced_k = numbers[1]
        elif token.startswith(("filter", "stride", "dilation")) and token[-1:].isdigit():
            self.details.append((token.rstrip("0123456789x"), token.lstrip("abcdefghijklmnopqrstuvw")))
        elif not (token == "group" or (token == "stride" and ("unity_stride", True) in self.details)):
            self.unparsed.append(token)


_TOKENS: tuple[TokenRule, ...] = (
    ("cutlass", "CUTLASS 2.x procedural name", VERIFIED, True),
    (r"\d{2,3}", "generation that the code was written for (embedded copies only)", VERIFIED, True),
    (r"simt|tensorop|wmma|sptensorop", "unit that multiplies", VERIFIED, False),
    (
        r"g?[hsdicz]\d*(?:tf32|bf16|f16|xor|and|fastaccum|fastf32)?(?:sp)?gemm",
        "accumulator letter, shape of the matrix instruction, operation",
        VERIFIED,
        True,
    ),
    (ELEMENT, "element type: before the operation the output, behind it the inputs", VERIFIED, False),
    (r"g?[hsdicz]\d*[a-z0-9]*", "accumulator letter, shape of the matrix instruction, operation", VERIFIED, True),
    (r"planar_complex", "complex numbers, real and imaginary parts stored apart", VERIFIED, True),
    (r"planar|complex|array|grouped", "kind of GEMM", VERIFIED, False),
    (r"relu", "epilogue that the kernel can apply, not one that was asked for", INFERRED, True),
    (PAIR, "tile M×N of one CTA", VERIFIED, True),
    (PAIR, "k-step × pipeline stages", VERIFIED, True),
    (TRIPLE, "tile M×N×K of one CTA", VERIFIED, True),
    (TRIPLE, "thread-block cluster", VERIFIED, True),
    (r"align\d+", "largest alignment of A and B, in elements", VERIFIED, True),
    (r"[ntch]\d*[ntch]?\d*|n[cdghw]+\d*\w*", "layouts (n column-major, t row-major)", VERIFIED, True),
    (
        r"analytic|optimized|fixed_channels|few_channels|fixed_stride_dilation",
        "iterator over the filter",
        VERIFIED,
        True,
    ),
    (r"\d+x\d+x\d+x\d+", "output tile of a depthwise convolution", VERIFIED, True),
    (r"filter[\dx]+|stride[\dx]+|dilation[\dx]+", "size, stride and dilation of the filter", VERIFIED, False),
    (r"ls|rs|l|u|nu|un", "side, fill and diagonal of a BLAS-3 product's matrix", VERIFIED, False),
    (r"forwardCompat", "built to run on later devices", INFERRED, True),
    (r"unity_stride", "convolution with stride 1", VERIFIED, True),
    (r"single|multiple|group|depthwise", "grouped convolution", VERIFIED, False),
    (r"schedule(?:Device|Host)", "where the groups are scheduled", VERIFIED, True),
    (r"splitK|parallel|serial", "split-K", INFERRED, False),
    (r"sliced\d+x\d+", "k cut among the warps of one CTA", INFERRED, True),
)

MEANINGS = Meanings(
    tokens={"cutlass2x_conv": _TOKENS},
    procedural={"cutlass2x": _TOKENS},
)
