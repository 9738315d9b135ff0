"""Which change of a kernel can change bits: one table of rules per kind of kernel, each rule with its source.

The first rule of a table that applies to a pair decides. A table ends in `unknown`: nothing is called the same order
without a reason.
"""

from tracediff.diff.rules import gemm
from tracediff.diff.rules.across_gpus import ACROSS_GPUS
from tracediff.diff.rules.attention import ATTENTION
from tracediff.diff.rules.decide import decide
from tracediff.diff.rules.elementwise import COPY, ELEMENTWISE
from tracediff.diff.rules.reduction import REDUCTION
from tracediff.diff.rules.rule import Rule
from tracediff.diff.rules.run_to_run import RUN_TO_RUN

TABLES: dict[str, tuple[Rule, ...]] = {
    "Sums ordered by chance": RUN_TO_RUN,
    "Sums across GPUs": ACROSS_GPUS,
    "Any two GEMMs": gemm.WHATEVER_FAMILY,
    "nvjet": gemm.NVJET,
    "xmma": gemm.XMMA,
    "CUTLASS and older cuBLAS kernels": gemm.CLASSIC,
    "Triton": gemm.TRITON,
    "gemv, gemmSN, large-k": gemm.VECTOR,
    "GEMMs of two families": gemm.ACROSS_FAMILIES,
    "Attention": ATTENTION,
    "Reductions, norms, softmax": REDUCTION,
    "Elementwise": ELEMENTWISE,
    "Copies": COPY,
}
"""Every table by its title, in the order of the documentation. For GEMMs, the rules for any two apply first."""

__all__ = ["TABLES", "Rule", "decide"]
