"""Decode many prompts at one batch size, fast: rows of different prompts, a static cache, CUDA graphs.

A *lane* is one batch of rows that decode together: its key-value cache has its final size from the start, every row
writes at its own position, and a mask hides what lies behind it. So one decode step always has the same shapes and
becomes a CUDA graph. Several lanes decode at once, since one row alone leaves most of a GPU idle: *shared*, with
everything but sums computed for the rows of all lanes together, or each by itself on a stream of its own. Neither
changes what is computed: the batch size that a sum sees is the lane's. `lane_control` measures whether that holds.

A prompt is prefilled without padding, with prompts of its own length or copies of itself in the other rows, and its
cache size depends on its length alone, so that every batch size does the same work for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers.cache_utils import Cache, StaticLayer

from tracediff.measure.generation import Steps, rows_are_equal
from tracediff.measure.lane_by_lane import LaneByLane, NotByLaneError, beside
from tracediff.model.forward import call_with_cache

# Rows that decode at once, over all lanes; and lanes where every row is a copy, of which one is wanted.
_ROWS_AT_ONCE, _LANES_OF_COPIES = 64, 8
# Streams that shared lanes take turns on.
_STREAMS = 16
# Cache sizes, and from the last on powers of two: few, since each has graphs and controls of its own.
_CACHE_SIZES = (256, 4096)
# Cache slots of all prompts that are prefilled before they decode, of all rows that decode at once, and of all graphs
# that are kept for the next prompts.
_HELD_SLOTS, _DECODED_SLOTS, _KEPT_SLOTS = 160_000, 160_000, 240_000
# Tokens of all lanes that are prefilled at once.
_PREFILLED_TOKENS = 16_384
_WARM_UPS = 2
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One prompt to decode.

    Attributes:
        tokens: Its tokens.
        fed: Int64 tensor (steps,) to feed instead of the own choices; None: the argmax of each step.
    """

    tokens: tuple[int, ...]
    fed: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a batch is run.

    Attributes:
        mixed: Whether its rows hold different prompts; else every row is a copy of one.
        shared: Whether several lanes share all operations but sums.
    """

    mixed: bool
    shared: bool


#: Every row a copy, every lane by itself: what the other ways must agree with.
PLAIN = Way(mixed=False, shared=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prefilled:
    """A prefilled prompt: the last position's logits, and each layer's keys and values (heads, tokens, dim)."""

    task: Task
    logits: torch.Tensor
    cache: list[tuple[torch.Tensor, torch.Tensor]]
    rows_agree: bool


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


class _Rows:
    """The rows of one lane, or of several shared ones, and all their buffers at fixed addresses."""

    def __init__(self, model: Any, batch: int, lanes: int, slots: int, steps: int, forced: bool) -> None:
        config, device = model.config, model.device
        heads, rows = config.num_key_value_heads, batch * lanes
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        dtype = next(model.parameters()).dtype
        self._model, self._forced, self.batch, self.lanes = model, forced, batch, lanes
        self.slots = rows * slots
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

    def start(self, prompts: Sequence[_Prefilled]) -> None:
        """Put prompts into the rows; their prefill's logits are step 0."""
        lengths = torch.tensor([len(prompt.task.tokens) for prompt in prompts], device=self._positions.device)
        self._positions.copy_(lengths)
        self._step.zero_()
        for number, layer in enumerate(self._layers):
            for row, prompt in enumerate(prompts):
                keys, values = prompt.cache[number]
                layer.keys[row, :, : keys.shape[1]] = keys
                layer.values[row, :, : values.shape[1]] = values
        # The slot of the next token becomes visible when that token is fed.
        hidden = self._slot_numbers[None, :] >= lengths[:, None]
        self._mask.zero_().masked_fill_(hidden[:, None, None, :], float("-inf"))
        if self._forced:
            for row, prompt in enumerate(prompts):
                assert prompt.task.fed is not None
                self.fed[row] = prompt.task.fed
        self._keep(torch.stack([prompt.logits for prompt in prompts]))

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


