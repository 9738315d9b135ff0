"""NVTX ranges and marks of an nsys export, as columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from tracediff.trace.columns import NULL, Codes, Growing, Source, Texts, count_codes, distinct_of
from tracediff.trace.launches import THREAD_BITS
from tracediff.trace.ranges import NONE, OWN_PHASE, Nesting, in_layer, layer_of, nest, phases
from tracediff.trace.table import Int32, Int64

NVTX = "NVTX_EVENTS"
PUSH_POP, START_END, MARK, DOMAIN = 59, 60, 34, 75
OWN_DOMAIN = "tracediff"

_KEPT = ("start", "end", "eventType", "globalTid", "endGlobalTid", "domainId", "int64Value")
_COLUMNS = (*_KEPT, "textId")


class Events(Struct, frozen=True, kw_only=True):
    """Rows of NVTX_EVENTS. `text` is a code in `texts`, `payload` a number of the writer's, `NULL` for none."""

    start: Int64
    end: Int64
    kind: Int64
    thread: Int64
    end_thread: Int64
    domain: Int64
    text: Int32
    payload: Int64
    texts: tuple[str, ...]

    def take(self, rows: Int64) -> Events:
        """Return some rows, in that order."""
        return Events(
            start=self.start[rows],
            end=self.end[rows],
            kind=self.kind[rows],
            thread=self.thread[rows],
            end_thread=self.end_thread[rows],
            domain=self.domain[rows],
            text=self.text[rows],
            payload=self.payload[rows],
            texts=self.texts,
        )

    def renamed(self, names: list[str]) -> Events:
        """Return the same events with another text for each code; texts that become equal become one."""
        texts = Texts()
        code = np.array([texts.code(name) for name in names] or [0], dtype=np.int32)
        return replace(self, text=code[self.text], texts=texts.values)


