"""A clean copy of an nsys export: what a reader needs, and nothing that names a machine, a user or an environment.

An export holds the environment and command line of the recorded process, names and paths of every other process of the
host, thread names, device serial numbers and the recorder's messages; many of these stand in `StringIds`, some with NUL
bytes inside, where SQL's LIKE does not see them. So nothing is deleted from the export: a new database is made, and
only what is listed here is copied into it.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.model.ranges import DOMAIN, RUN

_PUSH_POP, _MARK, _DOMAIN_CREATED = 59, 34, 75

_GPU_EVENT = ("start", "end", "deviceId", "contextId", "greenContextId", "streamId", "correlationId", "globalPid")
# Tables of GPU work, with the columns that are copied where the export has them. Columns named in _STRINGS refer to
# StringIds.
_GPU_TABLES = {
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
_API_TABLES = {
    "CUPTI_ACTIVITY_KIND_RUNTIME": (
        *("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue"),
    ),
}
_NVTX = "NVTX_EVENTS"
_NVTX_COLUMNS = ("start", "end", "eventType", "rangeId", "text", "globalTid", "endGlobalTid", "textId", "domainId")
_GRAPH_NODES = "CUDA_GRAPH_NODE_EVENTS"
_GRAPH_NODE_COLUMNS = ("start", "end", "eventClass", "globalTid", "nameId", "graphNodeId", "originalGraphNodeId")
_GPU_INFO = "TARGET_INFO_GPU"
_GPU_INFO_COLUMNS = (
    *("vmId", "id", "name", "isDiscrete", "l2CacheSize", "totalMemory", "memoryBandwidth", "clockRate", "smCount"),
    *("chipName", "cuDevice", "constantMemory", "maxRegistersPerBlock", "maxShmemPerBlock", "maxShmemPerBlockOptin"),
    *("maxShmemPerSm", "maxRegistersPerSm", "threadsPerWarp", "asyncEngines", "maxWarpsPerSm", "maxBlocksPerSm"),
    *("maxThreadsPerBlock", "computeMajor", "computeMinor", "smMajor", "smMinor"),
)
_EXPORT_TABLES = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_EXPORT_NAMES = ("EXPORT_PRODUCT_NAME", "EXPORT_PRODUCT_VERSION", "EXPORT_PRODUCT_DATE")
_EXPORT_NAME_PREFIX = "EXPORT_SCHEMA_VERSION"
_CAPTURE_TABLE = "META_DATA_CAPTURE"
_CAPTURE_NAMES = ("CAPTURE_EVENT_TYPE", "PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE", "PROCESS_0:COLLECT_CUDA_TRACE")
_STRINGS = ("demangledName", "shortName", "mangledName", "nameId", "textId")


class OwnRangesMissingError(TracediffError):
    """The export does not hold the range `run` in the domain `tracediff`: it cannot be attributed to anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """What the clean copy holds.

    Attributes:
        kernels: Kernels of the recorded process.
        ranges: Push/pop ranges in the domain `tracediff`.
        marks: Marks in it: one per logged algorithm.
    """

    kernels: int
    ranges: int
    marks: int


