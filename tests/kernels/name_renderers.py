"""Write names by their grammar, so that tests can read back what was written.

Each family with a procedural grammar has one function that makes a random configuration and its name: a hypothesis
strategy of (name, expected fields of the result).
"""

from typing import Any

from hypothesis import strategies as st

Case = tuple[str, dict[str, Any]]

_SIZES = st.sampled_from([8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512])
_STAGES = st.integers(1, 16)
_SMALL = st.sampled_from([1, 2, 4])


@st.composite
def nvjet(draw: st.DrawFn) -> Case:
    letters = {
        "s": "f32",
        "h": "f16",
        "t": "bf16",
        "q": "e4m3",
        "r": "e5m2",
        "d": "f64",
        "i": "s32",
        "b": "s8",
        "o": "e2m1",
    }
    arch = draw(st.sampled_from([None, "sm90", "sm100", "sm103", "sm110"]))
    code = "".join(draw(st.lists(st.sampled_from(sorted(letters)), min_size=3, max_size=3)))
    if draw(st.booleans()):
        code += "".join(draw(st.lists(st.sampled_from(sorted(letters)), min_size=2, max_size=2)))
    m, n, k, stages = draw(_SIZES), draw(_SIZES), draw(_SIZES), draw(_STAGES)
    cluster = (draw(_SMALL), draw(_SMALL))
    flag = draw(st.sampled_from(["", "f"]))
    raster = draw(st.sampled_from(["v", "h"]))
    beta = draw(st.sampled_from(["bz", "badd", "bx"]))
    tail = draw(st.lists(st.sampled_from(["coopA", "splitK", "bias", "ovscale", "algo3"]), unique=True))
    two_cta = draw(st.booleans())
    scales = draw(st.sampled_from([None, ("Avec16UE4M3", "ue4m3/16"), ("Avec32UE8M0", "ue8m0/32")]))
    layout = "".join(draw(st.lists(st.sampled_from("TN"), min_size=3, max_size=3)))
    tokens = ["nvjet", *([arch] if arch else []), code, f"{m}x{n}", f"{k}x{stages}", f"{cluster[0]}x{cluster[1]}{flag}"]
    tokens += ["2cta"] if two_cta else []
    tokens += [raster, beta, *tail]
    tokens += [scales[0], scales[0].replace("A", "B", 1)] if scales else []
    tokens.append(layout)
    long = len(code) == 5
    expected = {
        "family": "nvjet",
        "role": "gemm",
        "arch": arch,
        "types.a": letters[code[0]],
        "types.b": letters[code[1]] if long else letters[code[0]],
        "types.accumulate": letters[code[3 if long else 1]],
        "types.output": letters[code[-1]],
        "types.scale_a": scales[1] if scales else None,
        "types.scale_b": scales[1] if scales else None,
        "tile": (m, n, k),
        "stages": stages,
        "cluster": cluster,
        "raster": raster,
        "beta": beta,
        "two_cta": two_cta,
        "schedule": "coopA" if "coopA" in tail else None,
        "split_k": None,
        "split_k_form": "stated" if "splitK" in tail else "none",
        "epilogue": "+".join(word for word in tail if word in ("bias", "ovscale")) or None,
        "layout": layout,
        "unparsed": None,
    }
    return "_".join(tokens), expected


@st.composite
def nvjet_sm120(draw: st.DrawFn) -> Case:
    tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    warp_tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    stages = draw(_STAGES)
    split = draw(st.booleans())
    layout = "".join(draw(st.lists(st.sampled_from("TN"), min_size=4, max_size=4)))
    split_word = "_splitK" if split else ""
    name = f"nvjet_sm120_hss_mma_{_by(tile)}_{stages}_{_by(warp_tile)}_tmaAB_alignCD4_bz{split_word}_{layout}"
    return name, {
        "family": "nvjet",
        "arch": "sm120",
        "tile": tile,
        "stages": stages,
        "detail:warp_tile": warp_tile,
        "layout": layout,
        "split_k_form": "stated" if split else "none",
        "unparsed": None,
    }


