"""Whether two recordings of the same forward ran the same kernels."""

import contextlib
import sqlite3
from pathlib import Path

from tracediff.text import printable, shorten
from tracediff.trace import KernelTable

_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_LAUNCH = (
    *("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "registersPerThread"),
    *("staticSharedMemory", "dynamicSharedMemory"),
)
_NAME_WIDTH = 80

Launch = tuple[str, tuple[int, ...]]


def sequence_of(table: KernelTable) -> list[Launch]:
    """Return name and launch configuration of every kernel, or operator, of a table, in the order of launch.

    torch's profiler states static and dynamic shared memory as one number; it is given as static.
    """
    columns = (*table.grid.T, *table.block.T, table.registers, table.shared_memory_bytes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(table.names[code], (*row, 0)) for code, row in zip(table.name.tolist(), rows, strict=True)]


def kernel_sequence(trace: Path) -> list[Launch]:
    """Return name and launch configuration of every kernel of a clean trace, in the order they ran."""
    with contextlib.closing(sqlite3.connect(f"{trace.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_KERNELS,)).fetchone() is None:
            return []
        rows = connection.execute(
            f"SELECT string.value, {', '.join(_LAUNCH)} FROM {_KERNELS} AS kernel "
            "LEFT JOIN StringIds AS string ON string.id = kernel.demangledName "
            "ORDER BY kernel.start, kernel.correlationId"
        )
        return [(row[0], tuple(row[1:])) for row in rows]


def first_difference(first: list[Launch], second: list[Launch], noun: str = "kernel") -> str | None:
    """Return the first difference of two sequences in one line, None where they are the same.

    Args:
        first, second: As `kernel_sequence` or `sequence_of` return them.
        noun: What they hold.
    """
    for position, (one, other) in enumerate(zip(first, second, strict=False)):
        if one[0] != other[0]:
            return f"{noun} {position}: {_short(one[0])}, then {_short(other[0])}"
        if one[1] != other[1]:
            return f"{noun} {position}, {_short(one[0])}: {_launch(one[1])}, then {_launch(other[1])}"
    if len(first) != len(second):
        return f"{len(first)} {noun}s, then {len(second)}"
    return None


def _short(name: str) -> str:
    return shorten(printable(name), _NAME_WIDTH)


def _launch(values: tuple[int, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(_LAUNCH, values, strict=True))
