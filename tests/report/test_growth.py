"""What a report takes does not grow with steps that are equal: they are one phase, and the time of each is a number."""

import io

import pytest
from rich.console import Console

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.report.diff.csv import diff_to_csv
from tracediff.report.diff.html import render_html
from tracediff.report.diff.json import diff_to_json
from tracediff.report.diff.markdown import diff_to_markdown
from tracediff.report.diff.sqlite import save_diffs
from tracediff.report.diff.terminal import print_diff

FEW, MANY = 20, 220
#: What the time of one step may take: a number and what parts it from the next, for both traces.
CHARACTERS_PER_STEP = 2 * 12


def steps(count, names):
    layers = [(f"layers.{layer}.q", name) for layer in (0, 1) for name in names]
    kernels = [(f"decode[{step}]", *each) for step in range(count) for each in layers]
    return table([("prefill", "q", "z"), *kernels])


def printed(diff):
    text = io.StringIO()
    print_diff(diff, Console(file=text, width=100))
    return text.getvalue()


OUTPUTS = {
    "json": diff_to_json,
    "csv": diff_to_csv,
    "markdown": diff_to_markdown,
    "html": render_html,
    "terminal": printed,
}


@pytest.fixture(scope="module")
def diffs():
    return [diff_tables(steps(count, "xy"), steps(count, "xw")) for count in (FEW, MANY)]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_report_grows_by_the_time_of_each_step_alone(diffs, output):
    few, many = (OUTPUTS[output](diff) for diff in diffs)
    assert "decode" in many
    assert len(many) - len(few) <= CHARACTERS_PER_STEP * (MANY - FEW) + 100


def test_a_database_does_not_grow_with_equal_steps(diffs, tmp_path):
    sizes = []
    for diff in diffs:
        save_diffs([diff], tmp_path / "saved.sqlite", force=True)
        sizes.append((tmp_path / "saved.sqlite").stat().st_size)
    assert sizes[0] == sizes[1]
