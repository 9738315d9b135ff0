"""nvjet: the GEMMs of cuBLAS ≥ 12.6 on sm90, and all of them on sm100 and later.

NVIDIA documents these names nowhere. The grammar:

    nvjet[_sm<XX>]_<types>_<M>x<N>_<K>x<S>_<cm>x<cn>[f][_2cta]_<v|h>_<bz|badd|bx>[_coopA|_coopB][_algo<n>][_splitK]
        [_ovscale][_bias][_Avec<v><t>_Bvec<v><t>]_<opA><opB><x>
    nvjet_sm12x_<types>_mma_<M>x<N>x<K>_<S>_<wm>x<wn>x<wk>_tmaAB[_alignCD<n>]_<beta>[_splitK…]_<LLLL>

Tokens between the beta token and the last one have no fixed order; the tail is read as a set.

- `sm<XX>`: architecture; absent in cuBLAS 12, where one string can mean sm90 or sm100. [verified]
- types: 3 letters: A (= B), compute, D. 5 letters: A, B, C, compute, D. [verified (CUTLASS `dtype_to_cublas`,
  cuBLASLt log)]
- letters: d f64, s f32, h f16, t bf16, q e4m3, r e5m2, i s32, b s8. [verified; o = e2m1 is inferred; u unknown]
- `<M>x<N>`: CTA tile; M along the output features of a torch linear layer. [verified (cuBLASLt log, 810 cases)]
- `<K>x<S>`: k-step × pipeline stages. [verified (log and shared memory)]
- `<cm>x<cn>`: thread-block cluster. [verified (log)]
- `f` behind the cluster: unknown; kept as `cluster_flag`. [unknown]
- `2cta`: two CTAs share one matrix instruction; the tile is one CTA's. [inferred (shared memory)]
- `v`, `h`: order in which tiles are walked. [inferred]
- `bz`, `badd`, `bx`: C not read, added, scaled. [bz verified, the others inferred]
- `coopA`, `coopB`: both consumer warp groups share one tile, split along A's or B's side. [verified as an option
  bit; sides inferred]
- `splitK`: K is split; a `splitKreduce_kernel` follows. **The factor is not in the name**, and without the token
  the sum is unsplit. [verified (log, 810 cases)]
- `bias`, `ovscale`, `relu`, `gelu`: epilogue. [bias verified, the others inferred]
- `Avec16UE4M3`: block scales of A: elements per scale and the scale's type. [verified by the formats]
- first two letters of the last token: transposition of A and B. [verified]
- third letter: not a layout: T: the instruction's M side is cuBLAS' m, N: it is n. [inferred, no exception in 492]

Examples: `nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT`,
`nvjet_sm100_oosss_128x256_256x5_2x1_2cta_v_bz_Avec16UE4M3_Bvec16UE4M3_TNT`,
`nvjet_sm120_hss_mma_256x128x64_2_64x64x64_tmaAB_alignCD4_bz_NNNN`.

Details: `dtype_code`, `cluster_flag`, `algo`, `warp_tile`, `tma`, `align_cd`.
"""

import re

from tracediff.kernels.cpp_types import integer, integers
from tracediff.kernels.meanings import ARCH, INFERRED, PAIR, TRIPLE, UNKNOWN, VERIFIED, Meanings, TokenRule
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling

