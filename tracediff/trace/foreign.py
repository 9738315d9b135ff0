"""Files that are often taken for a trace: what they are, and what can be done."""

from __future__ import annotations

from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.trace.file_head import is_sqlite

EXPORT_AGAIN = "export the report again: nsys export --type sqlite --output trace.sqlite report.nsys-rep"
_UNPACK = "unpack it and name the trace in it"
_NAME_A_TRACE = "name an nsys export (SQLite, Parquet folder) or report, or a PyTorch profiler trace (JSON)"
_JAX = "record with nsys instead: nsys profile --trace=cuda,nvtx --cuda-graph-trace=node PROGRAM"

#: Suffix → what such a file is, and what to do.
_SUFFIXES = {
    ".nsys-rep": ("a report, not an export", "nsys export --type sqlite --output trace.sqlite REPORT"),
    ".qdrep": ("a report, not an export", "nsys export --type sqlite --output trace.sqlite REPORT"),
    ".qdstrm": ("an unfinished recording", "import it first: nsys-ui or QdstrmImporter makes an .nsys-rep of it"),
    ".xplane.pb": ("a JAX or TensorFlow profile (XPlane)", _JAX),
    ".ncu-rep": ("an Nsight Compute report", "name a trace of Nsight Systems"),
    ".pftrace": ("a Perfetto recording", _NAME_A_TRACE),
    ".perfetto-trace": ("a Perfetto recording", _NAME_A_TRACE),
    ".pb": ("a protocol buffer", _NAME_A_TRACE),
    ".nvvp": ("a recording of nvprof", "record it again with nsys"),
    ".nvprof": ("a recording of nvprof", "record it again with nsys"),
}
#: First bytes → the same. Gzip and JSON are looked into by the reader of PyTorch traces.
_BEGINNINGS: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", _UNPACK),
    b"PK\x05\x06": ("an empty zip archive", _NAME_A_TRACE),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "unpack it: zstd -d"),
    b"\xfd7zXZ\x00": ("compressed with xz", "unpack it: unxz"),
    b"BZh": ("compressed with bzip2", "unpack it: bunzip2"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "unpack it: lz4 -d"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!": ("a rar archive", _UNPACK),
    b"PAR1": ("a single Parquet file", "name the folder: nsys export --type parquetdir writes one file per table"),
    b"ARROW1": ("an Arrow file", EXPORT_AGAIN),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", EXPORT_AGAIN),
    b"NVR\x00": ("an Nsight Compute report", "name a trace of Nsight Systems"),
    b"\x7fELF": ("a program", _NAME_A_TRACE),
    b"\x93NUMPY": ("a NumPy array", _NAME_A_TRACE),
    b"\x80\x02": ("a Python pickle", _NAME_A_TRACE),
    b"\x80\x03": ("a Python pickle", _NAME_A_TRACE),
    b"\x80\x04": ("a Python pickle", _NAME_A_TRACE),
    b"\x80\x05": ("a Python pickle", _NAME_A_TRACE),
    b"%PDF": ("a PDF document", _NAME_A_TRACE),
    b"\x89PNG": ("an image", _NAME_A_TRACE),
    b"<!DOCTYPE": ("an HTML page", _NAME_A_TRACE),
    b"<!doctype": ("an HTML page", _NAME_A_TRACE),
    b"<html": ("an HTML page", _NAME_A_TRACE),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file itself: git lfs pull"),
}
_TAR_MAGIC, _TAR_AT = b"ustar", 257


