"""What of an nsys export may be kept: the allow-list of tables and columns, and the copying by it.

An export holds the environment and command line of the recorded process, names and paths of every other process of the
host, thread names, device serial numbers and the recorder's messages; many of these are in `StringIds`, some with NUL
bytes inside, which SQL's LIKE does not see. So nothing is deleted from an export: a new database is made, and only what
is listed here is copied into it.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PUSH_POP, START_END, MARK, DOMAIN_CREATED = 59, 60, 34, 75

_GPU_EVENT = ("start", "end", "deviceId", "contextId", "greenContextId", "streamId", "correlationId", "globalPid")
# Columns named in _STRINGS refer to StringIds.
GPU_TABLES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        *_GPU_EVENT,
        *("demangledName", "shortName", "mangledName", "launchType", "cacheConfig", "registersPerThread"),
        *("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"),
        *("staticSharedMemory", "dynamicSharedMemory", "localMemoryPerThread", "localMemoryTotal", "gridId"),
        *("sharedMemoryExecuted", "graphNodeId", "sharedMemoryLimitConfig"),
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (*_GPU_EVENT, "bytes", "copyKind", "srcKind", "dstKind", "graphNodeId", "copyCount"),
    "CUPTI_ACTIVITY_KIND_MEMSET": (*_GPU_EVENT, "value", "bytes", "memKind", "graphNodeId"),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": (*_GPU_EVENT, "graphId", "graphExecId"),
}
API_CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"
NVTX = "NVTX_EVENTS"
GRAPH_NODES = "CUDA_GRAPH_NODE_EVENTS"
# What went wrong while nsys recorded; its messages name paths and processes.
_DIAGNOSTICS = "DIAGNOSTIC_EVENT"
_OTHER_TABLES = {
    API_CALLS: ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue"),
    NVTX: (
        *("start", "end", "eventType", "rangeId", "text", "globalTid", "endGlobalTid", "textId", "domainId"),
        "int64Value",  # the payload: in our own ranges the shape of a step
    ),
    GRAPH_NODES: ("start", "end", "eventClass", "globalTid", "nameId", "graphNodeId", "originalGraphNodeId"),
    _DIAGNOSTICS: ("timestamp", "source", "severity"),
    "TARGET_INFO_GPU": (
        *("vmId", "id", "name", "isDiscrete", "l2CacheSize", "totalMemory", "memoryBandwidth", "clockRate", "smCount"),
        *("chipName", "cuDevice", "constantMemory", "maxRegistersPerBlock", "maxShmemPerBlock"),
        *("maxShmemPerBlockOptin", "maxShmemPerSm", "maxRegistersPerSm", "threadsPerWarp", "asyncEngines"),
        *("maxWarpsPerSm", "maxBlocksPerSm", "maxThreadsPerBlock", "computeMajor", "computeMinor"),
        *("smMajor", "smMinor"),
    ),
}
# Tables of names and values, of which only rows with these names are kept.
_NAMED_VALUES = ("name", "value")
_EXPORT_ROWS = (
    "name IN ('EXPORT_PRODUCT_NAME', 'EXPORT_PRODUCT_VERSION', 'EXPORT_PRODUCT_DATE') "
    "OR name LIKE 'EXPORT_SCHEMA_VERSION%'"
)
_DESCRIPTIONS = {
    "META_DATA_EXPORT": _EXPORT_ROWS,
    "EXPORT_META_DATA": _EXPORT_ROWS,
    "META_DATA_CAPTURE": "name IN ('CAPTURE_EVENT_TYPE', 'PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE', "
    "'PROCESS_0:COLLECT_CUDA_TRACE')",
}
_STRINGS = ("demangledName", "shortName", "mangledName", "nameId", "textId")


class CleanCopy:
    """A new database that takes listed tables of an export, attached as `source`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        rows = connection.execute("SELECT name FROM source.sqlite_master WHERE type = 'table'").fetchall()
        self.tables = {name for (name,) in rows}

    def copy_gpu_work(self, where: str = "1") -> None:
        """Copy the rows of the tables of GPU work for which an SQL condition holds."""
        for table in GPU_TABLES:
            self.copy(table, where)

    def copy_launches(self, where: str = "1") -> None:
        """Copy the API calls that started GPU work that was copied; all others say nothing about a kernel."""
        started = " UNION ".join(f"SELECT correlationId FROM main.{table}" for table in GPU_TABLES if self.has(table))
        if started:
            self.copy(API_CALLS, f"({where}) AND correlationId IN ({started})")

    def copy_descriptions(self) -> None:
        """Copy what an export says of the GPUs, of itself and of how it was recorded."""
        self.copy("TARGET_INFO_GPU")
        self.copy(_DIAGNOSTICS)
        for table, rows in _DESCRIPTIONS.items():
            self.copy(table, rows)

    def copy(self, table: str, where: str = "1") -> None:
        """Copy the listed columns of a table's rows, where the export has the table."""
        if table not in self.tables:
            return
        listed = GPU_TABLES.get(table) or _OTHER_TABLES.get(table) or _NAMED_VALUES
        declared = self.connection.execute("SELECT name, type FROM pragma_table_info(?, 'source')", (table,))
        types = dict(declared.fetchall())
        kept = [column for column in listed if column in types]
        if not kept:
            return
        definition = ", ".join(f'"{column}" {types[column]}' for column in kept)
        names = ", ".join(f'"{column}"' for column in kept)
        self.connection.execute(f"CREATE TABLE main.{table} ({definition})")
        self.connection.execute(f"INSERT INTO main.{table} SELECT {names} FROM source.{table} WHERE {where}")

    def copy_strings(self) -> None:
        """Copy the strings that copied rows refer to; to be called last."""
        references = [
            f'SELECT "{column}" FROM main.{table}'
            for (table,) in self.connection.execute(
                "SELECT name FROM main.sqlite_master WHERE type = 'table'"
            ).fetchall()
            for (column,) in self.connection.execute(
                "SELECT name FROM pragma_table_info(?, 'main')", (table,)
            ).fetchall()
            if column in _STRINGS
        ]
        self.connection.execute("CREATE TABLE main.StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        if references and "StringIds" in self.tables:
            self.connection.execute(
                "INSERT INTO main.StringIds SELECT id, value FROM source.StringIds "
                f"WHERE id IN ({' UNION '.join(references)})"
            )

    def has(self, table: str) -> bool:
        """Whether a table was copied."""
        rows = self.connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (table,))
        return rows.fetchone() is not None

    def count(self, table: str, where: str = "1") -> int:
        """Count copied rows for which an SQL condition holds."""
        if not self.has(table):
            return 0
        return int(self.connection.execute(f"SELECT COUNT(*) FROM main.{table} WHERE {where}").fetchone()[0])


@contextmanager
def clean_copy(source: Path, destination: Path) -> Iterator[CleanCopy]:
    """Yield a new database to copy into; it is complete when the block ends well.

    Args:
        source: An nsys SQLite export.
        destination: The new file.

    Raises:
        sqlite3.Error: The source is no database, or a table is not what nsys writes.
    """
    # No journal and no pages of the source: what was never written cannot be found in the bytes.
    with contextlib.closing(sqlite3.connect(destination, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("ATTACH DATABASE ? AS source", (f"{source.resolve().as_uri()}?mode=ro",))
        connection.execute("BEGIN")
        yield CleanCopy(connection)
        connection.execute("COMMIT")
        connection.execute("VACUUM main")


def in_list(values: Iterable[int]) -> str:
    """Return numbers as an SQL list."""
    return f"({', '.join(str(value) for value in values)})"
