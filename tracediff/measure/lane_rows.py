"""The rows that decode together: their key-value cache of fixed size, and one decode step of all of them.

Every row writes its next key and value at its own position, and a mask hides the slots behind it. So one step always
has the same shapes and the same addresses, which is what a CUDA graph needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, StaticLayer

from tracediff.measure.lane_by_lane import LaneByLane
from tracediff.model.forward import call_with_cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One prompt to decode.

    Attributes:
        tokens: Its tokens.
        fed: Int64 tensor (steps,) to feed instead of the own choices; None: the argmax of each step.
    """

    tokens: tuple[int, ...]
    fed: torch.Tensor | None = None


class _RowsAtPositions(StaticLayer):  # type: ignore[misc]
    """Keys and values of one layer: each row writes its next token at its own position."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor) -> None:
        super().__init__(max_cache_len=keys.shape[2])
        self.keys, self.values, self.is_initialized = keys, values, True
        self._rows, self._positions = rows, positions

    def update(self, key_states: Any, value_states: Any, *_args: Any, **_options: Any) -> tuple[Any, Any]:
        self.keys[self._rows, :, self._positions] = key_states[:, :, 0]
        self.values[self._rows, :, self._positions] = value_states[:, :, 0]
        return self.keys, self.values

    def get_seq_length(self, *_args: Any, **_options: Any) -> int:
        return 0  # positions and mask are given to the model, so that it asks for nothing


class LaneRows:
    """The rows of one lane, or of several shared ones, and all their buffers at fixed addresses.

    Args:
        model: A transformers causal language model.
        batch: Rows of a lane.
        lanes: How many lanes share all operations but sums.
        slots: Tokens that a row's cache holds.
        steps: Tokens that are decoded.
        forced: Whether tasks say what is fed.

    Attributes:
        kept: Logits (rows, steps, vocabulary) of what was decoded.
        fed: Int64 tensor (rows, steps): the tokens chosen, or what was fed instead.
        bytes: What cache and logits fill.
    """

    def __init__(self, model: Any, *, batch: int, lanes: int, slots: int, steps: int, forced: bool) -> None:
        config, device = model.config, model.device
        rows, dtype = batch * lanes, next(model.parameters()).dtype
        heads, size = config.num_key_value_heads, _head_size(config)
        self._model, self._forced, self.batch, self.lanes = model, forced, batch, lanes
        self.bytes = rows * row_bytes(model, slots, steps)
        self._tasks: list[Task] = []
        self._row_numbers = torch.arange(rows, device=device)
        self._tokens = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._mask = torch.zeros(rows, 1, 1, slots, dtype=dtype, device=device)
        self._visible = torch.zeros((), dtype=dtype, device=device)
        self._slot_numbers = torch.arange(slots, device=device)
        self.kept = torch.zeros(rows, steps, config.vocab_size, dtype=dtype, device=device)
        self.fed = torch.zeros(rows, steps, dtype=torch.int64, device=device)
        self._layers = [
            _RowsAtPositions(
                torch.zeros(rows, heads, slots, size, dtype=dtype, device=device),
                torch.zeros(rows, heads, slots, size, dtype=dtype, device=device),
                self._row_numbers,
                self._positions,
            )
            for _ in range(config.num_hidden_layers)
        ]
        self._cache = Cache(layers=self._layers)

    def start(self, tasks: Sequence[Task]) -> None:
        """Give each row its task; the last token of its prompt is the first that is fed."""
        self._tasks = list(tasks)
        device = self._positions.device
        before = torch.tensor([len(task.tokens) - 1 for task in tasks], device=device)
        self._positions.copy_(before)
        self._tokens.copy_(torch.tensor([task.tokens[-1:] for task in tasks], device=device))
        self._step.zero_()
        # The slot of the next token becomes visible when that token is fed.
        hidden = self._slot_numbers[None, :] >= before[:, None]
        self._mask.zero_().masked_fill_(hidden[:, None, None, :], float("-inf"))
        if self._forced:
            self.fed.copy_(torch.stack([task.fed for task in tasks if task.fed is not None]))

    def fill(self, tasks: Sequence[Task], cache: Any) -> None:
        """Take over what a prefill cached.

        Args:
            tasks: The task of each row of the prefill. Rows of one task here take its rows there in turn.
            cache: What the model returned; its layers hold keys and values (rows, heads, tokens, dim).
        """
        prefilled: dict[Task, list[int]] = {}
        for row, task in enumerate(tasks):
            prefilled.setdefault(task, []).append(row)
        turns = {task: itertools.cycle(rows) for task, rows in prefilled.items()}
        places = [row for row, task in enumerate(self._tasks) if task in turns]
        device = self._positions.device
        to = torch.tensor(places, device=device)
        source = torch.tensor([next(turns[self._tasks[row]]) for row in places], device=device)
        for layer, found in zip(self._layers, cache.layers, strict=True):
            length = found.keys.shape[2]
            layer.keys[:, :, :length].index_copy_(0, to, found.keys.index_select(0, source))
            layer.values[:, :, :length].index_copy_(0, to, found.values.index_select(0, source))

    def step(self, streams: Sequence[torch.cuda.Stream] = ()) -> None:
        """Decode one token in every row; shared lanes take turns on `streams`.

        Raises:
            NotByLaneError: The model cannot share its operations among lanes.
        """
        self._mask[:, 0, 0].index_put_((self._row_numbers, self._positions), self._visible)
        if self.lanes == 1:
            logits = self._forward()
        else:
            with LaneByLane(self.lanes * self.batch, self.lanes, streams):
                logits = self._forward()
        self._positions.add_(1)
        self._keep(logits[:, -1])

    def _forward(self) -> torch.Tensor:
        logits, _ = call_with_cache(
            self._model,
            self._tokens,
            self._cache,
            attention_mask=self._mask,
            position_ids=self._positions[:, None],
            logits_to_keep=1,
        )
        return logits

    def _keep(self, logits: torch.Tensor) -> None:
        """Store a step's logits and choose what is fed next."""
        self.kept.index_copy_(1, self._step, logits[:, None])
        if self._forced:
            self._tokens.copy_(self.fed.index_select(1, self._step))
        else:
            self._tokens.copy_(logits.argmax(dim=-1, keepdim=True))
            self.fed.index_copy_(1, self._step, self._tokens)
        self._step.add_(1)


def row_bytes(model: Any, slots: int, steps: int) -> int:
    """Return the bytes of one row: its keys and values of all layers, and the logits of every step."""
    config = model.config
    cached: int = 2 * config.num_hidden_layers * config.num_key_value_heads * _head_size(config) * slots
    logits: int = steps * config.vocab_size
    return int(next(model.parameters()).element_size()) * (cached + logits)


def _head_size(config: Any) -> int:
    size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return size
