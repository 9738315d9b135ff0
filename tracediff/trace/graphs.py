"""CUDA graphs: where in the run a replayed kernel was captured.

A kernel of a replayed graph is launched by `cudaGraphLaunch`, all of a graph's kernels by one call. What it computes
was said when the graph was captured: the kernel's graph node was made then, or is a copy (of the instantiated graph) of
one made then, through any number of copies. `CUDA_GRAPH_NODE_EVENTS` holds a row for each making and each copying.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from tracediff.trace.columns import NULL, Source, whole_columns
from tracediff.trace.launches import THREAD_BITS
from tracediff.trace.table import Int64

NODES = "CUDA_GRAPH_NODE_EVENTS"
WHOLE_GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"


class Capture(Struct, frozen=True, kw_only=True):
    """Where the graph nodes of kernels were created, if the trace says so.

    Attributes:
        kernel: Indices of the kernels.
        thread: globalTid of the thread that captured each.
        moment: When, in ns.
    """

    kernel: Int64
    thread: Int64
    moment: Int64


def read_captures(export: Source, kernel: Int64, process: Int64, node: Int64) -> Capture:
    """Find where and when graph nodes were created.

    Args:
        export: The open export.
        kernel: Indices of the kernels that ran in graphs.
        process: globalPid of each, `NULL` where the export does not state it.
        node: Graph node id of each.
    """
    if not len(kernel) or not export.has(NODES, "start", "globalTid", "graphNodeId", "originalGraphNodeId"):
        nothing = np.zeros(0, dtype=np.int64)
        return Capture(kernel=nothing, thread=nothing, moment=nothing)
    events = whole_columns(export, NODES, ("start", "globalTid", "graphNodeId", "originalGraphNodeId"))
    event_process = events["globalTid"] & ~THREAD_BITS
    if (process == NULL).any():  # the export does not say, so one process is assumed
        process, event_process = np.zeros_like(process), np.zeros_like(event_process)
    copied = np.flatnonzero(events["originalGraphNodeId"] != NULL)
    # All nodes that are named anywhere, one number per (process, id).
    ids = _Numbers(
        np.concatenate([event_process, event_process[copied], process]),
        np.concatenate([events["graphNodeId"], events["originalGraphNodeId"][copied], node]),
    )
    event_node, original, kernel_node = ids.split(len(event_process), len(copied), len(kernel))
    came_from = np.arange(ids.count)
    came_from[event_node[copied][::-1]] = original[::-1]
    # Copies of copies: double the stride until every chain has reached its end; one that never does is a cycle.
    for _ in range(ids.count.bit_length() + 1):
        came_from = came_from[came_from]
    made = np.full(ids.count, -1, dtype=np.int64)
    makings = np.flatnonzero((events["originalGraphNodeId"] == NULL) & (events["start"] != NULL))
    makings = makings[np.argsort(events["start"][makings], kind="stable")]
    made[event_node[makings[::-1]]] = makings[::-1]
    ended = came_from[came_from] == came_from
    making = np.where(ended, made[came_from], -1)[kernel_node]
    known = making >= 0
    return Capture(
        kernel=kernel[known], thread=events["globalTid"][making[known]], moment=events["start"][making[known]]
    )


class _Numbers:
    """One number per distinct pair."""

    def __init__(self, first: Int64, second: Int64) -> None:
        order = np.lexsort((second, first))
        new = np.r_[True, (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)]
        self._numbers = np.empty(len(order), dtype=np.int64)
        self._numbers[order] = np.cumsum(new) - 1
        self.count = int(new.sum())

    def split(self, *lengths: int) -> list[Int64]:
        """Return the numbers of the parts that were joined."""
        return np.split(self._numbers, np.cumsum(lengths)[:-1])
