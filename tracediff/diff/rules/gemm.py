"""Matrix products: which order one output element is summed in.

An output element is a sum over k. Its bits can change only with the order of that sum: how k is cut into parts (the
split-K factor and where the cuts are), how the parts are added, and how the unit that multiplies adds inside one step.
Tile, cluster, stages and raster decide which block computes an element and when, never in which order.
"""

from __future__ import annotations

from tracediff.diff.result import Kernel, Verdict
from tracediff.diff.rules.facts import (
    agree,
    change,
    differ,
    k_step,
    problem_k,
    reduction_scheme,
    same_block,
    same_code,
    same_name,
    split_part,
    warps_along_k,
)
from tracediff.diff.rules.gemm_facts import (
    adds_in_turn,
    both_cutlass,
    both_unsplit,
    changed_type,
    compute_type,
    cutlass_part,
    instruction_depth,
    is_ffma,
    is_split,
    is_vector_kernel,
    keeps_type,
    label,
    leading_numbers,
    narrows_output,
    other_algorithm,
    split_reason,
    steps_fit,
    triton_reason,
    unsettled_reason,
    unsplit_reason,
    walks_k_in_order,
)
from tracediff.diff.rules.k_cuts import cut_alike, cut_elsewhere, cuts_in_words, cuts_segments
from tracediff.diff.rules.rule import Rule, always
from tracediff.diff.rules.same_launch import cut_by_problem

# scripts/document_rules.py writes the counts behind it into docs/reduction-order.md.
SWEEP = "the sweep"

