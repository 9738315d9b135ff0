"""Reports of nsys are exported once, by the nsys that is found, into a clean and private cache."""

import sqlite3

import pytest
from small_exports import DATA, modules

from tracediff.api import open as load_trace
from tracediff.capture.report_cache import exported
from tracediff.errors import TracediffError
from tracediff.trace import read_trace

LLAMA = DATA / "llama-two-blocks-b1.sqlite"
SECRET = "HF_TOKEN=hf_not_to_be_kept"


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A report, and an nsys that exports every report as one real export with a secret in it."""
    whole = tmp_path / "whole.sqlite"
    with sqlite3.connect(LLAMA) as source, sqlite3.connect(whole) as target:
        source.backup(target)
        target.execute("CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT)")
        target.execute("INSERT INTO META_DATA_CAPTURE VALUES ('ENVIRONMENT_VARIABLE', ?)", (SECRET,))
        target.execute("INSERT INTO StringIds VALUES (999999, ?)", (SECRET,))
        target.execute("INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_PARAM_INPUT_FILE', ?)", (SECRET,))
    nsys = tmp_path / "bin" / "nsys"
    nsys.parent.mkdir()
    nsys.write_text(f"""#!/bin/sh
if [ "$1" = --version ]; then echo 'NVIDIA Nsight Systems version 2025.3.2.367-0'; exit 0; fi
echo called >> {tmp_path}/calls
for word in "$@"; do case "$word" in --output=*) out="${{word#--output=}}";; esac; done
if grep -q broken "$word"; then echo 'Unsupported report version'; exit 1; fi
cp {whole} "$out"
""")
    nsys.chmod(0o755)
    monkeypatch.setenv("TRACEDIFF_NSYS", str(nsys))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "run.nsys-rep"
    path.write_bytes(b"a report")
    return path


def calls(report):
    return len((report.parent / "calls").read_text().splitlines())


def test_a_report_reads_like_its_export(report):
    table = load_trace(report)
    assert modules(table) == modules(read_trace(LLAMA))
    assert (table.info.path, table.info.gpu) == (str(report), "NVIDIA H200")


def test_it_is_exported_once_until_it_changes(report):
    said = []
    first = exported(report, said.append)
    assert exported(report, said.append) == first
    assert calls(report) == 1
    assert len(said) == 2
    report.write_bytes(b"another report")
    assert exported(report, said.append) != first
    assert calls(report) == 2


def test_the_cache_is_private_and_holds_no_environment(report, tmp_path):
    kept = exported(report, lambda _: None)
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert SECRET.encode() not in kept.read_bytes()
    assert [entry.name for entry in kept.parent.iterdir()] == [kept.name]


def test_what_nsys_says_against_a_report_is_passed_on(report):
    report.write_bytes(b"broken")
    with pytest.raises(TracediffError, match="Unsupported report version"):
        load_trace(report)
    assert list((report.parent / "cache" / "tracediff" / "exports").iterdir()) == []


def test_without_an_nsys_the_command_to_run_elsewhere_is_named(report, monkeypatch):
    monkeypatch.setattr("tracediff.capture.report_cache.nsys_candidates", lambda: [])
    with pytest.raises(TracediffError, match=r"nsys export --type sqlite run\.nsys-rep"):
        load_trace(report)


def test_missing_report(tmp_path):
    with pytest.raises(TracediffError, match="no such file"):
        load_trace(tmp_path / "none.nsys-rep")


def test_the_library_itself_names_the_command(report):
    with pytest.raises(TracediffError, match="is a report"):
        read_trace(report)


def test_the_library_reads_a_report_by_way_of_an_exporter_and_keeps_its_name(report):
    table = read_trace(report, export=lambda path: exported(path, lambda _: None))
    assert len(table) == 112
    assert table.info.path == str(report)


def test_what_a_killed_export_left_in_the_cache_is_removed(report, tmp_path):
    left = tmp_path / "cache" / "tracediff" / "exports" / "tracediff-export-left"
    left.mkdir(parents=True)
    (left / ".in-use").touch()
    (left / "whole.sqlite").write_text(SECRET)
    kept = exported(report, lambda _: None)
    assert [entry.name for entry in kept.parent.iterdir()] == [kept.name]
