"""FlashInfer's kernels (`flashinfer::…`), and TensorRT-LLM's that it carries.

    BatchPrefillWithPagedKVCacheKernel<KernelTraits<mask, queries, mma_q, mma_kv, mma_d_qk, mma_d_vo,
        warps_q, warps_kv, position, Q, KV, O, …>, Params>
    BatchDecodeWithPagedKVCacheKernel<position, stages, tile, vec, bdx, bdy, bdz, Variant, Params>

Source: include/flashinfer/attention/{prefill,decode}.cuh. Decode verified; prefill's order is inferred from real
names (128, 2, 2, 8, 8, 4, 1 for head dimension 128). One matrix instruction covers 16 elements, so keys per tile
are 16·mma_kv·warps_kv and the head dimension 16·mma_d_vo; for decode it is vec·bdx, and a block has bdx·bdy·bdz
threads.

Whether keys are split between CTAs is an argument at run time: `split_k_form` is None. The merge kernels
(`…MergeStates…`) sum split parts: role `reduction`, form `split-kv`.

Norms and all-reduces have role `reduction`; activations, rotary embedding and quantization `elementwise`; cache
appends `copy`.

Details: `mask_mode`, `cta_tile_q`, `num_mma_q`, `num_mma_kv`, `warps_q`, `warps_kv`, `tile_per_bdx`, `vector`,
`threads_xyz`.
"""

from tracediff.kernels.cpp_types import cpp_type
from tracediff.kernels.function_words import role_of
from tracediff.kernels.model import Detail, KernelName, Types
from tracediff.kernels.spelling import Spelling, arguments, integer_literal


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read one FlashInfer name."""
    kernel = spelling.path.rpartition("::")[2]
    listed = arguments(spelling.text, spelling.open)[0] if spelling.open >= 0 else []
    if listed and "KernelTraits<" in listed[0]:
        found = _read_prefill(name, kernel, listed[0])
        if found is not None:
            return found
    if "Decode" in kernel and len(listed) >= 8:
        found = _read_decode(name, kernel, listed)
        if found is not None:
            return found
    role = role_of(kernel)
    return KernelName(
        name=name,
        family="flashinfer",
        role=role,
        split_k_form="split-kv" if "mergestate" in kernel.lower() else None,
        kernel=kernel,
        unparsed=spelling.text[spelling.open :] if role in ("attention", "gemm") and spelling.open >= 0 else None,
    )


def _read_prefill(name: str, kernel: str, traits: str) -> KernelName | None:
    parts, _ = arguments(traits, traits.index("<"))
    numbers = [integer_literal(part) for part in parts[:8]]
    if len(parts) < 12 or None in numbers:
        return None
    mask, queries, mma_q, mma_kv, mma_qk, mma_vo, warps_q, warps_kv = (number or 0 for number in numbers)
    details: list[tuple[str, Detail]] = [
        ("mask_mode", mask),
        ("cta_tile_q", queries),
        ("num_mma_q", mma_q),
        ("num_mma_kv", mma_kv),
        ("warps_q", warps_q),
        ("warps_kv", warps_kv),
        ("head_dim_qk", 16 * mma_qk),
    ]
    return KernelName(
        name=name,
        family="flashinfer",
        role="attention",
        types=Types(a=cpp_type(parts[9]), b=cpp_type(parts[10]), output=cpp_type(parts[11])),
        tile=(queries, 16 * mma_kv * warps_kv, None),
        warps=(warps_q, warps_kv),
        kernel=kernel,
        head_dim=16 * mma_vo,
        details=tuple(details),
    )


def _read_decode(name: str, kernel: str, listed: list[str]) -> KernelName | None:
    numbers = [integer_literal(part) for part in listed[1:7]]
    if "PosEncodingMode" not in listed[0] or None in numbers:
        return None
    stages, tile, vector, bdx, bdy, bdz = (number or 0 for number in numbers)
    return KernelName(
        name=name,
        family="flashinfer",
        role="attention",
        stages=stages,
        kernel=kernel,
        threads=bdx * bdy * bdz,
        head_dim=vector * bdx,
        details=(("tile_per_bdx", tile), ("vector", vector), ("threads_xyz", (bdx, bdy, bdz))),
    )
