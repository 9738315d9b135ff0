"""Whole recordings with a real nsys and torch's CPU build: ranges, no kernels."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.capture.tiny_ranges import MODULES

pytestmark = [pytest.mark.nsys, pytest.mark.torch]
pytest.importorskip("torch")
pytest.importorskip("transformers")

SECRETS = {"MY_TOKEN": "planted-token-77aa", "HF_TOKEN": "planted-hub-77aa"}
ARGUMENT = "planted-argument-77aa"

LLAMA = """
import sys, torch
from transformers import LlamaForCausalLM
from tracediff.model.load import load_model
from tracediff.model.spec import ModelSpec
model = load_model(ModelSpec(name="tiny", dtype="float32", layers=1), "cpu")
sys.stdout.buffer.write(b"\\xff\\x00 said\\n"); sys.stdout.flush()
with torch.inference_mode():
    for batch in (1, 2):
        tokens = torch.ones(batch, 6, dtype=torch.long)
        model.generate(tokens, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0)
sys.exit(4)
"""

FAMILY = """
import multiprocessing, subprocess, sys, torch
from torch import nn
torch.set_num_threads(1)
def work(rows):
    nn.Sequential(nn.Linear(4, 4), nn.ReLU())(torch.zeros(rows, 4))
if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(work(5))
    work(1)
    for method, rows in (("spawn", 2), ("fork", 3), ("forkserver", 4)):
        process = multiprocessing.get_context(method).Process(target=work, args=(rows,))
        process.start()
        process.join()
    subprocess.run([sys.executable, __file__, "child"], check=True)
"""

ENGINE = """
import multiprocessing, signal, sys, torch
from torch import nn
torch.set_num_threads(1)
def work(pipe):
    net = nn.Linear(4, 4)
    while rows := pipe.recv():
        net(torch.zeros(rows, 4))
        pipe.send("done")
def serve(pipe, context):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    here, there = context.Pipe()
    worker = context.Process(target=work, args=(there,))
    worker.start()
    net = nn.Linear(4, 4)
    try:
        while rows := pipe.recv():
            net(torch.zeros(rows, 4)); here.send(rows + 1); here.recv(); pipe.send("done")
    finally:
        here.send(0)
        worker.join()
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    here, there = context.Pipe()
    engine = context.Process(target=serve, args=(there, context))
    engine.start()
    for _ in range(2):
        here.send(2); here.recv()
    engine.terminate()
    engine.join()
    sys.exit(engine.exitcode)
"""

SERVER = """
import multiprocessing, time, torch
from torch import nn
torch.set_num_threads(1)
def loop(rows, ready):
    net = nn.Linear(4, 4)
    net(torch.zeros(rows, 4))
    ready.set()
    while True:
        net(torch.zeros(rows, 4))
        time.sleep(0.02)
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    context.Process(target=loop, args=(2, ready), daemon=True).start()
    ready.wait()
    print("serving", flush=True)
    loop(1, ready)
