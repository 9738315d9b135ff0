"""trtllm-gen: the sm100 GEMMs and attention that TensorRT-LLM and FlashInfer ship as binaries.

    {bmm|gemm}_<D>_<A><B>_<acc>[_<options>]_t<M>x<N>x<K>[u<n>]_s<S>_et<m>x<n>_m<m>x<n>x<k>_c[ga]<x>x<y>x<z>[_<options>]
        _<layout>_…[_splitK<n>]_…_sm100f
    fmhaSm100fKernel_Q<t>[Kv<t>]O<t>{H<d>|HQk<d>HV<d>}[HVPerCta<d>]
        <KV layout><mask>[P<page>][MultiCtasKv[Cga]][VarSeq]…Q<q>Kv<kv>…{Context|ForGen}

Inferred from names in traces and in the binaries' lists; no grammar is published.

- t, u: CTA tile and unroll of k. s: stages. et: epilogue tile. m: matrix instruction. c, cga: cluster.
- `splitK<n>`: the split-K factor, as a number: one of two families that state split-K. Without it nothing is said.
- A and B each with an optional `Mx` or `Nv` before the type: block-scaled.
- the rest (`transOut`, `schedP…`, `dsFp8`, `biasM`, `rgTma`, `clmp`, …): options, kept in `options`.
- `MultiCtasKv`: keys are split over CTAs, form `split-kv`.

Details: `unroll`, `epilogue_tile`, `options`; attention: `tile_q`, `tile_kv`, `page_size`, `multi_ctas_kv`,
`head_dim_v`, `mask`, `schedule`.
"""

import re

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.meanings import INFERRED, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_ELEMENTS = {"bfloat16": "bf16", "fp16": "f16", "fp32": "f32", "tf32": "tf32"}
_ELEMENT = re.compile(r"(?:Mx|Nv)?(?:Bfloat16|Fp16|Fp32|Tf32|E\dm\d|Int8|UE\dm\d)")
_ARCH = re.compile(r"sm\d{3}[a-z]")
_LAYOUT = re.compile(r"[TNB][TNB]")
_OPTION = re.compile(
    r"r[MN]|transOut|noShfl\w*|dsFp8|sched\w+|schPd?\w*|bias\w*[MN]|b[MN]|[bB][ABC]\d+|A?b[A-C]\d+|tma\w*|rgTma|ldgsts\w*|clmp|"
    r"dyn\w+|lbW\d+|tokSf\w*|cast\w+|\d+dp\d+b|ptrArr\w*|perTok\w*|rout\w*|u\d+|sfl\w*|tmem\w*|relu2?|silu|"
    r"swiGlu|geGlu|gelu|Ab\d+\w*|Bb\d+\w*|Cb\d+\w*|e\d+\w*|dq\w*|fused\w*|grp\w*"
)
_ACTIVATIONS = frozenset({"swiGlu", "geGlu", "relu2", "relu", "silu", "gelu"})


