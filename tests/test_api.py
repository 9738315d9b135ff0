"""The library as a program uses it."""

import multiprocessing
import subprocess
import sys

import pytest

import tracediff
from tests.profiles import FLOAT16, PROFILES
from tracediff.api import open_all
from tracediff.diff import side_by_side
from tracediff.diff.judgement import Judgement
from tracediff.errors import TracediffError
from tracediff.findings.determinism import read_determinism
from tracediff.findings.flips_file import read_flips
from tracediff.findings.maps import read_map
from tracediff.findings.remedies import read_remedies

A, B = FLOAT16 / "b1.sqlite", FLOAT16 / "b2.sqlite"


@pytest.fixture(scope="module")
def result():
    return tracediff.diff(A, B)


def test_a_comparison_answers(result):
    assert result.answer.judgement is Judgement.EXPECTED
    assert "split-K 3 → 2 in q_proj and o_proj" in result.answer.sentence


def test_rows_and_kernels_are_frames_that_add_up(result):
    rows, kernels = result.rows, result.kernels
    assert len(rows) == len(result.result.rows)
    assert kernels.groupby("trace").size().to_dict() == {"a": 4385, "b": 4385}
    assert rows["duration_ns_a"].sum() == kernels[kernels["trace"] == "a"]["duration_ns"].sum()
    assert (rows["verdict"] == "order-changed").sum() == 259  # 64 products, 195 norms


def test_every_output_is_there(result):
    assert result.to_json().startswith("{")
    assert result.to_markdown().startswith("## tracediff: EXPECTED")
    assert "<h1" in result.to_html()
    notebook = result._repr_html_()
    assert "<strong>EXPECTED</strong>" in notebook and len(notebook) < 20_000


def test_what_was_opened_can_be_compared_and_one_phase_chosen():
    table = tracediff.open(A)
    only = tracediff.diff(table, tracediff.open(B), phases=["decode[0]"])
    assert set(only.rows["phase"]) == {"decode[0]"}


def test_a_kernel_name_is_parsed():
    parsed = tracediff.parse_kernel("nvjet_sm90_hsh_128x8_64x12_4x1_v_bz_splitK_TNT")
    assert (parsed.family, parsed.tile) == ("nvjet", (128, 8, 64))


@pytest.mark.parametrize(
    "code",
    [
        "import tracediff; tracediff.diff(A, B)",
        "import tracediff; tracediff.open(A); tracediff.diff(A, B); from tracediff.diff import diff_tables",
        "import tracediff.diff.compare as compare; import tracediff.api; tracediff.diff(A, B)",
    ],
)
def test_the_package_and_the_function_share_their_name(code):
    program = f"A, B = {str(A)!r}, {str(B)!r}; {code}; print('fine')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_importing_is_light():
    code = "import sys, tracediff; print([m for m in ('numpy', 'pandas', 'rich', 'typer') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_large_exports_are_read_side_by_side_and_handed_out_in_order(monkeypatch):
    monkeypatch.setattr("tracediff.api._LARGE_EXPORT", 0)
    paths = [A, B, FLOAT16 / "b8.sqlite"]
    assert [table.info.batch for table in open_all(paths)] == [1, 2, 8]


def test_a_pools_worker_which_may_have_no_children_reads_large_exports_too(monkeypatch):
    monkeypatch.setattr("tracediff.api._LARGE_EXPORT", 0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(kernels_of_two) == [4385, 4385]


def kernels_of_two():
    return [len(table) for table in open_all([A, A])]


def test_what_is_wrong_with_a_large_export_is_said_in_its_turn(monkeypatch, tmp_path):
    monkeypatch.setattr("tracediff.api._LARGE_EXPORT", 0)
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(A.read_bytes()[:200_000])
    tables = open_all([A, damaged, B])
    assert len(next(tables)) == 4385
    with pytest.raises(TracediffError, match="damaged"):
        next(tables)


def test_a_result_is_printed_in_one_line(result):
    many = side_by_side([result.result, result.result])
    for each in (result, result.result, many, result.answer, tracediff.open(A)):
        assert str(each) == repr(each)
        assert len(repr(each)) < 1200
        assert "\n" not in repr(each)
        assert repr(each).startswith(f"<{type(each).__name__} ")
    for each in (result, result.result, many, result.answer):
        assert result.answer.sentence in repr(each)
    assert "4,385 kernels" in repr(tracediff.open(A))


def test_a_part_of_an_answer_and_a_stored_result_are_printed_in_one_line(result):
    section = result.answer.sections[0]
    stored = [
        read_map(PROFILES / "maps" / "llama-3-8b-float16-h100.json"),
        read_remedies(PROFILES / "remedies" / "llama-3-8b-bfloat16-h100.json"),
        read_determinism(PROFILES / "tokens" / "determinism.json"),
        read_flips(PROFILES / "tokens" / "flips_generate.json"),
    ]
    row = section.groups[0].rows[0]
    for each in (section, section.groups[0], row, row.a[0], *stored):
        assert repr(each).startswith(f"<{type(each).__name__} ")
        assert len(repr(each)) < 200
