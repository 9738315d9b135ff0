"""The words behind `explain`: what each token of each family means.

A rule is (pattern, meaning, certainty, once): the first rule whose pattern fits a whole token explains it; a rule
that counts once explains the first such token only, so `64x8` and `64x16` of one name can mean two things. A pattern
with an underscore explains several parts of the name as one token (`execute_split_k_kernel`); it stands before the
rules of its parts. Patterns are bounded and plain.
"""

Rule = tuple[str, str, str, bool]

_V, _I, _U = "verified", "inferred", "unknown"
_ARCH: Rule = (r"sm\d{2,3}[a-z]?", "generation that the code was written for", _V, True)
_PAIR = r"\d{1,9}x\d{1,9}"
_TRIPLE = r"\d{1,9}x\d{1,9}x\d{1,9}"
_ELEMENT = r"(?:void|bf16|tf32|[fsu]\d{1,2}|c?f\d{2}|e\dm\d|b1)"
_SCALED = r"(?:[\dx]*[a-z]\w{2,4}x)?" + _ELEMENT

_NVJET: tuple[Rule, ...] = (
    ("nvjet", "cuBLAS' GEMM generator (sm90 and later)", _V, True),
    _ARCH,
    (r"mma", "the form for sm120: warp-level matrix instructions", _V, True),
    (
        r"[dshtqriobu]{3}",
        "types: A and B, compute, D (s f32, h f16, t bf16, q e4m3, r e5m2, b s8)",
        _V,
        True,
    ),
    (r"[dshtqriobu]{5}", "types: A, B, C, compute, D (letters as in the three-letter form, o e2m1)", _V, True),
    (_TRIPLE, "tile M×N×K of one CTA", _V, True),
    (_TRIPLE, "tile of one warp", _V, True),
    (r"\d{1,3}", "pipeline stages", _V, True),
    (_PAIR, "tile M×N of one CTA", _V, True),
    (_PAIR, "k-step × pipeline stages", _V, True),
    (_PAIR, "thread-block cluster", _V, True),
    (_PAIR + "f", "thread-block cluster; what f means is unknown", _U, True),
    (r"2cta", "two CTAs share one matrix instruction; the tile is one CTA's", _I, False),
    (r"[vh]", "order in which tiles are walked, or direction of multicast", _I, True),
    (r"bz", "beta is 0: C is not read", _V, True),
    (r"badd", "beta is 1: C is added", _I, True),
    (r"bx", "beta is any number", _I, True),
    (r"coop[AB]", "both consumer warp groups share one tile, split along this operand's side", _I, False),
    (r"splitK", "K is split (the factor is not in the name); a splitKreduce_kernel sums the parts", _V, False),
    (r"bias", "epilogue adds a bias", _V, False),
    (r"relu|gelu|drelu|dgelu|aux|bgrad[ab]|dbias", "epilogue", _I, False),
    (r"ovscale", "scale of the fp8 output", _I, False),
    (r"algo\d+", "unknown", _U, False),
    (r"[AB]vec\d+\w+", "block scales: elements per scale and the scales' type", _V, False),
    (r"tmaAB", "A and B are loaded by TMA", _I, False),
    (r"alignCD\d+", "alignment of C and D", _I, False),
    (r"[TN]{3}", "transposition of A and of B; third letter: the instruction's M side is m (T) or n (N)", _I, True),
    (r"[TN]{4}", "layouts of A, B, C and D", _I, True),
)

