"""What the checks of a machine mean for a capture."""

import pytest

from tracediff.capture.doctor import Requirement, ability

ALL = (
    "GPU",
    "driver",
    "torch",
    "CUDA",
    "cuBLAS",
    "transformers",
    "nvtx",
    "nsys",
    "nsys records",
    "nsys imports and exports",
    "nsys sees the ranges of nvtx",
)


def checks(*missing):
    return [Requirement(name=name, status="missing" if name in missing else "ok", found="") for name in ALL]


def test_with_everything_nsys_records():
    able = ability(checks())
    assert able.profiler == "nsys"
    assert able.sentence() == "Can record with nsys."


@pytest.mark.parametrize("missing", ["nsys", "nsys records", "nsys imports and exports", "nvtx"])
def test_without_a_working_nsys_torch_records(missing):
    able = ability(checks(missing))
    assert able.profiler == "torch"
    assert able.sentence() == f"Can record with torch's profiler only. Missing for nsys: {missing}."


@pytest.mark.parametrize("missing", ["GPU", "driver", "torch", "CUDA", "cuBLAS", "transformers"])
def test_without_what_every_profiler_needs_nothing_records(missing):
    able = ability(checks(missing, "nsys"))
    assert able.profiler is None
    assert able.sentence() == f"Cannot record. Missing: {missing}."
