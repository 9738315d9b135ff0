"""What may mislead a reader of a comparison is said in the words of the profiler that recorded it."""

from pathlib import Path

import pytest

from tracediff.diff.comparable import comparability_warnings
from tracediff.trace import read_trace

DATA = Path(__file__).parent.parent / "trace" / "data"


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        ("torch-gpu-plain-b1.json.gz", "No kernel of a was launched inside a record_function block"),
        ("llama-two-blocks-b1.sqlite", "No kernel of a was launched inside an NVTX range"),
    ],
)
def test_without_ranges_the_profilers_own_word_for_them_is_used(tmp_path, trace, says):
    path = tmp_path / trace
    path.write_bytes((DATA / trace).read_bytes())
    if path.suffix == ".sqlite":
        import sqlite3

        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE NVTX_EVENTS")
            connection.execute("DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE rowid > 2")  # nothing repeats
        connection.close()
    table = read_trace(path)
    assert any(warning.startswith(says) for warning in comparability_warnings(table, table))
