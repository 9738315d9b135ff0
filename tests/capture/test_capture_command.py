"""`tracediff capture` and `tracediff doctor` as they are typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tracediff.capture import doctor as examination
from tracediff.capture import run
from tracediff.capture.find_nsys import Nsys
from tracediff.capture.manifest import Manifest, TraceEntry
from tracediff.capture.probe import Probe
from tracediff.capture.write import Captured
from tracediff.cli import app
from tracediff.errors import TracediffError
from tracediff.model.spec import ModelSpec

RAN = {"device": "cpu", "prompt_tokens": (0,), "logits_hashes": {}}


def invoke(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def asked(monkeypatch):
    """The options that the command hands to the library, which records nothing."""
    seen = []

    def capture(options, progress):
        seen.append(options)
        progress("loading")
        manifest = Manifest(
            **{"model": "m", "weights": "random", "dtype": "float16", "attention": "sdpa", "layers": 1, "geometry": {}},
            **{"seed": 0, "tokens": 1, "prompt_tokens": [0], "decode_tokens": [], "gpu": None, "sm_count": None},
            algorithm_log="on",
            traces=[
                TraceEntry(file=f"b{batch}.sqlite", batch=batch, kernels=9, repeat_identical=True)
                for batch in options.batches
            ],
        )
        reports = (Path("out dir/b1.nsys-rep"),) if options.keep_reports else ()
        return Captured(folder=Path("out dir"), manifest=manifest, kept_reports=reports, warnings=("careful",), **RAN)

    monkeypatch.setattr(run, "capture", capture)
    return seen


@pytest.mark.parametrize(
    ("words", "batches"),
    [
        (["--batch", "1", "2"], (1, 2)),
        (["--batch", "1,2"], (1, 2)),
        (["--batch=1,2"], (1, 2)),
        (["--batch=1", "2"], (1, 2)),
        (["--batch", "1", "--batch", "2"], (1, 2)),
        (["--batch", "1", "2", "--dtype", "float16"], (1, 2)),
        (["--dtype", "float16", "--batch", "8"], (8,)),
        (["--batch", "1", "2,4", "--seed", "3", "--batch", "8"], (1, 2, 4, 8)),
    ],
)
def test_batch_sizes_may_be_spelled_in_every_usual_way(asked, words, batches):
    result = invoke("capture", *words)
    assert result.exit_code == 0, result.output
    assert asked[0].batches == batches


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--batch"],
        ["--batch", "one"],
        ["--batch", "1,"],
        ["--batch", "1", "--model", "tiny", "2"],
        ["--batch", "0"],
        ["--batch", "1", "1"],
        ["--batch", "1", "--dtype", "int8"],
        ["--batch", "1", "--model", "llama-9"],
        ["--batch", "1", "--profiler", "perf"],
        ["--batch", "1", "--profiler", "torch", "--keep-reports"],
    ],
)
def test_what_cannot_be_ends_with_two_and_no_traceback(asked, words):
    result = invoke("capture", *words)
    assert result.exit_code == 2
    assert not asked
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_the_defaults_are_the_main_job(asked):
    invoke("capture", "--batch", "1", "2")
    options = asked[0]
    assert options.spec == ModelSpec(name="llama-3-8b", dtype="float16", layers=None, attention="sdpa", seed=0)
    assert (options.tokens, options.decode, options.prompt, options.device) == (6, 2, None, "cuda")
    assert options.profiler == "auto"
    assert options.algorithm_log
    assert not (options.force or options.keep_reports)


def test_every_option_reaches_the_library(asked, tmp_path):
    result = invoke(
        *("capture", "--batch", "1", "--model", "tiny", "--dtype", "bfloat16", "--prompt", "Hi", "--decode", "0"),
        *("--layers", "1", "--attention", "eager", "--seed", "7", "--out", str(tmp_path), "--no-algorithm-log"),
        *("--keep-reports", "--force", "--nsys", "/x/nsys", "--tokens", "9", "--profiler", "nsys"),
    )
    assert result.exit_code == 0, result.output
    options = asked[0]
    assert options.spec == ModelSpec(name="tiny", dtype="bfloat16", layers=1, attention="eager", seed=7)
    assert (options.prompt, options.tokens, options.decode, options.out) == ("Hi", 9, 0, tmp_path)
    assert options.profiler == "nsys"
    assert (options.algorithm_log, options.keep_reports, options.force, options.nsys) == (
        *(False, True, True),
        Path("/x/nsys"),
    )


def test_what_was_written_goes_to_stdout_and_talk_to_stderr(asked):
    result = invoke("capture", "--batch", "1", "2", "8", "--keep-reports")
    assert result.stdout.splitlines() == [
        "out dir/b1.sqlite  batch 1, 9 kernels",
        "out dir/b2.sqlite  batch 2, 9 kernels",
        "out dir/b8.sqlite  batch 8, 9 kernels",
        "out dir/manifest.json",
        "out dir/b1.nsys-rep",
        "next:",
        "  tracediff diff 'out dir/b1.sqlite' 'out dir/b2.sqlite'",
        "  tracediff diff 'out dir/b1.sqlite' 'out dir/b8.sqlite'",
    ]
    assert "loading …" in result.stderr
    assert "warning: careful" in result.stderr
    assert "hold the environment" in result.stderr


def test_one_batch_is_shown_rather_than_compared(asked):
    assert "tracediff show 'out dir/b1.sqlite'" in invoke("capture", "--batch", "1").stdout


@pytest.mark.torch
def test_without_a_gpu_it_is_one_line_that_says_what_can_be_done(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result = invoke("capture", "--batch", "1", "2", "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stderr.startswith("tracediff: no GPU to run on")
    assert "tracediff diff" in result.stderr
    assert "--profiler torch --model tiny" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


NSYS = Nsys(path=Path("/opt/nsys"), version="2025.3.2.367")
WORKING = Probe(nsys=NSYS, records=True, imports=True, sees_ranges=True)
NO_IMPORT = Probe(
    nsys=NSYS,
    records=True,
    imports=False,
    sees_ranges=False,
    problem="nsys records but cannot import: libdw.so.1 not found",
    hint="apt install libdw1",
)


@pytest.fixture
def machine(monkeypatch):
    """A machine with everything; what it is given as nsys can be changed."""
    monkeypatch.setattr(examination, "driver_and_gpus", lambda: ("580.65.06", ["NVIDIA H200"]))
    monkeypatch.setattr(examination, "package_version", lambda name: None if name == "torch" else "1.2.3")
    monkeypatch.setattr(examination, "missing_libraries", lambda _program: [])

    def set_nsys(result):
        def choose(_environment, _named):
            if isinstance(result, TracediffError):
                raise result
            return result

        monkeypatch.setattr(examination, "choose_nsys", choose)

    set_nsys(WORKING)
    return set_nsys


def checks():
    result = invoke("doctor", "--format", "json")
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    assert result.exit_code == (document["can_record"] is False)
    assert document["can_record"] is (document["profiler"] is not None)
    return {check["name"]: check for check in document["checks"]}


def test_doctor_tells_what_is_here_and_what_is_missing(machine):
    found = checks()
    assert found["GPU"] == {"name": "GPU", "status": "ok", "found": "NVIDIA H200", "hint": None}
    assert found["driver"]["found"] == "580.65.06"
    assert (found["torch"]["status"], found["transformers"]["status"]) == ("missing", "ok")
    assert found["torch"]["hint"] == "pip install '.[capture]' in the folder of tracediff's source"
    assert found["nsys"]["found"] == "2025.3.2.367 at /opt/nsys"
    assert found["nsys sees the ranges of nvtx"]["status"] == "ok"


def test_doctor_names_the_library_that_the_importer_lacks(machine):
    machine(NO_IMPORT)
    found = checks()
    assert found["nsys records"]["status"] == "ok"
    assert found["nsys imports and exports"] == {
        "name": "nsys imports and exports",
        "status": "missing",
        "found": "nsys records but cannot import: libdw.so.1 not found",
        "hint": "apt install libdw1",
    }
    assert "nsys sees the ranges of nvtx" not in found


def test_doctor_without_nsys_says_how_to_get_it(machine):
    machine(TracediffError("nsys was not found", "install it"))
    assert checks()["nsys"] == {
        "name": "nsys",
        "status": "missing",
        "found": "nsys was not found",
        "hint": "install it",
    }


def test_doctor_prints_a_table_for_people(machine):
    machine(NO_IMPORT)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "NVIDIA H200" in result.stdout
    assert result.stdout.splitlines()[-1] == "Cannot record. Missing: torch, CUDA, cuBLAS."
    assert "apt install libdw1" in result.stdout


@pytest.mark.nsys
def test_doctor_tries_a_real_nsys(nsys):
    result = invoke("doctor", "--format", "json", "--nsys", str(nsys.path))
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert str(nsys.path) in found["nsys"]["found"]
    assert found["nsys sees the ranges of nvtx"]["status"] == "ok"
