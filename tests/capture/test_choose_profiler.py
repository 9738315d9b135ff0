"""nsys where it works, else torch's profiler and one line that says why; a CPU only where that makes sense."""

from pathlib import Path

import pytest

from tracediff.capture import choose_profiler as choosing
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.options import CaptureOptions
from tracediff.capture.probe import Probe
from tracediff.errors import TracediffError
from tracediff.model import load as models
from tracediff.model.spec import ModelSpec

NSYS = Nsys(path=Path("/opt/nsys"), version="2025.3.2.367")
WORKING = Probe(nsys=NSYS, records=True, imports=True, sees_ranges=True)
BROKEN = Probe(
    nsys=NSYS, records=True, imports=False, sees_ranges=False, problem="nsys cannot import", hint="apt install libdw1"
)
ABSENT = TracediffError("nsys was not found", "install it")


@pytest.fixture
def nsys_is(monkeypatch):
    """Set what comes of trying nsys; what was tried is returned."""
    tried = []

    def set_result(result):
        def choose(_environment, named):
            tried.append(named)
            if isinstance(result, TracediffError):
                raise result
            return result

        monkeypatch.setattr(choosing, "choose_nsys", choose)
        return tried

    return set_result


@pytest.fixture
def no_gpu(monkeypatch):
    pytest.importorskip("torch")
    for module in (choosing, models):
        monkeypatch.setattr(module, "has_gpu", lambda: False)


def options(**fields):
    return CaptureOptions(**{"spec": ModelSpec(), "batches": (1, 2), **fields})


def choose(asked):
    return choosing.choose_profiler(asked, {}, [].append)


@pytest.mark.parametrize("profiler", ["auto", "nsys"])
def test_an_nsys_that_works_is_taken(nsys_is, profiler):
    nsys_is(WORKING)
    choice = choose(options(profiler=profiler))
    assert (choice.options.profiler, choice.nsys, choice.warning) == ("nsys", NSYS, None)


@pytest.mark.parametrize(("result", "why"), [(BROKEN, "nsys cannot import: apt"), (ABSENT, "nsys was not found: inst")])
def test_else_torch_is_taken_and_one_line_says_why_and_what_is_lost(nsys_is, result, why):
    nsys_is(result)
    choice = choose(options())
    assert (choice.options.profiler, choice.options.device, choice.nsys) == ("torch", "cuda", None)
    assert why in choice.warning
    assert "without cuBLASLt's algorithms" in choice.warning
    assert "\n" not in choice.warning


@pytest.mark.parametrize("asked", [{"profiler": "nsys"}, {"nsys": Path("/x/nsys")}, {"keep_reports": True}])
@pytest.mark.parametrize("result", [BROKEN, ABSENT])
def test_who_asks_for_nsys_gets_it_or_an_error(nsys_is, asked, result):
    nsys_is(result)
    with pytest.raises(TracediffError, match="nsys"):
        choose(options(**asked))


def test_who_asks_for_torch_never_tries_nsys(nsys_is):
    tried = nsys_is(WORKING)
    choice = choose(options(profiler="torch"))
    assert (choice.options.profiler, choice.nsys, choice.warning, tried) == ("torch", None, None, [])


@pytest.mark.parametrize("profiler", ["auto", "torch"])
def test_on_a_cpu_torch_records_operators_and_it_says_so(nsys_is, profiler):
    tried = nsys_is(WORKING)
    choice = choose(options(profiler=profiler, device="cpu"))
    assert (choice.options.profiler, tried) == ("torch", [])
    assert "no kernels were recorded" in choice.warning
    assert "operators take their place" in choice.warning


@pytest.mark.parametrize(
    "asked",
    [{"spec": ModelSpec(name="tiny")}, {"profiler": "torch"}, {"profiler": "torch", "spec": ModelSpec(name="a/b")}],
)
def test_without_a_gpu_the_cpu_serves_the_small_model_and_whoever_asks_for_torch(no_gpu, asked):
    assert choosing.with_device(options(**asked)).device == "cpu"


@pytest.mark.parametrize(
    "asked", [{}, {"spec": ModelSpec(name="a/b")}, {"spec": ModelSpec(name="tiny"), "profiler": "nsys"}]
)
def test_without_a_gpu_anything_else_is_an_error_that_says_what_works_here(no_gpu, asked):
    with pytest.raises(TracediffError, match=r"no GPU to run on .*--profiler torch --model tiny"):
        choosing.with_device(options(**asked))


def test_with_a_gpu_it_is_used(monkeypatch):
    for module in (choosing, models):
        monkeypatch.setattr(module, "has_gpu", lambda: True)
    assert choosing.with_device(options(profiler="torch")).device == "cuda"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"profiler": "perf"}, "unknown profiler perf: choose one of auto, nsys, torch"),
        ({"profiler": "torch", "nsys": Path("x")}, "--nsys and --profiler torch exclude each other"),
        ({"profiler": "torch", "keep_reports": True}, "--keep-reports and --profiler torch exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, words):
    with pytest.raises(TracediffError, match=words):
        options(**fields)


def test_the_command_that_does_it_again_names_the_profiler():
    assert "--profiler" not in options().command
    assert "--profiler torch" in options(profiler="torch").command
