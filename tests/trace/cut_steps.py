"""Cut the first steps out of a server's nsys export: how the vllm files in tests/trace/data were made.

python tests/trace/cut_steps.py b1.sqlite tests/trace/data/vllm-eager-b1.sqlite

Keeps three steps (a prefill and two of decoding) of a run whose steps begin with a range of the root module; rows are
dropped, and of the other names of kernels only their demangled one is kept.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

STEPS = 3
BEGINS = "{'Module': 'LlamaForCausalLM', 'input_ids'%"
KEPT = {
    "NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL", "StringIds", "TARGET_INFO_GPU",
    "META_DATA_EXPORT",
}  # fmt: skip


def cut(source: Path, target: Path) -> None:
    """Copy `source` to `target`, then drop what is not kept."""
    with sqlite3.connect(f"file:{source}?mode=ro&immutable=1", uri=True) as original:
        copy = sqlite3.connect(target)
        original.backup(copy)
    steps = copy.execute(f"SELECT start FROM NVTX_EVENTS WHERE text LIKE {BEGINS!r} ORDER BY start").fetchall()
    (end,) = steps[STEPS]
    copy.execute("DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE start >= ?", (end,))
    copy.execute("DELETE FROM NVTX_EVENTS WHERE start >= ? AND eventType != 75", (end,))
    launched = "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_KERNEL"
    copy.execute(f"DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE correlationId NOT IN ({launched})")
    calls = "SELECT correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME"
    copy.execute(f"DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE correlationId NOT IN ({calls})")
    copy.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET shortName = demangledName, mangledName = demangledName")
    for (table,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table not in KEPT and not table.startswith("sqlite_"):
            copy.execute(f"DROP TABLE {table}")
    names = (
        "SELECT demangledName FROM CUPTI_ACTIVITY_KIND_KERNEL UNION SELECT nameId FROM CUPTI_ACTIVITY_KIND_RUNTIME "
        "UNION SELECT textId FROM NVTX_EVENTS WHERE textId > 0"
    )
    copy.execute(f"DELETE FROM StringIds WHERE id NOT IN ({names})")
    copy.execute("DELETE FROM META_DATA_EXPORT WHERE name LIKE 'EXPORT_PARAM_%PUT_FILE' OR name LIKE 'EXPORT_TIME%'")
    copy.commit()
    copy.execute("VACUUM")
    copy.close()


if __name__ == "__main__":
    cut(Path(sys.argv[1]), Path(sys.argv[2]))
