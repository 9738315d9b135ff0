"""Run-to-run repeats, on the CPU, with operations that do and do not vary."""

import json
from pathlib import Path

import pytest

from tracediff.errors import TracediffError
from tracediff.findings.determinism import DeterminismResult, Repeats, read_determinism
from tracediff.report.determinism.terminal import findings

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tracediff.measure.determinism import (  # noqa: E402
    DeterminismRequest,
    measure_determinism,
    measure_setting,
    repeat_operation,
)
from tracediff.measure.determinism_operations import Inputs, operations  # noqa: E402

ROW = Repeats(operation="planted", dtype="float32", size="2", setting="default", repeats=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_operation_runs_and_gives_the_same_inputs_each_time(dtype):
    for name, prepare in operations().items():
        inputs = Inputs(dtype=dtype, size=16, device="cpu")
        row = repeat_operation(prepare(inputs), 2, ROW)
        assert row.refused is None, name
        assert row.repeats == 2


def test_an_operation_that_changes_is_found_from_the_run_where_it_first_does():
    runs = iter(range(100))

    def third_run_differs():
        return (torch.tensor([1.0, 2.0 if next(runs) < 2 else 2.0 + 2**-22]),)

    row = repeat_operation(third_run_differs, 5, ROW)
    assert (row.first_different, row.different, row.varies) == (3, 3, True)
    assert row.largest_share == 0.5
    assert row.largest_difference == 2**-22
    assert row.largest_ulp == 1


def test_minus_zero_is_other_bits_than_zero():
    runs = iter([0.0, -0.0])
    assert repeat_operation(lambda: (torch.tensor([next(runs)]),), 2, ROW).varies


def test_indices_that_change_have_no_size():
    runs = iter([1, 2])
    row = repeat_operation(lambda: (torch.tensor([next(runs)]),), 2, ROW)
    assert row.varies
    assert row.largest_difference is None


def test_a_refusal_is_kept_in_one_line():
    def refuse():
        raise RuntimeError("planted does not have a deterministic implementation\nmore")

    row = repeat_operation(refuse, 5, ROW)
    assert row.refused == "planted does not have a deterministic implementation"
    assert row.repeats == 0


def test_both_settings_and_the_model_are_measured_and_the_setting_is_put_back():
    result = measure_determinism(DeterminismRequest(device="cpu", dtypes=("float32",), repeats=2, model="tiny"))
    assert {row.setting for row in result.rows} == {"default", "deterministic"}
    assert sum(row.operation == "model forward" for row in result.rows) == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert result.model == "tiny"


def test_a_result_reads_back_as_it_was_written(tmp_path):
    rows = measure_setting(DeterminismRequest(device="cpu", dtypes=("float32",), repeats=2), "default")
    result = DeterminismResult(machine={"device": "cpu"}, model=None, rows=rows)
    path = tmp_path / "determinism.json"
    path.write_text(json.dumps(result.to_dict()))
    assert read_determinism(path) == result


def test_the_worker_answers_what_this_process_measures():
    import subprocess
    import sys
    from dataclasses import asdict

    request = DeterminismRequest(device="cpu", dtypes=("float32",), repeats=2)
    done = subprocess.run(
        [sys.executable, "-m", "tracediff.measure.determinism_worker"],
        input=json.dumps(asdict(request)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    rows = json.loads(done.stdout)
    assert {row["setting"] for row in rows} == {"deterministic"}
    assert len(rows) == len(operations()) * 2


def test_findings_name_what_varies():
    from tests.changed import replace

    varying = replace(ROW, repeats=5, first_different=2, different=1)
    text = "\n".join(findings(DeterminismResult(machine={}, model=None, rows=(varying,))))
    assert "default: bits vary from run to run in planted (float32)" in text
    same = "\n".join(findings(DeterminismResult(machine={}, model=None, rows=(replace(ROW, repeats=5),))))
    assert "the same bits in all 5 runs" in same


@pytest.mark.parametrize(("fields", "words"), [({"repeats": 1}, "1 repeats"), ({"dtypes": ("int8",)}, "unknown dtype")])
def test_what_cannot_be_measured_is_refused(fields, words):
    with pytest.raises(TracediffError, match=words):
        DeterminismRequest(device="cpu", **fields)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_is_one_line():
    with pytest.raises(TracediffError, match="no GPU"):
        measure_determinism(DeterminismRequest(device="cuda"))


def test_the_published_determinism_shows_what_the_documentation_says():
    result = read_determinism(Path(__file__).parents[2] / "profiles" / "tokens" / "determinism.json")
    varying = {row.operation for row in result.rows if row.varies}
    assert varying == {"scatter_add", "gather backward", "index_add", "cumsum", "bincount, weighted"}
    # Few repeats would have missed one: float32 cumsum of 65,536 numbers agrees 17 times.
    late = [(row.operation, row.dtype, row.size, row.first_different) for row in result.rows if row.varies]
    assert [row for row in late if row[3] != 2] == [("cumsum", "float32", "256", 18)]
    assert not any(row.varies for row in result.rows if row.setting == "deterministic")
    assert {row.operation for row in result.rows if row.refused} == {"bincount, weighted"}
    assert all(row.kernels for row in result.rows if row.refused is None)


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "determinism", "schema": 1}'])
def test_a_file_that_is_no_result_is_one_line(tmp_path, content):
    path = tmp_path / "determinism.json"
    path.write_text(content)
    with pytest.raises(TracediffError):
        read_determinism(path)
