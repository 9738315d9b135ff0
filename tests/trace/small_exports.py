"""Make nsys exports of a few rows, in the form nsys 2025.3 writes them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
PROCESS = 0x1000000 * 17
THREAD = PROCESS + 42

SCHEMA = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE META_DATA_EXPORT (name TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
    streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER NOT NULL,
    registersPerThread INTEGER, gridX INTEGER, gridY INTEGER, gridZ INTEGER, blockX INTEGER, blockY INTEGER,
    blockZ INTEGER, staticSharedMemory INTEGER, dynamicSharedMemory INTEGER, graphNodeId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, globalTid INTEGER,
    correlationId INTEGER, nameId INTEGER NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER,
    text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
CREATE TABLE CUDA_GRAPH_NODE_EVENTS (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL,
    globalTid INTEGER, nameId INTEGER NOT NULL, graphNodeId INTEGER NOT NULL, originalGraphNodeId INTEGER);
"""


@dataclass
class SmallExport:
    """Rows of an export; `write` makes the file."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    strings: dict[str, int] = field(default_factory=dict)
    schema: str = SCHEMA

    def add(self, table: str, **values: Any) -> SmallExport:
        self.rows.setdefault(table, []).append(values)
        return self

    def string(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings) + 1)

    def kernel(
        self,
        name: str,
        correlation: int,
        launch: int | None,
        *,
        start: int | None = None,
        end: int | None = None,
        process: int = PROCESS,
        thread: int | None = None,
        **more: Any,
    ) -> SmallExport:
        """Add a kernel and, unless `launch` is None, the API call at that time that launched it."""
        begin = start if start is not None else (launch or 0) + 5
        if launch is not None:
            self.call(correlation, launch, thread=thread or process + 42)
        values = {
            "start": begin,
            "end": end if end is not None else begin + 1,
            "deviceId": 0,
            "streamId": 7,
            "correlationId": correlation,
            "globalPid": process,
            "demangledName": self.string(name),
            "registersPerThread": 32,
            **dict.fromkeys(("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"), 1),
            "staticSharedMemory": 0,
            "dynamicSharedMemory": 0,
        }
        return self.add("CUPTI_ACTIVITY_KIND_KERNEL", **{**values, **more})

    def call(self, correlation: int, start: int, *, thread: int = THREAD) -> SmallExport:
        return self.add(
            "CUPTI_ACTIVITY_KIND_RUNTIME",
            start=start,
            end=start + 1,
            globalTid=thread,
            correlationId=correlation,
            nameId=self.string("cudaLaunchKernel"),
        )

    def range(self, text: str, start: int, end: int | None, *, thread: int = THREAD, **more: Any) -> SmallExport:
        values = {"start": start, "end": end, "eventType": 59, "text": text, "globalTid": thread, "domainId": 0}
        return self.add("NVTX_EVENTS", **{**values, **more})

    def write(self, path: Path) -> Path:
        connection = sqlite3.connect(path)
        connection.executescript(self.schema)
        for table, rows in self.rows.items():
            for row in rows:
                fields, marks = ", ".join(row), ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({fields}) VALUES ({marks})", tuple(row.values()))
        connection.executemany(
            "INSERT INTO StringIds (id, value) VALUES (?, ?)", [(code, text) for text, code in self.strings.items()]
        )
        connection.commit()
        connection.close()
        return path


def one_module() -> SmallExport:
    """Two kernels inside `prefill` / `model.layers.0.mlp`."""
    export = SmallExport()
    export.range("prefill", 0, 100).range("model.layers.0.mlp", 10, 90)
    return export.kernel("first", 1, 20).kernel("second", 2, 30)


def modules(table: Any) -> list[tuple[str, str | None, str]]:
    """Return (kernel name, phase, module) of every kernel in launch order."""
    keys = [table.keys[code] for code in table.key.tolist()]
    names = [table.names[code] for code in table.name.tolist()]
    return [(name, key.phase, key.module) for name, key in zip(names, keys, strict=True)]
