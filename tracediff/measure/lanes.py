"""Decode many prompts at one batch size, fast: rows of different prompts, a static cache, CUDA graphs.

A *lane* is one batch of rows that decode together through a cache of fixed size, so that a step is always the same work
and becomes a CUDA graph. Several lanes decode at once, since one row alone leaves most of a GPU idle: *shared*, with
everything but sums computed for the rows of all lanes together, or each by itself on a stream of its own. Neither
changes what is computed: the batch size that a sum sees is the lane's. `lane_control` measures whether that holds.

Cache size and padded prompt follow from a prompt's length alone, so that every batch size does the same work for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tracediff.measure.generation import Steps, rows_are_equal
from tracediff.measure.lane_by_lane import beside
from tracediff.measure.lane_packs import chunks, rows_of
from tracediff.measure.lane_prefill import prefill
from tracediff.measure.lane_rows import LaneRows, Task, row_bytes

# Rows that decode at once, and lanes: those that share operations, and those that run by themselves.
_ROWS_AT_ONCE, _SHARED_LANES, _LANES_BY_THEMSELVES = 256, 64, 16
# Streams that shared lanes take turns on.
_STREAMS = 32
# Cache sizes, and from the last on powers of two: few, since each has graphs and controls of its own.
_CACHE_SIZES = (256, 4096)
# Of the free memory: what all graphs that are kept for the next prompts may fill, and one of them.
_KEPT_SHARE, _GRAPH_SHARE = 0.45, 0.075
_CPU_BYTES = 4_000_000_000
_WARM_UPS = 1


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


class _Graph:
    """Lanes that decode side by side; on a GPU one CUDA graph holds a step of all of them.

    Args:
        model: A transformers causal language model.
        groups: Either one group of shared lanes, or groups of one lane each.
        graphs: Whether to record a CUDA graph.
    """

    def __init__(self, model: Any, groups: list[LaneRows], *, graphs: bool) -> None:
        self.groups, self._model, self._graphs = groups, model, graphs
        self._recorded: torch.cuda.CUDAGraph | None = None
        count = min(_STREAMS, groups[0].lanes) if groups[0].lanes > 1 else len(groups)
        self._streams = [torch.cuda.Stream() for _ in range(count)] if graphs else []

    @property
    def lanes(self) -> int:
        """How many batches decode at once."""
        return sum(group.lanes for group in self.groups)

    @property
    def bytes(self) -> int:
        """Memory that all rows fill."""
        return sum(group.bytes for group in self.groups)

    def start(self, packs: Sequence[list[Task]], way: Way) -> None:
        """Put one pack of prompts into each lane, and prefill them."""
        for group, part in zip(self.groups, chunks(packs, self.groups[0].lanes), strict=True):
            group.start(rows_of(part, group.batch))
            once = list(dict.fromkeys(itertools.chain.from_iterable(part)))
            prefill(self._model, group, once, mixed=way.mixed, shared=way.shared)

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
        steps: Tokens to choose after every prompt.
        graphs: Whether decode steps become CUDA graphs; needs a GPU.
    """

    def __init__(self, model: Any, steps: int, *, graphs: bool) -> None:
        self._model, self._steps, self._graphs = model, steps, graphs
        self._built: dict[tuple[int, int, bool, bool], _Graph] = {}
        self._free = free_bytes(model.device)

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
        done: dict[Task, Steps] = {}
        by_slots: dict[int, list[Task]] = {}
        for task in tasks:
            by_slots.setdefault(slots_for(len(task.tokens), self._steps), []).append(task)
        with torch.inference_mode():
            for slots, same_slots in by_slots.items():
                packs = list(chunks(same_slots, batch if way.mixed else 1))
                graph = self._graph(batch, slots, tasks[0].fed is not None, way, len(packs))
                for group in chunks(packs, graph.lanes):
                    self._decode(graph, group, way, done)
        return [done[task] for task in tasks]

    def _decode(self, graph: _Graph, packs: Sequence[list[Task]], way: Way, done: dict[Task, Steps]) -> None:
        # Lanes without work repeat the first pack.
        graph.start([*packs, *itertools.repeat(packs[0], graph.lanes - len(packs))], way)
        graph.run(self._steps)
        for (kept, fed), pack in zip(graph.kept(), packs, strict=False):
            agree = way.mixed or bool(rows_are_equal(kept))
            for row, task in enumerate(pack):
                done[task] = Steps(logits=kept[row].clone(), fed=fed[row].clone(), rows_agree=agree)

    def _graph(self, batch: int, slots: int, forced: bool, way: Way, packs: int) -> _Graph:
        """Return lanes of a cache size: those at hand where they are enough, else new ones."""
        most = min(_SHARED_LANES if way.shared else _LANES_BY_THEMSELVES, _ROWS_AT_ONCE // batch)
        lane_bytes = batch * row_bytes(self._model, slots, self._steps)
        lanes = max(1, min(most, packs, int(self._free * _GRAPH_SHARE) // lane_bytes))
        key = (batch, slots, forced, way.shared)
        if key not in self._built or self._built[key].lanes < lanes:
            self._built.pop(key, None)
            self._make_room(slots, lanes * lane_bytes)
            per_group, groups = (lanes, 1) if way.shared else (1, lanes)
            rows = [
                LaneRows(self._model, batch=batch, lanes=per_group, slots=slots, steps=self._steps, forced=forced)
                for _ in range(groups)
            ]
            self._built[key] = _Graph(self._model, rows, graphs=self._graphs)
        return self._built[key]

    def _make_room(self, slots: int, wanted: int) -> None:
        """Give back the buffers of other cache sizes, then the oldest, until `wanted` bytes more may be kept."""
        self._built = {key: graph for key, graph in self._built.items() if key[1] == slots}
        while self._built and sum(graph.bytes for graph in self._built.values()) + wanted > self._free * _KEPT_SHARE:
            del self._built[next(iter(self._built))]


def free_bytes(device: torch.device) -> int:
    """Return how much memory of a GPU is free; a fixed, modest number on a CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _CPU_BYTES


def slots_for(length: int, steps: int) -> int:
    """Return the cache size of a prompt: its length alone decides it, so that it is the same at every batch size."""
    needed = length + steps
    return next((size for size in _CACHE_SIZES if needed <= size), 1 << (needed - 1).bit_length())
