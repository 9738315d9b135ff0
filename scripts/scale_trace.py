#!/usr/bin/env python3
"""Make a large Nsight Systems SQLite export from a small real one.

The trace in IN is repeated K times in time, as if the profiled program had
run K times longer, and written to OUT.  Nothing is invented: every kernel,
launch call and NVTX range of the result is one of IN's with a shifted clock
and a fresh correlation id, so names, shapes, nesting, gaps and the
kernel:launch:range proportions are those of a real capture.

    scale_trace.py IN.sqlite OUT.sqlite --copies 100
    scale_trace.py IN.sqlite OUT.sqlite --kernels 800000
    scale_trace.py IN.sqlite OUT.sqlite --copies 100 --processes 8

What changes from copy to copy (copy 0 is IN, row for row):
  start, end, timestamp  + n * period, period = the time span of IN's scaled
                         tables plus --gap, so copies never overlap
  correlationId          + n * (largest id in IN + 1): ids stay unique, and
                         the kernel <-> runtime join stays one to one
  rangeId                likewise (NVTX start/end ranges; NULL stays NULL)
What does not: string ids, names, streams, devices, grid and block shapes,
and every table that is not a time-stamped activity (StringIds, ENUM_*,
TARGET_INFO_*, META_DATA_*, ...).  NVTX rows that are not ranges (domain
creation, category names: no end, event type 75, 33...) are not repeated: a
process creates a domain once.  An NVTX *range* left open (end IS NULL) would
swallow later copies, so its copies are closed at the end of their own period.

--processes P: copy n belongs to process n mod P, and the P copies of one
round share the same time window and the SAME correlation ids.  This is a
multi-rank export: correlation ids are unique only per process and ranges of
different threads overlap in time, so a reader that joins on correlationId
alone, or that ignores globalTid, gives visibly wrong totals.

Expected totals, for checking a reader: every scaled table has exactly K times
its rows in IN (NVTX_EVENTS: K times its ranges + its other rows), and every
per-layer kernel count and summed kernel time is exactly K times IN's (with P
processes, per process and layer, K/P times).

OUT is built beside its final name and renamed when complete.  IN is opened
read-only.  Python 3.9+, standard library only; about 1 us per row.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

#: Activity tables that are repeated when the export has them.
SCALED_TABLES = (
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "CUPTI_ACTIVITY_KIND_DRIVER",
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_MEMCPY",
    "CUPTI_ACTIVITY_KIND_MEMSET",
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
    "CUPTI_ACTIVITY_KIND_MEMORY",
    "CUDNN_EVENTS",
    "CUBLAS_EVENTS",
    "NVTX_EVENTS",
    "OSRT_API",
    "PROFILER_OVERHEAD",
)
#: Event types of NVTX_EVENTS rows that are ranges (push/pop, start/end, and
#: their nvtxt forms).  Everything else in the table is kept once.
NVTX_RANGE_TYPES = (59, 60, 70, 71)
TIME_COLUMNS = ("start", "end", "timestamp")
PID_COLUMNS = ("globalPid", "globalTid", "endGlobalTid")
#: globalTid / globalPid = <hardware 8><vm 8><process 24><thread 24> bits.
PID_SHIFT = 24


def quote(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def columns_of(db: sqlite3.Connection, table: str) -> list[str]:
    """Return a table's columns."""
    return [row[1] for row in db.execute(f"PRAGMA table_info({quote(table)})")]


