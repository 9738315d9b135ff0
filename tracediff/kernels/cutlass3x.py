"""CUTLASS 3.x procedural names (sm90 and later), from CUTLASS itself and from the copies inside cuBLAS and cuDNN.

    cutlass[3x]_sm<ar>_<op>_<ex>_<M>x<N>x<K>[_<cm>x<cn>x<ck>][_<S>]_<lll>_align<a>[_stream_k]
        <kernel schedule>[<epilogue schedule>][<fusion>]
    <op> = simt | tensorop | wmma_tensorop | sptensorop | bstensorop | bssptensorop
    <ex> = [<acc><inst>]<kind>_<A>_<B>_<acc>_<C>_<D>[_cvt|_scl|_sclzr][_shfl]

Source: CUTLASS' generator (`GemmOperation.procedural_name`, `KernelScheduleSuffixes`, `EpilogueScheduleSuffixes`)
and its history. Verified unless said otherwise:

- `<inst>` `s64x128x16`: accumulator letter and instruction shape; upstream dropped it in May 2025, embedded copies
  keep it.
- kind: `gemm`, `spgemm` (2:4 sparse), `gemm_grouped`, `moe_gemm`, `gemm_block_scaled`, `implicit_gemm_fprop`, ….
- five types: A, B, accumulator, C, D (four in 3.0: without D, which is C's); `void`: there is no C.
- `ue4m3xe2m1`: block-scaled: scale × data; `1x128f32xe4m3`: one f32 scale per 1×128 elements.
- `<M>x<N>x<K>`: sm90: CTA tile. sm100: tile of one instruction; with `2sm` its M spans two CTAs.
- `<cm>x<cn>x<ck>`: cluster; `0x0x1` and `dyn_cga`: chosen at run time. May be missing.
- `<S>`: stages; 0: as many as fit (`stages_auto`).
- `<lll>`: layouts of A, B and C/D: t row-major, n column-major.
- `_stream_k`: stream-K tile scheduler; without it split-K is still unknown, since it is an argument at run time.
- kernel schedule: `warpspecialized_cooperative`, `1sm`, `2sm`, `cpasync`, ….
- `q`, `o`, `vs16`, `vs32`, `ultra`, `nopf`, `tmapf`: data format, scale vector size and prefetch of the
  instruction: kept in `format`.
- epilogue schedule: `_epi_tma`, `_epi_nosmem[_fastf32]`; `epiVs<n><layout>`: D is written block-scaled.
- `_bias_<t>_relu`, `_aux_scalemax`, `_valpha`: (inferred) fusion of embedded copies; the last three are kept in
  `fusion`.

Details: `format`, `epilogue_scale`, `cluster_dynamic`, `ptr_array`, `mixed_input`, `fusion`, `fastaccum`,
`stream_k`, `element_compute`.
"""

import re

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.cutlass2x import ELEMENT_TYPES, OP_CLASSES
from tracediff.kernels.meanings import ARCH, ELEMENT, INFERRED, SCALED, TRIPLE, VERIFIED, Meanings, TokenRule
from tracediff.kernels.mma import mma_shape
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_INSTRUCTION = re.compile(r"(g?[hsdicz])(\d+(?:x\d+x\d+)?)?(?=(?:moe_|bs)?(?:sp)?gemm|implicit|fprop|dgrad|wgrad|conv)")
_LAYOUT = re.compile(r"(?:[ntch](?:2|32|64)?){2,3}|n(?:[dg]?hw|d?chw|w)c?")
# Convolutions print each operand's layout behind its type: `f16nhwc`, `f32kcsr`.
_CONVOLUTION_ELEMENT = re.compile(r"([a-z]+\d+(?:m\d)?)(nwc|nhwc|ndhwc|kcs|kcsr|kcsrt)")
# Tile, cluster, stages, layouts and alignment, as nearly every name has them.
_USUAL = re.compile(
    r"([0-9]{1,5})x([0-9]{1,5})x([0-9]{1,5})_(?:([0-9]{1,3}x[0-9]{1,3}x[0-9]{1,3})_)?([0-9]{1,3})_"
    r"(?:(vs[0-9]{1,3})_)?([ntch]{3})_align([0-9]{1,3})(?:_|$)"
)
_SCHEDULE = frozenset(["cpasync", "unspecialized", "warpspecialized", "cooperative", "pingpong", "1sm", "2sm"])
_FORMAT = frozenset(["q", "o", "vs16", "vs32", "vs64", "ultra", "nopf", "tmapf", "mixed"])
_FUSIONS = frozenset(["aux", "scalemax", "valpha", "vbeta", "amax", "absmax"])
_ACTIVATIONS = frozenset(["relu", "gelu", "silu", "tanh", "sigmoid", "drelu", "dgelu"])
_FUSED_WORDS = "|".join(["bias", *sorted(_ACTIVATIONS | _FUSIONS)])
_MIXED = frozenset(["cvt", "scl", "sclzr", "shfl"])