@st.composite
def cutlass2x(draw: st.DrawFn) -> Case:
    letters = {"h": "f16", "s": "f32", "d": "f64", "i": "s32"}
    shapes = {"16816": (16, 8, 16), "1688": (16, 8, 8), "884": (8, 8, 4), "168128": (16, 8, 128), "": None}
    cc = draw(st.sampled_from([None, "70", "75", "80"]))
    letter = draw(st.sampled_from(sorted(letters)))
    shape = draw(st.sampled_from(sorted(shapes)))
    op_class = draw(st.sampled_from(["tensorop", "wmma_tensorop", "sptensorop"])) if shape else "simt"
    math = draw(st.sampled_from(["", "tf32", "bf16"])) if shape else ""
    output = draw(st.sampled_from([None, "f16", "bf16", "f32", "s8"]))
    inputs = draw(st.lists(st.sampled_from(["f16", "bf16", "s8", "tf32", "u4"]), max_size=2))
    relu = draw(st.booleans())
    m, n, k, stages = draw(_SIZES), draw(_SIZES), draw(_SIZES), draw(_STAGES)
    stepped = draw(st.booleans())
    layout = draw(st.sampled_from(["nn", "nt", "tn", "tt", "n32t32", "ch"]))
    alignment = draw(st.sampled_from([1, 2, 4, 8, 16]))
    tokens = ["cutlass", *([cc] if cc else []), op_class, *([output] if output else []), f"{letter}{shape}{math}gemm"]
    tokens += [*(["relu"] if relu else []), *inputs, f"{m}x{n}", *([f"{k}x{stages}"] if stepped else []), layout]
    tokens.append(f"align{alignment}")
    accumulate = letters[letter]
    return "_".join(tokens), {
        "family": "cutlass2x",
        "role": "gemm",
        "arch": f"sm{cc}" if cc else None,
        "op_class": op_class,
        "types.a": inputs[0] if inputs else accumulate,
        "types.b": inputs[-1] if inputs else accumulate,
        "types.accumulate": accumulate,
        "types.output": output or accumulate,
        "types.math": math or None,
        "mma": shapes[shape],
        "tile": (m, n, k if stepped else None),
        "stages": stages if stepped else None,
        "layout": layout,
        "alignment": alignment,
        "epilogue": "relu" if relu else None,
        "split_k_form": None,
        "unparsed": None,
    }


@st.composite
def cutlass3x(draw: st.DrawFn) -> Case:
    plain = ["f16", "bf16", "f32", "tf32", "e4m3", "e5m2", "s8"]
    scaled = ["ue4m3xe2m1", "ue8m0xe4m3", "1x128f32xe4m3"]
    arch = draw(st.sampled_from(["sm90", "sm100", "sm103", "sm120"]))
    op_class = draw(st.sampled_from(["tensorop", "sptensorop", "bstensorop", "bssptensorop", "simt"]))
    kind = draw(st.sampled_from(["gemm", "spgemm", "gemm_grouped", "moe_gemm", "gemm_block_scaled"]))
    instruction = draw(st.sampled_from([None, (64, 128, 16), (256, 192, 64)]))
    a, b = (draw(st.sampled_from(plain + scaled)) for _ in range(2))
    accumulate = draw(st.sampled_from(["f32", "f16", "s32"]))
    c, d = draw(st.sampled_from(["void", *plain])), draw(st.sampled_from(plain))
    mixed = draw(st.sampled_from([None, "cvt", "scl"]))
    tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    cluster = draw(st.sampled_from([None, (1, 1, 1), (2, 1, 1), (4, 4, 1), (0, 0, 1)]))
    stages = draw(st.integers(0, 9))
    layout = draw(st.sampled_from(["tnn", "tnt", "ntn", "nnt"]))
    alignment = draw(st.sampled_from([1, 8, 16, 32]))
    stream_k = draw(st.booleans())
    schedule = draw(
        st.sampled_from([None, "warpspecialized_cooperative", "warpspecialized_pingpong", "cpasync", "1sm", "2sm"])
    )
    form = draw(st.sampled_from([None, "q", "o_vs16", "o_vs32_ultra"]))
    epilogue, word = draw(
        st.sampled_from(
            [
                (None, ""),
                ("tma", "epi_tma"),
                ("nosmem_fastf32", "epi_nosmem_fastf32"),
                ("bias(f16)+relu", "bias_f16_relu"),
            ]
        )
    )
    operation = f"s{_by(instruction)}{kind}" if instruction else kind
    tokens = ["cutlass3x", arch, op_class, operation, a, b, accumulate, c, d, *([mixed] if mixed else []), _by(tile)]
    tokens += [*([_by(cluster)] if cluster else []), str(stages), layout, f"align{alignment}"]
    tokens += [*(["stream_k"] if stream_k else []), *([form] if form else []), *([schedule] if schedule else [])]
    tokens += [word] if word else []
    return "_".join(tokens), {
        "family": "cutlass3x",
        "role": "gemm",
        "arch": arch,
        "op_class": op_class,
        "kind": kind,
        "mma": instruction,
        "types.a": a,
        "types.b": b,
        "types.accumulate": accumulate,
        "types.c": c,
        "types.output": d,
        "tile": tile,
        "cluster": cluster,
        "stages": stages or None,
        "stages_auto": True if stages == 0 else None,
        "layout": layout,
        "alignment": alignment,
        "split_k_form": "stream-k" if stream_k else None,
        "schedule": schedule,
        "two_cta": {"1sm": False, "2sm": True}.get(schedule or ""),
        "epilogue": epilogue,
        "unparsed": None,
    }


