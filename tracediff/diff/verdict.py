"""Judge one row: its kernels in both traces, aligned, against the rule tables."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tracediff.diff.align import AlignedPair
from tracediff.diff.result import SEVERITY, Kernel, Pair, Verdict
from tracediff.diff.rules import decide
from tracediff.diff.rules.facts import change, differ
from tracediff.diff.rules.reduction import seldom_shows

# Where several pairs are equally bad, the one that says most about bits gives the row's reason.
_TELLING = {"gemm": 0, "attention": 1, "reduction": 2, "splitk_reduce": 3, "other": 4, "elementwise": 5, "copy": 6}

# What decides whether another order of a norm's fp32 sum can be seen; docs/reduction-order.md has the measured shares.
SELDOM_SHOWS = " (seldom shows in 16 bits)"


def judge_row(
    pairs: Sequence[AlignedPair], dtypes: tuple[str | None, str | None] = (None, None)
) -> tuple[tuple[Pair, ...], Verdict, str]:
    """Judge the aligned kernels of one (phase, module).

    A kernel that only adds the parts of a split-K GEMM is judged with that GEMM.

    Args:
        pairs: Every kernel of both sides once, aligned, in launch order; one side may be None, not both.
        dtypes: Element types that the traces state for themselves. Where they differ, no kernel promises equal bits.

    Returns:
        The judged pairs, the worst verdict among them, and the reason of the pair that decides.
    """
    judged: list[Pair] = []
    product: Pair | None = None
    seen_a = seen_b = 0
    for a, b in pairs:
        kernel = a or b
        role = kernel.parsed.role if kernel is not None else "other"
        if role == "splitk_reduce" and product is not None and (b is None or a is None or b.parsed.role == role):
            verdict, reason = _with_product(product, a, b)
        else:
            verdict, reason = decide(a, b)
        index_a, index_b = (None if a is None else seen_a), (None if b is None else seen_b)
        pair = Pair(a=a, b=b, verdict=verdict, reason=reason, index_a=index_a, index_b=index_b)
        seen_a, seen_b = seen_a + (a is not None), seen_b + (b is not None)
        if role == "gemm":
            product = pair
        judged.append(pair)
    if not judged:
        return (), Verdict.SAME_KERNELS, "no kernels"
    for side, there in (("a", [pair.a for pair in judged]), ("b", [pair.b for pair in judged])):
        if not any(there):
            # Whatever ran, nothing is known of what the other trace did in its place.
            return tuple(judged), Verdict.UNKNOWN, f"only in {'b' if side == 'a' else 'a'}"
    judged = _across_types(_with_what_shows(judged), *dtypes)
    worst = min(judged, key=lambda pair: (-SEVERITY[pair.verdict], _telling(pair)))
    return tuple(judged), worst.verdict, worst.reason


def _with_what_shows(judged: list[Pair]) -> list[Pair]:
    """Add to the reasons of norms, in a module that rounds to 16 bits, that another order is seldom seen."""
    if not seldom_shows(pair.a for pair in judged if pair.a is not None):
        return judged
    return [
        replace(pair, reason=pair.reason + SELDOM_SHOWS)
        if pair.verdict is Verdict.ORDER_CHANGED and pair.a is not None and pair.a.parsed.role == "reduction"
        else pair
        for pair in judged
    ]


def _across_types(judged: list[Pair], a: str | None, b: str | None) -> list[Pair]:
    """Take back every promise of equal bits between traces of two element types."""
    if not differ(a, b):
        return judged
    promises = (Verdict.SAME_KERNELS, Verdict.SAME_ORDER)
    return [
        replace(pair, verdict=Verdict.UNKNOWN, reason=change("dtype", a, b)) if pair.verdict in promises else pair
        for pair in judged
    ]


def _with_product(product: Pair, a: Kernel | None, b: Kernel | None) -> tuple[Verdict, str]:
    """Judge a split-K reduction: its order is the split-K factor, which the GEMM's pair has settled."""
    same = product.verdict in (Verdict.SAME_KERNELS, Verdict.SAME_ORDER)
    if a is None or b is None:
        # Where k is split alike and the log says how parts are added, the GEMM's rules have settled that it does not
        # matter which kernel adds them.
        settled = _is_split(product) and _is_logged(product)
        return decide(a, b) if same and not settled else (product.verdict, product.reason)
    if _partial_type(a) != _partial_type(b):
        return Verdict.ORDER_CHANGED, f"partial sums {_partial_type(a)} → {_partial_type(b)}"
    verdict, reason = decide(a, b)
    if verdict is Verdict.SAME_KERNELS and same:
        return verdict, reason
    return (Verdict.SAME_ORDER if same else product.verdict), product.reason


def _is_split(product: Pair) -> bool:
    return all(kernel is not None and (kernel.split_k or 1) > 1 for kernel in (product.a, product.b))


def _is_logged(product: Pair) -> bool:
    return all(kernel is not None and kernel.algorithm is not None for kernel in (product.a, product.b))


def _partial_type(kernel: Kernel) -> str | None:
    return kernel.parsed.types.partial if kernel.parsed.types is not None else None


def _telling(pair: Pair) -> int:
    kernel = pair.a or pair.b
    return _TELLING.get(kernel.parsed.role, 4) if kernel is not None else 4
