"""What a kernel name says: one result type for every family."""

from typing import Any

from msgspec import Struct
from msgspec.structs import fields

Detail = int | str | bool | tuple[int, ...] | tuple[bool, ...]


class Types(Struct, frozen=True, kw_only=True):
    """Element types as far as the name states them, in short words: `f16`, `bf16`, `f32`, `tf32`, `e4m3`, …

    A block-scaled operand of CUTLASS 3.x is written as the name prints it, scale × data: `ue4m3xe2m1`.

    Attributes:
        a: The first operand.
        b: The second operand.
        accumulate: What products are summed in.
        output: What is written.
        c: The operand that is added (`void`: none).
        math: What operands are converted to before they are multiplied, where the name states it apart from `a`.
        partial: What the partial sums of a split-K product are stored as.
        scale_a: Type of a's block scales and the elements that share one: `ue4m3/16`.
        scale_b: The same of b.
    """

    a: str | None = None
    b: str | None = None
    accumulate: str | None = None
    output: str | None = None
    c: str | None = None
    math: str | None = None
    partial: str | None = None
    scale_a: str | None = None
    scale_b: str | None = None


class KernelName(Struct, frozen=True, kw_only=True):
    """One parsed kernel name. What the name does not state is None; nothing is guessed.

    Attributes:
        name: The name as given.
        family: The grammar that read it (`nvjet`, `xmma`, …); `other` where none did.
        role: `gemm`, `splitk_reduce`, `attention`, `elementwise`, `reduction`, `copy` or `other`.
        arch: The generation the code was written for (`sm90`), not the device it ran on.
        types: Element types.
        tile: Output tile and k-step [m, n, k] as the name prints them; a missing part is None. Of attention:
            [queries, keys, None].
        stages: Pipeline stages.
        cluster: Thread-block cluster, as many numbers as the name prints.
        warps: Warps along m, n, k, or their number alone.
        mma: Shape of the matrix instruction [m, n, k].
        layout: Operand layout letters as printed.
        alignment: Operand alignment in elements.
        split_k: The split-K factor where the name states it as a number.
        split_k_form: `none` (the name states an unsplit sum: factor 1), `parallel`, `serial`, `stream-k`, `split-kv`,
            `stated` (split, in a form that the name does not say) or None (the name does not say).
        sliced_k: Slices of k summed inside one CTA.
        schedule: Kernel schedule (`warpspecialized_cooperative`, `coopA`, …).
        epilogue: What is fused behind the product (`bias`, `relu`, `bias(f16)+relu`, …).
        unparsed: The part of the name that no rule reads, None where every part was read.
        kind: The operation in the family's own word: `gemm`, `spgemm`, `fprop`, `flash_fprop`, `poi`, …
        kernel: The C++ function, without namespaces that only say whose it is (`splitKreduce_kernel`, `gemvx::kernel`).
        op_class: Which unit multiplies: `simt`, `tensorop`, `wmma_tensorop`, `sptensorop`, `wgmma`, `ffma`, …
        stages_auto: True where the name leaves the number of stages to the compiler (`0` in CUTLASS 3.x).
        two_cta: Whether two CTAs share one matrix instruction (`2cta`, `2sm`).
        raster: Order in which tiles are walked (nvjet's `h` or `v`).
        beta: How C enters: nvjet's `bz` (not at all), `badd` (added), `bx` (any factor).
        threads: Threads of a block.
        head_dim: Elements of one attention head.
        details: What else the family states, as (word, value) pairs; each family's page says which words.
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
    kind: str | None = None
    kernel: str | None = None
    op_class: str | None = None
    stages_auto: bool | None = None
    two_cta: bool | None = None
    raster: str | None = None
    beta: str | None = None
    threads: int | None = None
    head_dim: int | None = None
    details: tuple[tuple[str, Detail], ...] = ()

    def detail(self, word: str) -> Detail | None:
        """Return one value of `details`, None where the name does not state it."""
        for key, value in self.details:
            if key == word:
                return value
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values: tuples as lists, types and details as objects, unknown values as None."""
        result: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None:
                pass
            elif isinstance(value, Types):
                value = {part: getattr(value, part) for part in _FIELDS_OF_TYPES}
            elif name == "details":
                value = {word: list(stated) if isinstance(stated, tuple) else stated for word, stated in value}
            elif isinstance(value, tuple):
                value = list(value)
            result[name] = value
        return result


_FIELDS = tuple(each.name for each in fields(KernelName))
_FIELDS_OF_TYPES = tuple(each.name for each in fields(Types))