@st.composite
def xmma(draw: st.DrawFn) -> Case:
    words = {"f16": "f16", "bf16": "bf16", "f32": "f32", "tf32": "tf32", "i8": "s8", "i32": "s32", "e4m3": "e4m3"}
    a, d, math, accumulate, epilogue = (draw(st.sampled_from(sorted(words))) for _ in range(5))
    arch = draw(st.sampled_from(["sm70", "sm75", "sm80", "sm90"]))
    operation = draw(st.sampled_from(["gemm", "fprop_implicit_gemm", "dgrad_implicit_gemm"]))
    layout = draw(st.sampled_from(["tn_n", "nn_n", "nt_t"])) if operation == "gemm" else "nhwckrsc_nhwc"
    tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    stages = draw(st.none() | _STAGES)
    warps = draw(st.none() | st.tuples(_SMALL, _SMALL, _SMALL))
    mma = draw(st.none() | st.sampled_from([(16, 8, 8), (16, 8, 16)]))
    alignment = draw(st.none() | _SMALL)
    ending = draw(
        st.sampled_from(["execute_kernel", "execute_split_k_kernel", "execute_segment_k_off_kernel", "kernel"])
    )
    library = draw(st.sampled_from(["", "__5x_cublas", "_trt", "_cudnn_infer"]))
    tokens = [arch, "xmma", operation, a + d, math + accumulate, epilogue, layout, f"tilesize{_by(tile)}"]
    tokens += [f"stage{stages}"] if stages else []
    tokens += [f"warpsize{_by(warps)}"] if warps else []
    tokens += [f"tensor{_by(mma)}"] if mma else []
    tokens += [f"aligna{alignment}", f"alignc{alignment}"] if alignment else []
    reduction = ending == "execute_split_k_kernel"
    return "_".join([*tokens, ending]) + library, {
        "family": "xmma" if operation == "gemm" else "xmma_conv",
        "role": "splitk_reduce" if reduction else "gemm",
        "arch": arch,
        "kind": operation,
        "types.a": words[a],
        "types.output": words[d],
        "types.math": words[math],
        "types.accumulate": words[accumulate],
        "layout": layout,
        "tile": tile,
        "stages": stages,
        "warps": warps,
        "mma": mma,
        "alignment": alignment,
        "split_k_form": "parallel" if reduction else None,
        "detail:library": library.strip("_") or None,
        "unparsed": None,
    }