_CUTLASS2: tuple[Rule, ...] = (
    ("cutlass", "CUTLASS 2.x procedural name", _V, True),
    (r"\d{2,3}", "generation that the code was written for (embedded copies only)", _V, True),
    (r"simt|tensorop|wmma|sptensorop", "unit that multiplies", _V, False),
    (
        r"g?[hsdicz]\d*(?:tf32|bf16|f16|xor|and|fastaccum|fastf32)?(?:sp)?gemm",
        "accumulator letter, shape of the matrix instruction, operation",
        _V,
        True,
    ),
    (_ELEMENT, "element type: before the operation the output, behind it the inputs", _V, False),
    (r"g?[hsdicz]\d*[a-z0-9]*", "accumulator letter, shape of the matrix instruction, operation", _V, True),
    (r"planar_complex", "complex numbers, real and imaginary parts stored apart", _V, True),
    (r"planar|complex|array|grouped", "kind of GEMM", _V, False),
    (r"relu", "epilogue that the kernel can apply, not one that was asked for", _I, True),
    (_PAIR, "tile M×N of one CTA", _V, True),
    (_PAIR, "k-step × pipeline stages", _V, True),
    (_TRIPLE, "tile M×N×K of one CTA", _V, True),
    (_TRIPLE, "thread-block cluster", _V, True),
    (r"align\d+", "largest alignment of A and B, in elements", _V, True),
    (r"[ntch]\d*[ntch]?\d*|n[cdghw]+\d*\w*", "layouts (n column-major, t row-major)", _V, True),
    (r"analytic|optimized|fixed|few|channels|dilation", "iterator over the filter", _V, False),
    (r"forwardCompat", "built to run on later devices", _I, True),
    (r"unity_stride", "convolution with stride 1", _V, True),
    (r"single|multiple|group|depthwise", "grouped convolution", _V, False),
    (r"schedule(?:Device|Host)", "where the groups are scheduled", _V, True),
    (r"splitK|parallel|serial", "split-K", _I, False),
    (r"sliced\d+x\d+", "k cut among the warps of one CTA", _I, True),
)

_CUTLASS3: tuple[Rule, ...] = (
    (r"cutlass(?:3x)?", "CUTLASS 3.x procedural name", _V, True),
    _ARCH,
    (r"simt|tensorop|wmma|sptensorop|bstensorop|bssptensorop", "unit that multiplies", _V, False),
    (
        r"(?:g?[hsdicz]\d[\dx]*)?(?:bs)?(?:sp)?(?:gemm|implicit|fprop|dgrad|wgrad)",
        "instruction shape, operation",
        _V,
        False,
    ),
    (r"s(?:gemm)|moe|gemm|grouped|block|blockwise|scaled|fprop|dgrad|wgrad", "operation", _V, False),
    (_SCALED, "type of A (with block scales: scale × data)", _V, True),
    (_SCALED, "type of B (with block scales: scale × data)", _V, True),
    (_ELEMENT, "type of the accumulator", _V, True),
    (_ELEMENT, "type of C (void: none)", _V, True),
    (_SCALED, "type of D (with block scales: scale × data)", _V, True),
    (_TRIPLE, "tile M×N×K: one CTA's on sm90, one instruction's on sm100", _V, True),
    (_TRIPLE, "thread-block cluster (0: chosen at run time)", _V, True),
    (r"0", "stages: as many as fit", _V, True),
    (r"\d{1,3}", "pipeline stages", _V, True),
    (r"align\d+", "largest alignment of A and B, in elements", _V, True),
    (r"[ntch]{2,3}|n[cdghw]+", "layouts of A, B and C (t row-major, n column-major)", _V, False),
    (r"stream_k", "stream-K tile scheduler", _V, True),
    (r"[12]sm", "CTAs that share one matrix instruction", _V, False),
    (r"warpspecialized_(?:cooperative|pingpong)", "kernel schedule", _V, True),
    (r"cpasync|unspecialized|warpspecialized|cooperative|pingpong", "kernel schedule", _V, False),
    (r"fp8_fastaccum", "fp8 sums are kept in the tensor core's own precision", _V, True),
    (r"[qo]|vs\d+|ultra|nopf|tmapf", "format of the block-scaled instruction", _V, False),
    (r"epi_(?:tma|nosmem_fastf32|nosmem)", "epilogue schedule", _V, True),
    (r"epi|tma|nosmem|fastf32|epiVs\w+", "epilogue schedule", _V, False),
    (r"bias|relu|gelu|silu|aux|scalemax|valpha|vbeta|" + _ELEMENT, "fused epilogue", _I, False),
    (r"dyn_cga", "cluster chosen at run time", _I, True),
    (r"ptr_array", "operands by pointer array", _I, True),
    (r"cvt|scl|sclzr|shfl", "how mixed inputs are converted", _V, False),
)