"""


def command(nsys, out, *program, options=()):
    record = [sys.executable, "-m", "tracediff", "record", "--nsys", str(nsys.path), "--out", str(out), *options]
    return [*record, "--", *map(str, program)]


def record(nsys, out, *program, options=(), **environment):
    return subprocess.run(
        command(nsys, out, *program, options=options),
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


def ranges(trace):
    """Return (process, text, payload) of every range, in the order they opened."""
    with contextlib.closing(sqlite3.connect(trace)) as connection:
        return connection.execute(
            "SELECT globalTid >> 24, COALESCE(text, value), int64Value FROM NVTX_EVENTS "
            "LEFT JOIN StringIds ON id = textId WHERE eventType = 59 ORDER BY start, end DESC"
        ).fetchall()


def shape(batch, tokens):
    return batch << 32 | tokens


@pytest.fixture(scope="module")
def llama(nsys, tmp_path_factory):
    """A small Llama that generates at batch 1 and 2 and ends with 4."""
    folder = tmp_path_factory.mktemp("llama")
    (folder / "llama.py").write_text(LLAMA)
    done = record(nsys, folder / "out", sys.executable, folder / "llama.py", ARGUMENT, **SECRETS)
    return done, folder / "out"


def test_every_step_is_a_range_with_its_shape_around_the_modules(llama):
    _, out = llama
    found = [(text, payload) for _, text, payload in ranges(out / "trace.sqlite")]
    steps = [payload for text, payload in found if text == "LlamaForCausalLM"]
    assert steps == [shape(batch, tokens) for batch in (1, 2) for tokens in (6, 1, 1)]
    modules = [(text, None) for text in MODULES]
    assert found == [each for step in steps for each in (("LlamaForCausalLM", step), *modules)]


def test_the_programs_code_and_output_are_its_own(llama):
    done, _ = llama
    assert done.returncode == 4
    assert done.stdout == b"\xff\x00 said\n"
    told = done.stderr.decode()
    assert "the program ended with 4; what it recorded until then is kept" in told
    assert "the program ran nothing on a GPU" in told


def test_the_manifest_says_what_ran_and_nothing_of_where(llama):
    _, out = llama
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["traces"][0]["steps"] == {"1x1": 2, "2x1": 2, "1x6": 1, "2x6": 1}
    assert {"torch", "transformers", "nvtx", "nsys", "python", "tracediff"} <= set(manifest["versions"])


def test_nothing_of_environment_or_command_line_is_in_the_bytes(llama):
    _, out = llama
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "trace.sqlite"]
    for path in out.iterdir():
        told = path.read_bytes()
        for secret in (*SECRETS.values(), ARGUMENT, "llama.py", str(Path.home()), str(Path.cwd()), sys.executable):
            assert secret.encode() not in told, f"{secret} in {path.name}"


def test_every_kind_of_child_has_ranges_and_runs_its_own_sitecustomize(nsys, tmp_path):
    (tmp_path / "family.py").write_text(FAMILY)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import os\nos.write(1, b'theirs\\n')\n")
    path = os.pathsep.join([str(theirs), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = record(nsys, tmp_path / "out", sys.executable, tmp_path / "family.py", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr.decode()
    found = ranges(tmp_path / "out" / "trace.sqlite")
    steps = {process: payload for process, text, payload in found if text == "Sequential"}
    assert sorted(steps.values()) == [shape(rows, 4) for rows in (1, 2, 3, 4, 5)]
    for process in steps:
        assert [text for each, text, _ in found if each == process] == ["Sequential", "0", "1"]
    # The program, the spawned child, multiprocessing's two helpers, and the child with a command line of its own.
    assert done.stdout.count(b"theirs\n") >= 4


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_engine_and_its_worker_are_recorded_though_a_signal_ends_them(nsys, tmp_path, method):
    """As servers are built: a front, an engine that the front ends by SIGTERM, a worker that ends with its pipe."""
    (tmp_path / "engine.py").write_text(ENGINE)
    done = record(nsys, tmp_path / "out", sys.executable, tmp_path / "engine.py", method)
    assert done.returncode == 0, done.stderr.decode()
    steps = {}
    for process, _, payload in ranges(tmp_path / "out" / "trace.sqlite"):
        steps.setdefault(process, []).append(payload)
    assert sorted(steps.values()) == [[shape(2, 4)] * 2, [shape(3, 4)] * 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_program_and_keeps_what_it_recorded(nsys, tmp_path, number):
    (tmp_path / "serve.py").write_text(SERVER)
    started = subprocess.Popen(
        command(nsys, tmp_path / "out", sys.executable, tmp_path / "serve.py"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if started.stdout.readline() != b"serving\n":
        pytest.fail(started.communicate(timeout=90)[1].decode())
    time.sleep(1)
    started.send_signal(number)
    _, errors = started.communicate(timeout=90)
    assert started.returncode == 128 + number, errors.decode()
    steps = {payload for _, text, payload in ranges(tmp_path / "out" / "trace.sqlite") if text == "Linear"}
    assert shape(1, 4) in steps
    marker = str(tmp_path).encode()
    for _ in range(50):
        left = [name for name in processes_that_name(marker) if name != os.getpid()]
        if not left:
            break
        time.sleep(0.1)
    assert not left
    assert not list(tmp_path.glob("tracediff-*"))


def processes_that_name(text):
    """Return processes whose command line or environment holds a text."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                yield int(entry.name)


@pytest.mark.parametrize(("code", "passed_on", "why"), [(3, 3, "the program ended with 3"), (0, 2, "another program")])
def test_a_program_without_torch_and_gpu_is_one_line_and_leaves_nothing(nsys, tmp_path, code, passed_on, why):
    done = record(nsys, tmp_path / "out", "sh", "-c", f"printf 'plain\\377'; exit {code}")
    assert (done.stdout, done.returncode) == (b"plain\xff", passed_on)
    last = done.stderr.decode().splitlines()[-1]
    assert "nothing was recorded: the program" in last
    assert why in last
    assert not (tmp_path / "out").exists()


def test_a_program_that_starts_an_nsys_of_its_own_is_told_so(nsys, tmp_path):
    own = [nsys.path, "profile", "--trace=nvtx", "--sample=none", "--cpuctxsw=none", "-o", tmp_path / "own"]
    source = f"import subprocess; subprocess.run({[*map(str, own), sys.executable, '-c', ONE_STEP]})"
    done = record(nsys, tmp_path / "out", sys.executable, "-c", source)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        "tracediff: nothing was recorded: the program starts an nsys of its own, and two cannot record one program: "
        "record the program itself; options of nsys go into --nsys-args"
    )


