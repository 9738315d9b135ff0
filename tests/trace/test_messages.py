"""Every line that a reader of traces says, whole: what is wrong with a file, and what to do about it.

Other tests say when a file is refused or noted; tests/gold/trace/ holds the words.
"""

import gzip
import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from small_exports import DATA, PROCESS, SmallExport, one_module

from tests.golden import assert_golden
from tests.profiles import PROFILES
from tracediff.api import open as load_trace
from tracediff.diff import diff_tables
from tracediff.diff.pair_steps import between_traces
from tracediff.diff.show import show_table
from tracediff.errors import TracediffError
from tracediff.report.diff.sqlite import save_diffs, save_show
from tracediff.trace import Naming, read_trace
from tracediff.trace.part import explain_coverage

LLAMA = DATA / "llama-two-blocks-b1.sqlite"

FILES = {
    "empty.sqlite": b"",
    "text.csv": b"kernel,start,end\n",
    "bytes.bin": bytes(range(256)),
    "header.sqlite": b"SQLite format 3\x00" + bytes(9),
    "run.nsys-rep.old": b"\x01\x02",
    "run.qdstrm": b"\x01\x02",
    "host.xplane.pb": b"\x01\x02",
    "run.ncu-rep": b"\x01\x02",
    "run.pftrace": b"\x01\x02",
    "run.perfetto-trace": b"\x01\x02",
    "graph.pb": b"\x01\x02",
    "run.nvvp": b"\x01\x02",
    "run.nvprof": b"\x01\x02",
    "RUN.NVVP": b"\x01\x02",
    "zip": b"PK\x03\x04\x00",
    "empty-zip": b"PK\x05\x06\x00",
    "zstd": b"\x28\xb5\x2f\xfd\x00",
    "xz": b"\xfd7zXZ\x00",
    "bzip2": b"BZh9\x00",
    "lz4": b"\x04\x22\x4d\x18\x00",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "rar": b"Rar!\x1a",
    "parquet": b"PAR1\x00",
    "arrow": b"ARROW1\x00",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "ncu": b"NVR\x00",
    "elf": b"\x7fELF",
    "numpy": b"\x93NUMPY",
    "pickle-2": b"\x80\x02",
    "pickle-3": b"\x80\x03",
    "pickle-4": b"\x80\x04",
    "pickle-5": b"\x80\x05",
    "pdf": b"%PDF-1.7",
    "png": b"\x89PNG\r\n",
    "html-1": b"<!DOCTYPE html>",
    "html-2": b"<!doctype html>",
    "html-3": b"<html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
    "tar": bytes(257) + b"ustar\x0000",
    "database.gz": gzip.compress(b"SQLite format 3\x00"),
    "text.gz": gzip.compress(b"text"),
    "tpu.json": b'{"traceEvents": [{"args": {"hlo_module": "m"}}]}',
    "xla.json": b'{"traceEvents": [{"args": {"hlo_op": "add.1"}}]}',
    "jax.json": b'{"traceEvents": [{"args": {"name": "/device:GPU:0"}}], "x": "/device:"}',
    "host.json": b'{"traceEvents": [{"args": {"name": "/host:CPU"}}]}',
    "browser.json": b'{"traceEvents": [{"cat": "devtools.timeline"}]}',
    "viz.json": b'{"traceEvents": [], "viztracer_metadata": {}}',
    "speedscope.json": b'{"$schema": "https://www.speedscope.app/file-format-schema.json"}',
    "nsys-1.json": b'{"CudaEvent": {}}',
    "nsys-2.json": b'{"NvtxEvent": {}}',
    "nsys-3.json": b'{"TraceProcessEvent": {}}',
    "manifest-1.json": b'{"prompt_tokens": [1]}',
    "manifest-2.json": b'{"repeat_identical": true}',
    "diff.json": b'{"verdicts": {}}',
    "notebook.json": b'{"nbformat": 4}',
    "other.json": b'{"some": "thing"}',
    "nothing.json": b'{"traceEvents": []}',
    "cut.json": b'{"traceEvents": [',
    "cut.json.gz": gzip.compress(b'{"traceEvents": [' + b" " * 4000)[:-9],
    "damaged.json": b'{"traceEvents": [{"ph": }]}',
    "deep.json": b'{"traceEvents": [' + b"[" * 100_000,
}

DATABASES = {
    "rocm": ["rocpd_op", "rocpd_string"],
    "rocm, newer": ["rocpd_metadata"],
    "rocm, with a suffix": ["rocpd_kernel_dispatch"],
    "nvprof": ["CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL"],
    "a stored comparison": ["pairs", "modules", "kernels", "traces"],
    "a stored table": ["kernels", "traces", "notes"],
    "any other": ["customers"],
}

