"""Prefill the prompts of lanes that decode together.

All of a prompt but its last token, which is the first that is decoded, is padded on the right to a power of two, so
that one batch holds prompts of many lengths. No token sees what follows it, and what the padding leaves in the cache
stays hidden until a decoded token overwrites it. The padded length follows from the prompt's own length alone, so that
every batch size does the same work for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from tracediff.measure.lane_by_lane import LaneByLane, NotByLaneError
from tracediff.measure.lane_packs import chunks, rows_of
from tracediff.measure.lane_rows import LaneRows, Task
from tracediff.model.forward import call_with_cache

_SHORTEST = 16
_PADDING = 0
# Tokens of all lanes that are prefilled at once.
_TOKENS_AT_ONCE = 16_384


def prefill(model: Any, rows: LaneRows, tasks: Sequence[Task], *, mixed: bool, shared: bool) -> None:
    """Fill the rows' cache with the prompts of their tasks.

    Args:
        model: A transformers causal language model.
        rows: What decodes them.
        tasks: Their tasks, each once.
        mixed: Whether the rows of a batch hold different prompts; else every row is a copy of one.
        shared: Whether several batches share all operations but sums.
    """
    by_length: dict[int, list[Task]] = {}
    for task in tasks:
        by_length.setdefault(padded_length(len(task.tokens), model.config.max_position_embeddings), []).append(task)
    for length, same_length in by_length.items():
        packs = list(chunks(same_length, rows.batch if mixed else 1))
        at_once = max(1, _TOKENS_AT_ONCE // (length * rows.batch)) if shared else 1
        for some in chunks(packs, at_once):
            _prefill_packs(model, rows, some, length)


def padded_length(length: int, longest: int) -> int:
    """Return the tokens that are prefilled for a prompt of `length` tokens by a model of `longest` positions."""
    return min(longest, max(_SHORTEST, 1 << max(0, length - 2).bit_length()))


def _prefill_packs(model: Any, rows: LaneRows, packs: Sequence[list[Task]], length: int) -> None:
    tasks = rows_of(packs, rows.batch)
    tokens = torch.full((len(tasks), length), _PADDING)
    for row, task in zip(tokens, tasks, strict=True):
        row[: len(task.tokens) - 1] = torch.tensor(task.tokens[:-1])
    try:
        with nullcontext() if len(packs) == 1 else LaneByLane(len(tasks), len(packs)):
            _, cache = call_with_cache(model, tokens.to(model.device), None, logits_to_keep=1)
    except NotByLaneError:
        # A prefill may have operations that a decode step has not.
        for pack in packs:
            _prefill_packs(model, rows, [pack], length)
        return
    rows.fill(tasks, cache)