@st.composite
def cublas_legacy(draw: st.DrawFn) -> Case:
    generations = {"maxwell": "sm50", "volta": "sm70", "turing": "sm75", "ampere": "sm80"}
    precisions = {"fp16": "f16", "bf16": "bf16", "int8": "s8"}
    letters = {"s": "f32", "h": "f16", "d": "f64", "i": "s32", "c": "cf32", "z": "cf64"}
    shapes = {"": None, "884": (8, 8, 4), "1688": (16, 8, 8), "16816": (16, 8, 16)}
    generation = draw(st.sampled_from(sorted(generations)))
    output = draw(st.none() | st.sampled_from(sorted(precisions)))
    letter = draw(st.sampled_from(sorted(letters)))
    shape = draw(st.sampled_from(sorted(shapes)))
    inputs = draw(st.none() | st.sampled_from(sorted(precisions)))
    m, n, k, stages = draw(_SIZES), draw(_SIZES), draw(_SIZES), draw(_STAGES)
    sliced = draw(st.none() | st.sampled_from([2, 4]))
    stepped, relu = draw(st.booleans()), draw(st.booleans())
    layout = draw(st.sampled_from(["nn", "nt", "tn", "tt"]))
    tokens = [
        generation,
        *([output] if output else []),
        f"{letter}{shape}gemm",
        *([inputs] if inputs else []),
        f"{m}x{n}",
    ]
    tokens += [*([f"sliced1x{sliced}"] if sliced else []), "ldg8", *(["relu"] if relu else []), "f2f"]
    tokens += [*(["stages", f"{k}x{stages}"] if stepped else []), layout]
    accumulate = letters[letter]
    return "_".join(tokens), {
        "family": "cublas_legacy",
        "role": "gemm",
        "arch": generations[generation],
        "types.a": precisions[inputs] if inputs else accumulate,
        "types.accumulate": accumulate,
        "types.output": precisions[output] if output else None if letter == "i" else accumulate,
        "mma": shapes[shape],
        "tile": (m, n, k if stepped else None),
        "stages": stages if stepped else None,
        "sliced_k": sliced,
        "epilogue": "relu" if relu else None,
        "layout": layout,
        "split_k_form": None,
        "unparsed": None,
    }


@st.composite
def cudnn_sdpa(draw: st.DrawFn) -> Case:
    arch = draw(st.sampled_from(["sm80", "sm90", "sm100"]))
    direction = draw(st.sampled_from(["fprop", "bprop"]))
    unit = draw(st.none() | st.sampled_from(["wmma", "wgmma"]))
    queries, keys, head = draw(_SIZES), draw(_SIZES), draw(_SIZES)
    knob = draw(st.integers(0, 99))
    cluster = draw(st.none() | st.tuples(_SMALL, _SMALL, _SMALL))
    tokens = ["cudnn_generated_fort_native_sdpa", arch, "flash", direction, *([unit] if unit else []), "f16", "knob"]
    tokens += [str(knob), _by((queries, keys, head)), "4x1x1", *([f"cga{_by(cluster)}"] if cluster else [])]
    return "_".join([*tokens, "kernel0_0"]), {
        "family": "cudnn_sdpa",
        "role": "attention",
        "arch": arch,
        "types": None,
        "op_class": unit,
        "tile": (queries, keys, None),
        "head_dim": head,
        "warps": (4, 1, 1),
        "cluster": cluster,
        "detail:direction": direction,
        "detail:knob": knob,
        "unparsed": None,
    }


@st.composite
def fmha_cutlass(draw: st.DrawFn) -> Case:
    side = draw(st.sampled_from(["F", "B"]))
    element = draw(st.sampled_from(["f16", "bf16", "f32"]))
    aligned = draw(st.booleans())
    queries, keys = draw(_SIZES), draw(_SIZES)
    most = draw(st.none() | _SIZES)
    place = draw(st.none() | st.sampled_from(["rf", "gmem"]))
    arch = draw(st.sampled_from(["sm70", "sm75", "sm80"]))
    tokens = [f"fmha_cutlass{side}", element, "aligned" if aligned else "notaligned", f"{queries}x{keys}"]
    tokens += [*([f"k{most}"] if most else []), *([place] if place else []), arch]
    return "_".join(tokens), {
        "family": "fmha_cutlass",
        "role": "attention",
        "arch": arch,
        "types.a": element,
        "tile": (queries, keys, None),
        "detail:direction": "fprop" if side == "F" else "bprop",
        "detail:aligned": aligned,
        "detail:max_k": most,
        "detail:accum_in": place,
        "unparsed": None,
    }