def test_a_program_that_is_not_there_is_refused_before_anything_runs(nsys, tmp_path):
    done = record(nsys, tmp_path / "out", "no-such-program-here")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "tracediff: no-such-program-here was not found, or is no program: check COMMAND, the part after --"
    ]


def test_steps_bound_what_is_kept(nsys, tmp_path, llama):
    (tmp_path / "llama.py").write_text(LLAMA)
    options = ("--steps", "3:5")
    record(nsys, tmp_path / "out", sys.executable, tmp_path / "llama.py", options=options)
    steps = [payload for _, text, payload in ranges(tmp_path / "out" / "trace.sqlite") if text == "LlamaForCausalLM"]
    assert steps == [shape(2, 6), shape(2, 1)]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["traces"][0]["bounds"] == "steps"


ONE_STEP = "import torch; torch.nn.Linear(2, 2)(torch.zeros(1, 2))"


TWO_PARTS = """
import multiprocessing, nvtx, torch
torch.set_num_threads(1)
def work(pipe):
    net = torch.nn.Linear(4, 4)
    while rows := pipe.recv():
        net(torch.zeros(rows, 4))
        pipe.send("done")
if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=work, args=(there,))
    worker.start()
    def ask(rows):
        here.send(rows); here.recv()
    for rows in (1, 2):
        ask(9)
        with nvtx.annotate("part", domain="mine"):
            torch.nn.Linear(3, 3)(torch.zeros(7, 3))
            for _ in range(3): ask(rows)
        ask(9)
    here.send(0)
    worker.join()
"""


def test_parts_that_nsys_is_told_to_record_hold_the_steps_of_their_time_in_every_process(nsys, tmp_path):
    (tmp_path / "parts.py").write_text(TWO_PARTS)
    parts = "--capture-range=nvtx --nvtx-capture=part@mine --capture-range-end=repeat:2"
    options = ("--nsys-args", parts)
    done = record(nsys, tmp_path / "out", sys.executable, tmp_path / "parts.py", options=options)
    assert done.returncode == 0, done.stderr.decode()
    for rows in (1, 2):
        steps = [payload for _, text, payload in ranges(tmp_path / "out" / f"trace{rows}.sqlite") if text == "Linear"]
        assert steps == [shape(7, 3), *[shape(rows, 4)] * 3]


def test_steps_that_were_not_made_lose_nothing(nsys, tmp_path):
    done = record(nsys, tmp_path / "out", sys.executable, "-c", ONE_STEP, options=("--steps", "7:9"))
    assert done.returncode == 0
    told = done.stderr.decode()
    assert "warning: the program made 1 step, none of those in --steps; all of it is kept" in told
    assert [payload for *_, payload in ranges(tmp_path / "out" / "trace.sqlite")] == [shape(1, 2)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_recording_takes_the_place_of_what_was_in_its_folder(nsys, tmp_path, times):
    out = tmp_path / "out"
    out.mkdir()
    entries = [{"file": "b1.sqlite", "batch": 1, "repeat_file": "b1.repeat2.sqlite"}, {"file": "../kept.sqlite"}]
    (out / "manifest.json").write_text(json.dumps({"traces": entries}))
    for name in ("b1.sqlite", "b1.repeat2.sqlite", "evidence.json", "notes.txt", "../kept.sqlite"):
        (out / name).write_text("")
    refused = record(nsys, out, sys.executable, "-c", ONE_STEP)
    assert (refused.returncode, b"add --force" in refused.stderr) == (2, True)
    assert (out / "b1.sqlite").exists()
    for _ in range(times):
        done = record(nsys, out, sys.executable, "-c", ONE_STEP, options=("--force",))
        assert done.returncode == 0, done.stderr.decode()
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "notes.txt", "trace.sqlite"]
    assert [entry["file"] for entry in json.loads((out / "manifest.json").read_text())["traces"]] == ["trace.sqlite"]
    assert (tmp_path / "kept.sqlite").exists()


def test_ranges_none_leaves_the_programs_own(nsys, tmp_path):
    source = "import nvtx, torch\nwith nvtx.annotate('mine', payload=5): torch.nn.Linear(2, 2)(torch.zeros(1, 2))"
    done = record(nsys, tmp_path / "out", sys.executable, "-c", source, options=("--ranges", "none"))
    assert done.returncode == 0, done.stderr.decode()
    assert [(text, payload) for _, text, payload in ranges(tmp_path / "out" / "trace.sqlite")] == [("mine", None)]
