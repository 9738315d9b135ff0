"""What a trace holds beside kernels and ranges (environment, host, paths, threads) reaches no output."""

import gzip
import json
import subprocess
import sys

import pytest

from tests.capture.exports import SECRETS, write_export
from tracediff.api import open as open_trace
from tracediff.capture.report_cache import exported
from tracediff.fleet.dataset import write_table
from tracediff.trace import read_trace

#: Names of kernels and ranges, which are what a trace is read for.
NAMES = {"foreign_kernel", "foreign_range", "foreign_domain_range"}
HIDDEN = {place: secret for place, secret in SECRETS.items() if place not in NAMES}
IN_TORCH = ("host", "command", "path", "python", "label", "uuid", "stack", "input", "tail")


def as_parquet(source, folder):
    """Write every table of an export as nsys's Parquet export has it."""
    import contextlib
    import sqlite3

    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(source)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
            columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
            parquet.write_table(pyarrow.table(columns), folder / f"{table}.parquet")
    return folder


def torch_trace(path):
    """Write a PyTorch trace with a secret in every place that no kernel table is made of."""
    secret = {place: f"sEcReT-{place}-77aa" for place in IN_TORCH}
    thread = {"pid": 1, "tid": 1}
    events = [
        {"ph": "M", **thread, "name": "process_name", "args": {"name": secret["command"]}},
        {"ph": "M", **thread, "name": "process_labels", "args": {"labels": secret["label"]}},
        {"ph": "X", **thread, "cat": "python_function", "name": secret["python"], "ts": 1, "dur": 90},
        {"ph": "X", **thread, "cat": "user_annotation", "name": "prefill", "ts": 1, "dur": 90},
        {"ph": "X", **thread, "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 5, "dur": 1,
         "args": {"correlation": 7, "Call stack": secret["stack"]}},
        {"ph": "X", **thread, "cat": "kernel", "name": "first", "ts": 9, "dur": 3,
         "args": {"correlation": 7, "path": secret["path"], "grid": [1, 1, 1], "block": [32, 1, 1]}},
        {"ph": "X", **thread, "cat": "cpu_op", "name": "aten::mm", "ts": 4, "dur": 5,
         "args": {"Concrete Inputs": [secret["input"]]}},
    ]  # fmt: skip
    head = {"host_name": secret["host"], "deviceProperties": [{"name": "GPU", "uuid": secret["uuid"]}]}
    content = json.dumps({**head, "traceEvents": events, "traceName": secret["tail"]}).encode()
    path.write_bytes(gzip.compress(content))
    return path, secret


def everything_told(trace, folder):
    """Run what shows a trace; return all that it printed and wrote."""
    told = b""
    for words in (
        ["show", trace, "--save", folder / "show.sqlite"],
        ["show", trace, "--format", "json"],
        ["show", trace, "--format", "csv", "--unfold"],
        ["show", trace, "--explain-coverage"],
        ["diff", trace, trace, "--html", folder / "diff.html", "--save", folder / "diff.sqlite", "--all", "--kernels"],
        ["diff", trace, trace, "--format", "json"],
        ["diff", trace, trace, "--format", "markdown"],
        ["diff", trace, trace, "--format", "csv"],
    ):
        done = subprocess.run([sys.executable, "-m", "tracediff", *map(str, words)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        told += done.stdout + done.stderr
    if "pyarrow" in sys.modules or pytest.importorskip("pyarrow"):
        write_table(read_trace(trace), trace, folder / "dataset")
    return told + b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def assert_hidden(told, secrets):
    assert b"first" in told  # a kernel: something was told
    assert [place for place, secret in secrets.items() if secret.encode() in told] == []


@pytest.mark.slow
def test_an_nsys_export_tells_kernels_and_ranges_alone(tmp_path):
    trace, out = tmp_path / "t.sqlite", tmp_path / "out"
    out.mkdir()
    write_export(trace)
    assert all(secret.encode() in trace.read_bytes() for secret in HIDDEN.values())
    assert_hidden(everything_told(trace, out), HIDDEN)


@pytest.mark.slow
def test_a_parquet_export_tells_kernels_and_ranges_alone(tmp_path):
    write_export(tmp_path / "t.sqlite")
    trace, out = as_parquet(tmp_path / "t.sqlite", tmp_path / "parquet"), tmp_path / "out"
    out.mkdir()
    assert_hidden(everything_told(trace, out), HIDDEN)


@pytest.mark.slow
def test_a_pytorch_trace_tells_kernels_and_ranges_alone(tmp_path):
    trace, secrets = torch_trace(tmp_path / "t.json.gz")
    out = tmp_path / "out"
    out.mkdir()
    assert_hidden(everything_told(trace, out), secrets)


def test_the_cache_of_reports_keeps_kernels_and_ranges_alone(tmp_path, monkeypatch):
    write_export(tmp_path / "whole.sqlite")
    nsys = tmp_path / "nsys"
    nsys.write_text(f"""#!/bin/sh
if [ "$1" = --version ]; then echo 'NVIDIA Nsight Systems version 2025.3.2.367-0'; exit 0; fi
for word in "$@"; do case "$word" in --output=*) cp {tmp_path}/whole.sqlite "${{word#--output=}}";; esac; done
""")
    nsys.chmod(0o755)
    monkeypatch.setenv("TRACEDIFF_NSYS", str(nsys))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    report = tmp_path / "run.nsys-rep"
    report.write_bytes(b"a report")
    kept = exported(report, lambda _: None)
    assert len(open_trace(report)) > 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [kept]
    assert_hidden(kept.read_bytes(), HIDDEN)
