"""Ranges that libraries push are neither phases nor modules, and hide nobody else's."""

import pytest
from small_exports import PROCESS, THREAD, SmallExport, modules

from tracediff.trace import Naming, read_trace

WORKER = THREAD + 1


def domain(export, number, name, *, process=PROCESS):
    return export.add("NVTX_EVENTS", start=0, eventType=75, text=name, globalTid=process + 42, domainId=number)


def training(collective=None, **where):
    """A step whose backward kernels another thread launches, and a collective in a range of its own if asked for."""
    export = SmallExport().range("step 3", 0, 1000).range("forward", 10, 400).range("backward", 410, 900)
    export.kernel("gemm", 1, 20)
    for number in range(4):
        export.kernel(f"grad{number}", 10 + number, 420 + 100 * number, thread=WORKER)
    if collective:
        export.range(collective, 600, 610, thread=WORKER, **where).kernel("nccl", 20, 605, thread=WORKER)
    return export


def attributed(export, tmp_path, **naming):
    return modules(read_trace(export.write(tmp_path / "t.sqlite"), Naming(**naming)))


def test_a_collective_on_the_worker_thread_does_not_push_the_backward_pass_outside(tmp_path):
    expected = [("gemm", "step #", "forward"), *((f"grad{n}", "step #", "backward") for n in range(4))]
    alone = attributed(training(), tmp_path)
    assert alone == expected
    (tmp_path / "t.sqlite").unlink()
    with_nccl = attributed(domain(training("ncclAllReduce", domainId=1), 1, "NCCL"), tmp_path)
    assert [each for each in with_nccl if each[0] != "nccl"] == expected
    assert ("nccl", "step #", "backward") in with_nccl


def test_any_range_on_a_worker_thread_leaves_its_other_moments_to_the_thread_that_has_one_open(tmp_path):
    assert attributed(training("copy weights"), tmp_path)[1:3] == [
        ("grad0", "step #", "backward"),
        ("grad1", "step #", "backward"),
    ]


@pytest.mark.parametrize("name", ["NCCL", "CCCL", "cuBLAS", "cublasLt", "cuDNN", "libcudf", "cuSPARSELt", "NVSHMEM"])
def test_the_domain_of_a_library_makes_no_phase_and_no_module(name, tmp_path):
    export = domain(SmallExport(), 3, name).range("prefill", 0, 100).range("call", 10, 50, domainId=3)
    export.range("call", 200, 250, domainId=3).kernel("in", 1, 20).kernel("out", 2, 210)
    assert attributed(export, tmp_path) == [("in", "prefill", ""), ("out", None, "")]


@pytest.mark.parametrize("name", ["tracediff", "my.nccl.wrapper", "vLLM", "TensorRT", "cu"])
def test_any_other_domain_counts(name, tmp_path):
    export = domain(SmallExport(), 3, name).range("prefill", 0, 100).range("call", 10, 50, domainId=3)
    assert attributed(export.kernel("in", 1, 20), tmp_path) == [("in", "prefill", "call")]


def test_a_domain_is_its_processs_own(tmp_path):
    other = PROCESS + 0x1000000
    export = domain(domain(SmallExport(), 1, "NCCL"), 1, "app", process=other)
    for process in (PROCESS, other):
        export.range("call", 0, 100, thread=process + 42, domainId=1).kernel(f"k{process}", 1, 10, process=process)
    assert attributed(export, tmp_path) == [(f"k{PROCESS}", None, ""), (f"k{other}", "call", "")]


@pytest.mark.parametrize("text", ["nccl:all_reduce", "cub::DeviceScan::InclusiveSum", "gloo:broadcast"])
def test_what_a_library_writes_into_the_default_domain_counts_no_more(text, tmp_path):
    export = SmallExport().range("prefill", 0, 100).range(text, 10, 50).kernel("k", 1, 20)
    assert attributed(export, tmp_path) == [("k", "prefill", "")]


def test_a_user_can_ask_for_them_and_a_note_says_so(tmp_path):
    export = domain(SmallExport(), 1, "NCCL").range("ncclAllReduce", 0, 100, domainId=1).kernel("k", 1, 20)
    path = export.write(tmp_path / "t.sqlite")
    assert read_trace(path).notes == (
        "1 range of libraries (NCCL) not read as phases or modules; --range ncclAllReduce includes them",
    )
    assert modules(read_trace(path, Naming(range="ncclAllReduce"))) == [("k", "ncclAllReduce", "")]


@pytest.mark.parametrize(
    ("texts", "pattern", "left"),
    [
        (["cub::DeviceScan::Sum"], "cub::DeviceScan", 0),
        (["cub::DeviceScan::Sum", "cub::DeviceReduce::Sum"], "cub::Device", 0),
        (["x" * 300], "x" * 40, 0),
        (["cub::A", "nccl:send", "nccl:send"], "nccl:send", 1),
        (["[send] (a+", "[recv] (b+", "[send] (a+"], "send", 1),
    ],
)
def test_the_note_names_a_pattern_that_includes_all_or_the_commonest(texts, pattern, left, tmp_path):
    path = library_ranges(texts).write(tmp_path / "t.sqlite")
    (note,) = read_trace(path).notes
    assert note.endswith(f"; --range {pattern} includes {'some of them' if left else 'them'}")
    notes = [each for each in read_trace(path, Naming(range=pattern)).notes if "of libraries" in each]
    assert [int(each.split()[0]) for each in notes] == [left] * bool(left)


def test_texts_without_a_word_have_no_pattern_to_name(tmp_path):
    (note,) = read_trace(library_ranges(["[(+", "[(+"]).write(tmp_path / "t.sqlite")).notes
    assert note.endswith("; --range includes what it matches")


def library_ranges(texts):
    """Return an export with a range of the program's own around NCCL's ranges of some texts."""
    export = domain(SmallExport(), 1, "NCCL").range("mine", 0, 100).kernel("k", 1, 90)
    for number, text in enumerate(texts):
        export.range(text, 10 * number, 10 * number + 5, domainId=1)
    return export


def test_iterations_belong_to_the_thread_that_ran_them(tmp_path):
    export = SmallExport()
    for number in range(6):
        thread = THREAD + number % 3
        export.range("step", number * 100, number * 100 + 90, thread=thread)
        export.kernel("k", number + 1, number * 100 + 10, thread=thread)
    assert read_trace(export.write(tmp_path / "t.sqlite")).iteration.tolist() == list(range(6))


def test_libraries_are_named_in_order(tmp_path):
    export = SmallExport()
    for number, name in enumerate(("NCCL", "cuDNN", "CCCL"), start=1):
        domain(export, number, name).range("call", 10 * number, 10 * number + 5, domainId=number)
    export.range("gloo:broadcast", 50, 60)
    (note,) = read_trace(export.kernel("k", 1, 12).write(tmp_path / "t.sqlite")).notes
    assert note.startswith("4 ranges of libraries (CCCL, cuDNN, gloo, NCCL)")
