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

from tracediff.kernels.model import Detail, KernelName, Types, make_kernel_name, make_types
from tracediff.kernels.spelling import Spelling
from tracediff.kernels.words import integer, integers

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
_LAYOUT_LETTERS = frozenset("TN")
_EPILOGUES = frozenset({"bias", "relu", "gelu", "drelu", "dgelu", "aux", "ovscale", "bgrada", "bgradb", "dbias"})


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one nvjet name; None where the text is not one."""
    tokens = spelling.procedural.split("_")
    arch = None
    position = 1
    if len(tokens) > 2 and tokens[1].startswith("sm") and tokens[1][2:3].isdigit():
        arch = tokens[1]
        position = 2
    if len(tokens) <= position:
        return None
    code = tokens[position]
    # The last token of a name cut short may be cut too: three letters of five.
    types, known = _types(code) if len(tokens) > position + 1 else (None, False)
    details: list[tuple[str, Detail]] = [("dtype_code", code)]
    unparsed = [] if known else [code]
    position += 1
    if tokens[position : position + 1] == ["mma"]:
        return _read_mma(name, tokens[position + 1 :], arch, types, details, unparsed)

    pairs = [integers(token.removesuffix("f")) for token in tokens[position : position + 3]]
    # A truncated name has fewer pairs, the last perhaps cut short: a pair counts when a token follows it.
    whole = len(tokens) - 1 - position
    tile = stages = cluster = None
    k_step = None
    taken = 0
    for place, pair in enumerate(pairs):
        if pair is None or len(pair) != 2 or place >= whole:
            break
        if place == 0:
            tile = pair
        elif place == 1:
            k_step, stages = pair
        else:
            cluster = pair
            if tokens[position + 2].endswith("f"):
                details.append(("cluster_flag", "f"))
        taken += 1
    tail = _Tail(tokens[position + taken :], letters=3)
    return make_kernel_name(
        name=name,
        family="nvjet",
        role="gemm",
        arch=arch,
        types=tail.with_scales(types),
        tile=(tile[0], tile[1], k_step) if tile else None,
        stages=stages,
        cluster=cluster,
        layout=tail.layout,
        split_k_form=tail.split_k_form,
        schedule=tail.schedule,
        epilogue=tail.epilogue,
        unparsed="_".join(unparsed + tail.unparsed) or None,
        two_cta=tail.two_cta,
        raster=tail.raster,
        beta=tail.beta,
        details=tuple(details + tail.details),
    )


def _read_mma(
    name: str,
    tokens: list[str],
    arch: str | None,
    types: Types | None,
    details: list[tuple[str, Detail]],
    unparsed: list[str],
) -> KernelName:
    """Read what follows `mma` in the sm120 form."""
    tile = stages = None
    taken = 0
    if len(tokens) > 1 and (numbers := integers(tokens[0])) and len(numbers) == 3:
        tile = (numbers[0], numbers[1], numbers[2])
        taken = 1
        if len(tokens) > 2 and (stages := integer(tokens[1])) is not None:
            taken = 2
            if len(tokens) > 3 and (warp_tile := integers(tokens[2])) and len(warp_tile) == 3:
                details.append(("warp_tile", warp_tile))
                taken = 3
    tail = _Tail(tokens[taken:], letters=4)
    return make_kernel_name(
        name=name,
        family="nvjet",
        role="gemm",
        arch=arch,
        types=tail.with_scales(types),
        tile=tile,
        stages=stages,
        layout=tail.layout,
        split_k_form=tail.split_k_form,
        schedule=tail.schedule,
        epilogue=tail.epilogue,
        unparsed="_".join(unparsed + tail.unparsed) or None,
        op_class="mma",
        two_cta=True if tail.two_cta else None,
        raster=tail.raster,
        beta=tail.beta,
        details=tuple(details + tail.details),
    )


class _Tail:
    """The tokens behind the numbers, in any order; the last one is the layout."""

    def __init__(self, tokens: list[str], letters: int) -> None:
        self.layout: str | None = None
        self.raster: str | None = None
        self.beta: str | None = None
        self.schedule: str | None = None
        self.two_cta: bool | None = None
        self.scale_a: str | None = None
        self.scale_b: str | None = None
        self.details: list[tuple[str, Detail]] = []
        self.unparsed: list[str] = []
        epilogue: list[str] = []
        split = False
        if tokens and len(tokens[-1]) == letters and _LAYOUT_LETTERS.issuperset(tokens[-1]):
            self.layout = tokens.pop()
        for token in tokens:
            if token in ("v", "h"):
                self.raster = token
            elif token in ("bz", "badd", "bx"):
                self.beta = token
            elif token == "splitK":
                split = True
            elif token in ("coopA", "coopB"):
                self.schedule = token
            elif token == "2cta":
                self.two_cta = True
            elif token in _EPILOGUES:
                epilogue.append(token)
            elif not self._other(token):
                self.unparsed.append(token)
        self.epilogue = "+".join(epilogue) or None
        # Without the layout the name is cut short, and a missing token says nothing.
        complete = self.layout is not None
        self.split_k_form = "stated" if split else "none" if complete else None
        if complete and self.two_cta is None:
            self.two_cta = False

    def _other(self, token: str) -> bool:
        """Read a rare token; False where it is none."""
        if token.startswith(("Avec", "Bvec")):
            digits = len(token[4:]) - len(token[4:].lstrip("0123456789"))
            kind = token[4 + digits :]
            if not digits or not kind:
                return False
            scale = f"{kind.lower()}/{token[4 : 4 + digits]}"
            if token[0] == "A":
                self.scale_a = scale
            else:
                self.scale_b = scale
            return True
        if token.startswith("algo") and (number := integer(token[4:])) is not None:
            self.details.append(("algo", number))
            return True
        if token.startswith("alignCD") and (number := integer(token[7:])) is not None:
            self.details.append(("align_cd", number))
            return True
        if token.startswith("tma"):
            self.details.append(("tma", token[3:]))
            return True
        return False

    def with_scales(self, types: Types | None) -> Types | None:
        """Return the types with the block scales that the tail states."""
        if types is None or (self.scale_a is None and self.scale_b is None):
            return types
        return make_types(
            a=types.a,
            b=types.b,
            c=types.c,
            accumulate=types.accumulate,
            output=types.output,
            scale_a=self.scale_a,
            scale_b=self.scale_b,
        )


def _types(code: str) -> tuple[Types | None, bool]:
    """Read the type letters; also say whether every letter is known."""
    words = [_LETTERS.get(letter) for letter in code]
    if len(words) == 3:
        return make_types(a=words[0], b=words[0], accumulate=words[1], output=words[2]), None not in words
    if len(words) == 5:
        return make_types(a=words[0], b=words[1], c=words[2], accumulate=words[3], output=words[4]), None not in words
    return None, False
