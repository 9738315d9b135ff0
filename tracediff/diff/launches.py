"""Whether anything but time differs: the same kernel, launched and split alike."""

from __future__ import annotations

from tracediff.diff.result import Kernel, Pair, Row, TraceDiff


def differs(diff: TraceDiff) -> bool:
    """Whether anything but time differs between two traces, whatever it means for bits."""
    return any(row_changed(row) for row in diff.rows)


def row_changed(row: Row) -> bool:
    """Whether a kernel of the row, its launch configuration or its split differs."""
    return not all(launched_alike(pair) for pair in row.pairs)


def launched_alike(pair: Pair) -> bool:
    """Whether both sides run the same kernel with the same launch configuration and split."""
    return pair.a is not None and pair.b is not None and _launch(pair.a) == _launch(pair.b)


def _launch(kernel: Kernel) -> tuple[object, ...]:
    return (
        kernel.identity,
        kernel.split_k,
        kernel.split_k_source,
        kernel.grid,
        kernel.block,
        kernel.registers,
        kernel.shared_memory_bytes,
    )