# What holds for every family comes first.
OTHER_SUM = (
    Rule(
        name="other problem",
        when=lambda a, b: differ(problem_k(a), problem_k(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("k", problem_k(a), problem_k(b)),
        source="a sum of another length is another sum",
    ),
    Rule(
        name="other types",
        when=lambda a, b: changed_type(a, b) is not None,
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: changed_type(a, b) or "types",
        source="other operands or another accumulator round elsewhere",
    ),
    Rule(
        name="other compute type",
        when=lambda a, b: differ(compute_type(a), compute_type(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("compute type", compute_type(a), compute_type(b)),
        source="cuBLASLt's log: products are rounded or summed in another type",
    ),
)

WHATEVER_FAMILY = (
    *OTHER_SUM[:1],
    Rule(
        name="other factor, the same parts",
        when=lambda a, b: (
            differ(a.split_k, b.split_k) and agree(cutlass_part(a), cutlass_part(b)) and agree(k_step(a), k_step(b))
        ),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"split-K {a.split_k} → {b.split_k}, the same {a.grid[2]} parts",
        source="CUTLASS gemm/kernel/gemm_universal.h: parts are rounded up to whole cache lines, so 33 of 8,192 are"
        " 32 of 256; checked against grid.z; " + SWEEP,
    ),
    Rule(
        name="other factor, as many parts",
        when=lambda a, b: differ(a.split_k, b.split_k) and both_cutlass(a, b) and a.grid[2] == b.grid[2],
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: f"split-K {a.split_k} → {b.split_k}, {a.grid[2]} parts in both",
        source="the grid says how many parts there are, not where they are cut",
    ),
    Rule(
        name="split-K factor",
        when=lambda a, b: differ(a.split_k, b.split_k),
        verdict=Verdict.ORDER_CHANGED,
        reason=split_reason,
        source=SWEEP,
    ),
    Rule(
        name="split-K appears or disappears",
        when=lambda a, b: (is_split(a) and b.split_k == 1) or (is_split(b) and a.split_k == 1),
        verdict=Verdict.ORDER_CHANGED,
        reason=split_reason,
        source="a split sum has two parts or more, whatever the factor",
    ),
    *OTHER_SUM[1:],
    Rule(
        name="epilogue",
        when=lambda a, b: a.parsed.epilogue != b.parsed.epilogue and a.parsed.family == b.parsed.family == "nvjet",
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("epilogue", a.parsed.epilogue, b.parsed.epilogue),
        source="not measured: an epilogue may round before it adds",
    ),
    Rule(
        name="reduction scheme, narrower output",
        when=lambda a, b: differ(reduction_scheme(a), reduction_scheme(b)) and narrows_output(a) and narrows_output(b),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("reduction scheme", reduction_scheme(a), reduction_scheme(b)),
        source=SWEEP + ": partial sums are rounded to 16 bits in one and not, or at another moment, in the other",
    ),
    Rule(
        name="reduction scheme",
        when=lambda a, b: (
            differ(reduction_scheme(a), reduction_scheme(b))
            and not (both_cutlass(a, b) and keeps_type(a) and keeps_type(b))
        ),
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("reduction scheme", reduction_scheme(a), reduction_scheme(b)),
        source="parts may be added in another order",
    ),
)

# Code whose multiplying unit may differ under one family's name.
OTHER_UNIT = (
    Rule(
        name="instruction of another depth",
        when=lambda a, b: differ(instruction_depth(a), instruction_depth(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("instruction", a.parsed.mma, b.parsed.mma),
        source=SWEEP + ": it adds another number of products at once",
    ),
    Rule(
        name="other instruction",
        when=lambda a, b: a.parsed.mma != b.parsed.mma or a.parsed.op_class != b.parsed.op_class,
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: change("instruction", a.parsed.mma or a.parsed.op_class, b.parsed.mma or b.parsed.op_class),
        source="one instruction may add its products in another order than the other",
    ),
    Rule(
        name="k sliced in the block",
        when=lambda a, b: differ(warps_along_k(a), warps_along_k(b)),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: change("warps along k", warps_along_k(a), warps_along_k(b)),
        source="CUTLASS sliced-K: each warp sums its own part of k, and the parts are added",
    ),
)

# What is left where k is split.
SPLIT_UNSETTLED = (
    Rule(
        name="same kernel, same factor",
        when=lambda a, b: same_name(a, b) and agree(a.split_k, b.split_k) and not cut_by_problem(a, b),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"same kernel, split-K {a.split_k} in both",
        source="the same code cuts the same sum into as many parts",
    ),
    Rule(
        name="same factor, other tile",
        when=lambda a, b: agree(a.split_k, b.split_k),
        verdict=Verdict.UNKNOWN,
        reason=unsettled_reason,
        source="where the parts are cut and how they are added is not known",
    ),
    Rule(
        name="factor not known",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=split_reason,
        source="these names never say whether k is split",
    ),
)

# Hopper's own kernels: wgmma adds k in steps of one instruction into one fp32 accumulator, whatever the tile.
NVJET = (
    Rule(
        name="unsplit",
        when=both_unsplit,
        verdict=Verdict.SAME_ORDER,
        reason=unsplit_reason,
        source=SWEEP,
    ),
    Rule(
        name="same parts",
        when=lambda a, b: (
            agree(a.split_k, b.split_k) and (agree(k_step(a), k_step(b)) or agree(split_part(a), split_part(b)))
        ),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"split-K {a.split_k} in both",
        source=SWEEP,
    ),
    Rule(
        name="parts cut elsewhere",
        when=lambda a, b: agree(a.split_k, b.split_k),
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: f"split-K {a.split_k} in both, " + change("k-step", k_step(a), k_step(b)),
        source="a part is a whole number of k-steps, so another step may cut k elsewhere",
    ),
    Rule(
        name="factor not known",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=split_reason,
        source="the name says that k is split, not into how many parts",
    ),
)

# cuBLAS's xmma kernels: sm80 code for fp32 (FFMA), sm90 code for TF32.
XMMA = (
    *OTHER_UNIT,
    Rule(
        name="segments, k cut alike",
        when=lambda a, b: (cuts_segments(a) or cuts_segments(b)) and cut_alike(a, b),
        verdict=Verdict.SAME_ORDER,
        reason=cuts_in_words,
        source=SWEEP,
    ),
    Rule(
        name="segments, k cut elsewhere",
        when=lambda a, b: (cuts_segments(a) or cuts_segments(b)) and cut_elsewhere(a, b),
        verdict=Verdict.ORDER_CHANGED,
        reason=cuts_in_words,
        source=SWEEP,
    ),
    Rule(
        name="segments",
        when=lambda a, b: cuts_segments(a) or cuts_segments(b),
        verdict=Verdict.UNKNOWN,
        reason=cuts_in_words,
        source=SWEEP + ": which rows are in tiles that are cut is not known",
    ),
    Rule(
        name="unsplit",
        when=lambda a, b: both_unsplit(a, b) and agree(k_step(a), k_step(b)),
        verdict=Verdict.SAME_ORDER,
        reason=unsplit_reason,
        source=SWEEP,
    ),
    Rule(
        name="parts added in turn",
        when=lambda a, b: agree(a.split_k, b.split_k) and a.split_k != 2 and adds_in_turn(a) != adds_in_turn(b),
        verdict=Verdict.ORDER_CHANGED,
        reason=lambda a, b: f"split-K {a.split_k} in both, parts added in another order",
        source=SWEEP + ": customOption 1 against 2 or none; two parts have one order of adding, so 2 is left out",
    ),
    Rule(
        name="same parts",
        when=lambda a, b: (
            agree(a.split_k, b.split_k)
            and is_ffma(a)
            and agree(split_part(a), split_part(b))
            and not cut_by_problem(a, b)
        ),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"split-K {a.split_k} in both, parts of equal length",
        source=SWEEP + ", whether the parts are added inside the kernel or after it",
    ),
    *SPLIT_UNSETTLED,
)

# CUTLASS 2.x and 3.x and cuBLAS's older kernels.
CLASSIC = (
    *OTHER_UNIT,
    Rule(
        name="stream-K",
        when=lambda a, b: "stream-k" in (a.parsed.split_k_form, b.parsed.split_k_form),
        verdict=Verdict.UNKNOWN,
        reason="stream-K cuts k by the launch",
        source="CUTLASS media/docs: stream-K shares whole tiles' k-steps out over the blocks of the launch",
    ),
    Rule(
        name="unsplit",
        when=lambda a, b: both_unsplit(a, b) and steps_fit(a, b),
        verdict=Verdict.SAME_ORDER,
        reason=unsplit_reason,
        source="CUTLASS threadblock/mma_multistage.h: one accumulator walks k in steps of one instruction, what is"
        " left beyond whole k-steps first; " + SWEEP,
    ),
    Rule(
        name="same parts",
        when=lambda a, b: agree(a.split_k, b.split_k) and both_cutlass(a, b) and steps_fit(a, b),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"split-K {a.split_k} in both",
        source=SWEEP,
    ),
    *SPLIT_UNSETTLED,
)

# Triton's own kernels: tl.dot picks its instruction by tile and warps, and constants that a name does not print
# (BLOCK_K, SPLIT_K) may differ between two kernels of one name.
TRITON = (
    Rule(
        name="same configuration",
        when=lambda a, b: (
            same_name(a, b) and same_block(a, b) and a.parsed.tile is not None and agree(a.split_k, b.split_k)
        ),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"same kernel, split-K {a.split_k} in both",
        source="triton_kernels matmul_ogs_details: the name prints every block size and SPLIT_K",
    ),
    Rule(
        name="fixed tile, more rows",
        when=lambda a, b: (
            walks_k_in_order(a)
            and same_code(a, b)
            and same_block(a, b)
            and a.shared_memory_bytes == b.shared_memory_bytes
        ),
        verdict=Verdict.SAME_ORDER,
        reason="same kernel, a block walks all of k for a tile",
        source="vLLM model_executor/layers/batch_invariant.py, matmul_kernel_persistent and bmm_kernel: block sizes"
        " follow from the type; no split over k",
    ),
    Rule(
        name="other configuration or launch",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=triton_reason,
        source="tl.dot chooses its instruction by the tile; names may leave out block sizes",
    ),
)

# gemv, gemmSN, dot, large-k: each kernel has its own order.
VECTOR = (
    Rule(
        name="vector kernel to matrix kernel, or to another",
        when=lambda a, b: a.parsed.family != b.parsed.family or a.parsed.kernel != b.parsed.kernel,
        verdict=Verdict.ORDER_CHANGED,
        reason=other_algorithm,
        source=SWEEP,
    ),
    Rule(
        name="gemmSN, other number of rows",
        when=lambda a, b: (
            (a.parsed.kernel or "").startswith("gemmSN")
            and same_block(a, b)
            and leading_numbers(a) == leading_numbers(b)
        ),
        verdict=Verdict.SAME_ORDER,
        reason="gemmSN in both, rows only",
        source=SWEEP + "; of the template's numbers only those that count rows differ",
    ),
    Rule(
        name="large-k, same factor",
        when=lambda a, b: (a.parsed.kernel or "").startswith("sgemm_largek") and agree(a.split_k, b.split_k),
        verdict=Verdict.SAME_ORDER,
        reason=lambda a, b: f"large-k GEMM, split-K {a.split_k} in both",
        source=SWEEP,
    ),
    Rule(
        name="other variant or launch",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: f"{label(a)} in both, other variant or launch",
        source="these kernels cut k by their launch configuration",
    ),
)

ACROSS_FAMILIES = (
    Rule(
        name="another algorithm",
        when=always,
        verdict=Verdict.UNKNOWN,
        reason=lambda a, b: f"{label(a)} → {label(b)}",
        source="two families may or may not sum in one order: not measured",
    ),
)


_TABLES = {"nvjet": NVJET, "xmma": XMMA, "triton_user": TRITON, "triton_inductor": TRITON}


def table(a: Kernel, b: Kernel) -> tuple[Rule, ...]:
    """Return the rules for two GEMMs."""
    if is_vector_kernel(a) or is_vector_kernel(b):
        return OTHER_SUM + VECTOR
    if a.parsed.family != b.parsed.family:
        return WHATEVER_FAMILY + ACROSS_FAMILIES
    return WHATEVER_FAMILY + _TABLES.get(a.parsed.family, CLASSIC)