EXPORTS = {
    "no table of kernels": ["DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL"],
    "no kernels": ["DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL"],
    "no calls": ["DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME"],
    "no strings": ["DELETE FROM StringIds"],
    "no names": ["ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME COLUMN demangledName TO title"],
    "a view": ["ALTER TABLE StringIds RENAME TO old", "CREATE VIEW StringIds AS SELECT * FROM old"],
    "text for a number": ["UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET gridX = 'x'"],
    "the number that means NULL": ["UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET gridX = 1 << 63"],
    "a time beyond a lifetime": ["UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 9000000000000000000"],
    "times that add up beyond a lifetime": [
        "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = 0, end = 3000000000000000000"
    ],
    "a virtual table": ["DROP TABLE StringIds", "CREATE VIRTUAL TABLE StringIds USING fts5(id, value)"],
}

SAVED = {
    "a view": ["ALTER TABLE kernels RENAME TO old", "CREATE VIEW kernels AS SELECT * FROM old"],
    "a table less": ["DROP TABLE algorithms"],
    "no kernels": ["DELETE FROM kernels"],
    "negative time": ["UPDATE kernels SET duration_ns = -1"],
    "no time": ["UPDATE kernels SET duration_ns = 1.5"],
    "no number": ["UPDATE kernels SET registers = 'x'"],
    "no text": ["UPDATE kernels SET name = x'00'"],
    "two sizes": ["UPDATE kernels SET grid = '1x1'"],
    "a size beyond": ["UPDATE kernels SET block = '9999999999x1x1'"],
}

NAMINGS = {
    "--range": Naming(range="("),
    "--phase-range": Naming(phase="*"),
    "--layer": Naming(layer="["),
    "no group": Naming(layer=r"layer\d+"),
    "too long": Naming(range="x" * 10_000),
}

KERNEL = [
    {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 1, "dur": 1, "args": {"correlation": 1}},
    {"ph": "X", "cat": "kernel", "name": "k" * 100, "ts": 2, "dur": 1, "args": {"correlation": 1, "grid": [1, 1, 1]}},
]


