"""Part of a trace: a process, a GPU, an iteration; and what became of every kernel."""

import pytest
from small_exports import DATA, PROCESS, SCHEMA, THREAD, SmallExport, modules

from tracediff.api import open as load_trace
from tracediff.errors import TracediffError
from tracediff.trace import Naming, read_trace
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


def levers(export, tmp_path, **naming):
    table = read_trace(export.write(tmp_path / "lever.sqlite"), Naming(**naming))
    return [line for line in explain_coverage(table) if "lever" in line]


def test_the_first_lever_is_a_thread_where_several_had_a_range_open(tmp_path):
    export = SmallExport().range("a", 0, 900, thread=PROCESS + 1).range("b", 0, 900, thread=PROCESS + 2)
    for number in range(3):
        export.kernel("k", number + 1, 100 * number + 10, thread=PROCESS + 3)
    export.kernel("late", 9, 950)
    (lever,) = levers(export, tmp_path)
    assert lever.startswith("first lever, for 3 of them: several other threads had a range open")
    (tmp_path / "lever.sqlite").unlink()
    assert not any("several" in line for line in levers(export, tmp_path, range="a"))


def test_a_recording_by_tracediff_is_not_told_to_record_again(tmp_path):
    export = SmallExport(schema=SCHEMA.replace("domainId INTEGER)", "domainId INTEGER, int64Value INTEGER)"))
    export.add("NVTX_EVENTS", start=0, eventType=75, text="tracediff", globalTid=THREAD, domainId=1)
    export.range("Net", 10, 20, domainId=1, int64Value=1 << 32 | 1).kernel("k", 1, 12).kernel("own", 2, 30)
    export.kernel("own", 3, 40)
    (lever,) = levers(export, tmp_path)
    assert "compiled code calls none" in lever
    assert "tracediff record" not in lever


def test_the_first_lever_is_a_library_where_only_its_ranges_were_open(tmp_path):
    export = SmallExport().add("NVTX_EVENTS", start=0, eventType=75, text="cuDNN", globalTid=PROCESS + 42, domainId=3)
    export.range("mine", 0, 5).range("conv", 10, 50, domainId=3).kernel("k", 1, 20)
    assert levers(export, tmp_path) == [
        "first lever, for 1 of them: a range of a library was open: count it with --range"
    ]


def test_what_ran_before_the_first_range_is_most_likely_set_up(tmp_path):
    export = SmallExport().range("prefill", 100, 200).kernel("fill", 1, 10).kernel("fill", 2, 20).kernel("k", 3, 150)
    (lever,) = levers(export, tmp_path)
    assert "for 2 of them: no range had begun yet" in lever


def test_where_every_kernel_is_in_a_module_no_lever_is_needed():
    assert not any("lever" in line for line in explain_coverage(read_trace(DATA / "llama-two-blocks-b1.sqlite")))


def test_names_of_kernels_outside_are_listed_within_bounds(tmp_path):
    export = SmallExport().range("prefill", 0, 10).kernel("k", 1, 5)
    for number in range(7):
        export.kernel(f"loose{number}", 10 + number, 100 + number)
    lines = explain_coverage(read_trace(export.write(tmp_path / "t.sqlite")))
    assert sum("× loose" in line for line in lines) == 5
    assert "  and 2 other names" in lines
