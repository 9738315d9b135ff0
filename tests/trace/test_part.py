"""Part of a trace: a process, a GPU, an iteration; and what became of every kernel."""

import pytest
from small_exports import DATA, PROCESS, SmallExport, modules

from tracediff.api import open as load_trace
from tracediff.errors import TracediffError
from tracediff.trace import read_trace
from tracediff.trace.part import Part, choose, explain_coverage

OTHER = PROCESS + 0x1000000


@pytest.fixture
def two_ranks(tmp_path):
    """Two processes that share correlation ids and run at the same time; two steps, the second one on two GPUs."""
    export = SmallExport()
    for process, name in ((PROCESS, "a"), (OTHER, "b")):
        for step in (0, 1):
            export.range("step", step * 100, step * 100 + 90, thread=process + 42)
            export.kernel(f"{name}{step}", step + 1, step * 100 + 10, process=process, deviceId=step)
    export.kernel("outside", 9, 500).kernel("lost", 10, None, start=600)
    return export.write(tmp_path / "t.sqlite")


def names(table):
    return [name for name, _, _ in modules(table)]


def test_ranks_stand_mixed_in_the_whole_table(two_ranks):
    assert names(read_trace(two_ranks)) == ["a0", "b0", "a1", "b1", "outside", "lost"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({}, ["a0", "a1", "outside", "lost"]),
        ({"rank": 1}, ["b0", "b1"]),
        ({"device": 1}, ["a1"]),
        ({"rank": 1, "iteration": 0}, ["b0"]),
        ({"iteration": 1}, ["a1"]),
    ],
)
def test_a_part_holds_its_kernels_alone(two_ranks, part, expected):
    table = load_trace(two_ranks, **part)
    assert names(table) == expected
    assert set(range(len(table.keys))) == set(table.key.tolist())


def test_the_choice_of_a_process_is_said(two_ranks):
    assert any("2 processes ran kernels; read: process 0" in note for note in load_trace(two_ranks).notes)
    assert not any("processes" in note for note in load_trace(two_ranks, rank=1).notes)


def test_coverage_of_a_part_adds_up(two_ranks):
    covered = load_trace(two_ranks).coverage
    assert (covered.kernels, covered.in_phase_only, covered.outside_ranges, covered.no_launch) == (4, 2, 1, 1)


@pytest.mark.parametrize("part", [{"rank": 7}, {"device": 7}, {"iteration": 7}, {"rank": 1, "device": 5}])
def test_a_part_that_is_not_there_is_refused_with_what_is(two_ranks, part):
    with pytest.raises(TracediffError, match="it has"):
        load_trace(two_ranks, **part)


def test_one_process_is_all_of_a_trace():
    table = read_trace(DATA / "llama-two-blocks-b1.sqlite")
    assert choose(table, Part()).notes == ()
    assert names(choose(table, Part(rank=0, device=0, iteration=0))) == names(table)


def test_coverage_is_explained(two_ranks):
    lines = explain_coverage(load_trace(two_ranks))
    assert lines[0] == "4 kernels"
    assert "  2 in step" in lines
    assert "  1 × outside" in lines
    assert any("1 without a launch" in line for line in lines)
