"""What a process writes when ranges open and close, and how it is read back."""

import contextlib
import json
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tracediff.capture.record import range_files
from tracediff.capture.record.range_files import CLOCK_MARK, LOST, RANGES, TEXTS, RangeFiles
from tracediff.capture.record.written_threads import read_thread


class Program:
    """A process that opens ranges and leaves marks."""

    def __init__(self, folder):
        self.folder = folder
        self.marks, self.told = [], []
        self.files = RangeFiles(str(folder), lambda text: lambda: self.marks.append(text), self.take)

    def take(self, told):
        self.told.append(told)
        return self.can_take

    can_take = True

    def threads(self):
        return [read_thread(path) for path in sorted(self.folder.glob(f"*{RANGES}"))]

    def texts(self):
        lines = [line for path in self.folder.glob(f"*{TEXTS}") for line in path.read_text().splitlines() if line]
        return {number: (text, payload) for number, text, payload in map(json.loads, lines)}

    def ranges(self, thread):
        """Return text, payload and depth of each range, in the order they opened; `open` for one that never closed."""
        texts = self.texts()
        found = placed(thread)
        return [
            (
                *texts[number],
                sum(began < place and (end < 0 or end > place) for began, end, _ in found),
                *(["open"] if ended < 0 else []),
            )
            for place, ended, number in found
        ]


def placed(thread):
    """Return where each range opened and closed and its text's number, in the order they opened."""
    return sorted(zip(*(column.tolist() for column in thread.ranges()), strict=True))


def open_now(thread):
    return sum(closed < 0 for _, closed, _ in placed(thread))


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
    assert program.marks == [f"{CLOCK_MARK} {thread.name} {number}" for number in brackets[:, 2].tolist()]
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
    assert len(program.marks) == 2 * at_first


def test_a_file_grows_by_parts_and_no_range_is_lost_between_them(program):
    part = program.files.opener("part")
    for _ in range(20_000):
        part()
        program.files.close()
    (thread,) = program.threads()
    assert len(placed(thread)) == 20_000


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
    assert [len(placed(by_process[process])) for process in (os.getpid(), child)] == [1, 1]


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
    assert thread.numbers[-1] == LOST
    assert len(thread.moments) * 16 <= mmap.PAGESIZE * 1024
    assert not open_now(thread)


def test_what_cannot_be_told_is_told_again(program, monkeypatch):
    """Whoever has no descriptor left for a file has none to tell that either."""

    def none_left(*_):
        raise OSError(24, "Too many open files")

    part = program.files.opener("part")
    program.can_take = False
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", none_left)
        for _ in range(1000):
            part()
            program.files.close()
    before = len(program.told)
    program.can_take = True
    for _ in range(1000):
        part()
        program.files.close()
    assert before > 1
    assert len(program.told) == before + 1


def test_a_text_that_could_not_be_written_is_written_later(program, monkeypatch):
    program.files.open_step("Net", 1)
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        part = program.files.opener("part")
    assert "part" not in {text for text, _ in program.texts().values()}
    program.files.mark_clock()
    part()
    (thread,) = program.threads()
    assert [text for text, *_ in program.ranges(thread)] == ["Net", "part"]


def test_a_folder_that_is_gone_does_not_reach_the_program(tmp_path):
    program = Program(tmp_path / "gone")
    program.files.open_step("Net", 1)
    program.files.close()
    assert len(program.told) == 1


def test_a_program_that_closes_every_descriptor_keeps_those_that_it_opens_then(tmp_path):
    """As a daemon does; its ranges go on."""
    source = f"""
import os
from tracediff.capture.record.range_files import RangeFiles
files = RangeFiles({str(tmp_path)!r}, lambda text: int, print)
part = files.opener("part")
part()
os.closerange(3, 256)
mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
files.close()
for _ in range(40_000):
    part()
    files.close()
for each in mine:
    os.fstat(each)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (thread,) = [read_thread(path) for path in tmp_path.glob(f"*{RANGES}")]
    assert len(placed(thread)) == 40_001


def test_threads_and_children_that_write_little_take_little_room(program):
    program.files.opener("part")()
    (path,) = program.folder.glob(f"*{RANGES}")
    assert path.stat().st_size == mmap.ALLOCATIONGRANULARITY


def test_a_thread_that_ended_takes_no_memory(program):
    def mapped():
        return sum(RANGES in line for line in Path("/proc/self/maps").read_text().splitlines())

    before = mapped()
    for _ in range(5):
        thread = threading.Thread(target=program.files.opener("part"))
        thread.start()
        thread.join()
    assert mapped() <= before + 1


def test_a_step_closes_what_an_exception_between_two_lines_left_open(program):
    program.files.open_step("Net", 1)
    program.files.opener("left open")()
    program.files.close()  # of the step, which closes the other's
    program.files.open_step("Net", 1)
    program.files.close()
    (thread,) = program.threads()
    assert [(text, depth) for text, _, depth in program.ranges(thread)] == [("Net", 0), ("left open", 1), ("Net", 0)]


def test_an_exception_of_a_signal_handler_while_a_file_grows_loses_nothing_written(program, monkeypatch):
    part = program.files.opener("part")
    fallocate, due = os.posix_fallocate, []

    def interrupt(*arguments):
        fallocate(*arguments)
        due.append(arguments)
        if len(due) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "posix_fallocate", interrupt)
    for _ in range(2000):
        try:
            part()
        except KeyboardInterrupt:
            continue
        program.files.close()
    (thread,) = program.threads()
    assert len(placed(thread)) == 1999


@pytest.mark.parametrize("where", ["prepared", "left", "noted"])
def test_a_mark_that_an_exception_interrupts_does_not_shift_the_others(tmp_path, where):
    """Whose numbers would then be those of other moments: all ranges would be off by the time between two marks."""
    left, due = {}, [where]

    def interrupt(now):
        if len(left) == 4 and now in due:
            due.clear()
            raise KeyboardInterrupt

    def prepare(text):
        def leave():
            interrupt("left")
            left[int(text.split()[-1])] = range_files._moment()
            interrupt("noted")

        interrupt("prepared")
        return leave

    files = RangeFiles(str(tmp_path), prepare, print)
    for _ in range(4):
        with contextlib.suppress(KeyboardInterrupt):
            files.mark_clock()
    (thread,) = [read_thread(path) for path in tmp_path.glob(f"*{RANGES}")]
    brackets = thread.brackets().tolist()
    assert not due
    assert len(brackets) >= 9
    assert all(before <= left[number] <= after for before, after, number in brackets)


def test_frozen_time_does_not_stop_the_clock(tmp_path):
    """As freezegun does: it replaces time's functions in every module that holds one."""
    source = f"""
import sys, time
from tracediff.capture.record import range_files
held = {{id(getattr(time, name)) for name in ("time_ns", "monotonic_ns", "perf_counter_ns", "perf_counter")}}
for module in list(sys.modules.values()):
    for name, value in list(vars(module).items()):
        if id(value) in held:
            setattr(module, name, lambda: 5)
files = range_files.RangeFiles({str(tmp_path)!r}, lambda text: int, print)
files.opener("part")()
files.close()
"""
    subprocess.run([sys.executable, "-c", source], timeout=60, check=True)
    (thread,) = [read_thread(path) for path in tmp_path.glob(f"*{RANGES}")]
    assert thread.moments[1] > thread.moments[0] > 5
