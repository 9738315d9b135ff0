"""Cut a small trace out of a real nsys export: how the llama files in tests/trace/data were made.

python tests/trace/cut_trace.py b1.sqlite tests/trace/data/llama-two-blocks-b1.sqlite

Keeps the phase `prefill`, its first two blocks and what runs outside the blocks; rows are dropped, none is changed.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path

LATER_BLOCK = re.compile(r"model\.layers\.(\d+)")
KEPT_BLOCKS = 2


def cut(source: Path, target: Path) -> None:
    """Copy `source` to `target`, then drop what is not kept."""
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as original:
        copy = sqlite3.connect(target)
        original.backup(copy)
    named = "SELECT start, end, coalesce(text, value) AS name FROM NVTX_EVENTS LEFT JOIN StringIds ON textId = id"
    (start, end), *_ = copy.execute(f"SELECT start, end FROM ({named}) WHERE name = 'prefill'")
    dropped = []
    for begin, finish, text in copy.execute(f"{named} WHERE eventType = 59").fetchall():
        block = LATER_BLOCK.fullmatch(text or "")
        if block and int(block.group(1)) >= KEPT_BLOCKS:
            dropped.append((begin, finish))
    for table in ("NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME"):
        keep_domains = "AND eventType != 75" if table == "NVTX_EVENTS" else ""
        copy.execute(f"DELETE FROM {table} WHERE (start < ? OR start > ?) {keep_domains}", (start, end))
        copy.executemany(f"DELETE FROM {table} WHERE start BETWEEN ? AND ? {keep_domains}", dropped)
    # A call that launched nothing tells nothing here.
    launched = "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_KERNEL"
    copy.execute(f"DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE correlationId NOT IN ({launched})")
    calls = "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME"
    copy.execute(f"DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE correlationId NOT IN ({calls})")
    names = "SELECT demangledName FROM CUPTI_ACTIVITY_KIND_KERNEL UNION SELECT textId FROM NVTX_EVENTS WHERE textId > 0"
    for table in [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]:
        kept = {"NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL", "StringIds"}
        if table not in kept | {"TARGET_INFO_GPU", "META_DATA_EXPORT"}:
            copy.execute(f"DROP TABLE {table}")
    copy.execute(f"DELETE FROM StringIds WHERE id NOT IN ({names})")
    copy.execute("DELETE FROM META_DATA_EXPORT WHERE name LIKE 'EXPORT_PARAM_%PUT_FILE'")
    copy.commit()
    copy.execute("VACUUM")
    copy.close()


if __name__ == "__main__":
    cut(Path(sys.argv[1]), Path(sys.argv[2]))