def not_a_trace(path: Path, head: bytes, compressed: bool = False) -> TracediffError:
    """Return the error that says what a file is.

    Args:
        path: A file that no reader takes.
        head: Its first bytes.
        compressed: Whether these are the bytes it unpacks to.
    """
    if compressed:
        is_database = is_sqlite(head)
        what = (
            "is a compressed SQLite database" if is_database else "is compressed, and holds no PyTorch profiler trace"
        )
        return TracediffError(f"{path} {what}", "unpack it (gunzip) and name what is in it")
    for suffix, (what, hint) in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return TracediffError(f"{path} is {what}, not a trace", hint)
    for beginning, (what, hint) in _BEGINNINGS.items():
        if head.startswith(beginning):
            return TracediffError(f"{path} is {what}, not a trace", hint)
    if head[_TAR_AT : _TAR_AT + len(_TAR_MAGIC)] == _TAR_MAGIC:
        return TracediffError(f"{path} is a tar archive, not a trace", _UNPACK)
    if head.strip() and all(9 <= byte < 127 for byte in head):
        return TracediffError(f"{path} is a text file, not a trace", _NAME_A_TRACE)
    return TracediffError(f"{path} is not an SQLite database, and not a trace of another kind", EXPORT_AGAIN)


#: Bytes of a Chrome trace or another JSON file → what wrote it, and what to do.
_IN_JSON: tuple[tuple[bytes, str, str], ...] = (
    (b'"hlo_module"', "a JAX or TensorFlow profile", _JAX),
    (b'"hlo_op"', "a JAX or TensorFlow profile", _JAX),
    (b'"/device:', "a JAX or TensorFlow profile", _JAX),
    (b'"/host:CPU"', "a JAX or TensorFlow profile", _JAX),
    (b'"devtools.', "a recording of a web browser", _NAME_A_TRACE),
    (b'"viztracer_metadata"', "a VizTracer recording", _NAME_A_TRACE),
    (b"speedscope.app", "a speedscope profile", _NAME_A_TRACE),
    (b'"CudaEvent"', "an nsys JSON export", EXPORT_AGAIN),
    (b'"NvtxEvent"', "an nsys JSON export", EXPORT_AGAIN),
    (b'"TraceProcessEvent"', "an nsys JSON export", EXPORT_AGAIN),
    (b'"prompt_tokens"', "tracediff's manifest of a capture", "name a trace beside it"),
    (b'"repeat_identical"', "tracediff's manifest of a capture", "name a trace beside it"),
    (b'"verdicts"', "a result of tracediff", _NAME_A_TRACE),
    (b'"nbformat"', "a Jupyter notebook", _NAME_A_TRACE),
)


def foreign_json(path: Path, begin: bytes) -> TracediffError | None:
    """Return the error that says what wrote a JSON file, None where nothing tells.

    Args:
        path: The file.
        begin: Its first part, as far as it was read.
    """
    for mark, what, hint in _IN_JSON:
        if mark in begin:
            return TracediffError(f"{path} is {what}, not a PyTorch profiler trace", hint)
    return None


def not_a_chrome_trace(path: Path, begin: bytes) -> TracediffError:
    """Return the error that says what a JSON file is that holds no events."""
    return foreign_json(path, begin) or TracediffError(
        f"{path} is JSON, but not a PyTorch profiler trace", _NAME_A_TRACE
    )


#: Tables → whose SQLite database this is.
_DATABASES = (
    (("rocpd_op", "rocpd_string"), "a rocprofiler recording (rocpd)"),
    (("rocpd_metadata",), "a rocprofiler recording (rocpd)"),
    (("CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL",), "a recording of nvprof"),
    (("pairs", "modules", "kernels", "traces"), "a result of tracediff, stored with --save"),
    (("kernels", "traces", "notes"), "a result of tracediff, stored with --save"),
)


def other_database(path: Path, tables: frozenset[str]) -> TracediffError:
    """Return the error that says what an SQLite database is that is not an nsys export."""
    for named, what in _DATABASES:
        if tables.issuperset(named):
            return TracediffError(f"{path} is {what}, not an nsys export", _NAME_A_TRACE)
    for table in tables:
        if table.startswith("rocpd_"):
            return TracediffError(f"{path} is a rocprofiler recording (rocpd), not an nsys export", _NAME_A_TRACE)
    return TracediffError(
        f"{path} is an SQLite database, but not an nsys export",
        "make one with: nsys export --type sqlite report.nsys-rep",
    )
