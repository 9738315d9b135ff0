"""What may mislead a reader of a comparison is said in the words of the profiler that recorded it."""

from pathlib import Path

import pytest

from tests.diff.tables import table
from tracediff.diff.comparable import comparability_warnings
from tracediff.trace import read_trace

DATA = Path(__file__).parent.parent / "trace" / "data"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("torch-gpu-plain-b1.json.gz", "No kernel of a was launched inside a record_function block"),
        ("llama-two-blocks-b1.sqlite", "No kernel of a was launched inside an NVTX range"),
    ],
)
def test_without_ranges_the_profilers_own_word_for_them_is_used(tmp_path, name, says):
    path = tmp_path / name
    path.write_bytes((DATA / name).read_bytes())
    if path.suffix == ".sqlite":
        import sqlite3

        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE NVTX_EVENTS")
            connection.execute("DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE rowid > 2")  # nothing repeats
        connection.close()
    trace = read_trace(path)
    assert any(warning.startswith(says) for warning in comparability_warnings(trace, trace))


KERNELS = [("prefill", "model.layers.0.mlp", "k")]


def warned(a=None, b=None, kernels=KERNELS):
    return comparability_warnings(table(KERNELS, **(a or {})), table(kernels, **(b or {})))


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("gpu", ("H100", "H200"), "The traces are of different GPUs: H100 and H200."),
        ("sm_count", (132, 114), "The traces are of different numbers of multiprocessors: 132 and 114."),
        ("model", ("one", "two"), "The traces are of different models: one and two."),
        ("dtype", ("float16", "bfloat16"), "The traces are of different element types: float16 and bfloat16."),
        ("tokens", (6, 7), "The traces are of different prompt lengths: 6 and 7."),
        ("profiler", ("nsys", "torch"), "The traces are of different profilers: nsys and torch."),
        ("profiler_version", ("2025.3", "2024.2"), "The traces are of different profiler versions: 2025.3 and 2024.2."),
        ("schema_version", ("3.1", "3.2"), "The traces are of different export schemas: 3.1 and 3.2."),
    ],
)
def test_what_differs_besides_the_batch_is_said_in_one_sentence(field, values, says):
    assert warned({field: values[0]}, {field: values[1]}) == (says,)
    assert warned({field: values[0]}, {field: values[0]}) == ()


@pytest.mark.parametrize("field", ["gpu", "sm_count", "model", "dtype", "tokens"])
def test_what_one_trace_does_not_say_is_no_difference(field):
    assert warned({field: 7}) == () == warned(None, {field: 7})


@pytest.mark.parametrize("field", ["profiler_version", "schema_version"])
def test_versions_of_two_profilers_are_not_compared(field):
    found = warned({"profiler": "nsys", field: "1"}, {"profiler": "torch", field: "2"})
    assert found == ("The traces are of different profilers: nsys and torch.",)


def test_libraries_of_two_versions_are_told_in_order_nsys_is_not_one():
    a = {"versions": {"nsys": "1", "torch": "2.11", "cublas": "13.1", "cudnn": "9"}}
    b = {"versions": {"nsys": "2", "torch": "2.12", "cublas": "13.2", "nccl": "2"}}
    assert warned(a, b) == ("cublas differs: 13.1 and 13.2.", "torch differs: 2.11 and 2.12.")


def test_a_trace_against_itself_is_told(tmp_path):
    path = tmp_path / "a.sqlite"
    path.touch()
    assert warned({"path": str(path)}, {"path": str(path)}) == ("a and b are the same file.",)


def test_traces_without_a_common_place_have_no_counterparts():
    says = ("The traces have no phase and module in common, so no kernel has a counterpart.",)
    assert warned(kernels=[("prefill", "model.layers.0.attn", "k")]) == says
    assert warned(kernels=[("decode[0]", "model.layers.0.mlp", "k")]) == says