_LEGACY: tuple[Rule, ...] = (
    (r"kepler|maxwell|pascal|volta|turing|ampere|hopper", "generation that the code was written for", _V, True),
    (r"cudnn_(?:infer|train)", "library it is built into", _V, True),
    (r"trt|cudnn", "library it is built into", _V, False),
    (r"g?[hsdicz]\d*(?:gemm|cudnn)", "accumulator letter, shape of the matrix instruction, operation", _V, True),
    (
        r"fp16|bf16|fp32|tf32|fp64|u?int8|int32",
        "element type: before the operation the output, behind it the inputs",
        _I,
        False,
    ),
    (_PAIR, "tile M×N of one CTA", _V, True),
    (_PAIR, "k-step × pipeline stages", _V, True),
    (r"stages", "introduces k-step × stages", _V, True),
    (r"sliced\d+x\d+", "k cut among the warps of one CTA", _I, True),
    (r"ldg\d+", "elements of one global load", _I, False),
    (r"relu|gelu", "epilogue that the kernel can apply, not one that was asked for", _I, False),
    (r"splitK", "K is split (the factor is not in the name)", _V, True),
    (r"f2f|raggedMn|mufu", "unknown", _U, False),
    (r"[ntc]{2}", "transposition of A and B, column-major", _V, True),
    (r"v\d+", "version", _I, True),
    (
        r"small|medium|large|interior|xregs|stridedB|winograd|\w*nhwc\w*|exp|interleaved|3dconv|fprop|dgrad|wgrad"
        r"|tile148[nt]",
        "variant of a convolution",
        _U,
        False,
    ),
    (r"<\w[\w,]*>", "element types", _I, True),
)

_XMMA: tuple[Rule, ...] = (
    _ARCH,
    (r"xmma", "the kernel generator behind cuDNN, TensorRT and cuBLAS", _V, True),
    (r"(?:fprop|dgrad|wgrad)_implicit_gemm", "operation: a convolution as a GEMM", _V, True),
    (r"sparse|gemm|indexed", "operation", _V, False),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "types: input and output", _I, True),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "types: multiplied in, summed in", _I, True),
    (r"(?:tf|bf|f|i|u|e)\d+(?:m\d)?", "type of the epilogue", _I, True),
    (r"[ntc]{2}|nhwc\w+|nchw\w+", "layouts of A and B", _I, True),
    (r"[ntc]|nhwc\w*|nchw\w*", "layout of C", _I, True),
    (r"tilesize" + _TRIPLE, "tile M×N×K of one CTA, M and N swapped against cuBLASLt's own tile", _V, True),
    (r"stage\d+", "pipeline stages", _V, True),
    (r"warpsize" + _TRIPLE, "warps along m, n, k", _V, True),
    (r"warpgroupsize" + _TRIPLE, "warp groups along m, n, k", _I, True),
    (r"cgasize[\dx]+", "thread-block cluster", _I, True),
    (r"g\d+", "groups of a convolution", _I, True),
    (r"tensor" + _TRIPLE, "shape of the matrix instruction", _V, True),
    (r"ffma", "multiplies without tensor cores", _V, True),
    (r"aligna\d+", "alignment of A, in elements", _I, True),
    (r"alignc\d+", "alignment of C, in elements", _I, True),
    (r"t\d+r\d+s\d+", "filter size", _I, True),
    (r"algo\d+", "unknown", _U, True),
    (r"execute_split_k_kernel", "the reduction behind a split-K GEMM of the same tile, not a GEMM", _V, True),
    (r"execute_segment_k_on_kernel", "the kernel itself, with work cut along k as stream-K does", _I, True),
    (r"execute_segment_k_off_kernel", "the kernel itself, with work not cut along k", _I, True),
    (r"execute_kernel", "the kernel itself; whether K is split is not visible", _V, True),
    (r"kernel", "the kernel itself; whether K is split is not visible", _V, True),
    (r"by_fusion_tactic", "chosen by a fusion tactic", _U, True),
    (r"fused", "unknown", _U, True),
    (r"5x_(?:cublas|cudnn)|cudnn_(?:infer|train)", "library it is built into", _V, True),
    (r"trt|cublas|cudnn", "library it is built into", _V, False),
)

