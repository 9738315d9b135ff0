"""NVTX ranges and marks of an nsys export, as columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tracediff.trace.columns import NULL, Export
from tracediff.trace.ranges import NONE, OWN_PHASE, innermost, key_of, occurrences, parents, phases
from tracediff.trace.table import Int32, Int64, RangeKey

NVTX = "NVTX_EVENTS"
PUSH_POP, MARK, DOMAIN = 59, 34, 75
OWN_DOMAIN = "tracediff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """All push/pop ranges, sorted by thread, then start, the longer first.

    Attributes:
        thread, start, end: Of each range.
        parent: Index of the range around it, -1 for none.
        text: Code of its text in `texts`.
        phase: Index of its phase's range.
        iteration: Which occurrence of its phase it belongs to.
        texts: Distinct texts.
        notes: What a reader of the result must know.
    """

    thread: Int64
    start: Int64
    end: Int64
    parent: Int64
    text: Int32
    phase: Int64
    iteration: Int64
    texts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def innermost(self, thread: Int64, moment: Int64) -> Int64:
        """Return the index of the innermost range open on a thread at a moment, -1 for none."""
        found = np.full(len(moment), NONE, dtype=np.int64)
        for each in np.unique(self.thread).tolist():
            first, last = np.searchsorted(self.thread, [each, each + 1])
            wanted = np.flatnonzero((thread == each) & (moment != NULL))
            part = slice(int(first), int(last))
            local = np.where(self.parent[part] < 0, NONE, self.parent[part] - first)
            inside = innermost(self.start[part], self.end[part], local, moment[wanted])
            found[wanted] = np.where(inside < 0, NONE, inside + first)
        return found

    def iteration_of(self, innermost_range: Int64) -> Int32:
        """Return the iteration of each kernel, -1 outside every range."""
        return np.append(self.iteration, NONE)[innermost_range].astype(np.int32)

    def key_code_of(self, innermost_range: Int64) -> Int64:
        """Return a number per distinct (phase text, module text); -1 outside every range."""
        width = len(self.texts) + 1
        module = np.where(self.phase == np.arange(len(self.phase)), len(self.texts), self.text)
        code = self.text[self.phase].astype(np.int64) * width + module if len(self.phase) else self.phase
        return np.append(code, NONE)[innermost_range]

    def key(self, code: int) -> RangeKey:
        """Return the key of a number made by `key_code_of`."""
        if code < 0:
            return key_of(None, None)
        phase, module = divmod(code, len(self.texts) + 1)
        return key_of(self.texts[phase], self.texts[module] if module < len(self.texts) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """NVTX marks: when, on which thread, and the code of their text in `texts`."""

    thread: Int64
    time: Int64
    text: Int32
    texts: tuple[str, ...]


def read_ranges(export: Export) -> Ranges:
    """Read every push/pop range; a range left open ends with the trace."""
    events = _events(export, PUSH_POP)
    last = int(max(events["end"].max(initial=0), events["start"].max(initial=0)))
    open_ended = events["end"] == NULL
    end = np.where(open_ended, np.int64(last), events["end"])
    order = np.lexsort((-end, events["start"], events["globalTid"]))
    thread, start, end = events["globalTid"][order], events["start"][order], end[order]
    texts, text = _texts(export, events, order)

    parent = np.full(len(start), NONE, dtype=np.int64)
    for each in np.unique(thread).tolist():
        first, past = np.searchsorted(thread, [each, each + 1])
        part = slice(int(first), int(past))
        inside = parents(start[part], end[part])
        parent[part] = np.where(inside < 0, NONE, inside + first)
    own = _own_domain(export, events["domainId"][order])
    own_phase = np.array([OWN_PHASE.fullmatch(each) is not None for each in texts] + [False], dtype=bool)[text] & own
    phase = phases(parent, own_phase)
    per_thread = np.unique(np.stack([thread, text.astype(np.int64)]), axis=1, return_inverse=True)[1]
    notes = (f"{int(open_ended.sum())} NVTX ranges were still open at the end",) if open_ended.any() else ()
    return Ranges(
        thread=thread,
        start=start,
        end=end,
        parent=parent,
        text=text,
        phase=phase,
        iteration=occurrences(phase, per_thread.astype(np.int32), start),
        texts=texts,
        notes=notes,
    )


def read_marks(export: Export, wanted: Callable[[str], bool]) -> Marks:
    """Read the marks whose text is `wanted`."""
    events = _events(export, MARK)
    texts, text = _texts(export, events, np.arange(len(events["start"])))
    keep = np.array([wanted(each) for each in texts], dtype=bool)[text] if texts else np.zeros(0, dtype=bool)
    return Marks(thread=events["globalTid"][keep], time=events["start"][keep], text=text[keep], texts=texts)


_COLUMNS = ("start", "end", "globalTid", "textId", "domainId")


def _events(export: Export, kind: int) -> dict[str, Int64]:
    if not export.has(NVTX, "start", "end", "eventType", "globalTid"):
        return {column: np.zeros(0, dtype=np.int64) for column in (*_COLUMNS, "rowid")}
    return export.integers(NVTX, (*_COLUMNS, "rowid"), f"eventType = {kind} AND start IS NOT NULL")


def _texts(export: Export, events: dict[str, Int64], order: Int64) -> tuple[tuple[str, ...], Int32]:
    """Return distinct texts and each event's: by id (`textId`) or written out in the event (`text`)."""
    ids = events["textId"][order]
    distinct, codes = np.unique(ids, return_inverse=True)
    texts = export.strings(distinct)
    inline = np.flatnonzero(ids == NULL)
    if len(inline) and export.has(NVTX, "text"):
        position = {text: code for code, text in enumerate(texts)}
        query = f"SELECT rowid, text FROM {NVTX} WHERE textId IS NULL AND text IS NOT NULL"
        written = {rowid: str(text) for rowid, text in export.query(query)}
        codes = codes.copy()
        rows = events["rowid"][order]
        for index in inline.tolist():
            inline_text = written.get(rows[index], "")
            codes[index] = position.setdefault(inline_text, len(position))
        texts = list(position)
    return tuple(texts), codes.astype(np.int32)


def _own_domain(export: Export, domain: Int64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each range stands in tracediff's own NVTX domain."""
    events = _events(export, DOMAIN)
    texts, text = _texts(export, events, np.arange(len(events["start"])))
    own = {int(events["domainId"][index]) for index, code in enumerate(text.tolist()) if texts[code] == OWN_DOMAIN}
    return np.isin(domain, list(own))
