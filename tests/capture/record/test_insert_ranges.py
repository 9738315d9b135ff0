"""Ranges that a program wrote, put into small exports of nsys's."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from tests.trace.small_exports import PROCESS, SCHEMA, SmallExport
from tracediff.capture.record.clean import clean_recording
from tracediff.capture.record.insert_ranges import insert_ranges
from tracediff.capture.record.range_files import (
    AFTER_MARK,
    ALL_CLOSED,
    BEFORE_MARK,
    CLOCK_MARK,
    CLOSED,
    EVENT,
    LOST,
    RANGES,
    TEXTS,
)
from tracediff.errors import TracediffError
from tracediff.trace import read_trace

OWN, THEIRS = 3, 1
PID = PROCESS >> 24
#: How far the program's clock is ahead of nsys's.
AHEAD = 10**15
MODEL = ("Net", 8 << 32 | 1)


class Recording:
    """An export and the files beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.export = SmallExport(schema=SCHEMA)

    def domain(self, name, number, process=PROCESS):
        self.export.add("NVTX_EVENTS", start=0, eventType=75, text=name, globalTid=process + 42, domainId=number)

    def thread(self, *events, pid=PID, tid=42, texts=(MODEL, ("layers.0", None)), marks=(), domain=OWN, above=0):
        """Write a thread's (moment, number) and a bracket with its mark in the export for each of `marks`."""
        name = f"{pid}-5-{tid}-0"
        written = [(moment + AHEAD, number) for moment, number in events]
        brackets = []
        for count, moment in enumerate(marks):
            brackets += [(moment - 1 + AHEAD, BEFORE_MARK), (moment + 1 + AHEAD, AFTER_MARK - count)]
            self.export.add(
                "NVTX_EVENTS",
                **{"start": moment, "eventType": 34, "text": f"{CLOCK_MARK} {name} {count}", "domainId": domain},
                globalTid=above | pid << 24 | tid,
            )
        pairs = b"".join(EVENT.pack(*pair) for pair in [*brackets, *written])
        (self.folder / f"{name}{RANGES}").write_bytes(pairs + bytes(64))
        lines = [json.dumps([number, *text]) for number, text in enumerate(texts, start=1)]
        (self.folder / f"{pid}-5{TEXTS}").write_text("\n".join(lines) + "\n")

    def inserted(self, **options):
        path = self.export.write(self.folder / "raw.sqlite")
        self.count = insert_ranges(path, self.folder, **options)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(
                "SELECT COALESCE(text, value), start, end, globalTid, domainId, int64Value FROM NVTX_EVENTS "
                "LEFT JOIN StringIds ON id = textId WHERE eventType = 59 ORDER BY start"
            ).fetchall()


@pytest.fixture
def recording(tmp_path):
    return Recording(tmp_path)


STEP = ((100, 1), (110, 2), (150, CLOSED), (160, CLOSED))


def test_ranges_are_in_nsyss_time_thread_and_domain_with_the_steps_shape(recording):
    recording.domain("tracediff", OWN)
    recording.thread(*STEP, marks=(90,))
    assert recording.inserted() == [
        ("Net", 100, 160, PROCESS + 42, OWN, 8 << 32 | 1),
        ("layers.0", 110, 150, PROCESS + 42, OWN, None),
    ]
    assert recording.count == 2


def test_kernels_launched_within_are_the_modules(recording, tmp_path):
    recording.domain("tracediff", OWN)
    recording.export.kernel("first", 1, 120).kernel("second", 2, 155).kernel("third", 3, 170)
    recording.thread(*STEP, marks=(90,))
    recording.inserted()
    holds = clean_recording(tmp_path / "raw.sqlite", tmp_path / "clean.sqlite")
    assert (holds.own_ranges, holds.steps, holds.marks) == (2, {"8x1": 1}, 0)
    table = read_trace(tmp_path / "clean.sqlite")
    keys = [table.keys[code] for code in table.key.tolist()]
    assert [(key.phase, key.module) for key in keys] == [("Net", "layers.0"), ("Net", ""), (None, "")]


def test_a_range_that_never_closed_has_no_end(recording):
    recording.thread(*STEP[:2], marks=(90,))
    assert [(text, start, end) for text, start, end, *_ in recording.inserted()] == [
        ("Net", 100, None),
        ("layers.0", 110, None),
    ]


