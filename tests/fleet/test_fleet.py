"""Many traces become one dataset, whatever dies on the way, and the odd ones out are named."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.profiles import FLOAT16
from tracediff.errors import TracediffError
from tracediff.fleet import group_traces, ingest
from tracediff.fleet.dataset import FILE, partition_of, trace_name, write_table
from tracediff.fleet.groups import Difference, Fleet, TraceGroup
from tracediff.fleet.sources import traces_in
from tracediff.report.fleet import RENDERERS
from tracediff.trace import read_trace

pyarrow = pytest.importorskip("pyarrow")
dataset = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")
distributed = pytest.importorskip("distributed")

DATA = Path(__file__).parent.parent / "trace" / "data"
ONE, TWO = DATA / "llama-two-blocks-b1.sqlite", DATA / "llama-two-blocks-b2.sqlite"


def copies(folder, count, source=ONE):
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{source.stem}-{number:02}.sqlite" for number in range(count)]
    for path in paths:
        shutil.copy(source, path)
    return paths


def rows(out):
    return dataset.dataset(out, partitioning="hive", exclude_invalid_files=False).to_table()


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_all(paths, out):
    """Write traces as workers do, without workers."""
    for path in paths:
        write_table(read_trace(path), path, out)
    return out


def test_rows_of_the_dataset_are_the_kernels_of_the_traces(tmp_path):
    out = write_all([ONE], tmp_path / "out")
    table, frame = read_trace(ONE), rows(out).to_pandas()
    assert frame["name"].tolist() == [table.names[code] for code in table.name]
    assert frame["module"].tolist() == [table.keys[code].module for code in table.key]
    assert frame["phase"].tolist() == ["prefill"] * 112
    assert frame["layer"].isna().sum() == 22
    for column in ("launch_ns", "start_ns", "duration_ns", "registers", "iteration"):
        np.testing.assert_array_equal(frame[column], getattr(table, column))
    np.testing.assert_array_equal(frame[["grid_x", "grid_y", "grid_z"]], table.grid)


@pytest.mark.slow
def test_ingest_spreads_traces_over_processes_and_does_only_what_is_missing(tmp_path):
    paths = [*copies(tmp_path / "in", 3), TWO]
    out = tmp_path / "out"
    first = ingest(paths, out, workers=2)
    assert [outcome.trace for outcome in first] == paths
    assert [outcome.kernels for outcome in first] == [112, 112, 112, 113]
    assert rows(out).num_rows == 449

    again = ingest([*paths, *copies(tmp_path / "more", 1)], out, workers=1)
    assert [outcome.kernels for outcome in again] == [None] * 4 + [112]
    assert rows(out).num_rows == 561


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_counts_twice(tmp_path):
    paths, out = copies(tmp_path / "in", 24), tmp_path / "out"
    killed = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:

        def kill_one(_outcome):
            if not killed:
                worker = next(iter(cluster.workers.values()))
                killed.append(worker.process.pid)
                os.kill(worker.process.pid, signal.SIGKILL)

        outcomes = ingest(paths, out, scheduler=cluster.scheduler_address, progress=kill_one)
    assert killed
    assert [outcome.problem for outcome in outcomes] == [None] * 24
    assert [outcome.kernels for outcome in outcomes] == [112] * 24
    assert rows(out).num_rows == 24 * 112
    # What the killed worker was writing may lie there half, under a hidden name that no reader of Parquet takes.
    assert [entry.name for entry in out.rglob("*.parquet")] == [FILE] * 24


def test_a_trace_that_cannot_be_read_is_one_problem_and_the_others_are_done(tmp_path):
    bad = tmp_path / "bad.sqlite"
    bad.write_bytes(b"no trace")
    outcomes = ingest([bad, ONE, tmp_path / "missing.sqlite"], tmp_path / "out", workers=1)
    assert [outcome.kernels for outcome in outcomes] == [None, 112, None]
    assert "not a trace" in outcomes[0].problem
    assert "missing.sqlite" in outcomes[2].problem


def test_what_was_half_written_is_no_part_of_the_dataset(tmp_path):
    out = tmp_path / "out"
    folder = out / partition_of(ONE, out)
    folder.mkdir(parents=True)
    (folder / f".{FILE}.abc.tmp").write_bytes(b"half")
    assert [outcome.kernels for outcome in ingest([ONE], out, workers=1)] == [112]
    assert group_traces(out).groups[0].traces == (trace_name(ONE, out),)


def test_nothing_is_said_where_dasks_usual_port_is_taken(tmp_path, recwarn):
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # taken already: all the better
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        ingest([ONE], tmp_path / "out", workers=1)
    assert [str(warning.message) for warning in recwarn] == []


def test_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.Client", lambda *_, **__: (_ for _ in ()).throw(OSError("refused")))
    with pytest.raises(TracediffError, match="no Dask scheduler answers"):
        ingest([ONE], tmp_path / "out", scheduler="tcp://127.0.0.1:1")


def test_the_odd_one_out_is_named_with_what_it_does_otherwise(tmp_path):
    out = write_all([*copies(tmp_path / "in", 3), TWO], tmp_path / "out")
    fleet = group_traces(out)
    assert [len(group.traces) for group in fleet.groups] == [3, 1]
    assert fleet.groups[1].traces == (trace_name(TWO, out),)
    differing = {each.module: each for each in fleet.groups[1].differences}
    q_proj = differing["model.layers.0.self_attn.q_proj"]
    assert "128x8" in q_proj.usual[0]
    assert q_proj.here[0] != q_proj.usual[0]
    assert "model.layers.0.input_layernorm" not in differing

    text = RENDERERS["table"](fleet)
    assert TWO.name in text
    assert "prefill model.layers.#.self_attn.q_proj (2 times)" in text
    assert json.loads(RENDERERS["json"](fleet))["groups"][1]["traces"] == [trace_name(TWO, out)]


def test_the_text_shows_of_a_module_what_differs_and_not_what_both_run(tmp_path):
    fleet = group_traces(write_all([*copies(tmp_path / "in", 3), TWO], tmp_path / "out"))
    lines = RENDERERS["table"](fleet).splitlines()
    pairs = [
        (usual.removeprefix("    usual  "), here.removeprefix("    here   "))
        for usual, here in pairwise(lines)
        if usual.startswith("    usual")
    ]
    assert pairs
    assert all(usual != here for usual, here in pairs)
    assert max(map(len, (line for line in lines if line.startswith("    ")))) <= 80


HALF, FLOAT = (f"void at::native::reduce_kernel<{dtype}>(T1)" for dtype in ("c10::Half", "float"))


@pytest.mark.parametrize(
    ("usual", "here", "shown"),
    [
        (("a", "b"), ("a", "c"), ("b", "c")),
        (("a", "b"), ("b", "a"), ("a + 1 more", "the same kernels in another order")),
        (("a",), ("a", "b"), ("nothing in its place", "b")),
        ((), ("a",), ("no such module", "a")),
        ((HALF,), (FLOAT,), ("reduce_kernel with c10::Half", "reduce_kernel with float")),
    ],
)
def test_a_difference_in_words(usual, here, shown):
    difference = Difference(phase="prefill", module="m", usual=usual, here=here)
    largest = TraceGroup(traces=("one", "two"), differences=())
    fleet = Fleet(groups=(largest, TraceGroup(traces=("three",), differences=(difference,))), modules=1)
    assert RENDERERS["table"](fleet).endswith(f"  prefill m\n    usual  {shown[0]}\n    here   {shown[1]}\n")


def test_where_no_group_is_larger_none_is_called_usual(tmp_path):
    text = RENDERERS["table"](group_traces(write_all([ONE, TWO], tmp_path / "out")))
    assert "none is usual" in text
    assert "\nusual" not in text


def test_equal_traces_are_one_group(tmp_path):
    fleet = group_traces(write_all(copies(tmp_path / "in", 2), tmp_path / "out"))
    assert len(fleet.groups) == 1
    assert "2 traces in 1 group by" in RENDERERS["table"](fleet)


def test_no_dataset(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(TracediffError, match="no dataset"):
            group_traces(folder)


def test_damaged_file_of_a_dataset(tmp_path):
    out = write_all([ONE], tmp_path / "out")
    file = next(out.rglob(FILE))
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(TracediffError, match="damaged"):
        group_traces(out)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("name", None),
        ("name", [b"\xff"]),
        ("phase", [3]),
        ("module", [[1, 2]]),
        ("iteration", [1.5]),
        ("iteration", [None]),
        ("iteration", ["text"]),
    ],
)
def test_columns_of_another_type_are_damage(tmp_path, column, values):
    out = write_all([ONE], tmp_path / "out")
    (file,) = out.glob(f"*/{FILE}")
    table = parquet.read_table(file, partitioning=None)
    other = table.drop_columns([column])
    if values is not None:
        other = other.append_column(column, pyarrow.array(values * len(table)))
    parquet.write_table(other, file)
    with pytest.raises(TracediffError, match="is damaged"):
        group_traces(out)


def test_a_file_without_kernels_is_damage(tmp_path):
    out = write_all([ONE], tmp_path / "out")
    (file,) = out.glob(f"*/{FILE}")
    parquet.write_table(parquet.read_table(file, partitioning=None).slice(0, 0), file)
    with pytest.raises(TracediffError, match="is damaged"):
        group_traces(out)


@pytest.mark.parametrize("description", [b"{", b"[" * 100_000, b"\xff"])
def test_a_description_that_is_no_json_is_damage(tmp_path, description):
    out = write_all([ONE], tmp_path / "out")
    (file,) = out.glob(f"*/{FILE}")
    table = parquet.read_table(file, partitioning=None)
    parquet.write_table(table.replace_schema_metadata({b"tracediff": description}), file)
    with pytest.raises(TracediffError, match="is damaged"):
        group_traces(out)


def test_folders_stand_for_the_traces_in_them(tmp_path):
    paths = copies(tmp_path / "in", 2)
    (tmp_path / "in" / "manifest.json").write_text("{}")
    (tmp_path / "in" / "notes.txt").write_text("")
    assert traces_in([tmp_path / "in", TWO]) == [*paths, TWO]
    with pytest.raises(TracediffError, match="holds no trace"):
        traces_in([tmp_path])


def test_a_folder_that_capture_wrote_is_its_traces_and_not_its_results():
    assert [trace.name for trace in traces_in([FLOAT16])] == ["b1.sqlite", "b2.sqlite", "b8.sqlite"]


def test_a_torch_trace_in_a_folder_is_a_trace(tmp_path):
    trace = next((DATA).glob("torch-cpu-*.json*"))
    shutil.copy(trace, tmp_path)
    assert traces_in([tmp_path]) == [tmp_path / trace.name]


def test_no_file_of_the_dataset_holds_an_absolute_path(tmp_path):
    paths = copies(tmp_path / "secret-project" / "in", 2)
    out = write_all(paths, tmp_path / "secret-project" / "out")
    assert group_traces(out).groups[0].traces == tuple(f"../in/{path.name}" for path in paths)
    for file in out.rglob("*"):
        assert "secret-project" not in str(file.relative_to(out))
        assert not file.is_file() or b"secret-project" not in file.read_bytes()


def test_a_trace_that_shares_no_folder_with_the_dataset_is_named_by_its_last_folder():
    assert trace_name(Path("/home/someone/run/b1.sqlite"), Path("/data/fleet")) == "run/b1.sqlite"
    assert trace_name(Path("/b1.sqlite"), Path("/data/fleet")) == "b1.sqlite"


def test_a_dataset_moved_with_its_traces_is_still_complete(tmp_path):
    write_all(copies(tmp_path / "here" / "in", 1), tmp_path / "here" / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    (trace,) = (tmp_path / "there" / "in").iterdir()
    assert [outcome.kernels for outcome in ingest([trace], tmp_path / "there" / "out", workers=1)] == [None]


@pytest.mark.slow
def test_an_interrupt_is_one_line_and_leaves_no_process(tmp_path):
    copies(tmp_path / "in", 40)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tracediff", "ingest", tmp_path / "in", "--out", out, "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(out.glob("*/*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"Interrupted: the dataset holds \d+ of 40 traces; the same command does the rest\n", told)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # the last process of multiprocessing ends after its parent
            os.killpg(process.pid, 0)
            time.sleep(0.1)


INTERRUPTED_AT_ITS_START = """
import os, signal, sys
import distributed

