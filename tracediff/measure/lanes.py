"""Decode many prompts at one batch size, fast: rows of different prompts, a static cache, CUDA graphs.

A *lane* is one batch of rows that decode together: its key-value cache has its final size from the start, every row
writes at its own position, and a mask hides what lies behind it. So one decode step always has the same shapes and
becomes a CUDA graph; several lanes of small batches share one graph, each on a stream of its own, since one row alone
leaves most of a GPU idle. Neither changes what is computed: the batch size that a kernel sees is the lane's.

Rows of a batch may hold different prompts only where a row's bits depend neither on its neighbours nor on its place;
`Decoder.rows_are_independent` measures that. A prompt is prefilled without padding, with prompts of its own length or
copies of itself in the other rows, and its cache size depends on its length alone, so that every batch size does the
same work for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers.cache_utils import Cache, StaticLayer

from tracediff.measure.generation import Steps, bits_of, rows_are_equal
from tracediff.model.forward import call_with_cache

# Rows that decode at once, over all lanes of a graph; and lanes where every row is a copy, of which one is wanted.
_ROWS_AT_ONCE, _LANES_OF_COPIES = 64, 8
_SMALLEST_CACHE = 256
# Cache slots of all prompts that are prefilled before they decode.
_HELD_SLOTS = 400_000
_WARM_UPS = 2
_CONTROL_PROMPTS = 3
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


class _Lane:
    """One batch of rows and all its buffers, at fixed addresses."""

    def __init__(self, model: Any, rows: int, slots: int, steps: int, forced: bool) -> None:
        config, device = model.config, model.device
        heads = config.num_key_value_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        dtype = next(model.parameters()).dtype
        self._model, self._forced, self.rows = model, forced, rows
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

    def step(self) -> None:
        """Decode one token in every row."""
        self._mask[:, 0, 0].index_put_((self._row_numbers, self._positions), self._visible)
        logits, _ = call_with_cache(
            self._model,
            self._tokens,
            self._cache,
            attention_mask=self._mask,
            position_ids=self._positions[:, None],
            logits_to_keep=1,
        )
        self._positions.add_(1)
        self._keep(logits[:, -1])

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
    """Lanes that decode side by side; on a GPU one CUDA graph holds a step of all of them."""

    def __init__(self, lanes: list[_Lane], graphs: bool) -> None:
        self.lanes = lanes
        self._graphs = graphs
        self._recorded: torch.cuda.CUDAGraph | None = None

    def run(self, steps: int) -> None:
        """Decode `steps` tokens in every lane."""
        if self._graphs and self._recorded is None and steps > _WARM_UPS:
            self._record()
            steps -= _WARM_UPS  # the warm-up decoded the first tokens
        for _ in range(steps):
            if self._recorded is not None:
                self._recorded.replay()
            else:
                for lane in self.lanes:
                    lane.step()

    def _record(self) -> None:
        streams = [torch.cuda.Stream() for _ in self.lanes]
        for _ in range(_WARM_UPS):
            with _beside(streams) as each:
                for lane in self.lanes:
                    with next(each):
                        lane.step()
        torch.cuda.synchronize()
        self._recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._recorded), _beside(streams) as each:
            for lane in self.lanes:
                with next(each):
                    lane.step()


@contextmanager
def _beside(streams: Sequence[torch.cuda.Stream]) -> Iterator[Iterator[Any]]:
    """Fork the current stream into several, whose contexts it yields, and join them at the end."""
    current = torch.cuda.current_stream()
    for stream in streams:
        stream.wait_stream(current)
    yield (torch.cuda.stream(stream) for stream in streams)
    for stream in streams:
        current.wait_stream(stream)


class Decoder:
    """Decodes prompts of one model.

    Args:
        model: A transformers causal language model.
        steps: Steps of every prompt: the prefill's choice and the decode steps.
        graphs: Whether decode steps become CUDA graphs; needs a GPU.
    """

    def __init__(self, model: Any, steps: int, *, graphs: bool) -> None:
        self._model, self._steps, self._graphs = model, steps, graphs
        self._built: dict[tuple[int, int, bool, int], _Graph] = {}

    def run(self, tasks: Sequence[Task], batch: int, *, mixed: bool) -> list[Steps]:
        """Decode every task at one batch size.

        Args:
            tasks: All of them with tokens to feed, or none of them.
            batch: Rows of a lane.
            mixed: Whether the rows of a batch hold different prompts; else every row is a copy of one.

        Returns:
            The steps of each task, in their order.
        """
        done: dict[int, Steps] = {}
        with torch.inference_mode():
            for held in _held_together(tasks, self._steps):
                prefilled = {id(each.task): each for each in self._prefill(held, batch, mixed)}
                packs = _packs([prefilled[id(task)] for task in held], batch, mixed)
                slots = slots_for(len(held[0].tokens), self._steps)
                most = max(1, _ROWS_AT_ONCE // batch) if mixed else _LANES_OF_COPIES
                graph = self._graph(batch, slots, held[0].fed is not None, min(most, len(packs)))
                for group in _chunks(packs, len(graph.lanes)):
                    self._decode(graph, group, mixed, done)
        return [done[id(task)] for task in tasks]

    def rows_are_independent(self, tasks: Sequence[Task], batch: int) -> bool:
        """Return whether rows of different prompts get the bits that copies of one prompt get, at every step.

        Args:
            tasks: Prompts of one cache size; a few of them are run both ways.
            batch: Rows of a batch.
        """
        sample = list(tasks[: max(batch, _CONTROL_PROMPTS)])
        together = self.run(sample, batch, mixed=True)
        places = sorted({0, len(sample) // 2, len(sample) - 1})[:_CONTROL_PROMPTS]
        alone = self.run([sample[place] for place in places], batch, mixed=False)
        return all(
            copies.rows_agree and torch.equal(bits_of(together[place].logits), bits_of(copies.logits))
            for place, copies in zip(places, alone, strict=True)
        )

    def _decode(self, graph: _Graph, packs: Sequence[list[_Prefilled]], mixed: bool, done: dict[int, Steps]) -> None:
        # Lanes without work repeat the first pack.
        for lane, pack in zip(
            graph.lanes, [*packs, *itertools.repeat(packs[0], len(graph.lanes) - len(packs))], strict=True
        ):
            lane.start([pack[row % len(pack)] for row in range(lane.rows)])
        graph.run(self._steps - 1)
        for lane, pack in zip(graph.lanes, packs, strict=False):
            agree = mixed or bool(rows_are_equal(lane.kept))
            for row, prompt in enumerate(pack):
                done[id(prompt.task)] = Steps(
                    logits=lane.kept[row].clone(), fed=lane.fed[row].clone(), rows_agree=agree and prompt.rows_agree
                )

    def _graph(self, batch: int, slots: int, forced: bool, wanted: int) -> _Graph:
        # Powers of two: few graphs, and at most half of the lanes idle.
        lanes = 1 << (wanted - 1).bit_length() if self._graphs else 1
        key = (batch, slots, forced, lanes)
        if key not in self._built:
            # Buffers of another cache size are given back first.
            self._built = {other: graph for other, graph in self._built.items() if other[1] == slots}
            built = [_Lane(self._model, batch, slots, self._steps, forced) for _ in range(lanes)]
            self._built[key] = _Graph(built, self._graphs)
        return self._built[key]

    def _prefill(self, tasks: Sequence[Task], batch: int, mixed: bool) -> Iterator[_Prefilled]:
        by_length: dict[int, list[Task]] = {}
        for task in tasks:
            by_length.setdefault(len(task.tokens), []).append(task)
        for same_length in by_length.values():
            for group in _chunks(same_length, batch if mixed else 1):
                rows = [group[row % len(group)].tokens for row in range(batch)]
                tokens = torch.tensor(rows, dtype=torch.int64, device=self._model.device)
                logits, cache = call_with_cache(self._model, tokens, None, logits_to_keep=1)
                agree = mixed or bool(rows_are_equal(logits))
                for row, task in enumerate(group):
                    # Clones: a view of one row would keep the whole batch.
                    layers = [(layer.keys[row].clone(), layer.values[row].clone()) for layer in cache.layers]
                    yield _Prefilled(task=task, logits=logits[row, -1].clone(), cache=layers, rows_agree=agree)


def slots_for(length: int, steps: int) -> int:
    """Return the cache size of a prompt: its length alone decides it, so that it is the same at every batch size."""
    return max(_SMALLEST_CACHE, 1 << (length + steps - 1).bit_length())


def _held_together(tasks: Sequence[Task], steps: int) -> Iterator[list[Task]]:
    """Yield tasks of one cache size whose prefilled caches fit into memory together."""
    by_slots: dict[int, list[Task]] = {}
    for task in tasks:
        by_slots.setdefault(slots_for(len(task.tokens), steps), []).append(task)
    for slots, same_slots in by_slots.items():
        yield from _chunks(same_slots, max(1, _HELD_SLOTS // slots))


def _packs(prompts: Sequence[_Prefilled], batch: int, mixed: bool) -> list[list[_Prefilled]]:
    return list(_chunks(prompts, batch if mixed else 1))


def _chunks(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