def test_a_process_whose_domain_nsys_does_not_name_gets_one_that_is_no_librarys(recording, tmp_path):
    recording.domain("server", THEIRS)
    recording.thread(*STEP, marks=(90,), domain=0)
    assert {domain for *_, domain, _ in recording.inserted()} == {THEIRS + 1}
    assert clean_recording(tmp_path / "raw.sqlite", tmp_path / "clean.sqlite").own_ranges == 2


def test_a_thread_without_marks_takes_the_clock_of_others_and_is_numbered_as_they_are(recording):
    machine = 5 << 48
    recording.thread(marks=(90,), above=machine)
    recording.thread(*STEP, pid=PID + 1, tid=7)
    assert [row[1:4] for row in recording.inserted()] == [
        (100, 160, machine | (PID + 1) << 24 | 7),
        (110, 150, machine | (PID + 1) << 24 | 7),
    ]


def test_a_thread_without_marks_is_left_out_where_nsys_numbers_threads_otherwise(recording):
    recording.thread(marks=(90,), tid=42)
    recording.export.rows["NVTX_EVENTS"][-1]["globalTid"] = 99 << 24 | 1
    recording.thread(*STEP, pid=PID + 1, tid=7)
    assert recording.inserted() == []


def test_without_marks_nothing_is_inserted(recording):
    recording.domain("tracediff", OWN)
    recording.thread(*STEP)
    assert (recording.inserted(), recording.count) == ([], 0)


def test_a_part_that_nsys_recorded_takes_the_ranges_of_that_time(recording):
    recording.domain("tracediff", OWN)
    recording.export.call(1, 300)
    later = ((300, 1), (310, CLOSED), (400, 1), (410, CLOSED))
    recording.thread(*STEP, *later, marks=(290,))
    assert [start for _, start, *_ in recording.inserted(bounded=True)] == [300]


def test_a_text_that_a_killed_process_wrote_half_loses_its_ranges_alone(recording, tmp_path):
    recording.thread(*STEP, marks=(90,))
    path = next(tmp_path.glob(f"*{TEXTS}"))
    path.write_text(path.read_text()[:-6])
    assert [text for text, *_ in recording.inserted()] == ["Net"]


def test_a_text_between_two_that_is_half_written_loses_its_ranges_alone(recording, tmp_path):
    recording.thread(*STEP, marks=(90,))
    path = next(tmp_path.glob(f"*{TEXTS}"))
    first, second = path.read_text().splitlines()
    path.write_text(f"{first[:-6]}\n{second}\n")
    assert [text for text, *_ in recording.inserted()] == ["layers.0"]


@pytest.mark.parametrize("text", ["of mine", "", "1-2-3 4", "1-2-3-4", "1-2-3-4 5 6", "a-b-c-d 5"])
def test_a_mark_of_the_programs_own_that_begins_as_the_clocks_do_is_none(recording, text):
    recording.export.add("NVTX_EVENTS", start=5, eventType=34, text=f"{CLOCK_MARK} {text}", globalTid=PROCESS + 42)
    recording.thread(*STEP, marks=(90,))
    assert [row[:3] for row in recording.inserted()] == [("Net", 100, 160), ("layers.0", 110, 150)]


def test_a_module_whose_name_is_no_text_is_named_without_what_is_none(recording):
    recording.thread(*STEP, texts=(MODEL, ("a\udc80\nb", None)), marks=(90,))
    assert [text for text, *_ in recording.inserted()] == ["Net", "a?\nb"]


@pytest.mark.parametrize("what", [ALL_CLOSED, LOST])
def test_what_did_not_close_by_then_ends_where_nothing_is_open(recording, what):
    recording.thread(*STEP[:2], (150, what), *((moment + 100, number) for moment, number in STEP), marks=(90,))
    assert [row[:3] for row in recording.inserted()] == [
        ("Net", 100, 150),
        ("layers.0", 110, 150),
        ("Net", 200, 260),
        ("layers.0", 210, 250),
    ]


def test_what_is_no_export_is_one_line(tmp_path):
    (tmp_path / "raw.sqlite").write_bytes(b"no database at all, only text of some length" * 30)
    with pytest.raises(TracediffError, match="cannot add module ranges"):
        insert_ranges(tmp_path / "raw.sqlite", tmp_path)


def test_texts_and_domains_are_looked_up_once_for_a_process_of_many_threads(recording, monkeypatch):
    reads = []
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: reads.append(path) or read_text(path, **how))
    for thread in range(50):
        recording.thread(*STEP, tid=thread + 1, marks=(90,) if thread % 2 else ())
    assert len(recording.inserted()) == 100
    assert len(reads) == 1
