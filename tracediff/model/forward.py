"""One forward of a model: a prefill, then decode steps that are given their tokens."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tracediff.model.ranges import PREFILL, OpenRange, decode_phase


def forward(model: Any, tokens: Any, decode_tokens: Sequence[int], *, open_one: OpenRange | None = None) -> list[Any]:
    """Run prefill and decode steps.

    Args:
        model: A transformers causal language model.
        tokens: Token ids (batch, tokens).
        decode_tokens: The token that every row is given in each decode step. It is given, not chosen, so that row 0
            is the same work at every batch size even where a choice would flip.
        open_one: Opens the range of each phase; None opens none.

    Returns:
        The logits of each phase: prefill (batch, tokens, vocabulary), then each step (batch, 1, vocabulary).
    """
    import torch  # noqa: PLC0415

    steps = [tokens, *(torch.full_like(tokens[:, :1], token) for token in decode_tokens)]
    logits, cache = [], None
    with torch.inference_mode():
        for position, step in enumerate(steps):
            with _phase(PREFILL if position == 0 else decode_phase(position - 1), open_one):
                step_logits, cache = call_with_cache(model, step, cache)
            logits.append(step_logits)
    return logits


def greedy_tokens(model: Any, prompt: Any, count: int) -> list[int]:
    """Return the `count` tokens that the model itself chooses after the prompt, at batch 1.

    Args:
        model: A transformers causal language model.
        prompt: Token ids (1, tokens).
        count: How many.
    """
    import torch  # noqa: PLC0415

    chosen: list[int] = []
    step, cache = prompt, None
    with torch.inference_mode():
        for _ in range(count):
            logits, cache = call_with_cache(model, step, cache)
            step = logits[:, -1:].argmax(-1)
            chosen.append(int(step))
    return chosen


def call_with_cache(model: Any, tokens: Any, cache: Any, **options: Any) -> tuple[Any, Any]:
    """Run one forward that continues from a key-value cache and fills it.

    Args:
        model: A transformers causal language model.
        tokens: Token ids (batch, tokens).
        cache: What the call before returned; None at the start.
        options: Further arguments of the model's forward.

    Returns:
        Logits (batch, tokens, vocabulary), and the cache for the next call.
    """
    # transformers 5.24 renamed the argument and the result, and drops the old name in 5.40.
    name = "cache" if "cache" in inspect.signature(getattr(model, "forward", model)).parameters else "past_key_values"
    output = model(input_ids=tokens, use_cache=True, **{name: cache}, **options)
    return output.logits, getattr(output, name)


def _phase(text: str, open_one: OpenRange | None) -> AbstractContextManager[None]:
    return nullcontext() if open_one is None else open_one(text)