_CUDNN_SDPA: tuple[Rule, ...] = (
    (r"cudnn_generated_fort_native_sdpa", "cuDNN's generated attention", _V, True),
    _ARCH,
    (r"flash", "flash attention", _V, True),
    (r"fprop|bprop", "forward or backward", _V, True),
    (r"wgmma|wmma|umma", "the matrix instruction", _V, True),
    (r"f16", "the 16-bit class: fp16 or bf16", _V, True),
    (r"\w*fp8|f32|e\dm\d", "type class", _I, True),
    (r"knob_\d+", "number of the variant; what it chooses is unknown", _U, True),
    (_TRIPLE, "queries × keys of one tile × head dimension", _I, True),
    (_TRIPLE, "warps", _I, True),
    (r"cga[\dx]+", "thread-block cluster", _I, True),
    (r"kernel\d+_\d+", "which of the generated kernels", _I, True),
)

_FMHA: tuple[Rule, ...] = (
    (r"fmha_cutlass[FB]", "memory-efficient attention, F forward, B backward", _V, True),
    (r"f16|bf16|f32", "element type", _V, True),
    (r"(?:not)?aligned", "whether operands are aligned", _V, True),
    (_PAIR, "queries × keys of one tile", _V, True),
    (r"k\d+", "largest head dimension", _V, True),
    (r"rf|gmem", "where the output is accumulated: registers or global memory", _I, True),
    (r"dropout|seqaligned", "variant", _I, False),
    _ARCH,
)

_TRITON: tuple[Rule, ...] = (
    (r"triton", "torch inductor's Triton kernel", _V, True),
    # One rule, used once: behind it the same words are operations.
    (
        r"poi|red|per|tem|mm|bmm|for|spl|unk",
        "kind: poi pointwise; red, per reduction (per: a row in one block); tem, mm, bmm template; for foreach; "
        "spl split scan; unk unknown",
        _V,
        True,
    ),
    (r"\d{1,3}d[\dcde]+", "kinds of the arguments (torch 2.0)", _V, True),
    (r"fused", "introduces the fused operations", _V, True),
    (r"\d+", "number of the kernel in its graph, not stable between builds", _V, False),
    (r"\w+", "part of a fused operation's name", _V, False),
)

_NCCL: tuple[Rule, ...] = (
    (r"nccl(?:Dev)?Kernel", "NCCL", _V, True),
    (r"RING|TREE|NVLS|COLLNET|PAT|DIRECT|CHAIN", "algorithm", _V, False),
    (r"LL|LL128|SIMPLE", "protocol", _V, True),
    (r"Sum|Prod|Max|Min|MinMax|PreMulSum|SumPostDiv|Avg", "operation", _V, True),
    (r"Generic_\d+", "any collective: the name does not say which", _V, True),
    (r"[A-Z][A-Za-z]+", "collective", _V, True),
    (r"nv_bfloat16|u?int\d{1,2}_t", "element type", _V, True),
    (r"\w+", "element type", _V, True),
)

_TRTLLM: tuple[Rule, ...] = (
    (r"[bB]mm|[gG]emm\w*", "trtllm-gen's (batched) GEMM", _I, True),
    (r"(?:Mx|Nv)?(?:Bfloat16|Fp16|Fp32|E\dm\d)", "type of D, then of the accumulator", _I, False),
    (r"(?:(?:Mx|Nv)?(?:Bfloat16|Fp16|E\dm\d)){2}", "types of A and B", _I, True),
    (r"t\d+x\d+x\d+(?:u\d+)?", "tile M×N×K of one CTA, u: k unrolled", _I, True),
    (r"sm\d+[a-z]?", "architecture", _V, True),
    (r"s\d+", "pipeline stages", _I, True),
    (r"et\d+x\d+", "tile of the epilogue", _I, True),
    (r"m\d+x\d+x\d+", "shape of the matrix instruction", _I, True),
    (r"c(?:ga)?\d+x\d+x\d+", "thread-block cluster", _I, True),
    (r"splitK\d+", "split-K factor", _I, True),
    (r"[TNB]{2}", "layouts of A and B", _I, True),
    (r"swiGlu|geGlu|relu2?|silu|gelu", "fused activation", _I, True),
    (r"\w+", "option", _U, False),
)

_TENSILE: tuple[Rule, ...] = (
    (r"Cijk", "AMD Tensile: not an NVIDIA kernel", _V, True),
    (r"A[ijkl]{3}|B[ijkl]{3}", "index order of an operand", _I, False),
    (r"MT[\dx]+", "macro tile M×N×K", _I, True),
    (r"ISA\w+", "gfx architecture", _I, True),
    (r"\S+", "AMD's tuning word", _U, False),
)