def plan(db: sqlite3.Connection) -> tuple[dict[str, list[str]], int, int, int, int]:
    """Return ({table: columns}, first time, last time, id stride, range-id stride)."""
    present = {r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    tables = {t: columns_of(db, t) for t in SCALED_TABLES if t in present}
    if "CUPTI_ACTIVITY_KIND_KERNEL" not in tables:
        raise SystemExit("error: the input has no CUPTI_ACTIVITY_KIND_KERNEL table")
    first, last, max_id, max_range = None, 0, 0, 0
    for table, cols in tables.items():
        for col in TIME_COLUMNS:
            if col in cols:
                lo, hi = db.execute(f"SELECT min({quote(col)}), max({quote(col)}) FROM {quote(table)}").fetchone()
                if lo is not None:
                    first = lo if first is None else min(first, lo)
                    last = max(last, hi)
        if "correlationId" in cols:
            max_id = max(max_id, db.execute(f"SELECT max(correlationId) FROM {quote(table)}").fetchone()[0] or 0)
        if "rangeId" in cols:
            max_range = max(max_range, db.execute(f"SELECT max(rangeId) FROM {quote(table)}").fetchone()[0] or 0)
    if first is None:
        raise SystemExit("error: the input's activity tables are empty")
    return tables, first, last, max_id + 1, max_range + 1


def insert_statement(table: str, cols: list[str]) -> str:
    """SQL that appends one shifted copy of IN's rows of `table`."""
    exprs = []
    for col in cols:
        q = quote(col)
        if table == "NVTX_EVENTS" and col == "end":
            exprs.append(f"coalesce({q}, :last) + :dt")
        elif col in TIME_COLUMNS:
            exprs.append(f"{q} + :dt")
        elif col == "correlationId":
            exprs.append(f"{q} + :did")
        elif col == "rangeId":
            exprs.append(f"{q} + :drange")
        elif col in PID_COLUMNS:
            exprs.append(f"{q} + :dpid")
        else:
            exprs.append(q)
    names = ", ".join(map(quote, cols))
    where = "rowid <= :base"
    if table == "NVTX_EVENTS":
        where += f" AND eventType IN {NVTX_RANGE_TYPES}"
    # SQLite reads rows up to :base only, so the rows being added are not
    # re-read; ORDER BY keeps the export's own (start) order.
    return (
        f"INSERT INTO {quote(table)} ({names}) SELECT {', '.join(exprs)}"
        f" FROM {quote(table)} WHERE {where} ORDER BY rowid"
    )


def scale(src: Path, dst: Path, copies: int, processes: int, gap_ns: int, quiet: bool) -> dict:
    """Write the scaled trace and return what it holds."""
    began = time.monotonic()
    tmp = dst.with_name(dst.name + ".part")
    tmp.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{src}?mode=ro", uri=True)) as one, closing(sqlite3.connect(tmp)) as two:
        one.backup(two)

    db = sqlite3.connect(tmp, isolation_level=None)
    for pragma in (
        "journal_mode=OFF",
        "synchronous=OFF",
        "locking_mode=EXCLUSIVE",
        "cache_size=-262144",
        "temp_store=MEMORY",
    ):
        db.execute("PRAGMA " + pragma).fetchall()
    tables, first, last, id_stride, range_stride = plan(db)
    period = last - first + gap_ns
    db.execute("BEGIN")
    counts = {}
    for table, cols in tables.items():
        # Table by table, so that each table's pages lie together as nsys
        # itself writes them.
        base = db.execute(f"SELECT max(rowid) FROM {quote(table)}").fetchone()[0] or 0
        sql = insert_statement(table, cols)
        for n in range(1, copies):
            turn, proc = divmod(n, processes)
            db.execute(
                sql,
                {  # a key the statement does not name is ignored
                    "base": base,
                    "last": last,
                    "dt": turn * period,
                    "did": turn * id_stride,
                    "drange": turn * range_stride,
                    "dpid": proc << PID_SHIFT,
                },
            )
        counts[table] = db.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()[0]
        if not quiet:
            print(f"  {table:40s} {base:>9,} -> {counts[table]:>12,}", file=sys.stderr)
    if "ANALYSIS_DETAILS" in {r[0] for r in db.execute("SELECT name FROM sqlite_master")}:
        extra = ((copies - 1) // processes) * period
        db.execute("UPDATE ANALYSIS_DETAILS SET duration = duration + ?, stopTime = stopTime + ?", (extra, extra))
    db.execute("COMMIT")
    db.close()
    tmp.replace(dst)
    return {
        "input": str(src),
        "output": str(dst),
        "copies": copies,
        "processes": processes,
        "period_ns": period,
        "bytes": dst.stat().st_size,
        "rows": counts,
        "seconds": round(time.monotonic() - began, 2),
    }


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and scale."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("input", type=Path)
    ap.add_argument("output", type=Path)
    size = ap.add_mutually_exclusive_group(required=True)
    size.add_argument("--copies", type=int, help="total copies in the output, the original included")
    size.add_argument("--kernels", type=int, help="as many copies as come nearest this kernel count")
    ap.add_argument("--processes", type=int, default=1, help="spread the copies over this many processes")
    ap.add_argument("--gap", type=int, default=1_000_000, help="ns between copies (default 1 ms)")
    ap.add_argument("--force", action="store_true", help="replace an existing output")
    ap.add_argument("-q", "--quiet", action="store_true")
    args = ap.parse_args(argv)
    if not args.input.is_file():
        ap.error(f"no such file: {args.input}")
    if args.output.exists() and (not args.force or args.output.samefile(args.input)):
        ap.error(f"{args.output} exists (use --force to replace it; never the input itself)")
    copies = args.copies
    if copies is None:
        with closing(sqlite3.connect(f"file:{args.input}?mode=ro", uri=True)) as db:
            have = db.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()[0]
        copies = max(1, round(args.kernels / have))
    if copies < 1 or args.processes < 1:
        ap.error("--copies and --processes must be at least 1")
    print(json.dumps(scale(args.input, args.output, copies, args.processes, args.gap, args.quiet)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