_LETTERS = {
    "d": "f64",
    "s": "f32",
    "h": "f16",
    "t": "bf16",
    "q": "e4m3",
    "r": "e5m2",
    "i": "s32",
    "b": "s8",
    "o": "e2m1",
}
# All type codes of three letters, made once.
_TYPES = {
    a + c + d: Types(a=_LETTERS[a], b=_LETTERS[a], accumulate=_LETTERS[c], output=_LETTERS[d])
    for a in _LETTERS
    for c in _LETTERS
    for d in _LETTERS
}
# Architecture, types, and as many of the three pairs as a further token follows: the last token of a name that is cut
# short may be cut too.
_HEAD = re.compile(
    r"nvjet(?:_(sm[0-9]{2,3}[a-z]?))?_([a-z]{1,8})(?=_)"
    r"(?:_([0-9]{1,9})x([0-9]{1,9})(?=_)(?:_([0-9]{1,9})x([0-9]{1,9})(?=_)(?:_([0-9]{1,9})x([0-9]{1,9})(f?)(?=_))?)?)?_"
)
# What the tokens behind the numbers state: field and value.
_WORDS = {
    "v": ("raster", "v"),
    "h": ("raster", "h"),
    "bz": ("beta", "bz"),
    "badd": ("beta", "badd"),
    "bx": ("beta", "bx"),
    "splitK": ("split", "stated"),
    "coopA": ("schedule", "coopA"),
    "coopB": ("schedule", "coopB"),
    "2cta": ("two_cta", "2cta"),
}
_EPILOGUES = frozenset({"bias", "relu", "gelu", "drelu", "dgelu", "aux", "ovscale", "bgrada", "bgradb", "dbias"})
_LAYOUTS = frozenset(a + b + c for a in "TN" for b in "TN" for c in "TN")
_LAYOUTS_OF_FOUR = frozenset(layout + d for layout in _LAYOUTS for d in "TN")
_SCALES = re.compile(r"([AB])vec([0-9]{1,4})(\w+)")
_NUMBERED = re.compile(r"(algo|alignCD)([0-9]{1,4})")
_NUMBERED_WORDS = {"algo": "algo", "alignCD": "align_cd"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one nvjet name; None where the text is not one."""
    procedural = spelling.procedural
    head = _HEAD.match(procedural)
    if head is None:
        return _read_stump(name, procedural)
    arch, code, m, n, k, stages, cluster_m, cluster_n, flag = head.groups()
    types = _TYPES.get(code)
    known = types is not None or (len(code) == 5 and _LETTERS.keys() >= set(code))
    if types is None:
        types = _types(code)
    tail = _Tail(procedural[head.end() :].split("_"))
    details: list[tuple[str, Detail]] = [("dtype_code", code)]
    if flag:
        details.append(("cluster_flag", flag))
    if tail.details:
        details += tail.details
    unparsed = tail.unparsed if known else [code, *tail.unparsed]
    stated = tail.stated
    # Without the layout the name is cut short, and a missing token says nothing.
    whole = tail.layout is not None
    return KernelName(
        name=name,
        family="nvjet",
        role="gemm",
        arch=arch,
        types=tail.with_scales(types) if tail.scales else types,
        tile=tail.tile or ((int(m), int(n), int(k) if k else None) if m else None),
        stages=tail.stages or (int(stages) if stages else None),
        cluster=(int(cluster_m), int(cluster_n)) if cluster_m else None,
        layout=tail.layout,
        split_k_form=stated.get("split") or ("none" if whole else None),
        schedule=stated.get("schedule"),
        epilogue="+".join(tail.epilogue) if tail.epilogue else None,
        unparsed="_".join(unparsed) if unparsed else None,
        op_class="mma" if tail.warp_level else None,
        two_cta=True if "two_cta" in stated else False if whole and not tail.warp_level else None,
        raster=stated.get("raster"),
        beta=stated.get("beta"),
        details=tuple(details),
    )


def _read_stump(name: str, procedural: str) -> KernelName:
    """Keep a name that is cut off before its types end, or that begins in another way."""
    rest = procedural.partition("_")[2]
    return KernelName(name=name, family="nvjet", role="gemm", unparsed=rest or None)


class _Tail:
    """The tokens behind the numbers, in any order; the last one is the layout."""

    __slots__ = ("details", "epilogue", "layout", "scales", "stages", "stated", "tile", "unparsed", "warp_level")

    def __init__(self, tokens: list[str]) -> None:
        self.layout: str | None = None
        self.stated: dict[str, str] = {}
        self.epilogue: list[str] = []
        self.scales: dict[str, str] = {}
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        self.tile: tuple[int, int, int] | None = None
        self.stages: int | None = None
        self.warp_level = tokens[0] == "mma"
        if tokens[-1] in (_LAYOUTS_OF_FOUR if self.warp_level else _LAYOUTS):
            self.layout = tokens.pop()
        if self.warp_level:
            del tokens[: self._numbers(tokens)]
        for token in tokens:
            word = _WORDS.get(token)
            if word is not None:
                self.stated[word[0]] = word[1]
            elif token in _EPILOGUES:
                self.epilogue.append(token)
            else:
                self._other(token)

    def _numbers(self, tokens: list[str]) -> int:
        """Read tile, stages and warp tile of the sm120 form, each where a token follows; return the tokens taken."""
        if len(tokens) < 3 or (tile := integers(tokens[1])) is None or len(tile) != 3:
            return 1
        self.tile = (tile[0], tile[1], tile[2])
        if len(tokens) < 4 or (stages := integer(tokens[2])) is None:
            return 2
        self.stages = stages
        if len(tokens) < 5 or (warp_tile := integers(tokens[3])) is None or len(warp_tile) != 3:
            return 3
        self.details.append(("warp_tile", warp_tile))
        return 4

    def _other(self, token: str) -> None:
        """Read a rare token."""
        if scale := _SCALES.fullmatch(token):
            self.scales[scale.group(1)] = f"{scale.group(3).lower()}/{scale.group(2)}"
        elif numbered := _NUMBERED.fullmatch(token):
            self.details.append((_NUMBERED_WORDS[numbered.group(1)], int(numbered.group(2))))
        elif token.startswith("tma"):
            self.details.append(("tma", token[3:]))
        else:
            self.unparsed.append(token)

    def with_scales(self, types: Types | None) -> Types | None:
        """Return the types with the block scales that the tail states."""
        if types is None:
            return None
        return Types(
            a=types.a,
            b=types.b,
            c=types.c,
            accumulate=types.accumulate,
            output=types.output,
            scale_a=self.scales.get("A"),
            scale_b=self.scales.get("B"),
        )


def _types(code: str) -> Types | None:
    """Read type letters of which one is unknown, or five of them."""
    words = [_LETTERS.get(letter) for letter in code]
    if len(words) == 3:
        return Types(a=words[0], b=words[0], accumulate=words[1], output=words[2])
    if len(words) == 5:
        return Types(a=words[0], b=words[1], c=words[2], accumulate=words[3], output=words[4])
    return None


_TOKENS: tuple[TokenRule, ...] = (
    ("nvjet", "cuBLAS' GEMM generator (sm90 and later)", VERIFIED, True),
    ARCH,
    (r"mma", "the form for sm120: warp-level matrix instructions", VERIFIED, True),
    (
        r"[dshtqriobu]{3}",
        "types: A and B, compute, D (s f32, h f16, t bf16, q e4m3, r e5m2, b s8)",
        VERIFIED,
        True,
    ),
    (r"[dshtqriobu]{5}", "types: A, B, C, compute, D (letters as in the three-letter form, o e2m1)", VERIFIED, True),
    (TRIPLE, "tile M×N×K of one CTA", VERIFIED, True),
    (TRIPLE, "tile of one warp", VERIFIED, True),
    (r"\d{1,3}", "pipeline stages", VERIFIED, True),
    (PAIR, "tile M×N of one CTA", VERIFIED, True),
    (PAIR, "k-step × pipeline stages", VERIFIED, True),
    (PAIR, "thread-block cluster", VERIFIED, True),
    (PAIR + "f", "thread-block cluster; what f means is unknown", UNKNOWN, True),
    (r"2cta", "two CTAs share one matrix instruction; the tile is one CTA's", INFERRED, False),
    (r"[vh]", "order in which tiles are walked, or direction of multicast", INFERRED, True),
    (r"bz", "beta is 0: C is not read", VERIFIED, True),
    (r"badd", "beta is 1: C is added", INFERRED, True),
    (r"bx", "beta is any number", INFERRED, True),
    (r"coop[AB]", "both consumer warp groups share one tile, split along this operand's side", INFERRED, False),
    (r"splitK", "K is split (the factor is not in the name); a splitKreduce_kernel sums the parts", VERIFIED, False),
    (r"bias", "epilogue adds a bias", VERIFIED, False),
    (r"relu|gelu|drelu|dgelu|aux|bgrad[ab]|dbias", "epilogue", INFERRED, False),
    (r"ovscale", "scale of the fp8 output", INFERRED, False),
    (r"algo\d+", "unknown", UNKNOWN, False),
    (r"[AB]vec\d+\w+", "block scales: elements per scale and the scales' type", VERIFIED, False),
    (r"tmaAB", "A and B are loaded by TMA", INFERRED, False),
    (r"alignCD\d+", "alignment of C and D", INFERRED, False),
    (
        r"[TN]{3}",
        "transposition of A and of B; third: the instruction's M side is m (T) or n (N)",
        INFERRED,
        True,
    ),
    (r"[TN]{4}", "layouts of A, B, C and D", INFERRED, True),
)

MEANINGS = Meanings(
    tokens={"nvjet": _TOKENS},
)
