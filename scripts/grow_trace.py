"""Make an nsys export grow in one direction, from one that scale_trace.py repeated in time.

    python scripts/grow_trace.py IN.sqlite OUT.sqlite WHAT

| WHAT | what grows with the copies of the run |
| --- | --- |
| threads | copy k launches from thread k mod 60 of the same process |
| decode | copy k's `decode[0]`, `decode[1]` become `decode[2k]`, `decode[2k+1]`; its prefill goes |
| texts | every module range has a text of its own, as `emit_nvtx` writes it (`…, seq = 7`) |
| logs | every line of cuBLASLt's log has pointers of its own |
| outside | only the ranges of `lm_head` stay: nearly all kernels are outside every range |
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

_TEXT = "coalesce(text, (SELECT value FROM StringIds WHERE id = textId))"
_THREADS = 60


def _copy(connection: sqlite3.Connection) -> str:
    """Return SQL for which copy of the run a row of a table with `start` belongs to."""
    prefill = f"SELECT start FROM NVTX_EVENTS WHERE eventType = 59 AND {_TEXT} = 'prefill' ORDER BY start LIMIT 2"
    first, second = (start for (start,) in connection.execute(prefill))
    return f"max(0, (start - {first - (second - first) // 3}) / {second - first})"


def _threads(connection: sqlite3.Connection) -> None:
    copy = _copy(connection)
    for table in ("CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS"):
        connection.execute(f"UPDATE {table} SET globalTid = globalTid + {copy} % {_THREADS}")


def _decode(connection: sqlite3.Connection) -> None:
    copy = _copy(connection)
    prefills = connection.execute(f"SELECT start, \"end\" FROM NVTX_EVENTS WHERE {_TEXT} = 'prefill' ORDER BY start")
    for start, end in prefills.fetchall()[1:]:
        launched = "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE start BETWEEN ? AND ?"
        connection.execute(f"DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE correlationId IN ({launched})", (start, end))
        connection.execute("DELETE FROM NVTX_EVENTS WHERE start BETWEEN ? AND ? AND eventType = 59", (start, end))
    for step in (0, 1):
        connection.execute(
            f"UPDATE NVTX_EVENTS SET text = 'decode[' || (2 * {copy} + {step}) || ']', textId = NULL "
            f"WHERE eventType = 59 AND {_TEXT} = 'decode[{step}]'"
        )


def _texts(connection: sqlite3.Connection) -> None:
    connection.execute(
        f"UPDATE NVTX_EVENTS SET text = {_TEXT} || ', seq = ' || rowid || ', sizes = [[6, 4096], [4096, 4096]]', "
        f"textId = NULL WHERE eventType = 59 AND {_TEXT} LIKE 'model%'"
    )


def _logs(connection: sqlite3.Connection) -> None:
    connection.execute(
        f"UPDATE NVTX_EVENTS SET text = replace({_TEXT}, ' Adesc=', ' A=0X7F' || printf('%010X', rowid) || ' Adesc='), "
        "textId = NULL WHERE eventType = 34"
    )


def _outside(connection: sqlite3.Connection) -> None:
    connection.execute(f"DELETE FROM NVTX_EVENTS WHERE eventType = 59 AND {_TEXT} NOT LIKE '%lm_head%'")


DIRECTIONS: dict[str, Callable[[sqlite3.Connection], None]] = {
    "threads": _threads,
    "decode": _decode,
    "texts": _texts,
    "logs": _logs,
    "outside": _outside,
}


def grow(source: Path, target: Path, what: str) -> None:
    """Copy `source` to `target` and make it grow."""
    shutil.copyfile(source, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        DIRECTIONS[what](connection)
        connection.commit()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("what", choices=list(DIRECTIONS))
    arguments = parser.parse_args()
    grow(arguments.source, arguments.target, arguments.what)


if __name__ == "__main__":
    main()
