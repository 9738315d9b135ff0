"""What a process writes when ranges open and close, and how it is read back."""

import json
import mmap
import os
import threading

import pytest

from tracediff.capture.record import range_files
from tracediff.capture.record.insert_ranges import read_thread
from tracediff.capture.record.range_files import CLOCK_MARK, RANGES, TEXTS, RangeFiles


class Program:
    """A process that opens ranges and leaves marks."""

    def __init__(self, folder):
        self.folder = folder
        self.marks, self.told = [], []
        self.files = RangeFiles(str(folder), lambda text: lambda: self.marks.append(text), self.told.append)

    def threads(self):
        return [read_thread(path) for path in sorted(self.folder.glob(f"*{RANGES}"))]

    def texts(self):
        lines = [line for path in self.folder.glob(f"*{TEXTS}") for line in path.read_text().splitlines()]
        return {number: (text, payload) for number, text, payload in map(json.loads, lines)}

    def ranges(self, thread):
        """Return text, payload and depth of each range, in the order they opened; `open` for one that never closed."""
        texts = self.texts()
        found = sorted(thread.ranges())
        return [
            (
                *texts[number],
                sum(began < place and (end is None or end > place) for began, end, _ in found),
                *(["open"] if ended is None else []),
            )
            for place, ended, number in found
        ]


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


def test_ranges_come_back_nested_with_their_texts_and_payloads(program):
    layer = program.files.opener("layers.0")
    for shape in (7, 7, None):
        program.files.open_step("Net", shape)
        layer()
        program.files.close()
        program.files.close()
    (thread,) = program.threads()
    assert program.ranges(thread) == [
        each for shape in (7, 7, None) for each in (("Net", shape, 0), ("layers.0", None, 1))
    ]
    assert list(thread.moments) == sorted(thread.moments)


def test_a_range_that_never_closed_and_a_close_of_what_was_never_opened(program):
    program.files.close()
    program.files.opener("left open")()
    (thread,) = program.threads()
    assert program.ranges(thread) == [("left open", None, 0, "open")]


def test_each_mark_lies_between_two_moments_and_bears_the_name_of_its_thread(program):
    for _ in range(3):
        program.files.open_step("Net", 1)
        program.files.close()
    program.files.mark_clock()
    (thread,) = program.threads()
    brackets = thread.brackets()
    assert program.marks == [f"{CLOCK_MARK} {thread.name} {number}" for number in range(len(brackets))]
    assert len(brackets) >= 2
    assert (brackets[:, 0] <= brackets[:, 1]).all()


def test_steps_close_together_leave_no_further_marks(program, monkeypatch):
    monkeypatch.setattr(range_files, "_moment", lambda: 5)
    for _ in range(50):
        program.files.open_step("Net", 1)
        program.files.close()
    at_first = len(program.marks)
    monkeypatch.setattr(range_files, "_moment", lambda: 10**9)
    program.files.open_step("Net", 1)
    assert len(program.marks) == at_first + 1


def test_a_file_grows_by_parts_and_no_range_is_lost_between_them(program):
    part = program.files.opener("part")
    for _ in range(20_000):
        part()
        program.files.close()
    (thread,) = program.threads()
    assert len(list(thread.ranges())) == 20_000


def test_every_thread_has_its_own_file(program):
    def work(text):
        program.files.opener(text)()
        program.files.close()

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    program.files.opener("here")()
    found = [program.ranges(thread) for thread in program.threads() if len(thread.moments)]
    assert sorted(ranges[0][0] for ranges in found) == ["here", "thread 0", "thread 1", "thread 2"]


def test_a_forked_child_writes_to_files_of_its_own(program):
    program.files.open_step("parent", 1)
    child = os.fork()
    if child == 0:
        program.files.close()  # the parent's
        program.files.open_step("child", 2)
        os._exit(0)  # no time for anything, as a signal leaves none
    os.waitpid(child, 0)
    program.files.close()
    by_process = {thread.process_id: thread for thread in program.threads()}
    texts = [json.loads(path.read_text().splitlines()[0]) for path in sorted(program.folder.glob(f"*{TEXTS}"))]
    assert sorted(text for _, text, _ in texts) == ["child", "parent"]
    assert [len(list(by_process[process].ranges())) for process in (os.getpid(), child)] == [1, 1]


def test_a_full_disk_is_told_once_and_the_program_goes_on(program, monkeypatch):
    part = program.files.opener("part")
    part()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for _ in range(50_000):
        part()
        program.files.close()
    assert program.told == ["its ranges end early: [Errno 28] No space left on device"]
    (thread,) = program.threads()
    assert len(thread.moments) * 16 <= mmap.PAGESIZE * 1024


def test_a_folder_that_is_gone_does_not_reach_the_program(tmp_path):
    program = Program(tmp_path / "gone")
    program.files.open_step("Net", 1)
    program.files.close()
    assert len(program.told) == 1
