"""One readable line per kernel name."""

from tracediff.kernels.compare import COLLECTIONS, split_k_words
from tracediff.kernels.model import KernelName, Types

_ROLES = {
    "gemm": "GEMM",
    "splitk_reduce": "split-K reduction",
    "attention": "attention",
    "elementwise": "elementwise",
    "reduction": "reduction",
    "copy": "copy",
}


def describe(kernel: KernelName, factor_is_known: bool = False) -> str:
    """Return one line: `nvjet f16 GEMM, tile 128×8×64, 12 stages, cluster 4×1, split-K (factor not in the name)`.

    Args:
        kernel: What the name says.
        factor_is_known: Whether the split-K factor is told beside it, wherever it comes from.
    """
    # The family of small cuBLAS kernels says less than the function: gemmSN and gemv sum in different orders.
    head = []
    if kernel.family != "other":
        head.append(kernel.kernel if kernel.family in COLLECTIONS and kernel.kernel else kernel.family)
    if kernel.types is not None and (elements := _elements(kernel.types)):
        head.append(elements)
    head.append(_ROLES.get(kernel.role, kernel.kernel or kernel.kind or "unknown kernel"))
    named = kernel.kind or kernel.kernel
    title = [" ".join(head)] + ([named] if named and named not in (*head, "gemm", kernel.unparsed) else [])
    parts = title + _configuration(kernel) + _split(kernel, factor_is_known)
    if kernel.unparsed is not None:
        shown = kernel.unparsed if len(kernel.unparsed) <= 60 else f"{kernel.unparsed[:59]}…"
        parts.append(f"not read: {shown}")
    return ", ".join(parts)


def _elements(types: Types) -> str | None:
    """Return the operands' type, both where they differ: `bf16`, `bf16×mxfp4`."""
    if types.a is not None and types.b is not None and types.a != types.b:
        return f"{types.a}×{types.b}"
    return types.a or types.partial


def _configuration(kernel: KernelName) -> list[str]:
    parts = []
    if kernel.tile is not None:
        parts.append("tile " + "×".join([str(part) for part in kernel.tile if part is not None]))
    if kernel.head_dim is not None:
        parts.append(f"head dimension {kernel.head_dim}")
    if kernel.stages is not None:
        parts.append(f"{kernel.stages} stage" + ("" if kernel.stages == 1 else "s"))
    for label, numbers in (("cluster", kernel.cluster), ("warps", kernel.warps)):
        if numbers is not None:
            parts.append(f"{label} " + "×".join(map(str, numbers)))
    if kernel.schedule is not None:
        parts.append(kernel.schedule)
    if kernel.epilogue is not None:
        parts.append(f"epilogue {kernel.epilogue}")
    if kernel.sliced_k is not None:
        parts.append(f"sliced-K {kernel.sliced_k}")
    return parts


def _split(kernel: KernelName, factor_is_known: bool) -> list[str]:
    """Return what the name says of split-K, as a list of none or one part."""
    if kernel.split_k_form is None or kernel.role == "splitk_reduce":
        return []
    if kernel.split_k_form == "none":
        return ["unsplit"]
    if kernel.split_k_form == "stated" and kernel.split_k is None:
        return ["split-K" if factor_is_known else "split-K (factor not in the name)"]
    return ["split over keys" if kernel.split_k_form == "split-kv" else f"split-K {split_k_words(kernel)}"]
