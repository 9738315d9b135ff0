"""A clean copy of our own recording: the recorded process's GPU work, launches, ranges and marks, and nothing else.

What may be copied at all, and why, is in `tracediff.capture.kept`.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.kept import (
    DOMAIN_CREATED,
    GRAPH_NODES,
    MARK,
    NVTX,
    PUSH_POP,
    CleanCopy,
    clean_copy,
    in_list,
)
from tracediff.errors import TracediffError
from tracediff.model.ranges import DOMAIN, RUN


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
        with clean_copy(source, destination) as copy:
            return _copy_own_process(copy)
    except sqlite3.Error as error:
        raise TracediffError(f"cannot read nsys's export of the recording: {error}") from error


def _copy_own_process(copy: CleanCopy) -> Scrubbed:
    domains, process = _own_domains_and_process(copy)
    # A thread's or process's global id holds the process in all but its low 24 bits.
    of_thread, of_process = (f"({column} >> 24) = {process >> 24}" for column in ("globalTid", "globalPid"))
    copy.copy_gpu_work(of_process)
    copy.copy_launches(of_thread)
    kinds = in_list((PUSH_POP, MARK, DOMAIN_CREATED))
    copy.copy(NVTX, f"{of_thread} AND domainId IN {in_list(domains)} AND eventType IN {kinds}")
    copy.copy(GRAPH_NODES, of_thread)
    copy.copy_descriptions()
    copy.copy_strings()
    return Scrubbed(
        kernels=copy.count("CUPTI_ACTIVITY_KIND_KERNEL"),
        ranges=copy.count(NVTX, f"eventType = {PUSH_POP}"),
        marks=copy.count(NVTX, f"eventType = {MARK}"),
    )


def _own_domains_and_process(copy: CleanCopy) -> tuple[list[int], int]:
    """Return the ids of the domain `tracediff`, and the global id of a thread that opened `run` in it."""
    if NVTX in copy.tables:
        text = "COALESCE(event.text, string.value)"
        events = f"source.{NVTX} AS event LEFT JOIN source.StringIds AS string ON string.id = event.textId"
        domains = copy.connection.execute(
            f"SELECT DISTINCT domainId, globalTid >> 24 FROM {events} "
            f"WHERE eventType = {DOMAIN_CREATED} AND {text} = ?",
            (DOMAIN,),
        ).fetchall()
        for process in {process for _, process in domains}:
            own = [domain for domain, creator in domains if creator == process]
            found = copy.connection.execute(
                f"SELECT globalTid FROM {events} WHERE eventType = {PUSH_POP} AND globalTid >> 24 = ? "
                f"AND domainId IN {in_list(own)} AND {text} = ? LIMIT 1",
                (process, RUN),
            ).fetchone()
            if found is not None:
                return own, int(found[0])
    raise OwnRangesMissingError("the recording lacks its own NVTX ranges")
