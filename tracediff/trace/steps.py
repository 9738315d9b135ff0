"""The steps of a recorded program and their shapes; what cuBLASLt's log says of one holds for its repetitions.

`tracediff record` writes the shape of each forward of a root module into the payload of its range. What a program does
after such a forward (logits, sampling) belongs to the step too, up to the next one. A kernel of a replayed CUDA graph
has the shape that was captured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tracediff.trace.columns import NULL
from tracediff.trace.shape import Shape
from tracediff.trace.table import Int32, Int64


def shapes_of_steps(shape: Int64, process: Int32) -> tuple[tuple[Shape, ...], Int32]:
    """Return the distinct shapes, and for each kernel the code of its step's.

    Args:
        shape: Of each kernel's step in the order of launch, `NULL` between steps; empty where the trace has none.
        process: Code of each kernel's process.

    Returns:
        Codes are -1 before the first step of a process; both are empty where there is no step.
    """
    if not (shape != NULL).any():
        return (), np.zeros(0, dtype=np.int32)
    distinct, codes = np.unique(shape, return_inverse=True)
    code = codes.astype(np.int32)
    if distinct[0] == NULL:
        distinct, code = distinct[1:], code - np.int32(1)
    for each in np.unique(process).tolist():
        mine = np.flatnonzero(process == each)
        last = np.maximum.accumulate(np.where(code[mine] >= 0, np.arange(len(mine)), -1))
        code[mine] = np.where(last >= 0, code[mine][last], -1)
    return tuple(map(Shape.of_payload, distinct.tolist())), code


def shared_by_steps_of_a_shape(
    algorithm: Int32, gemm: Int64, shape: Int32, key: Int32, columns: dict[str, npt.NDArray[Any]]
) -> Int32:
    """Give GEMMs the algorithm that cuBLASLt logged for the same launch in another step of the same shape.

    The recorder logs the first steps of each shape. Equal are launches of one kernel with one configuration, for one
    module, in steps of one shape, in one process; where their lines differ, none is shared.

    Args:
        algorithm: Code of each kernel's line, -1 for none.
        gemm: Indices of the kernels that multiply matrices.
        shape, key: Codes of each kernel's shape and place.
        columns: The kernels' own columns.
    """
    gemm = gemm[shape[gemm] >= 0]
    if not len(gemm):
        return algorithm
    parts = [shape, key, columns["name"], columns["process"], columns["registers"], columns["shared_memory_bytes"]]
    rows = np.column_stack([*(part[gemm] for part in parts), columns["grid"][gemm], columns["block"][gemm]])
    distinct, group = np.unique(rows, axis=0, return_inverse=True)
    group = group.reshape(-1)
    lowest = np.full(len(distinct), np.iinfo(np.int32).max, dtype=np.int32)
    highest = np.full(len(distinct), -1, dtype=np.int32)
    logged = algorithm[gemm] >= 0
    np.minimum.at(lowest, group[logged], algorithm[gemm[logged]])
    np.maximum.at(highest, group[logged], algorithm[gemm[logged]])
    agreed = np.where(lowest == highest, highest, -1)
    result = algorithm.copy()
    result[gemm] = np.where(logged, algorithm[gemm], agreed[group])
    return result