def refusal(read, *arguments, **options):
    """Return the one line that an attempt to read ends with."""
    with pytest.raises(TracediffError) as caught:
        read(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def database(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def assert_lines(lines, name, tmp_path):
    text = "\n".join(f"{about}\n    {line}" for about, line in lines.items())
    assert_golden(text.replace(f"{tmp_path}/", "") + "\n", f"trace/{name}.txt")


def test_files_of_another_kind(tmp_path):
    lines = {}
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        lines[name] = refusal(read_trace, tmp_path / name)
    lines["missing"] = refusal(read_trace, tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    lines["folder"] = refusal(read_trace, tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    lines["pipe"] = refusal(read_trace, tmp_path / "pipe")
    assert_lines(lines, "files", tmp_path)


def test_databases_of_another_kind(tmp_path):
    lines = {}
    for about, tables in DATABASES.items():
        path = database(tmp_path / f"{about}.sqlite", *(f"CREATE TABLE {table} (a)" for table in tables))
        lines[about] = refusal(read_trace, path)
    assert_lines(lines, "databases", tmp_path)


def test_exports_that_cannot_be_read(tmp_path):
    lines = {}
    for about, statements in EXPORTS.items():
        path = tmp_path / f"{about}.sqlite"
        shutil.copy(LLAMA, path)
        lines[about] = refusal(read_trace, database(path, *statements))
    graphs = SmallExport()
    graphs.schema += "CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER);"
    graphs.add("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", start=1).call(1, 1).string("x")
    lines["graphs recorded whole"] = refusal(read_trace, graphs.write(tmp_path / "graphs.sqlite"))
    whole = LLAMA.read_bytes()
    (tmp_path / "cut.sqlite").write_bytes(whole[:-5000])
    lines["cut short"] = refusal(read_trace, tmp_path / "cut.sqlite")
    (tmp_path / "damaged.sqlite").write_bytes(whole.replace(b"CREATE TABLE StringIds (", b"CREATE ELBAT StringIds ("))
    lines["damaged schema"] = refusal(read_trace, tmp_path / "damaged.sqlite")
    for suffix in ("journal", "wal"):
        path = tmp_path / f"{suffix}.sqlite"
        shutil.copy(LLAMA, path)
        path.with_name(f"{path.name}-{suffix}").write_bytes(b"x" * 100)
        lines[f"unfinished write, {suffix}"] = refusal(read_trace, path)
    assert_lines(lines, "exports", tmp_path)


def test_saved_tables_that_cannot_be_read(tmp_path):
    table = read_trace(LLAMA)
    lines = {}
    for about, statements in SAVED.items():
        path = tmp_path / f"{about}.sqlite"
        save_show(*show_table(table), path)
        lines[about] = refusal(read_trace, database(path, *statements))
    save_diffs([diff_tables(table, table)], tmp_path / "comparison.sqlite")
    lines["a comparison"] = refusal(read_trace, tmp_path / "comparison.sqlite")
    assert_lines(lines, "saved", tmp_path)


def test_options_that_cannot_be_met(tmp_path):
    path = one_module().write(tmp_path / "t.sqlite")
    lines = {about: refusal(read_trace, path, naming) for about, naming in NAMINGS.items()}
    for option in ("rank", "device", "iteration"):
        lines[f"--{option}"] = refusal(load_trace, path, **{option: 7})
    many = SmallExport()
    for device in range(25):
        many.kernel("k", device + 1, device, deviceId=device)
    lines["one of many"] = refusal(load_trace, many.write(tmp_path / "many.sqlite"), device=99)
    table = read_trace(path)
    lines["--between, no shapes"] = refusal(between_traces, table, table, ("1x1", "8x1"))
    assert_lines(lines, "options", tmp_path)


def test_limits(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": KERNEL * 2}))
    packed = tmp_path / "t.json.gz"
    packed.write_bytes(gzip.compress(b'{"traceEvents": [' + b" " * (3 << 20) + json.dumps(KERNEL).encode()[1:] + b"}"))
    long = tmp_path / "long.json"
    long.write_text(json.dumps({"traceEvents": [*KERNEL, {**KERNEL[1], "name": "n" * (3 << 20)}]}))
    lines = {}
    for name, file in (("UNPACKED", packed), ("EVENT", long), ("TEXTS", long)):
        monkeypatch.setenv(f"TRACEDIFF_MAX_{name}_MB", "1")
        lines[f"beyond {name}"] = refusal(read_trace, file)
        monkeypatch.setenv(f"TRACEDIFF_MAX_{name}_MB", "much")
        lines[f"{name}: no number"] = refusal(read_trace, file)
        monkeypatch.delenv(f"TRACEDIFF_MAX_{name}_MB")
    assert_lines(lines, "limits", tmp_path)


def explained(table):
    return "\n    ".join(explain_coverage(table))


def test_what_became_of_every_kernel(tmp_path):
    lines = {path.name: explained(read_trace(path)) for path in sorted(DATA.glob("*-b1.*"))}
    lines |= {path.name: explained(read_trace(path)) for path in sorted((PROFILES / "vllm").glob("*-b1.sqlite"))}
    odd = SmallExport().kernel("early", 1, 5).range("warm up", 8, 9).kernel("late", 2, 500).kernel("lost", 3, None)
    odd.kernel("backwards", 4, 600, start=700, end=650).kernel("huge", 5, 610, gridX=2**40)
    odd.kernel("in a graph", 6, 620, graphNodeId=77)
    lines["odd"] = explained(read_trace(odd.write(tmp_path / "odd.sqlite")))
    old = one_module()
    old.schema = old.schema.replace("registersPerThread INTEGER, ", "")
    for row in old.rows["CUPTI_ACTIVITY_KIND_KERNEL"]:
        del row["registersPerThread"]
    old.schema += "CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER);"
    old.add("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", start=1)
    lines["old"] = explained(read_trace(old.write(tmp_path / "old.sqlite")))
    lines["chosen"] = explained(
        read_trace(
            SmallExport().range("a", 0, 9).range("b", 1, 8).kernel("k", 1, 3).write(tmp_path / "chosen.sqlite"),
            Naming(range="^a"),
        )
    )
    threads = SmallExport().kernel("k", 1, 50).range("one", 0, 90, thread=PROCESS + 1)
    threads.range("two", 0, 90, thread=PROCESS + 2)
    lines["threads"] = explained(read_trace(threads.write(tmp_path / "threads.sqlite")))
    library = SmallExport().range("cub::DeviceReduce", 0, 90).kernel("k", 1, 50)
    lines["library"] = explained(read_trace(library.write(tmp_path / "library.sqlite")))
    other = SmallExport().kernel("ours", 1, 50).kernel("theirs", 1, 60, process=PROCESS + 0x1000000)
    lines["two processes"] = explained(load_trace(other.write(tmp_path / "two.sqlite")))
    many = SmallExport()
    for number in range(8):
        many.kernel(f"kernel {number}", number + 1, number)
    lines["many names"] = explained(read_trace(many.write(tmp_path / "many.sqlite")))
    timeless = {"ph": "X", "cat": "kernel", "name": "k", "ts": "now", "args": {}}
    odd_json = [*KERNEL, {**KERNEL[1], "args": {"correlation": 1, "grid": [1]}}, timeless]
    (tmp_path / "odd.json").write_text(json.dumps({"traceEvents": odd_json, "deviceProperties": [{"name": 3}]}))
    lines["odd torch trace"] = explained(read_trace(tmp_path / "odd.json"))
    assert_lines(lines, "coverage", tmp_path)


MANIFESTS = {
    "no JSON": "{",
    "a list": "[]",
    "no list of traces": '{"traces": 3}',
    "a batch in words": '{"traces": [{"file": "t.sqlite", "batch": "1"}]}',
    "a number without end": '{"tokens": 99999999999999999999, "traces": []}',
    "nested": '{"x": ' + "[" * 100_000,
    "other traces": '{"traces": [{"file": "other.sqlite"}]}',
    "too large": '{"x": "' + "x" * (40 << 20) + '"}',
}


def test_manifests_that_are_not_used(tmp_path):
    path = one_module().write(tmp_path / "t.sqlite")
    lines = {}
    for about, text in MANIFESTS.items():
        (tmp_path / "manifest.json").write_text(text)
        lines[about] = "\n    ".join(read_trace(path).notes)
    assert_lines(lines, "manifests", tmp_path)
