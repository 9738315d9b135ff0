"""Each kernel's launch: the API call of its process with its correlation id.

Calls outnumber kernels and are never held whole: the kernels say which ids are wanted, and calls are looked at chunk by
chunk. CUPTI counts ids up, so an id is a place in an array; ids too far apart for that are searched for instead.
"""

from __future__ import annotations

import numpy as np

from tracediff.trace.columns import NULL, Codes, distinct_of
from tracediff.trace.table import Int32, Int64

#: The low 24 bits of nsys's globalTid are the thread; above them stands the process (globalPid).
THREAD_BITS = np.int64(0xFFFFFF)

#: An array by id may have this many places per kernel: 13 bytes each, where a search needs 21 bytes per kernel.
_PLACES_PER_KERNEL = 3


class Launches:
    """Collects the launch call of every kernel.

    Args:
        process: Code of each kernel's process.
        correlation: Correlation id of each kernel, `NULL` for none.
        processes: globalPid of each process code; None where the export's kernels do not state a process.
    """

    def __init__(self, process: Int32, correlation: Int64, processes: list[int] | None) -> None:
        self._process_code = None if processes is None else {pid: code for code, pid in enumerate(processes)}
        self._ids: list[_Ids] = []
        self._kernel_place = np.full(len(process), NULL, dtype=np.int64)
        places = 0
        for code in range(1 if processes is None else len(processes)):
            mine = np.flatnonzero((process == code) & (correlation != NULL)) if processes else correlation != NULL
            ids = _Ids(correlation[mine], places)
            self._kernel_place[mine] = ids.place(correlation[mine])
            places += ids.places
            self._ids.append(ids)
        self._wanted = np.zeros(places, dtype=np.bool_)
        self._wanted[self._kernel_place[self._kernel_place != NULL]] = True
        self._start = np.full(places, NULL, dtype=np.int64)
        self._thread = np.full(places, -1, dtype=np.int32)
        self.threads = Codes()

    def add(self, calls: dict[str, Int64]) -> None:
        """Look for launches among some calls (columns start, globalTid, correlationId); of several the first counts."""
        keep = np.flatnonzero((calls["correlationId"] != NULL) & (calls["start"] != NULL))
        if not len(keep):
            return
        tid = calls["globalTid"][keep]
        thread = self.threads.of(tid)
        correlation, start = calls["correlationId"][keep], calls["start"][keep]
        codes = self._process_codes()
        of_call = codes[thread]
        for code in distinct_of(of_call).tolist():
            if code < 0:
                continue
            mine = slice(None) if len(codes) == 1 or (of_call == code).all() else np.flatnonzero(of_call == code)
            place = self._ids[code].place(correlation[mine])
            found = np.flatnonzero(place != NULL)
            found = found[self._wanted[place[found]]]
            found = found[self._start[place[found]] == NULL]
            # Of equal places numpy keeps the last that is written: backwards, the first call.
            found = found[::-1]
            self._start[place[found]] = start[mine][found]
            self._thread[place[found]] = thread[mine][found]

    def _process_codes(self) -> Int64:
        """Return the process code of each thread code, -1 for a process without kernels."""
        threads = self.threads.values
        if self._process_code is None:
            return np.zeros(len(threads), dtype=np.int64)
        of = self._process_code
        return np.array([of.get(tid & ~int(THREAD_BITS), -1) for tid in threads], dtype=np.int64)

    def result(self) -> tuple[Int32, Int64]:
        """Return the thread code (-1 for none) and the start of each kernel's launch call (`NULL` for none)."""
        place = np.where(self._kernel_place == NULL, len(self._start), self._kernel_place)
        return np.append(self._thread, np.int32(-1))[place], np.append(self._start, NULL)[place]


class _Ids:
    """Places 0, 1, … (plus an offset) for the ids of one process's kernels."""

    def __init__(self, ids: Int64, offset: int) -> None:
        self._offset = offset
        self._lowest = int(ids.min(initial=NULL if not len(ids) else ids[0]))
        self._highest = int(ids.max(initial=NULL if not len(ids) else ids[0]))
        span = self._highest - self._lowest + 1
        self._sorted = None if span <= _PLACES_PER_KERNEL * len(ids) + 1 else distinct_of(ids)
        self.places = span if self._sorted is None else len(self._sorted)

    def place(self, ids: Int64) -> Int64:
        """Return the place of each id, `NULL` for an id that no kernel has."""
        inside = (ids >= self._lowest) & (ids <= self._highest)
        if self._sorted is None:
            return np.where(inside, np.where(inside, ids, self._lowest) - self._lowest + self._offset, NULL)
        found = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[found] == ids, found + self._offset, NULL)
