"""Small diffs made by hand, for what no real trace shows."""

from __future__ import annotations

from typing import Any

from tracediff.diff.result import Kernel, Pair, Row, Side, TraceDiff, Verdict
from tracediff.kernels import KernelName
from tracediff.measured import ModuleBits
from tracediff.trace.table import Coverage, TraceInfo


def kernel(name: str = "k", role: str = "gemm", split_k: int | None = 1, **changes: Any) -> Kernel:
    values: dict[str, Any] = {
        "parsed": KernelName(name=name, family="nvjet", role=role),
        "split_k": split_k,
        "split_k_source": "log" if split_k is not None else None,
        "grid": (8, 1, 1),
        "block": (384, 1, 1),
        "registers": 168,
        "shared_memory_bytes": 1024,
        "duration_ns": 5000,
    }
    return Kernel(**(values | changes))


def row(
    a: Kernel | None,
    b: Kernel | None,
    verdict: Verdict = Verdict.SAME_KERNELS,
    reason: str = "",
    phase: str | None = "prefill",
    layer: int | None = 0,
    module: str = "model.layers.0.mlp.up_proj",
    evidence: ModuleBits | None = None,
) -> Row:
    return Row(
        phase=phase,
        layer=layer,
        module=module,
        a=(a,) if a else (),
        b=(b,) if b else (),
        pairs=(
            Pair(
                a=a,
                b=b,
                verdict=verdict,
                reason=reason,
                index_a=0 if a else None,
                index_b=0 if b else None,
            ),
        ),
        verdict=verdict,
        reason=reason,
        evidence=evidence,
    )


def side(path: str = "b1.sqlite", batch: int | None = 1, **changes: Any) -> Side:
    info = {"path": path, "profiler": "nsys", "gpu": "NVIDIA H200", "dtype": "float16", "model": "llama"}
    return Side(
        info=TraceInfo(batch=batch, **(info | changes)),
        coverage=Coverage(kernels=10, in_module=8, in_phase_only=1, outside_ranges=1, no_launch=0),
        kernels=10,
        splitk_reduce=2,
        duration_ns=50_000,
        notes=(),
    )


def diff(*rows: Row, **changes: Any) -> TraceDiff:
    values: dict[str, Any] = {"a": side(), "b": side("b2.sqlite", 2), "rows": rows}
    return TraceDiff(**(values | changes))


def blocks(number: int, **changes: Any) -> tuple[Row, ...]:
    """The same module in `number` blocks, split 3 → 2."""
    return tuple(
        row(
            kernel("nvjet_hsh_128x8_64x12_4x1_v_bz_splitK_TNT", split_k=3),
            kernel("nvjet_hsh_128x16_64x11_4x1_v_bz_splitK_TNT", split_k=2),
            **(
                {
                    "verdict": Verdict.ORDER_CHANGED,
                    "reason": "split-K 3 → 2",
                    "layer": layer,
                    "module": f"model.layers.{layer}.self_attn.q_proj",
                }
                | changes
            ),
        )
        for layer in range(number)
    )
