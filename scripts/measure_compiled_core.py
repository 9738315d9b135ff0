"""What a compiled core would gain: decoding, joining and nesting of a large nsys export in numpy, and in C.

    python scripts/measure_compiled_core.py [--kernels 7900000] [--rounds 3] [--folder /tmp]

The C is what such a core would do at best: one pass, none of the page reader's checks, columns into memory that is
there. It is compiled with `cc`. Both must give the same columns, launches and innermost ranges. Times are of the
process's CPU on one core, the best round counts.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmark_reading import PAIR, count_kernels, scaled

from tracediff.trace import sqlite_pages
from tracediff.trace.launches import Launches
from tracediff.trace.nsys_sqlite import KERNELS, RUNTIME
from tracediff.trace.nvtx import NVTX, PUSH_POP
from tracediff.trace.open_export import open_export
from tracediff.trace.ranges import nest
from tracediff.trace.sqlite_export import SqliteExport
from tracediff.trace.sqlite_pages import PageFile
from tracediff.trace.table import Int64

TABLES = {
    KERNELS: (
        *("start", "end", "deviceId", "streamId", "correlationId", "globalPid", "demangledName", "registersPerThread"),
        *("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "staticSharedMemory", "dynamicSharedMemory"),
    ),
    RUNTIME: ("start", "correlationId", "globalTid"),
    NVTX: ("start", "end", "eventType", "globalTid", "domainId", "textId"),
}
Columns = dict[str, Int64]
CORE = r"""
#include <stdint.h>
static const int SIZE[12] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
static const uint8_t *varint(const uint8_t *p, int64_t *value) {
  int64_t v = 0;
  do v = v << 7 | (*p & 127); while (*p++ & 128);
  *value = v;
  return p;
}
/* Columns of leaf pages; place[i] says where column i of the record goes, -1 for nowhere. */
int64_t decode(const uint8_t *file, int64_t size, const int64_t *pages, int64_t count,
               const int32_t *place, int32_t columns, int64_t **out) {
  int64_t row = 0;
  for (int64_t k = 0; k < count; k++) {
    const uint8_t *page = file + (pages[k] - 1) * size;
    for (int c = 0; c < (page[3] << 8 | page[4]); c++, row++) {
      const uint8_t *p = page + (page[8 + 2 * c] << 8 | page[9 + 2 * c]);
      int64_t length, rowid, header, type;
      p = varint(varint(p, &length), &rowid);
      const uint8_t *body = p;
      p = varint(p, &header);
      body += header;
      for (int i = 0; i < columns; i++) {
        p = varint(p, &type);
        int width = type < 12 ? SIZE[type] : (type - 12) / 2;
        if (place[i] >= 0) {
          int64_t v = type == 0 ? INT64_MIN : type == 9;
          if (width) v = (int8_t)body[0];
          for (int j = 1; j < width; j++) v = v << 8 | body[j];
          out[place[i]][row] = v;
        }
        body += width;
      }
    }
  }
  return row;
}
/* Starts of the calls with the kernels' correlation ids; both ascend. */
void join(const int64_t *wanted, int64_t count, const int64_t *ids, const int64_t *starts, int64_t calls,
          int64_t *out) {
  for (int64_t i = 0, j = 0; i < count; i++) {
    while (j < calls && ids[j] < wanted[i]) j++;
    out[i] = j < calls && ids[j] == wanted[i] ? starts[j] : INT64_MIN;
  }
}
/* The innermost of properly nested ranges at ascending moments. */
void innermost(const int64_t *start, const int64_t *end, int64_t ranges, const int64_t *moment, int64_t count,
               int64_t *stack, int64_t *out) {
  int64_t depth = 0, next = 0;
  for (int64_t i = 0; i < count; i++) {
    for (; next < ranges && start[next] <= moment[i]; stack[depth++] = next++)
      while (depth && end[stack[depth - 1]] <= start[next]) depth--;
    while (depth && end[stack[depth - 1]] <= moment[i]) depth--;
    out[i] = depth ? stack[depth - 1] : -1;
  }
}
"""


class Core:
    """The C, compiled, for one export."""

    def __init__(self, export: SqliteExport, folder: Path) -> None:
        library = folder / "core.so"
        compiler = ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        subprocess.run(compiler, input=CORE, text=True, check=True)
        self._core = ctypes.CDLL(str(library))
        self._core.decode.restype = ctypes.c_int64
        self._export = export
        self._pages = PageFile(export.path)
        with export.path.open("rb") as file:
            self._file = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        self._out: dict[str, Columns] = {}

    def decode(self, table: str) -> Columns:
        """Return the columns of a table, in memory that is made at the first time."""
        found = self._export.table(table)
        positions = {found.positions[column]: column for column in TABLES[table]}
        if table not in self._out:
            rows = self._export.count(table)
            self._out[table] = {column: np.zeros(rows, dtype=np.int64) for column in TABLES[table]}
        columns = self._out[table]
        place = np.full(max(positions) + 1, -1, dtype=np.int32)
        place[list(positions)] = range(len(positions))
        out = (ctypes.c_void_p * len(positions))(*(columns[name].ctypes.data for name in positions.values()))
        leaves, _ = self._pages.leaves(found.root)
        size, count = ctypes.c_int64(self._pages.page_size), ctypes.c_int64(len(leaves))
        self._core.decode(_at(self._file), size, _at(leaves), count, _at(place), len(place), out)
        return columns

    def join(self, wanted: Int64, calls: Columns) -> Int64:
        """Return the start of each kernel's launch."""
        out, ids = np.empty_like(wanted), calls["correlationId"]
        counts = ctypes.c_int64(len(wanted)), ctypes.c_int64(len(ids))
        self._core.join(_at(wanted), counts[0], _at(ids), _at(calls["start"]), counts[1], _at(out))
        return out

    def innermost(self, start: Int64, end: Int64, moment: Int64) -> Int64:
        """Return the innermost range at each moment."""
        out, stack = np.empty_like(moment), np.empty_like(start)
        counts = ctypes.c_int64(len(start)), ctypes.c_int64(len(moment))
        self._core.innermost(_at(start), _at(end), counts[0], _at(moment), counts[1], _at(stack), _at(out))
        return out


