"""What can make bits independent of the batch: each part of a setting, what it needs, and what a user writes for it.

A setting is a set of parts that do not contradict each other, written `fixed-chunk+no-workspace+fused-norm`; `default`
is the empty set. The parts are named here, without torch; `tracediff.measure.remedies_apply` carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tracediff.errors import TracediffError

DEFAULT = "default"
_PAD_BATCH = re.compile(r"pad-batch-([1-9]\d{0,4})")


class Kind(StrEnum):
    """What a part decides. A setting has at most one part of each kind."""

    ATTENTION = "attention"
    LIBRARY = "the library's choice"
    PRODUCTS = "products"
    FUSION = "which products are computed as one"
    NORMS = "norms"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemedyPart:
    """One part of a setting.

    Attributes:
        name: As it appears in a setting's name.
        kind: What it decides.
        words: What it does, in one phrase.
        environment: Variables that must be set before the process starts.
        code: Lines of Python that switch it on in a program that uses torch.
        cannot: What neither the environment nor those lines can do for a foreign program; None where they suffice.
        gpu_only: Whether it means nothing on the CPU.
    """

    name: str
    kind: Kind
    words: str
    environment: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    cannot: str | None = None
    gpu_only: bool = True


def _backend(name: str, member: str, words: str) -> RemedyPart:
    return RemedyPart(
        name=name,
        kind=Kind.ATTENTION,
        words=words,
        code=(
            "from torch.nn.attention import SDPBackend, sdpa_kernel",
            f"with sdpa_kernel(SDPBackend.{member}): ...  # around the model's forward",
        ),
        cannot="it holds for torch's scaled_dot_product_attention only; a server has attention kernels of its own",
        gpu_only=name != "math",
    )


_OWN_FORWARD = "the model's own modules must call it"

PARTS: tuple[RemedyPart, ...] = (
    _backend("flash", "FLASH_ATTENTION", "torch's flash attention"),
    _backend("cudnn", "CUDNN_ATTENTION", "cuDNN's attention, asked for by name"),
    _backend("math", "MATH", "attention as two matrix products and a softmax"),
    RemedyPart(
        name="efficient",
        kind=Kind.ATTENTION,
        words="torch's memory-efficient attention on keys and values repeated for every query head",
        code=(
            "key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))",
            "with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION): ...  # around scaled_dot_product_attention",
        ),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="grouped-queries",
        kind=Kind.ATTENTION,
        words="memory-efficient attention in which the query heads of a key head are its queries (decode only)",
        code=(
            "query = query.view(batch, key_heads, groups, width)  # one query per row",
            "with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION): ...  # around scaled_dot_product_attention",
        ),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="row-by-row-attention",
        kind=Kind.ATTENTION,
        words="flash attention, called once for every row of the batch",
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
    RemedyPart(
        name="flex",
        kind=Kind.ATTENTION,
        words="FlexAttention without its kernel for decoding, which cuts the keys by the batch",
        code=(
            "from torch.nn.attention.flex_attention import flex_attention",
            'options = {"FORCE_USE_FLEX_ATTENTION": True}',
            "y = torch.compile(flex_attention)(query, key, value, enable_gqa=True, kernel_options=options)",
        ),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="fixed-chunk",
        kind=Kind.ATTENTION,
        words="tracediff's Triton attention, keys cut every 512 whatever the batch",
        code=("from tracediff.measure.invariant.attention import fixed_chunk_attention",),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="no-workspace",
        kind=Kind.LIBRARY,
        words="cuBLAS without workspace: an algorithm that needs partial sums in memory cannot be chosen",
        environment={"CUBLASLT_WORKSPACE_SIZE": "0", "CUBLAS_WORKSPACE_CONFIG": ":0:0"},
    ),
    RemedyPart(
        name="no-split",
        kind=Kind.LIBRARY,
        words="cuBLASLt as the preferred library, reduced-precision reductions and split-K forbidden",
        code=(
            'torch.backends.cuda.preferred_blas_library("cublaslt")',
            "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = (False, False)",
            "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = (False, False)",
        ),
    ),
    RemedyPart(
        name="deterministic",
        kind=Kind.LIBRARY,
        words="torch.use_deterministic_algorithms, with the workspace that it asks for",
        environment={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        code=("torch.use_deterministic_algorithms(True)",),
        gpu_only=False,
    ),
    RemedyPart(
        name="pad-products-64",
        kind=Kind.PRODUCTS,
        words="every product padded to a multiple of 64 rows",
        code=("y = linear(torch.nn.functional.pad(x, (0, 0, 0, -len(x) % 64)))[: len(x)]",),
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
    RemedyPart(
        name="row-by-row-products",
        kind=Kind.PRODUCTS,
        words="every product once for every row of the batch",
        code=("y = torch.cat([linear(row) for row in x.split(1)])",),
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
    RemedyPart(
        name="float32-products",
        kind=Kind.PRODUCTS,
        words="products of float32 copies of inputs and weights, rounded afterwards",
        code=("y = (x.float() @ weight.float().T).to(x.dtype)",),
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
    RemedyPart(
        name="fixed-tile",
        kind=Kind.PRODUCTS,
        words="tracediff's Triton product, one tile whatever the shape",
        code=("y = torch.ops.tracediff.linear_fixed_tile(x, weight)",),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="fixed-step",
        kind=Kind.PRODUCTS,
        words="tracediff's Triton product, tiles by the number of rows, the step along k fixed",
        code=("y = torch.ops.tracediff.linear_fixed_step(x, weight)",),
        cannot=_OWN_FORWARD,
    ),
    RemedyPart(
        name="fused-products",
        kind=Kind.FUSION,
        words="queries, keys and values as one product, gate and up as one, as engines compute them",
        code=(
            "w_qkv = torch.cat([w_query, w_key, w_value])  # once, after loading",
            "query, key, value = torch.nn.functional.linear(x, w_qkv).split(sizes, dim=-1)",
        ),
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
    RemedyPart(
        name="fused-norm",
        kind=Kind.NORMS,
        words="torch's fused rms_norm in place of a norm that takes its mean in a kernel of its own",
        code=("y = torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, eps)",),
        cannot=_OWN_FORWARD,
        gpu_only=False,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Parts that are in force together.

    Attributes:
        parts: In the order of their kinds; empty for the default.
        padded_batch: Every batch is padded to a multiple of it; None pads nothing.
    """

    parts: tuple[RemedyPart, ...] = ()
    padded_batch: int | None = None

    @property
    def name(self) -> str:
        """The parts' names, joined by `+`; `default` for none."""
        padding = () if self.padded_batch is None else (f"pad-batch-{self.padded_batch}",)
        return "+".join((*(part.name for part in self.parts), *padding)) or DEFAULT

    @property
    def environment(self) -> dict[str, str]:
        """Variables that must be set before the process starts."""
        return {name: value for part in self.parts for name, value in part.environment.items()}

    @property
    def words(self) -> str:
        """What the setting does, in one sentence."""
        words = [part.words for part in self.parts]
        if self.padded_batch is not None:
            words.append(f"every batch padded to a multiple of {self.padded_batch} rows")
        return "; ".join(words) or "torch as it comes"

    def rows(self, batch: int) -> int:
        """Return how many rows really run for a batch."""
        multiple = self.padded_batch or 1
        return -(-batch // multiple) * multiple

    def part(self, kind: Kind) -> str | None:
        """Return the name of the part of one kind, None where the setting leaves it to torch."""
        return next((part.name for part in self.parts if part.kind is kind), None)


def setting_named(name: str) -> Setting:
    """Return a setting by its name.

    Raises:
        TracediffError: An unknown part, or two parts that decide the same.
    """
    known = {part.name: part for part in PARTS}
    parts: list[RemedyPart] = []
    padded = None
    for word in name.split("+"):
        if word == DEFAULT:
            continue
        padding = _PAD_BATCH.fullmatch(word)
        if padding is not None:
            padded = int(padding[1])
            continue
        if word not in known:
            raise TracediffError(f"unknown setting {word}", f"choose from {', '.join(known)}, pad-batch-N; join with +")
        if any(part.kind is known[word].kind for part in parts):
            other = next(part.name for part in parts if part.kind is known[word].kind)
            raise TracediffError(f"{other} and {word} both decide {known[word].kind}", "name one of them")
        parts.append(known[word])
    order = list(Kind)
    return Setting(parts=tuple(sorted(parts, key=lambda part: order.index(part.kind))), padded_batch=padded)


RECOMMENDED: Sequence[str] = (
    "default",
    "flash",
    "efficient",
    "cudnn",
    "math",
    "fused-norm",
    "flash+fused-norm",
    "fixed-chunk+fused-norm",
    "flash+no-split+fused-norm",
    "flash+pad-products-64+fused-norm",
    "flash+row-by-row-products+fused-norm",
    "flash+float32-products+fused-norm",
    "flash+fixed-tile+fused-norm",
    "flash+fixed-step+fused-norm",
    "fixed-chunk+fixed-tile+fused-norm",
    "flash+fused-norm+pad-batch-64",
    "deterministic",
    "no-workspace",
    "no-workspace+fused-norm",
    "flash+no-workspace+fused-norm",
    "row-by-row-attention+no-workspace+fused-norm",
    "efficient+no-workspace+fused-norm",
    "grouped-queries+no-workspace+fused-norm",
    "flex+no-workspace+fused-norm",
    "fixed-chunk+no-workspace+fused-norm",
    "fused-products+fused-norm",
    "no-workspace+fused-products+fused-norm",
    "fixed-chunk+no-workspace+fused-products+fused-norm",
)
"""The settings that `tracediff remedies` measures unasked: each remedy alone, then combinations."""
