"""Small kernel tables, made by hand."""

import numpy as np

from tracediff.kernels import parse
from tracediff.trace import Coverage, KernelTable, RangeKey, TraceInfo
from tracediff.trace.ranges import key_of


def table(kernels, iteration=None, grid=(1, 1, 1), **info):
    """Make a table of (phase, module, kernel name) triples in launch order."""
    names = list(dict.fromkeys(name for _, _, name in kernels))
    keys: list[RangeKey] = list(dict.fromkeys(key_of(phase, module) for phase, module, _ in kernels))
    count = len(kernels)
    zeros, ones = np.zeros(count, dtype=np.int32), np.ones(count, dtype=np.int32)
    time = np.arange(count, dtype=np.int64) * 1000
    return KernelTable(
        info=TraceInfo(**{"path": "made.sqlite", "profiler": "nsys", **info}),
        coverage=Coverage(kernels=count, in_module=count, in_phase_only=0, outside_ranges=0, no_launch=0),
        names=tuple(names),
        parsed=tuple(parse(name) for name in names),
        keys=tuple(keys),
        algorithms=(),
        name=np.array([names.index(name) for _, _, name in kernels], dtype=np.int32),
        key=np.array([keys.index(key_of(phase, module)) for phase, module, _ in kernels], dtype=np.int32),
        algorithm=zeros - 1,
        iteration=np.array(iteration if iteration is not None else [0] * count, dtype=np.int32),
        launch_ns=time,
        start_ns=time,
        duration_ns=time * 0 + 500,
        grid=np.tile(np.array(grid, dtype=np.int32), (count, 1)),
        block=np.tile(np.array([128, 1, 1], dtype=np.int32), (count, 1)),
        registers=ones * 32,
        shared_memory_bytes=zeros,
        device=zeros,
        stream=zeros,
        process=zeros,
    )