class Ranges(Struct, frozen=True, kw_only=True):
    """Ranges, sorted by lane, then start, the longer first.

    A lane is what ranges nest in: a thread, or, for start/end ranges that end on another thread, a process.

    Attributes:
        start, end: Of each range.
        parent: Index of the range around it, -1 for none.
        text: Code of its text in `texts`.
        shape: The shape of the step that a range of tracediff's own is, `NULL` where it is none.
        phase: Index of its phase's range.
        name: A number for its process and text.
        texts: Distinct texts.
        lanes: globalTid (or globalPid) → index of the lane's first range and its nesting.
        notes: What a reader of the result must know.
    """

    start: Int64
    end: Int64
    parent: Int64
    text: Int32
    shape: Int64
    phase: Int64
    name: Int64
    texts: tuple[str, ...]
    lanes: dict[int, tuple[int, Nesting]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def innermost(self, thread: Int32, threads: list[int], moment: Int64) -> Int64:
        """Return the index of the innermost range open on a thread at a moment, -1 for none.

        Args:
            thread: Code of the thread of each moment, -1 for none.
            threads: globalTid of each code.
            moment: In ns.
        """
        if len(threads) == 1 and len(thread) and thread.min() == 0:
            return self.open_in(threads[0], moment)
        found = np.full(len(moment), NONE, dtype=np.int64)
        by_thread = np.argsort(thread, kind="stable")
        bounds = np.searchsorted(thread[by_thread], np.arange(len(threads) + 1))
        for code, tid in enumerate(threads):
            if tid in self.lanes and bounds[code] < bounds[code + 1]:
                mine = by_thread[bounds[code] : bounds[code + 1]]
                found[mine] = self.open_in(tid, moment[mine])
        return found

    def open_in(self, lane: int, moment: Int64) -> Int64:
        """Return the index of the innermost range open in one lane at each moment, -1 for none."""
        if lane not in self.lanes:
            return np.full(len(moment), NONE, dtype=np.int64)
        first, nesting = self.lanes[lane]
        inside = nesting.innermost(moment)
        return np.where(inside == NONE, NONE, inside + first) if first else inside


class Marks(Struct, frozen=True, kw_only=True):
    """NVTX marks: when, on which thread, and the code of their text in `texts`."""

    thread: Int64
    time: Int64
    text: Int32
    texts: tuple[str, ...]


def read_events(export: Source) -> Events:
    """Read every range, mark and domain."""
    growing = Growing()
    texts = Texts()
    ids: dict[int, int] = {}
    if export.has(NVTX, "start", "end", "eventType", "globalTid"):
        for rows in export.chunks(NVTX, _COLUMNS, "text"):
            columns = rows.integers
            keep = np.flatnonzero(np.isin(columns["eventType"], (PUSH_POP, START_END, MARK, DOMAIN)))
            keep = keep[columns["start"][keep] != NULL]
            # An event holds its text or the text's id; ids get codes below zero until their strings are read.
            inline = texts.of_rows(rows.text, keep)
            distinct = distinct_of(columns["textId"][keep])
            codes = np.array([ids.setdefault(value, len(ids)) for value in distinct.tolist()], dtype=np.int32)
            by_id = codes[np.searchsorted(distinct, columns["textId"][keep])] if len(keep) else inline
            chunk = {column: columns[column][keep] for column in _KEPT}
            growing.add({**chunk, "text": np.where(inline >= 0, inline, -1 - by_id)}, rows.share)
    nothing = np.zeros(0, dtype=np.int64)
    whole = growing.columns() or dict.fromkeys((*_KEPT, "text"), nothing)
    of_id = np.array([texts.code(text) for text in export.strings(list(ids))] or [0], dtype=np.int64)
    text = np.where(whole["text"] >= 0, whole["text"], of_id[-1 - np.minimum(whole["text"], -1)])
    return Events(
        start=whole["start"],
        end=whole["end"],
        kind=whole["eventType"],
        thread=whole["globalTid"],
        end_thread=whole["endGlobalTid"],
        domain=whole["domainId"],
        text=text.astype(np.int32),
        payload=whole["int64Value"],
        texts=texts.values,
    )


class Domains(Struct, frozen=True, kw_only=True):
    """NVTX domains.

    Attributes:
        domain: Code of each event's domain in `names`, -1 for the default domain and for one without a name.
        names: Their names.
    """

    domain: Int64
    names: tuple[str, ...]


def domains_of(events: Events) -> Domains:
    """Return the domain of each event: a process numbers its domains itself, and says each one's name once."""
    domain = np.full(len(events.start), NONE, dtype=np.int64)
    names = Texts()
    named = np.flatnonzero(events.kind == DOMAIN).tolist()
    process = events.thread & ~THREAD_BITS if named else events.thread
    for row in named:
        mine = (events.domain == events.domain[row]) & (process == process[row])
        domain[mine] = names.code(events.texts[events.text[row]])
    return Domains(domain=domain, names=names.values)


def named(events: Events, names: list[str | None]) -> Events:
    """Return the events with ranges renamed: by a name for each text, None where ranges with that text do not count."""
    texts = Texts()
    of_range = np.array([-1 if name is None else texts.code(name) for name in names] or [0], dtype=np.int32)
    as_written = np.array([texts.code(text) for text in events.texts] or [0], dtype=np.int32)
    text = np.where(is_range(events), of_range[events.text], as_written[events.text])
    renamed = replace(events, text=text, texts=texts.values)
    return renamed if (text >= 0).all() else renamed.take(np.flatnonzero(text >= 0))


def range_texts(events: Events) -> list[bool]:
    """Return for each text whether a range has it."""
    used = np.zeros(len(events.texts), dtype=np.bool_)
    used[events.text[is_range(events)]] = True
    return [bool(each) for each in used]


def is_range(events: Events) -> npt.NDArray[np.bool_]:
    """Return for each event whether it is a range."""
    ranges: npt.NDArray[np.bool_] = (events.kind == PUSH_POP) | (events.kind == START_END)
    return ranges


def find_ranges(events: Events, phase_names: frozenset[str] = frozenset()) -> Ranges:
    """Nest every range; one left open ends with the trace, one that ends no later than it starts covers nothing.

    Args:
        events: Ranges among other events.
        phase_names: Texts of ranges that are phases, wherever they nest.
    """
    domains = domains_of(events)
    is_own = np.isin(domains.domain, [code for code, name in enumerate(domains.names) if name == OWN_DOMAIN])
    # A start/end range may end on another thread; it then belongs to no thread, but to the process.
    elsewhere = (events.end_thread != NULL) & (events.end_thread != events.thread)
    astray = (events.kind == START_END) & elsewhere
    rows = np.flatnonzero(is_range(events))
    end = events.end[rows]
    open_ended = end == NULL
    if open_ended.any():
        np.copyto(end, max(end.max(), events.start[rows].max()), where=open_ended)
    covers = end > events.start[rows]
    if not covers.all():
        rows, end = rows[covers], end[covers]
    start, lane = events.start[rows], events.thread[rows]
    if astray.any():
        np.copyto(lane, lane & ~THREAD_BITS, where=astray[rows])
    lanes = Codes()
    code = lanes.of(lane)
    del lane  # of a large trace's columns, those in hand are most of what a reader holds
    order = _order(code, start, end)
    if order is not None:
        rows, code, start, end = rows[order], code[order], start[order], end[order]
    text = events.text[rows]
    processes = Codes().of(np.array(lanes.values, dtype=np.int64) & ~THREAD_BITS).astype(np.int64)

    parent = np.full(len(start), NONE, dtype=np.int64)
    bounds = np.searchsorted(code, np.arange(len(lanes.values) + 1)).tolist()
    nestings: dict[int, tuple[int, Nesting]] = {}
    for each, first, past in zip(lanes.values, bounds, bounds[1:], strict=False):
        nesting = nest(start[first:past], end[first:past])
        nestings[each] = (first, nesting)
        parent[first:past] = nesting.parent
        np.add(parent[first:past], first, out=parent[first:past], where=nesting.parent != NONE)
    text, texts = _in_layers_of_callers(text, parent, events.texts)
    own_texts = np.array([OWN_PHASE.fullmatch(each) is not None for each in texts] + [False], dtype=bool)
    said = np.array([each in phase_names for each in texts] + [False], dtype=bool)
    # `tracediff record` puts the shape of a step into its range: a phase, whatever the program has open around it.
    is_own = is_own[rows]
    shape = _shapes_of_steps(events.payload, rows, is_own)
    phase = phases(parent, own_texts[text] & is_own | (shape != NULL) | said[text])
    notes = (f"{int(open_ended.sum())} NVTX ranges were still open at the end",) if open_ended.any() else ()
    return Ranges(
        start=start,
        end=end,
        parent=parent,
        text=text,
        shape=shape,
        phase=phase,
        name=processes[code] * np.int64(len(texts) + 1) + text,
        texts=texts,
        lanes=nestings,
        notes=notes,
    )


def _in_layers_of_callers(text: Int32, parent: Int64, texts: tuple[str, ...]) -> tuple[Int32, tuple[str, ...]]:
    """Return the texts of ranges (modules that blocks share in the block of the range around them), and all texts."""
    layer = np.full(len(texts), NONE, dtype=np.int64)
    for code in np.flatnonzero(count_codes(text, len(texts))).tolist():
        number = layer_of(texts[code])
        layer[code] = NONE if number is None else number
    called = np.flatnonzero(parent != NONE)
    own, around = layer[text[called]], layer[text[parent[called]]]
    shared = called[(own != NONE) & (around != NONE) & (own != around)]
    if not len(shared):
        return text, texts
    codes = {each: code for code, each in enumerate(texts)}
    pairs, which = np.unique(text[shared] * np.int64(len(texts)) + text[parent[shared]], return_inverse=True)
    names = [in_layer(texts[pair // len(texts)], texts[pair % len(texts)]) for pair in pairs.tolist()]
    changed = text.copy()
    changed[shared] = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int32)[which]
    return changed, tuple(codes)


def _shapes_of_steps(payload: Int64, rows: Int64, is_own: npt.NDArray[np.bool_]) -> Int64:
    """Return the payloads of the rows that are tracediff's own, `NULL` for others; held once where none has any.

    Args:
        payload: Of every event.
        rows: Those asked for.
        is_own: Whether each of these is tracediff's own.
    """
    own = np.flatnonzero(is_own)
    of_own = payload[rows[own]]
    if not (of_own != NULL).any():
        return np.broadcast_to(np.int64(NULL), len(rows))
    shape = np.full(len(rows), NULL, dtype=np.int64)
    shape[own] = of_own
    return shape


def find_marks(events: Events, wanted: npt.NDArray[np.bool_]) -> Marks:
    """Return the marks whose text's code is `wanted`."""
    marks = np.flatnonzero(events.kind == MARK)
    marks = marks[wanted[events.text[marks]]]
    return Marks(thread=events.thread[marks], time=events.start[marks], text=events.text[marks], texts=events.texts)


def _order(lane: Int32, start: Int64, end: Int64) -> Int64 | None:
    """Sort by lane, then start, the longer range first; None for what is sorted, as nsys writes a single thread's."""
    if not lane.any() and (start[1:] > start[:-1]).all():
        return None
    return np.lexsort((-end, start, lane))