def is_element(token: str) -> bool:
    """Say whether a token is an element type, plain (`f16`) or block-scaled (`ue4m3xe2m1`, `1x128f32xe4m3`)."""
    if token in ELEMENT_TYPES or ("x" in token and token.rpartition("x")[2] in ELEMENT_TYPES):
        return True
    return token.endswith(("c", "s", "r", "t")) and _CONVOLUTION_ELEMENT.fullmatch(token) is not None


def _without_layout(element: str, layouts: list[str]) -> str:
    """Return an operand's type; its layout, where one is printed behind it, goes to `layouts`."""
    found = _CONVOLUTION_ELEMENT.fullmatch(element)
    if found is None or element in ELEMENT_TYPES:
        return element
    layouts.append(found.group(2))
    return found.group(1)


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one CUTLASS 3.x procedural name; None where it is not one."""
    tokens = spelling.procedural.split("_")
    if len(tokens) < 3 or not tokens[1].startswith("sm") or tokens[2] not in OP_CLASSES:
        return None
    arch, op_class = tokens[1], tokens[2]
    position = 3
    if op_class == "wmma":
        op_class = "wmma_tensorop"
        position = 4
    start = position
    while position < len(tokens) and not is_element(tokens[position]):
        position += 1
    operation = "_".join(tokens[start:position])
    instruction = _INSTRUCTION.match(operation)
    kind = operation[instruction.end() :] if instruction else operation
    elements: list[str] = []
    while position < len(tokens) and is_element(tokens[position]):
        elements.append(tokens[position])
        position += 1
    unread = [elements.pop()] if elements and position == len(tokens) else []
    tail = _Tail(tokens[position:])
    tail.unparsed += unread
    if tail.alignment is None and position < len(tokens):
        # Cut short: the last token may be cut too, so nothing is read from it.
        tail = _Tail(tokens[position:-1])
        tail.unparsed.append(tokens[-1])
    if not tail.layouts:
        elements = [_without_layout(element, tail.layouts) for element in elements]
    if len(elements) > 5:
        tail.details.append(("element_compute", elements[5]))
    return KernelName(
        name=name,
        family="cutlass3x",
        role="gemm",
        arch=arch,
        types=_types(elements, tail) if elements else None,
        tile=tail.tile,
        stages=tail.stages or None,
        cluster=tail.cluster,
        mma=mma_shape(instruction.group(2)) if instruction and instruction.group(2) else None,
        layout="_".join(tail.layouts) or None,
        alignment=tail.alignment,
        split_k_form="stream-k" if tail.stream_k else None,
        schedule="_".join(tail.schedule) or None,
        epilogue=tail.epilogue(),
        unparsed="_".join(tail.unparsed) or None,
        kind=kind or None,
        op_class=op_class,
        stages_auto=True if tail.stages == 0 else None,
        two_cta=tail.two_cta,
        details=tuple(tail.details),
    )


class _Tail:
    """What follows the types."""

    def __init__(self, tokens: list[str]) -> None:
        self.tile: tuple[int | None, int | None, int | None] | None = None
        self.cluster: tuple[int, ...] | None = None
        self.stages: int | None = None
        self.layouts: list[str] = []
        self.alignment: int | None = None
        self.stream_k = False
        self.two_cta: bool | None = None
        self.schedule: list[str] = []
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        self._epilogue: list[str] = []
        self._format: list[str] = []
        self._fusion: list[str] = []
        usual = _USUAL.match("_".join(tokens[:7]))
        position = 0 if usual is None else self._read_usual(*usual.groups())
        while position < len(tokens) and self.alignment is None:
            position += self._read_shape(tokens, position)
        while position < len(tokens):
            position += self._read_suffix(tokens, position)
        if self._format:
            self.details.append(("format", "_".join(self._format)))
        if self._fusion:
            self.details.append(("fusion", "+".join(self._fusion)))

    def _read_usual(
        self, m: str, n: str, k: str, cluster: str | None, stages: str, scale: str | None, layout: str, alignment: str
    ) -> int:
        """Take what nearly every name has, in one go; return how many tokens that are."""
        taken = 4
        if scale is not None:
            self._format.append(scale)
            taken += 1
        self.tile = (int(m), int(n), int(k))
        self.stages = int(stages)
        self.layouts.append(layout)
        self.alignment = int(alignment)
        if cluster is not None:
            self.cluster = integers(cluster)
            taken += 1
            if "0" in cluster.split("x"):
                self.details.append(("cluster_dynamic", True))
        return taken

    def _read_shape(self, tokens: list[str], position: int) -> int:
        """Read one token up to `align<a>`; return how many were taken."""
        token = tokens[position]
        if "x" in token and (numbers := integers(token)) and len(numbers) == 3:
            if self.tile is None:
                self.tile = (numbers[0], numbers[1], numbers[2])
            elif self.cluster is None:
                self.cluster = numbers
                if 0 in numbers:
                    self.details.append(("cluster_dynamic", True))
            else:
                self.unparsed.append(token)
        elif token.startswith("align") and (number := integer(token[5:])) is not None:
            self.alignment = number
        elif (number := integer(token)) is not None and self.stages is None:
            self.stages = number
        elif token == "dyn" and tokens[position + 1 : position + 2] == ["cga"]:
            self.details.append(("cluster_dynamic", True))
            return 2
        elif token in _MIXED:
            self.details.append(("mixed_input", token))
        elif token in _FORMAT:
            self._format.append(token)
        elif self.tile is not None and _LAYOUT.fullmatch(token):
            self.layouts.append(token)
        else:
            return self._read_suffix(tokens, position)
        return 1

    def _read_suffix(self, tokens: list[str], position: int) -> int:  # noqa: PLR0911, PLR0912 - one branch per token
        """Read one token behind `align<a>`; return how many were taken."""
        token = tokens[position]
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        if token in _SCHEDULE:
            self.schedule.append(token)
            if token in ("1sm", "2sm"):
                self.two_cta = token == "2sm"
        elif token in _FORMAT:
            self._format.append(token)
        elif token == "fp8" and following == "fastaccum":
            self.details.append(("fastaccum", True))
            return 2
        elif token == "stream" and following == "k":
            self.stream_k = True
            return 2
        elif token == "epi" and following in ("tma", "nosmem"):
            self._epilogue.append(following)
            if tokens[position + 2 : position + 3] == ["fastf32"]:
                self._epilogue[-1] += "_fastf32"
                return 3
            return 2
        elif token.startswith("epiVs"):
            self.details.append(("epilogue_scale", token[5:]))
        elif token == "bias":
            if is_element(following):
                self._epilogue.append(f"bias({following})")
                return 2
            self._epilogue.append("bias")
        elif token in _ACTIVATIONS:
            self._epilogue.append(token)
        elif token == "ptr" and following == "array":
            self.details.append(("ptr_array", True))
            return 2
        elif token in _FUSIONS:
            self._fusion.append(token)
        else:
            self.unparsed.append(token)
        return 1

    def epilogue(self) -> str | None:
        """Return the epilogue's parts."""
        return "+".join(self._epilogue) or None

    def scales(self, elements: list[str]) -> tuple[str | None, str | None]:
        """Return the block scales of A and B as `ue4m3/16`, where the name prints the vector size."""
        sizes = [word[2:] for word in self._format if word.startswith("vs")]
        if not sizes:
            return None, None
        found = [
            f"{element.rpartition('x')[0]}/{sizes[0]}" if "x" in element else None
            for element in [*elements, "", ""][:2]
        ]
        return found[0], found[1]