class _Graph:
    """Lanes that decode side by side; on a GPU one CUDA graph holds a step of all of them.

    Args:
        groups: Either one group of shared lanes, or groups of one lane each.
        graphs: Whether to record a CUDA graph.
    """

    def __init__(self, groups: list[_Rows], graphs: bool) -> None:
        self.groups, self._graphs = groups, graphs
        self._recorded: torch.cuda.CUDAGraph | None = None
        count = min(_STREAMS, groups[0].lanes) if groups[0].lanes > 1 else len(groups)
        self._streams = [torch.cuda.Stream() for _ in range(count)] if graphs else []

    @property
    def lanes(self) -> int:
        """How many batches decode at once."""
        return sum(group.lanes for group in self.groups)

    @property
    def slots(self) -> int:
        """Cache slots of all rows."""
        return sum(group.slots for group in self.groups)

    def start(self, packs: Sequence[list[_Prefilled]]) -> None:
        """Put one pack of prompts into each lane; a pack smaller than the batch is repeated in its rows."""
        rows = [pack[row % len(pack)] for pack in packs for row in range(self.groups[0].batch)]
        size = len(rows) // len(self.groups)
        for group, part in zip(self.groups, _chunks(rows, size), strict=True):
            group.start(part)

    def run(self, steps: int) -> None:
        """Decode `steps` tokens in every lane."""
        if self._graphs and self._recorded is None and steps > _WARM_UPS:
            self._record()
            steps -= _WARM_UPS  # the warm-up decoded the first tokens
        for _ in range(steps):
            if self._recorded is not None:
                self._recorded.replay()
            else:
                self._step()

    def kept(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield each lane's logits (batch, steps, vocabulary) and fed tokens (batch, steps)."""
        for group in self.groups:
            yield from zip(group.kept.split(group.batch), group.fed.split(group.batch), strict=True)

    def _record(self) -> None:
        for _ in range(_WARM_UPS):
            self._step()
        torch.cuda.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            self._step()
        self._recorded = recorded

    def _step(self) -> None:
        if len(self.groups) == 1:
            self.groups[0].step(self._streams)
            return
        with beside(self._streams):
            for place, group in enumerate(self.groups):
                with torch.cuda.stream(self._streams[place] if self._streams else None):
                    group.step()


class Decoder:
    """Decodes prompts of one model.

    Args:
        model: A transformers causal language model.
        steps: Steps of every prompt: the prefill's choice and the decode steps.
        graphs: Whether decode steps become CUDA graphs; needs a GPU.
    """

    def __init__(self, model: Any, steps: int, *, graphs: bool) -> None:
        self._model, self._steps, self._graphs = model, steps, graphs
        self._built: dict[tuple[int, int, bool, bool], _Graph] = {}

    def run(self, tasks: Sequence[Task], batch: int, way: Way) -> list[Steps]:
        """Decode every task at one batch size.

        Args:
            tasks: All of them with tokens to feed, or none of them.
            batch: Rows of a lane.
            way: How.

        Returns:
            The steps of each task, in their order.

        Raises:
            NotByLaneError: Lanes cannot share the operations of this model.
        """
        done: dict[int, Steps] = {}
        with torch.inference_mode():
            for held in _held_together(tasks, self._steps):
                prefilled = {id(each.task): each for each in self._prefill(held, batch, way)}
                packs = list(_chunks([prefilled[id(task)] for task in held], batch if way.mixed else 1))
                graph = self._graph(batch, held, way, len(packs))
                for group in _chunks(packs, graph.lanes):
                    self._decode(graph, group, way.mixed, done)
        return [done[id(task)] for task in tasks]

    def _decode(self, graph: _Graph, packs: Sequence[list[_Prefilled]], mixed: bool, done: dict[int, Steps]) -> None:
        # Lanes without work repeat the first pack.
        graph.start([*packs, *itertools.repeat(packs[0], graph.lanes - len(packs))])
        graph.run(self._steps - 1)
        for (kept, fed), pack in zip(graph.kept(), packs, strict=False):
            agree = mixed or bool(rows_are_equal(kept))
            for row, prompt in enumerate(pack):
                done[id(prompt.task)] = Steps(
                    logits=kept[row].clone(), fed=fed[row].clone(), rows_agree=agree and prompt.rows_agree
                )

    def _graph(self, batch: int, tasks: Sequence[Task], way: Way, packs: int) -> _Graph:
        """Return lanes for the tasks' cache size: those at hand where they are enough, else new ones."""
        slots, forced = slots_for(len(tasks[0].tokens), self._steps), tasks[0].fed is not None
        most = max(1, _ROWS_AT_ONCE // batch) if way.mixed else _LANES_OF_COPIES
        lanes = max(1, min(most, packs, _DECODED_SLOTS // (slots * batch)))
        key = (batch, slots, forced, way.shared)
        if key not in self._built or self._built[key].lanes < lanes:
            self._built.pop(key, None)
            self._make_room(slots, batch * lanes * slots)
            per_group, groups = (lanes, 1) if way.shared else (1, lanes)
            rows = [_Rows(self._model, batch, per_group, slots, self._steps, forced) for _ in range(groups)]
            self._built[key] = _Graph(rows, self._graphs)
        return self._built[key]

    def _make_room(self, slots: int, wanted: int) -> None:
        """Give back the buffers of other cache sizes, then the oldest, until `wanted` slots more may be kept."""
        self._built = {key: graph for key, graph in self._built.items() if key[1] == slots}
        while self._built and sum(graph.slots for graph in self._built.values()) + wanted > _KEPT_SLOTS:
            del self._built[next(iter(self._built))]

    def _prefill(self, tasks: Sequence[Task], batch: int, way: Way) -> Iterator[_Prefilled]:
        by_length: dict[int, list[Task]] = {}
        for task in tasks:
            by_length.setdefault(len(task.tokens), []).append(task)
        for length, same_length in by_length.items():
            packs = _chunks(same_length, batch if way.mixed else 1)
            lanes = max(1, _PREFILLED_TOKENS // (length * batch)) if way.shared else 1
            for group in _chunks(list(packs), lanes):
                yield from self._prefill_packs(group, batch, way.mixed)

    def _prefill_packs(self, packs: Sequence[list[Task]], batch: int, mixed: bool) -> Iterator[_Prefilled]:
        """Prefill packs of prompts of one length, each in a lane of its own."""
        rows = [pack[row % len(pack)].tokens for pack in packs for row in range(batch)]
        tokens = torch.tensor(rows, dtype=torch.int64, device=self._model.device)
        try:
            with nullcontext() if len(packs) == 1 else LaneByLane(len(rows), len(packs)):
                logits, cache = call_with_cache(self._model, tokens, None, logits_to_keep=1)
        except NotByLaneError:
            # A prefill may have operations that a decode step has not.
            for pack in packs:
                yield from self._prefill_packs([pack], batch, mixed)
            return
        for place, pack in enumerate(packs):
            first = place * batch
            agree = mixed or bool(rows_are_equal(logits[first : first + batch]))
            for row, task in enumerate(pack, start=first):
                # Clones: a view of one row would keep the whole batch.
                layers = [(layer.keys[row].clone(), layer.values[row].clone()) for layer in cache.layers]
                yield _Prefilled(task=task, logits=logits[row, -1].clone(), cache=layers, rows_agree=agree)


def slots_for(length: int, steps: int) -> int:
    """Return the cache size of a prompt: its length alone decides it, so that it is the same at every batch size."""
    needed = length + steps
    return next((size for size in _CACHE_SIZES if needed <= size), 1 << (needed - 1).bit_length())


def _held_together(tasks: Sequence[Task], steps: int) -> Iterator[list[Task]]:
    """Yield tasks of one cache size whose prefilled caches fit into memory together."""
    by_slots: dict[int, list[Task]] = {}
    for task in tasks:
        by_slots.setdefault(slots_for(len(task.tokens), steps), []).append(task)
    for slots, same_slots in by_slots.items():
        yield from _chunks(same_slots, max(1, _HELD_SLOTS // slots))


def _chunks(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
