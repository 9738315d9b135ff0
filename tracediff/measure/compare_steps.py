"""Compare the runs of one prompt at several batch sizes, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tracediff.dtypes import FloatFormat
from tracediff.errors import TracediffError
from tracediff.findings.flips import BatchSteps, Flip, PromptSteps, StepChoice, TopLogit, margin_in_ulp, margin_unit
from tracediff.measure.generation import Steps, bits_of

TOP = 8
TextOf = Callable[[int], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRuns:
    """One prompt's runs.

    Attributes:
        number: The prompt's index.
        length: Its tokens.
        kind: What kind of prompt it is; None where the prompt file does not say.
        base: The run at the base batch size.
        base_again: A second one, fed the same tokens; None where bits repeat.
        others: The runs at the other batch sizes, fed what the base chose.
        others_again: A second run of each batch size whose bits do not repeat.
        reference: Float32 tensor (steps, vocabulary) of the same weights in float32; None without one.
    """

    number: int
    length: int
    kind: str | None
    base: Steps
    base_again: Steps | None = None
    others: Mapping[int, Steps]
    others_again: Mapping[int, Steps] = field(default_factory=dict)
    reference: torch.Tensor | None


def compare_runs(runs: PromptRuns, format_: FloatFormat, text_of: TextOf) -> PromptSteps:
    """Compare every batch size with the base.

    Args:
        runs: The prompt's runs.
        format_: In whose ULP margins are given.
        text_of: Decodes one token, or returns None without a tokenizer.

    Raises:
        TracediffError: A logit is not a number.
    """
    base = runs.base.logits
    _refuse_nan(base, runs.number, None)
    chosen = base.argmax(dim=-1)
    top, second = base.topk(2, dim=-1).values.double().cpu().T.tolist()
    base_noise = _noise(runs.base, runs.base_again)
    compared: list[BatchSteps] = []
    flips: list[Flip] = []
    for batch, other in runs.others.items():
        _refuse_nan(other.logits, runs.number, batch)
        noise = _noise(other, runs.others_again.get(batch))
        compared.append(replace(_batch_steps(batch, base, other, chosen, runs.reference), noise=noise))
        flips += [
            flip
            for flip in _flips(runs, batch, other, chosen, format_, text_of)
            if flip.step not in (noise or ()) and flip.step not in (base_noise or ())
        ]
    return PromptSteps(
        prompt=runs.number,
        length=runs.length,
        kind=runs.kind,
        chosen=tuple(chosen.tolist()),
        top=tuple(top),
        margin=tuple(a - b for a, b in zip(top, second, strict=True)),
        ulp=tuple(margin_unit(format_, a, b) for a, b in zip(top, second, strict=True)),
        to_reference=_distance(base, runs.reference),
        batches=tuple(compared),
        flips=tuple(sorted(flips, key=lambda flip: (flip.step, flip.batch))),
        noise=base_noise,
    )


def describe_choice(logits: torch.Tensor, format_: FloatFormat, text_of: TextOf) -> StepChoice:
    """Return the greedy choice of one step and its largest logits.

    Args:
        logits: Tensor (vocabulary,).
        format_: In whose ULP the margin is given.
        text_of: Decodes one token.
    """
    token = int(logits.argmax())
    values, tokens = (part.tolist() for part in logits.double().topk(min(TOP, logits.numel())))
    # topk leaves the order of equal values open, and with many ties may even leave out the lowest id.
    rest = sorted(
        (pair for pair in zip(values, tokens, strict=True) if pair[1] != token), key=lambda pair: (-pair[0], pair[1])
    )
    ranked = [(float(logits[token]), token), *rest][:TOP]
    top = tuple(TopLogit(token=number, logit=value, text=text_of(number)) for value, number in ranked)
    return StepChoice(
        token=token, tied=int((logits == logits[token]).sum()), margin_ulp=margin_in_ulp(format_, top), top=top
    )


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Compute float32 matrix products with TF32 or without inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _noise(once: Steps, again: Steps | None) -> tuple[int, ...] | None:
    """Return the steps at which two runs of one batch size choose different tokens; None without a second run."""
    if again is None:
        return None
    return tuple(torch.nonzero(once.logits.argmax(dim=-1) != again.logits.argmax(dim=-1)).flatten().tolist())


def _batch_steps(
    batch: int, base: torch.Tensor, other: Steps, chosen: torch.Tensor, reference: torch.Tensor | None
) -> BatchSteps:
    if torch.equal(bits_of(base), bits_of(other.logits)):
        change = changed = (0.0,) * len(base)
    else:
        change = _rounded((base.float() - other.logits.float()).abs().amax(dim=-1), 7)
        changed = _rounded((bits_of(base) != bits_of(other.logits)).float().mean(dim=-1), 4)
    divergence, ratio = distributions(base, other.logits, chosen)
    return BatchSteps(
        batch=batch,
        largest_change=change,
        changed_share=changed,
        to_reference=_distance(other.logits, reference),
        rows_agree=other.rows_agree,
        divergence=divergence,
        ratio=ratio,
    )


def distributions(
    base: torch.Tensor, other: torch.Tensor, chosen: torch.Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each step's Kullback-Leibler divergence and the probability ratio of the base's token.

    With d the change of a logit and p the base's probabilities, the divergence is log E[exp(d)] - E[d]. In these small
    numbers float32 keeps its digits; in the difference of two log-probabilities they would cancel.

    Args:
        base, other: Logits (steps, vocabulary) at the base batch size and at another.
        chosen: The base's tokens (steps,).
    """
    if torch.equal(bits_of(base), bits_of(other)):
        return (0.0,) * len(base), (1.0,) * len(base)
    before, after = base.float(), other.float()
    probabilities = before.softmax(dim=-1)
    change = after - before
    # The same change of all logits changes no probability; a masked token has none.
    change = change - change.gather(-1, chosen[:, None])
    change = torch.where(probabilities > 0, change, 0.0)
    log_mean = torch.log1p((probabilities * torch.expm1(change)).sum(dim=-1))
    divergence = (log_mean - (probabilities * change).sum(dim=-1)).clamp(min=0.0)
    return _rounded(divergence, 4), _rounded(torch.exp(-log_mean), 6)