def read_gemm(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of trtllm-gen's GEMMs; None where it is not one."""
    tokens = spelling.procedural.split("_")
    if len(tokens) < 4 or _ELEMENT.fullmatch(tokens[1]) is None:
        return None
    operands = _ELEMENT.findall(tokens[2])
    if not operands or "".join(operands) != tokens[2]:
        return None
    accumulate = _word(tokens[3]) if _ELEMENT.fullmatch(tokens[3]) else None
    types = Types(a=_word(operands[0]), b=_word(operands[-1]), accumulate=accumulate, output=_word(tokens[1]))
    tail = _Tail(tokens[3 + (accumulate is not None) :])
    return KernelName(
        name=name,
        family="trtllm_gen_gemm",
        role="gemm",
        arch=tail.arch,
        types=types,
        tile=tail.tile,
        stages=tail.stages,
        cluster=tail.cluster,
        mma=tail.mma,
        layout=tail.layout,
        split_k=tail.split_k,
        split_k_form=tail.split_k_form,
        epilogue="+".join(tail.epilogue) or None,
        unparsed="_".join(tail.unparsed) or None,
        kind=tokens[0].lower(),
        details=tuple(tail.details),
    )


class _Tail:
    """What follows the types of a GEMM."""

    def __init__(self, tokens: list[str]) -> None:
        self.tile: tuple[int, int, int] | None = None
        self.stages: int | None = None
        self.mma: tuple[int, ...] | None = None
        self.cluster: tuple[int, ...] | None = None
        self.layout: str | None = None
        self.split_k: int | None = None
        self.arch: str | None = None
        self.epilogue: list[str] = []
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        self._options: list[str] = []
        if tokens and _ARCH.fullmatch(tokens[-1]) is None:
            self.unparsed.append(tokens.pop())  # cut short: the last token may be cut too
        for token in tokens:
            if not self._number(token):
                self._word(token)
        if self._options:
            self.details.append(("options", "_".join(self._options)))

    @property
    def split_k_form(self) -> str | None:
        """Whether the name states a split."""
        return None if not self.split_k else "none" if self.split_k == 1 else "stated"

    def _number(self, token: str) -> bool:
        """Take a letter or word with numbers behind it; say whether it is one."""
        if self.tile is None and token.startswith("t") and (shape := _tile(token)) is not None:
            self.tile, unroll = shape
            if unroll is not None:
                self.details.append(("unroll", unroll))
        elif token.startswith("splitK") and (number := integer(token[6:])) is not None:
            self.split_k = number
        elif token.startswith("et") and (numbers := integers(token[2:])):
            self.details.append(("epilogue_tile", numbers))
        elif _ARCH.fullmatch(token):
            self.arch = token
        elif token.startswith("s") and (number := integer(token[1:])) is not None:
            self.stages = number
        elif token.startswith("m") and (numbers := integers(token[1:])) and len(numbers) == 3:
            self.mma = numbers
        elif token.startswith("c") and (numbers := integers(token.removeprefix("cga").removeprefix("c"))):
            self.cluster = numbers
        else:
            return False
        return True

    def _word(self, token: str) -> None:
        if self.layout is None and _LAYOUT.fullmatch(token):
            self.layout = token
        elif token in _ACTIVATIONS:
            self.epilogue.append(token)
        elif _OPTION.fullmatch(token):
            self._options.append(token)
        else:
            self.unparsed.append(token)


def _tile(token: str) -> tuple[tuple[int, int, int], int | None] | None:
    """Read `t128x16x256u2`."""
    shape, found, unroll = token[1:].partition("u")
    numbers = integers(shape)
    if numbers is None or len(numbers) != 3 or (found and integer(unroll) is None):
        return None
    return (numbers[0], numbers[1], numbers[2]), integer(unroll) if found else None


def _word(element: str) -> str:
    lowered = element.lower()
    return _ELEMENTS.get(lowered, lowered)


_PREFIX = re.compile(r"fmha(Sm\d+[a-z]?)Kernel_")
# One alternative per word of the name, longest first.
_WORD = re.compile(
    r"(?P<qkv>Qkv(?=[BEF]))|(?P<type>Bfloat16|Fp16|E\dm\d|Fp32)|HVPerCta(?P<per_cta>\d+)|HQk(?P<qk>\d+)|HV(?P<v>\d+)|H(?P<h>\d+)|"
    r"(?P<kv>PagedKv|SeparateQkv|PackedQkv|ContiguousKv)|(?P<mask>SlidingOrChunkedCausal|BidirectionalSlidingWindow|Causal|Dense|Custom)|"
    r"P(?P<page>\d+)|(?P<multi>MultiCtasKvCga|MultiCtasKv)|Q(?P<tile_q>\d+)|Kv(?P<tile_kv>\d+)|(?P<out>O(?=[BEF]))|(?P<q>Q(?=[BEF]))|(?P<k>Kv(?=[BEF]))|"
    r"(?P<word>VarSeq|SkipsSoftmax|Static|Persistent|Grouped|SwapsAb|KeepsAb|2Cta|ForGen|Context|Sparse|Mla|Cga)"
)


def read_fmha(name: str, spelling: Spelling) -> KernelName | None:
    """Read one name of trtllm-gen's attention; None where it is not one."""
    text = spelling.procedural
    prefix = _PREFIX.match(text)
    if prefix is None:
        return None
    stated: dict[str, str] = {}
    words: list[str] = []
    unparsed: list[str] = []
    target = None
    position = prefix.end()
    for found in _WORD.finditer(text, position):
        if found.start() > position:
            unparsed.append(text[position : found.start()])
        position = found.end()
        kind = found.lastgroup or "word"
        if kind in ("qkv", "q", "k", "out"):
            target = kind
        elif kind == "type":
            stated[f"type_{target}"] = _word(found.group())
        elif kind == "word":
            words.append(found.group())
        else:
            stated.setdefault(kind, found.group(kind))
    if position < len(text):
        unparsed.append(text[position:])
    numbers = {word: integer(value) for word, value in stated.items()}
    whole = bool(words) and words[-1] in ("ForGen", "Context", "Persistent", "Static") and not unparsed
    details: list[tuple[str, Detail]] = []
    for word, key in (("tile_q", "tile_q"), ("tile_kv", "tile_kv"), ("page_size", "page"), ("head_dim_v", "v")):
        if (number := numbers.get(key)) is not None:
            details.append((word, number))
    if "multi" in stated or whole:
        details.append(("multi_ctas_kv", "multi" in stated))
    details += [(word, stated[key]) for word, key in (("kv_layout", "kv"), ("mask", "mask")) if key in stated]
    tile_q, tile_kv = numbers.get("tile_q"), numbers.get("tile_kv")
    return KernelName(
        name=name,
        family="trtllm_gen_fmha",
        role="attention",
        arch=prefix.group(1).lower(),
        types=Types(
            a=stated.get("type_qkv") or stated.get("type_q"),
            b=stated.get("type_qkv") or stated.get("type_k"),
            output=stated.get("type_out"),
        ),
        tile=(tile_q, tile_kv, None) if tile_q or tile_kv else None,
        split_k_form="split-kv" if "multi" in stated else None,
        schedule="".join(words) or None,
        unparsed="".join(unparsed) or None,
        kind="fmha",
        head_dim=numbers.get("h") or numbers.get("qk"),
        details=tuple(details),
    )


_TOKENS: tuple[TokenRule, ...] = (
    (r"[bB]mm|[gG]emm\w*", "trtllm-gen's (batched) GEMM", INFERRED, True),
    (r"(?:Mx|Nv)?(?:Bfloat16|Fp16|Fp32|E\dm\d)", "type of D, then of the accumulator", INFERRED, False),
    (r"(?:(?:Mx|Nv)?(?:Bfloat16|Fp16|E\dm\d)){2}", "types of A and B", INFERRED, True),
    (r"t\d+x\d+x\d+(?:u\d+)?", "tile M×N×K of one CTA, u: k unrolled", INFERRED, True),
    (r"sm\d+[a-z]?", "architecture", VERIFIED, True),
    (r"s\d+", "pipeline stages", INFERRED, True),
    (r"et\d+x\d+", "tile of the epilogue", INFERRED, True),
    (r"m\d+x\d+x\d+", "shape of the matrix instruction", INFERRED, True),
    (r"c(?:ga)?\d+x\d+x\d+", "thread-block cluster", INFERRED, True),
    (r"splitK\d+", "split-K factor", INFERRED, True),
    (r"[TNB]{2}", "layouts of A and B", INFERRED, True),
    (r"swiGlu|geGlu|relu2?|silu|gelu", "fused activation", INFERRED, True),
    (r"\w+", "option", UNKNOWN, False),
)

MEANINGS = Meanings(
    tokens={"trtllm_gen_gemm": _TOKENS},
)