def _types(elements: list[str], tail: _Tail) -> Types:
    """Return the types that are printed: A, B, accumulator, C and D; where there are four, D is C's."""
    padded: list[str | None] = [*elements, *[None] * 5]
    a, b, accumulate, c, d = padded[:5]
    scale_a, scale_b = tail.scales(elements)
    return Types(
        a=a,
        b=b,
        accumulate=accumulate,
        c=c,
        output=c if len(elements) == 4 and tail.tile else d,
        scale_a=scale_a,
        scale_b=scale_b,
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"cutlass(?:3x)?", "CUTLASS 3.x procedural name", VERIFIED, True),
    ARCH,
    (r"simt|tensorop|wmma|sptensorop|bstensorop|bssptensorop", "unit that multiplies", VERIFIED, False),
    (
        r"(?:g?[hsdicz]\d[\dx]*)?(?:bs)?(?:sp)?(?:gemm|implicit|fprop|dgrad|wgrad)",
        "instruction shape, operation",
        VERIFIED,
        False,
    ),
    (r"s(?:gemm)|moe|gemm|grouped|block|blockwise|scaled|fprop|dgrad|wgrad", "operation", VERIFIED, False),
    (SCALED, "type of A (with block scales: scale × data)", VERIFIED, True),
    (SCALED, "type of B (with block scales: scale × data)", VERIFIED, True),
    (ELEMENT, "type of the accumulator", VERIFIED, True),
    (ELEMENT, "type of C (void: none)", VERIFIED, True),
    (SCALED, "type of D (with block scales: scale × data)", VERIFIED, True),
    (TRIPLE, "tile M×N×K: one CTA's on sm90, one instruction's on sm100", VERIFIED, True),
    (TRIPLE, "thread-block cluster (0: chosen at run time)", VERIFIED, True),
    (r"0", "stages: as many as fit", VERIFIED, True),
    (r"\d{1,3}", "pipeline stages", VERIFIED, True),
    (r"align\d+", "largest alignment of A and B, in elements", VERIFIED, True),
    (r"[ntch]{2,3}|n[cdghw]+", "layouts of A, B and C (t row-major, n column-major)", VERIFIED, False),
    (r"stream_k", "stream-K tile scheduler", VERIFIED, True),
    (r"[12]sm", "CTAs that share one matrix instruction", VERIFIED, False),
    (r"warpspecialized_(?:cooperative|pingpong)", "kernel schedule", VERIFIED, True),
    (r"cpasync|unspecialized|warpspecialized|cooperative|pingpong", "kernel schedule", VERIFIED, False),
    (r"fp8_fastaccum", "fp8 sums are kept in the tensor core's own precision", VERIFIED, True),
    (r"[qo]|vs\d+|ultra|nopf|tmapf", "format of the block-scaled instruction", VERIFIED, False),
    (r"epi_(?:tma|nosmem_fastf32|nosmem)", "epilogue schedule", VERIFIED, True),
    (r"epi|tma|nosmem|fastf32|epiVs\w+", "epilogue schedule", VERIFIED, False),
    (_FUSED_WORDS + "|" + ELEMENT, "fused epilogue", INFERRED, False),
    (r"dyn_cga", "cluster chosen at run time", INFERRED, True),
    (r"ptr_array", "operands by pointer array", INFERRED, True),
    (r"cvt|scl|sclzr|shfl", "how mixed inputs are converted", VERIFIED, False),
)

MEANINGS = Meanings(
    procedural={"cutlass3x": _TOKENS},
)