def _flips(
    runs: PromptRuns, batch: int, other: Steps, chosen: torch.Tensor, format_: FloatFormat, text_of: TextOf
) -> Iterator[Flip]:
    base = runs.base.logits
    for step in torch.nonzero(chosen != other.logits.argmax(dim=-1)).flatten().tolist():
        before = describe_choice(base[step], format_, text_of)
        after = describe_choice(other.logits[step], format_, text_of)
        moved = [
            abs(float(base[step, token]) - float(other.logits[step, token])) for token in (before.token, after.token)
        ]
        yield Flip(
            prompt=runs.number,
            step=step,
            batch=batch,
            base=before,
            other=after,
            margin=before.top[0].logit - before.top[1].logit,
            margin_ulp=before.margin_ulp,
            reference=None if runs.reference is None else int(runs.reference[step].argmax()),
            moved=(moved[0], moved[1]),
        )


def _distance(logits: torch.Tensor, reference: torch.Tensor | None) -> tuple[float, ...]:
    if reference is None:
        return ()
    # A reference never steers what is fed, so both runs continue the same tokens.
    return _rounded((logits.float() - reference).square().mean(dim=-1).sqrt(), 4)


def _rounded(values: Any, digits: int) -> tuple[float, ...]:
    """Return statistics with so many significant digits: more would only make the result file larger."""
    return tuple(float(f"{value:.{digits}g}") for value in values.tolist())


def _refuse_nan(logits: torch.Tensor, number: int, batch: int | None) -> None:
    if bool(logits.isnan().any()):
        where = "the base batch size" if batch is None else f"batch {batch}"
        hint = (
            "activations may overflow in float16: try --dtypes bfloat16"
            if logits.dtype is torch.float16
            else "check the weights"
        )
        raise TracediffError(f"prompt {number} at {where} has logits that are not numbers", hint)
