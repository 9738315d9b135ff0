"""What a kernel name says: one result type for every family."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """Element types as far as the name states them, in short words: `f16`, `bf16`, `f32`, `tf32`, `e4m3`, …"""

    a: str | None = None
    b: str | None = None
    accumulate: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelName:
    """One parsed kernel name. What the name does not state is None; nothing is guessed.

    Attributes:
        name: The name as given.
        family: The grammar that read it (`nvjet`, `xmma`, …); `other` where none did.
        role: `gemm`, `splitk_reduce`, `attention`, `elementwise`, `reduction`, `copy` or `other`.
        arch: The generation the code was written for (`sm90`), not the device it ran on.
        types: Element types.
        tile: Output tile and k-step [m, n, k] as the name prints them; a missing part is None.
        stages: Pipeline stages.
        cluster: Thread-block cluster, as many numbers as the name prints.
        warps: Warps (or warp groups) along m, n, k.
        mma: Shape of the matrix instruction [m, n, k].
        layout: Operand layout letters as printed.
        alignment: Operand alignment in elements.
        split_k: The split-K factor where the name states it.
        split_k_form: `none`, `parallel`, `serial`, `stream-k`, `split-kv`, `stated` or None (unknown).
        sliced_k: Slices of k summed inside one CTA.
        schedule: Kernel schedule (`warpspecialized_cooperative`, …).
        epilogue: Epilogue as printed.
        unparsed: The part of the name that no rule reads, None where every part was read.
    """

    name: str
    family: str
    role: str
    arch: str | None = None
    types: Types | None = None
    tile: tuple[int | None, int | None, int | None] | None = None
    stages: int | None = None
    cluster: tuple[int, ...] | None = None
    warps: tuple[int, ...] | None = None
    mma: tuple[int, ...] | None = None
    layout: str | None = None
    alignment: int | None = None
    split_k: int | None = None
    split_k_form: str | None = None
    sliced_k: int | None = None
    schedule: str | None = None
    epilogue: str | None = None
    unparsed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values: tuples as lists, types as an object, unknown values as None."""
        result: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Types):
                value = {part.name: getattr(value, part.name) for part in fields(value)}
            elif isinstance(value, tuple):
                value = list(value)
            result[field.name] = value
        return result