class LocalCluster(distributed.LocalCluster):
    def __init__(self, **options):
        super().__init__(**options)
        os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    distributed.LocalCluster = LocalCluster
    from tracediff.__main__ import main
    main()
"""


@pytest.mark.slow
def test_an_interrupt_while_workers_start_is_neither_lost_nor_told_by_them(tmp_path):
    copies(tmp_path / "in", 2)
    script = tmp_path / "ingest.py"
    script.write_text(INTERRUPTED_AT_ITS_START)
    command = [sys.executable, script, "ingest", tmp_path / "in", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 130
    assert done.stderr == "Interrupted: the dataset holds 0 of 2 traces; the same command does the rest\n"


def test_commands(tmp_path):
    copies(tmp_path / "in", 2)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tracediff"]
    done = run(*command, "ingest", tmp_path / "in", "--out", out, "--workers", "1")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Wrote 2 traces with 224 kernels" in done.stderr
    done = run(*command, "fleet", out)
    assert done.returncode == 0
    assert "2 traces" in done.stdout


def test_a_trace_whose_name_is_no_utf8_is_in_the_dataset(tmp_path):
    path = tmp_path / os.fsdecode(b"bad\xff.sqlite")
    shutil.copy(ONE, path)
    out = write_all([path, *copies(tmp_path, 1)], tmp_path / "out")
    groups = group_traces(out)
    assert "../bad\ufffd.sqlite" in RENDERERS["json"](groups)
