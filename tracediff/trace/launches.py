"""Each kernel's launch: the API call of its process with its correlation id.

Calls outnumber kernels and are never held whole: the kernels say which ids are wanted, and calls are looked at chunk by
chunk. CUPTI counts ids up, and both tables follow the clock: a chunk of calls meets a short stretch of the wanted ids.
"""

from __future__ import annotations

import numpy as np

from tracediff.trace.columns import NULL, Codes, distinct_and_places, distinct_of
from tracediff.trace.table import Int32, Int64

#: The low 24 bits of nsys's globalTid are the thread; the bits above are the process (globalPid).
THREAD_BITS = np.int64(0xFFFFFF)


class Launches:
    """Collects the launch call of every kernel.

    Args:
        process: Code of each kernel's process.
        correlation: Correlation id of each kernel, `NULL` for none.
        processes: globalPid of each process code; None where the export's kernels do not state a process.
    """

    def __init__(self, process: Int32, correlation: Int64, processes: list[int] | None) -> None:
        self._process_code = None if processes is None else {pid: code for code, pid in enumerate(processes)}
        if processes is None or len(processes) == 1:
            self._wanted = [_Wanted(correlation)]
            self._of_process: list[Int64] = []
        else:
            self._of_process = [np.flatnonzero(process == code) for code in range(len(processes))]
            self._wanted = [_Wanted(correlation[mine]) for mine in self._of_process]
        self.threads = Codes()

    def add(self, calls: dict[str, Int64]) -> None:
        """Look for launches among some calls (columns start, globalTid, correlationId); of several the first counts."""
        correlation, start, tid = (calls[column] for column in ("correlationId", "start", "globalTid"))
        if len(start) and (correlation.min() == NULL or start.min() == NULL):
            keep = np.flatnonzero((correlation != NULL) & (start != NULL))
            correlation, start, tid = correlation[keep], start[keep], tid[keep]
        thread = self.threads.of(tid)
        codes = self._process_codes()
        of_call = codes[thread]
        for code in distinct_of(of_call).tolist():
            if code < 0:
                continue
            if len(codes) == 1 or (of_call == code).all():
                self._wanted[code].add(correlation, start, thread)
            else:
                mine = np.flatnonzero(of_call == code)
                self._wanted[code].add(correlation[mine], start[mine], thread[mine])

    def _process_codes(self) -> Int64:
        """Return the process code of each thread code, -1 for a process without kernels."""
        threads = self.threads.values
        if self._process_code is None:
            return np.zeros(len(threads), dtype=np.int64)
        of = self._process_code
        return np.array([of.get(tid & ~int(THREAD_BITS), -1) for tid in threads], dtype=np.int64)

    def result(self) -> tuple[Int32, Int64]:
        """Return the thread code (-1 for none) and the start of each kernel's launch call (`NULL` for none)."""
        if not self._of_process:
            return self._wanted[0].result()
        kernels = sum(len(mine) for mine in self._of_process)
        thread, start = np.full(kernels, -1, dtype=np.int32), np.full(kernels, NULL, dtype=np.int64)
        for mine, wanted in zip(self._of_process, self._wanted, strict=True):
            thread[mine], start[mine] = wanted.result()
        return thread, start


class _Wanted:
    """The correlation ids of one process's kernels, and what was found of each.

    Args:
        ids: Of each kernel, `NULL` for none.
    """

    def __init__(self, ids: Int64) -> None:
        #: Which of the distinct ids each kernel has; None where kernel i has the i-th.
        self._place: Int64 | None = None
        self._ids = ids
        if len(ids) and (ids[0] == NULL or not (ids[1:] > ids[:-1]).all()):
            self._ids, self._place = distinct_and_places(ids)
        self._start = np.full(len(self._ids), NULL, dtype=np.int64)
        self._thread = np.full(len(self._ids), -1, dtype=np.int32)

    def add(self, ids: Int64, start: Int64, thread: Int32) -> None:
        """Look for the ids among those of some calls."""
        if not len(ids):
            return
        first = int(np.searchsorted(self._ids, ids.min()))
        past = int(np.searchsorted(self._ids, ids.max(), side="right"))
        near = self._ids[first:past]
        if not len(near):
            return
        place = np.minimum(np.searchsorted(near, ids), len(near) - 1)
        found = np.flatnonzero((near[place] == ids) & (self._start[first:past][place] == NULL))
        # Of equal places numpy keeps the last that is written: backwards, the first call.
        found = found[::-1]
        place = place[found] + first
        self._start[place], self._thread[place] = start[found], thread[found]

    def result(self) -> tuple[Int32, Int64]:
        """Return thread code and start of each kernel's call."""
        if self._place is None:
            return self._thread, self._start
        return self._thread[self._place], self._start[self._place]
