"""Run one prompt at several batch sizes and compare every step. Imports torch inside functions.

Real generation is one prefill and then single-token decode steps with a key-value cache; at batch N every row is the
same prompt. Every batch size is fed the tokens that the base batch size chose: after a flip, two free runs would be two
texts and nothing could be compared any more. The choice is the argmax of the raw logits, of equal ones the lowest id
(what torch.argmax documents), with no softmax and no temperature in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tracediff.dtypes import FORMATS
from tracediff.errors import TracediffError
from tracediff.findings.flips import BatchSteps, Choice, Flip, PromptSteps, TopLogit

TOP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """One prompt run at one batch size.

    Attributes:
        logits: Tensor (steps, vocabulary): the first row's raw logits.
        fed: Tensor (steps,): the tokens chosen, or what was fed instead.
        rows_agree: Boolean tensor (): every row had the first row's bits at every step.
    """

    logits: Any
    fed: Any
    rows_agree: Any


def run_generate(model: Any, prompt: Any, batch: int, decode: int, fed: Any = None) -> Steps:
    """Prefill `batch` copies of the prompt and decode step by step with the cache.

    Args:
        model: A transformers causal language model.
        prompt: Int64 tensor (1, tokens) on the model's device.
        batch: Rows.
        decode: Decode steps after the prefill.
        fed: Int64 tensor (decode + 1,) to feed instead of the own choices.
    """
    import torch  # noqa: PLC0415

    kept, chosen, rows_agree = [], [], torch.ones((), dtype=torch.bool, device=prompt.device)
    with torch.inference_mode():
        tokens, cache = prompt.expand(batch, -1).contiguous(), None
        for step in range(decode + 1):
            output = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits, cache = output.logits[:, -1], output.past_key_values
            rows_agree &= _all_rows_agree(logits)
            kept.append(logits[0].clone())
            token = logits[0].argmax() if fed is None else fed[step]
            chosen.append(token)
            tokens = token.expand(batch, 1).contiguous()
    return Steps(logits=torch.stack(kept), fed=torch.stack(chosen), rows_agree=rows_agree)


def run_prefill(model: Any, prompt: Any, batch: int) -> Steps:
    """Run `batch` copies of the prompt through one forward; every position is a step.

    Args:
        model: A transformers causal language model.
        prompt: Int64 tensor (1, tokens) on the model's device.
        batch: Rows.
    """
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        logits = model(input_ids=prompt.expand(batch, -1).contiguous(), use_cache=False).logits
        return Steps(logits=logits[0].clone(), fed=logits[0].argmax(dim=-1), rows_agree=_all_rows_agree(logits))


def compare_prompt(
    runs: Callable[[Any, int, Any], Steps],
    model: Any,
    reference: Any,
    *,
    number: int,
    length: int,
    batches: Sequence[int],
    dtype: str,
    text_of: Callable[[int], str | None],
) -> tuple[PromptSteps, Steps]:
    """Run one prompt at every batch size and compare with the first.

    Args:
        runs: `runs(model, batch, fed)` runs the prompt.
        model: The model searched.
        reference: The same weights in float32, or None.
        number: The prompt's index.
        length: Its tokens.
        batches: Batch sizes, the base first.
        dtype: The logits' dtype, for ULP.
        text_of: Decodes one token, or returns None without a tokenizer.

    Returns:
        The comparison, and the base's run for a check of repeatability.

    Raises:
        TracediffError: A logit is not a number.
    """
    import torch  # noqa: PLC0415

    base = runs(model, batches[0], None)
    _refuse_nan(base.logits, number, batches[0], dtype)
    exact = None
    if reference is not None:
        with float32_products(tf32=False):
            exact = runs(reference, 1, base.fed).logits.float()
    top, seconds = base.logits.topk(2, dim=-1).values.double().cpu().numpy().T
    ulp = FORMATS[dtype].spacing(top)
    compared, flips = [], []
    for batch in batches[1:]:
        other = runs(model, batch, base.fed)
        _refuse_nan(other.logits, number, batch, dtype)
        changed = _bits(base.logits) != _bits(other.logits)
        change = (base.logits.double() - other.logits.double()).abs().amax(dim=-1)
        compared.append(
            BatchSteps(
                batch=batch,
                largest_change=_rounded(change, 7),
                changed_share=_rounded(changed.double().mean(dim=-1), 4),
                to_reference=_distance(other.logits, exact),
                rows_agree=bool(other.rows_agree),
            )
        )
        choices, others = base.logits.argmax(dim=-1), other.logits.argmax(dim=-1)
        for step in torch.nonzero(choices != others).flatten().tolist():
            flips.append(
                Flip(
                    prompt=number,
                    step=step,
                    batch=batch,
                    base=describe_choice(base.logits[step], dtype, text_of),
                    other=describe_choice(other.logits[step], dtype, text_of),
                    margin=float(top[step] - seconds[step]),
                    margin_ulp=float((top[step] - seconds[step]) / ulp[step]),
                    reference=None if exact is None else int(exact[step].argmax()),
                )
            )
    steps = PromptSteps(
        prompt=number,
        length=length,
        chosen=tuple(base.logits.argmax(dim=-1).tolist()),
        top=tuple(top.tolist()),
        margin=tuple((top - seconds).tolist()),
        ulp=tuple(ulp.tolist()),
        to_reference=_distance(base.logits, exact),
        batches=tuple(compared),
        flips=tuple(sorted(flips, key=lambda flip: (flip.step, flip.batch))),
    )
    return steps, base


def describe_choice(logits: Any, dtype: str, text_of: Callable[[int], str | None]) -> Choice:
    """Return the greedy choice of one step and its largest logits.

    Args:
        logits: Tensor (vocabulary,).
        dtype: Their dtype, for ULP.
        text_of: Decodes one token.
    """
    token = int(logits.argmax())
    values, tokens = (part.tolist() for part in logits.double().topk(min(TOP, logits.numel())))
    # topk leaves the order of equal values open, and with many ties may even leave out the lowest id.
    rest = sorted(
        (pair for pair in zip(values, tokens, strict=True) if pair[1] != token), key=lambda pair: (-pair[0], pair[1])
    )
    ranked = [(float(logits[token]), token), *rest][:TOP]
    margin = ranked[0][0] - ranked[1][0]
    return Choice(
        token=token,
        tied=int((logits == logits[token]).sum()),
        margin_ulp=float(margin / FORMATS[dtype].spacing(ranked[0][0])),
        top=tuple(TopLogit(token=number, logit=value, text=text_of(number)) for value, number in ranked),
    )


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Compute float32 matrix products with TF32 or without inside the block."""
    import torch  # noqa: PLC0415

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def same_run(first: Steps, second: Steps) -> bool:
    """Return whether two runs have the same bits at every step."""
    from tracediff.measure.bits import compare  # noqa: PLC0415 -- it imports torch

    return compare(first.logits, second.logits).equal


def _bits(values: Any) -> Any:
    import torch  # noqa: PLC0415

    return values.contiguous().view({2: torch.int16, 4: torch.int32}[values.element_size()])


def _all_rows_agree(logits: Any) -> Any:
    bits = _bits(logits)
    return (bits == bits[:1]).all()


def _distance(logits: Any, exact: Any) -> tuple[float, ...]:
    if exact is None:
        return ()
    # A reference never steers what is fed, so both runs stand on the same tokens.
    return _rounded((logits.float() - exact).double().square().mean(dim=-1).sqrt(), 4)


def _rounded(values: Any, digits: int) -> tuple[float, ...]:
    """Return statistics with so many significant digits: more would only make the result file larger."""
    return tuple(float(f"{value:.{digits}g}") for value in values.tolist())


def _refuse_nan(logits: Any, number: int, batch: int, dtype: str) -> None:
    if bool(logits.isnan().any()):
        hint = (
            "activations may overflow in float16: try --dtypes bfloat16" if dtype == "float16" else "check the weights"
        )
        raise TracediffError(f"prompt {number} at batch {batch} has logits that are not numbers", hint)