@st.composite
def trtllm_gen_gemm(draw: st.DrawFn) -> Case:
    words = {"Bfloat16": "bf16", "Fp16": "f16", "E4m3": "e4m3", "MxE4m3": "mxe4m3", "MxE2m1": "mxe2m1", "E2m1": "e2m1"}
    kind = draw(st.sampled_from(["bmm", "gemm"]))
    d, a, b = (draw(st.sampled_from(sorted(words))) for _ in range(3))
    tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    unroll = draw(st.none() | st.integers(2, 4))
    stages = draw(_STAGES)
    mma = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    cluster, spelled = (draw(_SMALL), 1, draw(_SMALL)), draw(st.sampled_from(["c", "cga"]))
    split = draw(st.none() | st.integers(2, 16))
    layout = draw(st.sampled_from(["TN", "BN"]))
    tokens = [
        kind,
        d,
        a + b,
        "Fp32",
        f"t{_by(tile)}" + (f"u{unroll}" if unroll else ""),
        f"s{stages}",
        f"et{tile[0]}x{tile[1]}",
    ]
    tokens += [f"m{_by(mma)}", f"{spelled}{_by(cluster)}", "16dp256b", *([f"splitK{split}"] if split else []), layout]
    tokens += ["transOut", "schedP2x1x2x3", "bN", "rgTma", "clmp", "swiGlu", "dynB", "sm100f"]
    return "_".join(tokens), {
        "family": "trtllm_gen_gemm",
        "role": "gemm",
        "arch": "sm100f",
        "types.a": words[a],
        "types.b": words[b],
        "types.output": words[d],
        "types.accumulate": "f32",
        "tile": tile,
        "stages": stages,
        "mma": mma,
        "cluster": cluster,
        "layout": layout,
        "split_k": split,
        "split_k_form": "stated" if split else None,
        "epilogue": "swiGlu",
        "detail:unroll": unroll,
        "unparsed": None,
    }


@st.composite
def tensile(draw: st.DrawFn) -> Case:
    tile = (draw(_SIZES), draw(_SIZES), draw(_SIZES))
    a, b = draw(st.sampled_from([("Ailk", "n"), ("Alik", "t")])), draw(st.sampled_from([("Bljk", "n"), ("Bjlk", "t")]))
    name = f"Cijk_{a[0]}_{b[0]}_BBS_BH_Bias_HA_S_SAV_UserArgs_MT{_by(tile)}_MI16x16x1_SN_GSU0_ISA950_WS64_WG16_16_1"
    return name, {
        "family": "tensile",
        "tile": tile,
        "layout": a[1] + b[1],
        "arch": "gfx950",
        "split_k_form": None,
        "detail:foreign": True,
    }


@st.composite
def triton(draw: st.DrawFn) -> Case:
    roles = {"poi": "elementwise", "red": "reduction", "per": "reduction", "for": "elementwise"}
    kind = draw(st.sampled_from(sorted(roles)))
    ops = "_".join(draw(st.lists(st.sampled_from(["add", "_to_copy", "mul", "rsqrt", "addmm", "silu"]), min_size=1)))
    index = str(draw(st.integers(0, 999)))
    return f"triton_{kind}_fused_{ops}_{index}", {
        "family": "triton_inductor",
        "role": roles[kind],
        "kind": kind,
        "detail:ops": ops.strip("_"),
        "detail:index": index,
        "unparsed": None,
    }


@st.composite
def nccl(draw: st.DrawFn) -> Case:
    roles = {"AllReduce": "reduction", "ReduceScatter": "reduction", "AllGather": "copy", "SendRecv": "copy"}
    collective = draw(st.sampled_from(sorted(roles)))
    algorithm, protocol = (
        draw(st.sampled_from(["RING", "TREE", "NVLS"])),
        draw(st.sampled_from(["LL", "LL128", "SIMPLE"])),
    )
    sums = collective in ("AllReduce", "ReduceScatter")
    words = ["ncclDevKernel", collective, *(["Sum", "bf16"] if sums else []), algorithm, protocol]
    return "_".join(words) + "(ncclDevKernelArgsStorage<4096ul>)", {
        "family": "nccl",
        "role": roles[collective],
        "kind": collective,
        "types.a": "bf16" if sums else None,
        "detail:algorithm": algorithm,
        "detail:protocol": protocol,
        "unparsed": None,
    }


RENDERERS = {
    "nvjet": nvjet(),
    "nvjet of sm120": nvjet_sm120(),
    "cutlass2x": cutlass2x(),
    "cutlass3x": cutlass3x(),
    "xmma": xmma(),
    "cublas_legacy": cublas_legacy(),
    "cudnn_sdpa": cudnn_sdpa(),
    "fmha_cutlass": fmha_cutlass(),
    "trtllm_gen_gemm": trtllm_gen_gemm(),
    "tensile": tensile(),
    "triton": triton(),
    "nccl": nccl(),
}


def _by(numbers: tuple[int, ...] | None) -> str:
    return "x".join(str(number) for number in numbers or ())
