"""Run one prompt at one batch size, every row a copy of it: real generation, or all positions of one forward.

Real generation is one prefill and then single-token decode steps with a key-value cache. The choice is the argmax of
the raw logits, of equal ones the lowest id (what torch.argmax documents), with no softmax and no temperature between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tracediff.model.forward import call_with_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """One prompt run at one batch size.

    Attributes:
        logits: Tensor (steps, vocabulary): the first row's raw logits.
        fed: Tensor (steps,): the tokens chosen, or what was fed instead.
        rows_agree: Whether every row had the first row's bits at every step.
    """

    logits: torch.Tensor
    fed: torch.Tensor
    rows_agree: bool


def run_generate(model: Any, prompt: torch.Tensor, batch: int, decode: int, fed: torch.Tensor | None = None) -> Steps:
    """Prefill `batch` copies of the prompt and decode step by step with a cache that grows.

    Args:
        model: A transformers causal language model.
        prompt: Int64 tensor (1, tokens) on the model's device.
        batch: Rows.
        decode: Decode steps after the prefill.
        fed: Int64 tensor (decode + 1,) to feed instead of the own choices.
    """
    kept, chosen, rows_agree = [], [], torch.ones((), dtype=torch.bool, device=prompt.device)
    with torch.inference_mode():
        tokens, cache = prompt.expand(batch, -1).contiguous(), None
        for step in range(decode + 1):
            logits, cache = call_with_cache(model, tokens, cache, logits_to_keep=1)
            logits = logits[:, -1]
            rows_agree &= rows_are_equal(logits)
            kept.append(logits[0].clone())
            token = logits[0].argmax() if fed is None else fed[step]
            chosen.append(token)
            tokens = token.expand(batch, 1).contiguous()
    return Steps(logits=torch.stack(kept), fed=torch.stack(chosen), rows_agree=bool(rows_agree))


def run_prefill(model: Any, prompt: torch.Tensor, batch: int) -> Steps:
    """Run `batch` copies of the prompt through one forward; every position is a step.

    Args:
        model: A transformers causal language model.
        prompt: Int64 tensor (1, tokens) on the model's device.
        batch: Rows.
    """
    with torch.inference_mode():
        logits = model(input_ids=prompt.expand(batch, -1).contiguous(), use_cache=False).logits
        agree = bool(rows_are_equal(logits))
        return Steps(logits=logits[0].clone(), fed=logits[0].argmax(dim=-1), rows_agree=agree)


def run_at_once(model: Any, prompt: torch.Tensor, fed: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the logits of every step from one forward over the prompt and what was fed after it.

    Args:
        model: A transformers causal language model.
        prompt: Int64 tensor (1, tokens).
        fed: Int64 tensor (steps,): the token fed after each step; the last one is not needed.
        steps: How many.

    Returns:
        Float32 tensor (steps, vocabulary).
    """
    with torch.inference_mode():
        tokens = torch.cat([prompt, fed[None, : steps - 1]], dim=1)
        return model(input_ids=tokens, use_cache=False, logits_to_keep=steps).logits[0].float()


def bits_of(values: torch.Tensor) -> torch.Tensor:
    """Return the bits of floating point values as integers."""
    return values.contiguous().view({2: torch.int16, 4: torch.int32}[values.element_size()])


def same_bits(first: Steps, second: Steps) -> bool:
    """Return whether two runs have the same bits at every step."""
    return bool(torch.equal(bits_of(first.logits), bits_of(second.logits)))


def rows_are_equal(logits: torch.Tensor) -> torch.Tensor:
    """Return, as a boolean tensor (), whether all rows have the first row's bits."""
    bits = bits_of(logits)
    return (bits == bits[:1]).all()