def scrub(source: Path, destination: Path) -> Scrubbed:
    """Copy the recorded process's GPU work, launches and ranges into a new database.

    Args:
        source: An nsys SQLite export of a run with the range `run` in the domain `tracediff`.
        destination: The new file; an empty one is replaced.

    Raises:
        OwnRangesMissingError: The export does not hold that range.
        TracediffError: It is no export.
    """
    if destination.exists() and destination.stat().st_size > 0:
        raise TracediffError(f"{destination} exists", "name another file")
    try:
        # No journal and no pages of the source: what was never written cannot be found in the bytes.
        with contextlib.closing(sqlite3.connect(destination, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("ATTACH DATABASE ? AS source", (f"{source.resolve().as_uri()}?mode=ro",))
            return _Copy(connection).run()
    except sqlite3.Error as error:
        raise TracediffError(f"cannot read nsys's export of the recording: {error}") from error


class _Copy:
    """The steps of one copy; `connection` is the new database, with the export attached as `source`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT name FROM source.sqlite_master WHERE type = 'table'").fetchall()
        self._tables = {name for (name,) in rows}

    def run(self) -> Scrubbed:
        domains, process = self._own_domain_and_process()
        connection = self._connection
        # A thread's or process's global id holds the process in all but its low 24 bits.
        of_process = "({column} >> 24) = " + str(process >> 24)
        connection.execute("BEGIN")
        for table, columns in _GPU_TABLES.items():
            self._copy(table, columns, of_process.format(column="globalPid"))
        launches = " UNION ".join(
            f"SELECT correlationId FROM main.{table}" for table in _GPU_TABLES if self._copied(table)
        )
        for table, columns in _API_TABLES.items():
            # Calls that started no GPU work are most of the rows and say nothing about a kernel.
            if launches:
                wanted = f"correlationId IN ({launches})"
                self._copy(table, columns, f"{of_process.format(column='globalTid')} AND {wanted}")
        listed = ", ".join(str(domain) for domain in domains)
        self._copy(
            _NVTX,
            _NVTX_COLUMNS,
            f"{of_process.format(column='globalTid')} AND domainId IN ({listed}) "
            f"AND eventType IN ({_PUSH_POP}, {_MARK}, {_DOMAIN_CREATED})",
        )
        self._copy(_GRAPH_NODES, _GRAPH_NODE_COLUMNS, of_process.format(column="globalTid"))
        self._copy(_GPU_INFO, _GPU_INFO_COLUMNS, "1")
        for table in _EXPORT_TABLES:
            names = _quoted(_EXPORT_NAMES)
            self._copy(table, ("name", "value"), f"name IN ({names}) OR name LIKE '{_EXPORT_NAME_PREFIX}%'")
        self._copy(_CAPTURE_TABLE, ("name", "value"), f"name IN ({_quoted(_CAPTURE_NAMES)})")
        self._copy_strings()
        counts = Scrubbed(
            kernels=self._count("CUPTI_ACTIVITY_KIND_KERNEL"),
            ranges=self._count(_NVTX, f"eventType = {_PUSH_POP}"),
            marks=self._count(_NVTX, f"eventType = {_MARK}"),
        )
        connection.execute("COMMIT")
        connection.execute("VACUUM main")
        return counts

    def _own_domain_and_process(self) -> tuple[list[int], int]:
        """Return the ids of the domain `tracediff`, and the global id of a thread that opened `run` in it."""
        if _NVTX in self._tables:
            text = "COALESCE(event.text, string.value)"
            events = f"source.{_NVTX} AS event LEFT JOIN source.StringIds AS string ON string.id = event.textId"
            domains = self._connection.execute(
                f"SELECT DISTINCT domainId, globalTid >> 24 FROM {events} "
                f"WHERE eventType = {_DOMAIN_CREATED} AND {text} = ?",
                (DOMAIN,),
            ).fetchall()
            for process in {process for _, process in domains}:
                own = [domain for domain, creator in domains if creator == process]
                listed = ", ".join(str(domain) for domain in own)
                found = self._connection.execute(
                    f"SELECT globalTid FROM {events} WHERE eventType = {_PUSH_POP} AND globalTid >> 24 = ? "
                    f"AND domainId IN ({listed}) AND {text} = ? LIMIT 1",
                    (process, RUN),
                ).fetchone()
                if found is not None:
                    return own, int(found[0])
        raise OwnRangesMissingError("the recording lacks its own NVTX ranges")

    def _copy(self, table: str, columns: Iterable[str], where: str) -> None:
        if table not in self._tables:
            return
        declared = self._connection.execute("SELECT name, type FROM pragma_table_info(?, 'source')", (table,))
        types = dict(declared.fetchall())
        kept = [column for column in columns if column in types]
        if not kept:
            return
        definition = ", ".join(f'"{column}" {types[column]}' for column in kept)
        names = ", ".join(f'"{column}"' for column in kept)
        self._connection.execute(f"CREATE TABLE main.{table} ({definition})")
        self._connection.execute(f"INSERT INTO main.{table} SELECT {names} FROM source.{table} WHERE {where}")

    def _copy_strings(self) -> None:
        """Copy the strings that copied rows refer to."""
        references = [
            f'SELECT "{column}" FROM main.{table}'
            for (table,) in self._connection.execute(
                "SELECT name FROM main.sqlite_master WHERE type = 'table'"
            ).fetchall()
            for (column,) in self._connection.execute(
                "SELECT name FROM pragma_table_info(?, 'main')", (table,)
            ).fetchall()
            if column in _STRINGS
        ]
        self._connection.execute("CREATE TABLE main.StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        if references:
            self._connection.execute(
                "INSERT INTO main.StringIds SELECT id, value FROM source.StringIds "
                f"WHERE id IN ({' UNION '.join(references)})"
            )

    def _copied(self, table: str) -> bool:
        rows = self._connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (table,))
        return rows.fetchone() is not None

    def _count(self, table: str, where: str = "1") -> int:
        if not self._copied(table):
            return 0
        return int(self._connection.execute(f"SELECT COUNT(*) FROM main.{table} WHERE {where}").fetchone()[0])


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