def _at(array: np.ndarray[tuple[int], np.dtype[np.generic]]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def decode_in_numpy(export: SqliteExport, table: str, keep: bool) -> Columns:
    """Decode a table as the reader does; its columns are only put together where they are wanted."""
    parts = [rows.integers if keep else {} for rows in export.chunks(table, TABLES[table])]
    return {name: np.concatenate([part[name] for part in parts]) for name in (TABLES[table] if keep else ())}


def join_in_numpy(wanted: Int64, calls: Columns) -> Int64:
    """Find each kernel's launch as the reader does, of one process."""
    launches = Launches(np.zeros(len(wanted), dtype=np.int32), wanted, None)
    for first in range(0, len(calls["start"]), 1 << 16):
        launches.add({name: column[first : first + (1 << 16)] for name, column in calls.items()})
    return launches.result()[1]


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the CPU seconds of the best round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def measure(trace: Path, folder: Path, rounds: int) -> None:
    """Measure one export, and print a line for each step."""
    connection = open_export(trace)
    export = SqliteExport(trace, connection)
    core = Core(export, folder)
    print("| step | numpy, CPU s | C, CPU s |\n| --- | --- | --- |")
    tables: dict[str, Columns] = {}
    for table in TABLES:
        tables[table] = decode_in_numpy(export, table, keep=True)
        for name, column in core.decode(table).items():
            assert np.array_equal(column, tables[table][name]), (table, name)
        in_numpy = cpu_seconds(lambda table=table: decode_in_numpy(export, table, keep=False), rounds)
        print(
            f"| decode {table} | {in_numpy:.2f} | {cpu_seconds(lambda table=table: core.decode(table), rounds):.2f} |"
        )
    wanted, calls = tables[KERNELS]["correlationId"], tables[RUNTIME]
    launch = core.join(wanted, calls)
    assert np.array_equal(launch, join_in_numpy(wanted, calls))
    in_numpy = cpu_seconds(lambda: join_in_numpy(wanted, calls), rounds)
    print(f"| find launches | {in_numpy:.2f} | {cpu_seconds(lambda: core.join(wanted, calls), rounds):.2f} |")
    ranges = tables[NVTX]["eventType"] == PUSH_POP
    start, end = tables[NVTX]["start"][ranges], tables[NVTX]["end"][ranges]
    assert np.array_equal(core.innermost(start, end, launch), nest(start, end).innermost(launch))
    in_numpy = cpu_seconds(lambda: nest(start, end).innermost(launch), rounds)
    in_c = cpu_seconds(lambda: core.innermost(start, end, launch), rounds)
    print(f"| nest ranges, find the innermost | {in_numpy:.2f} | {in_c:.2f} |")
    connection.close()


def main() -> None:
    """Parse the command line, make the trace and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=7_900_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the trace is made (1 GB)")
    arguments = parser.parse_args()
    sqlite_pages._THREADS = 1 << 30  # one core
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        folder = Path(made)
        trace = scaled(PAIR[0], folder, max(1, round(arguments.kernels / count_kernels(PAIR[0]))))
        measure(trace, folder, arguments.rounds)


if __name__ == "__main__":
    main()
