"""A process that used the GPU and is not in the trace is told."""

import json
import os
from types import SimpleNamespace

import pytest

from tests.capture.exports import FOREIGN_PROCESS, OWN_PROCESS, write_export
from tracediff.capture.record.clean import processes_with_kernels
from tracediff.capture.record.inside import report_use_of_cuda
from tracediff.capture.record.lost import lost_processes
from tracediff.capture.record.program import Recorded
from tracediff.errors import TracediffError


def lines(cuda, with_kernels):
    return lost_processes(Recorded(cuda=cuda), with_kernels)


def test_a_process_with_kernels_is_not_lost():
    assert lines({7: True, 8: False}, {7, 8}) == []
    assert lines({}, set()) == []


def test_forked_processes_without_kernels_are_told_with_what_to_do():
    (line,) = lines({7: True, 8: False, 9: True}, {8})
    assert line.startswith("nsys has no kernels of 2 forked processes in which torch initialised CUDA")
    assert "spawn" in line


def test_a_front_that_only_asked_for_the_device_is_not_told_beside_a_worker_with_kernels():
    assert lines({7: False, 8: False}, {8}) == []
    (line,) = lines({7: False}, set())
    assert line.startswith("torch initialised CUDA in 1 process, but nsys has no kernels")


def test_processes_are_read_from_the_kernels_of_an_export(tmp_path):
    export = tmp_path / "raw.sqlite"
    write_export(export)
    assert processes_with_kernels(export) == {each >> 24 & 0xFFFFFF for each in (OWN_PROCESS, FOREIGN_PROCESS)}
    (tmp_path / "other").write_bytes(b"no database, some bytes that are long enough" * 9)
    with pytest.raises(TracediffError):
        processes_with_kernels(tmp_path / "other")


def test_every_process_reports_that_torch_initialises_cuda_and_whether_it_was_forked(tmp_path):
    torch = SimpleNamespace(_C=SimpleNamespace(_cuda_init=lambda: "initialised"))
    report_use_of_cuda(torch, str(tmp_path / "reports"))
    child = os.fork()
    if child == 0:
        torch._C._cuda_init()
        os._exit(0)
    os.waitpid(child, 0)
    assert torch._C._cuda_init() == "initialised"
    reports = [json.loads(line) for line in (tmp_path / "reports").read_text().splitlines()]
    assert reports == [
        {"event": "cuda", "process": child, "forked": True},
        {"event": "cuda", "process": os.getpid(), "forked": False},
    ]


def test_a_torch_without_cuda_is_left_as_it_is(tmp_path):
    torch = SimpleNamespace(_C=SimpleNamespace())
    report_use_of_cuda(torch, str(tmp_path / "reports"))
    assert vars(torch._C) == {}