TOKENS: dict[str, tuple[Rule, ...]] = {
    "nvjet": _NVJET,
    "cutlass2x_conv": _CUTLASS2,
    "cublas_legacy": _LEGACY,
    "cudnn_legacy": _LEGACY,
    "xmma": _XMMA,
    "xmma_conv": _XMMA,
    "cudnn_sdpa": _CUDNN_SDPA,
    "fmha_cutlass": _FMHA,
    "triton_inductor": _TRITON,
    "nccl": _NCCL,
    "trtllm_gen_gemm": _TRTLLM,
    "tensile": _TENSILE,
}
# These families also have C++ template forms, which are not cut at underscores.
PROCEDURAL_ONLY: dict[str, tuple[Rule, ...]] = {"cutlass2x": _CUTLASS2, "cutlass3x": _CUTLASS3}

Argument = tuple[str, str]
_SWITCH: Argument = ("a switch whose meaning is unknown", _U)
_TYPE: Argument = ("a type whose use is unknown", _U)
_PARTIAL: Argument = ("type of the partial sums", _V)
_SCALE: Argument = ("compute and scale type", _V)
_BLOCK: tuple[Argument, ...] = (("threads of a block, x", _V), ("threads of a block, y", _V), ("index type", _V))
_TRAITS: Argument = ("head dimension, queries, keys, warps, …, element type", _V)
_MASKS: tuple[Argument, ...] = tuple(
    (word, _V) for word in ("causal", "local window", "ALiBi", "lengths even", "head dimension even")
)

# Template arguments by function and how many there are; 0: any number.
ARGUMENTS: dict[tuple[str, int], tuple[Argument, ...]] = {
    ("splitKreduce_kernel", 15): (
        *_BLOCK,
        _PARTIAL,
        ("type of D", _I),
        _SCALE,
        _TYPE,
        _SWITCH,
        _TYPE,
        ("type of C", _I),
        ("type of bias or auxiliary output", _I),
        *(_SWITCH,) * 4,
    ),
    ("splitKreduce_kernel", 13): (
        *_BLOCK,
        _PARTIAL,
        _TYPE,
        _SCALE,
        _SWITCH,
        *(_TYPE,) * 3,
        *(_SWITCH,) * 3,
    ),
    ("splitKreduce_kernel", 10): (*_BLOCK, _PARTIAL, _TYPE, _SCALE, _TYPE, *(_SWITCH,) * 3),
    ("gemvx::kernel", 0): (
        *(("index type", _V),) * 2,
        ("type of A", _V),
        ("type of x", _V),
        ("type of y", _V),
        ("type sums are kept in", _V),
        ("chooses the overload", _V),
        _SWITCH,
        ("A transposed", _I),
        _SWITCH,
        ("log2 of the threads of a block", _V),
    ),
    ("flash_fwd_kernel", 9): (
        _TRAITS,
        ("dropout", _V),
        *_MASKS,
        ("softcap", _V),
        ("returns softmax", _V),
    ),
    ("flash_fwd_splitkv_kernel", 9): (
        _TRAITS,
        *_MASKS,
        ("softcap", _V),
        ("keys are split over CTAs", _V),
        ("appends new keys", _V),
    ),
    ("flash_fwd_splitkv_kernel", 8): (
        _TRAITS,
        *_MASKS,
        ("keys are split over CTAs", _V),
        ("appends new keys", _V),
    ),
    ("flash_fwd_splitkv_combine_kernel", 4): (
        _TRAITS,
        ("rows of one CTA", _V),
        ("log2 of the most splits", _V),
        ("head dimension even", _V),
    ),
    ("Marlin", 12): (
        ("type of the activations (packed ScalarType)", _V),
        ("type of the weights", _V),
        ("type of the output", _V),
        ("type of the scales", _V),
        ("threads of a block", _V),
        ("tile M in blocks of 16", _V),
        ("tile N in blocks of 16", _V),
        ("tile K in blocks of 16", _V),
        ("blocks of m are 8 high", _V),
        ("pipeline stages", _V),
        ("blocks of k per scale", _V),
        ("zero points are floats", _V),
    ),
}
