"""Assertions for a test suite: that two traces sum alike, and that a model's bits do not depend on the batch.

from tracediff.testing import assert_batch_invariant, assert_same_order

def test_the_upgrade_keeps_every_sum():
    assert_same_order("before.sqlite", "after.sqlite")

def test_my_model_is_batch_invariant(model, tokens):
    assert_batch_invariant(model, tokens, batches=(2, 8))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tracediff import api
from tracediff.diff.gate import failures
from tracediff.diff.overview import sums_products
from tracediff.diff.result import Verdict
from tracediff.diff.words import listing

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from tracediff.trace import KernelTable

_NAMED = 5
_RANK = {Verdict.ORDER_CHANGED: 0, Verdict.UNKNOWN: 1}


def assert_same_order(
    a: KernelTable | Path | str,
    b: KernelTable | Path | str,
    *,
    phases: Sequence[str] = (),
    allow_unknown: bool = False,
) -> None:
    """Assert that every sum of two traces keeps its order, so that equal bits are predicted.

    Args:
        a, b: Traces, or what `tracediff.open` returned.
        phases: Only these phases; all when empty.
        allow_unknown: Whether a module that the traces cannot judge, and kernels not compared, pass.

    Raises:
        AssertionError: Some do not; it names the first modules and why.
        TracediffError: A trace cannot be read.
    """
    result = api.diff(a, b, phases=phases)
    gates = (Verdict.ORDER_CHANGED,) if allow_unknown else (Verdict.ORDER_CHANGED, Verdict.UNKNOWN)
    failed = failures([result.result], gates, any_difference=False)
    if not failed:
        return
    # Products before norms: where a reader looks first.
    rows = sorted(
        (row for row in result.result.rows if row.verdict in gates),
        key=lambda row: (_RANK[row.verdict], not sums_products(row)),
    )
    named = [f"{row.module or 'no module'} ({row.phase}): {row.reason}" for row in rows]
    raise AssertionError(f"{', '.join(failed)}; {listing(named, limit=_NAMED)}" if named else ", ".join(failed))


def assert_batch_invariant(
    model: torch.nn.Module, inputs: torch.Tensor | Mapping[str, torch.Tensor], *, batches: Sequence[int] = (2, 8)
) -> None:
    """Assert that one row's outputs have the same bits alone and in a batch of copies of itself.

    Args:
        model: Any module; it is called as it is, without gradients.
        inputs: What the model takes for one row: one tensor, or tensors by keyword, each with one row.
        batches: Batch sizes to compare with batch 1.

    Raises:
        AssertionError: Bits change. It names the first module that gives different bits on equal inputs, or the module
            that does not repeat its own bits, in which case nothing can be said of the batch.
        ValueError: A tensor has more than one row.
    """
    import torch  # noqa: PLC0415 -- only this assertion needs it

    from tracediff.measure.bits import compare  # noqa: PLC0415
    from tracediff.measure.noise import measure_noise  # noqa: PLC0415
    from tracediff.measure.replay import record, replay  # noqa: PLC0415

    named = inputs if isinstance(inputs, Mapping) else None
    for tensor in named.values() if named is not None else (inputs,):
        if not isinstance(tensor, torch.Tensor) or not tensor.dim() or tensor.shape[0] != 1:
            raise ValueError("inputs are tensors of one row: the batch is made of copies of it")

    def run(batch: int) -> Any:
        with torch.inference_mode():
            if named is not None:
                return model(**{name: _repeated(tensor, batch) for name, tensor in named.items()})
            return model(_repeated(inputs, batch))

    recording = record(model, lambda: run(1))
    alone = _output(run(1))
    for batch in batches:
        noise = measure_noise(model, partial(run, batch), recording, batch)
        if noise.places:
            (_, module), varied = next(iter(noise.places.items()))
            raise AssertionError(
                f"batch {batch}: {module or 'the model'} does not repeat itself "
                f"({varied.outcomes} outcomes in {varied.repeats} runs on equal inputs), so invariance cannot be told"
            )
        bits = compare(alone, _output(run(batch))[:1])
        if bits.equal:
            continue
        origins = [
            module for (_, module), found in replay(model, partial(run, batch), recording).items() if not found.equal
        ]
        first = "no module gives different bits on equal inputs"
        if origins:
            first = f"the first module that gives different bits on equal inputs is {origins[0]}"
        raise AssertionError(f"batch {batch}: {bits.share:.1%} of the outputs' elements have different bits; {first}")


def _repeated(tensor: Any, batch: int) -> Any:
    return tensor.repeat(batch, *([1] * (tensor.dim() - 1)))


def _output(value: Any) -> Any:
    """Return the tensor that a model's output is about: itself, its logits, or its first tensor."""
    from tracediff.measure.crossings import tensors_in  # noqa: PLC0415 -- needs torch

    logits = getattr(value, "logits", None)
    return logits if logits is not None else next(tensors_in(value))
