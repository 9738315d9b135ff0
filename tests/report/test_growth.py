"""What a report takes does not grow with steps that are equal: they are one phase, and the time of each is a number."""

import io
import json
import re

import pytest
from rich.console import Console

from tests.diff.tables import table
from tracediff.diff import diff_tables
from tracediff.diff.show import show_table
from tracediff.report.diff.csv import diff_to_csv
from tracediff.report.diff.html import render_html
from tracediff.report.diff.json import diff_to_json
from tracediff.report.diff.markdown import diff_to_markdown
from tracediff.report.diff.show_terminal import print_show
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


def unlike_phases(count):
    """A diff of phases that each have another name, of ten modules each."""
    kernels = [
        (f"request {word:c}", f"layers.{layer}.q", "xy"[layer % 2])
        for word in range(ord("a"), ord("a") + count)
        for layer in range(10)
    ]
    return diff_tables(table(kernels), table(kernels))


def listed(page):
    return json.loads(re.search(r'id="payload">(.*?)</script>', page)[1])["modules"]["path"]


def test_a_page_lists_so_many_modules_and_counts_the_rest(monkeypatch):
    monkeypatch.setattr("tracediff.report.diff.html.build._MOST_LISTED", 45)
    few, many = render_html(unlike_phases(4)), render_html(unlike_phases(20))
    assert "not listed below" not in few
    assert len(listed(few)) == 40
    assert "155 of these modules are counted here and not listed below" in many
    assert len(listed(many)) == 45
    assert all(f"request {word}" in many for word in "abcdefghijklmnopqrst")
    targets = set(re.findall(r'href="#([^"]+)"', many))
    assert targets <= set(re.findall(r'id="([^"]+)"', many))
    assert diff_to_json(unlike_phases(20)).count('"module":') == 200


def shown(kernels, unfold=False):
    text = io.StringIO()
    print_show(*show_table(table(kernels)), Console(file=text, width=120), unfold)
    return text.getvalue()


def unlike_layers(phase, count):
    """Layers that each run another kernel, so that none shares a line with another."""
    return [(phase, f"layers.{layer}.q", f"nvjet_hsh_{layer}x8_64x12_1x1_v_bz_TNT") for layer in range(count)]


def test_a_thousand_lines_of_a_trace_are_printed_and_the_rest_is_counted():
    few, many = shown(unlike_layers("prefill", 1_000)), shown(unlike_layers("prefill", 3_000))
    assert "more kernel" not in few
    assert few.count("tile") == many.count("tile") == 1_000
    assert (
        "\n2,000 more kernels in 2,000 modules of 1 phase: --phase NAME prints one phase, --unfold everything" in many
    )
    assert shown(unlike_layers("prefill", 3_000), unfold=True).count("tile") == 3_000


def test_phases_beyond_a_thousand_lines_are_counted():
    text = shown([*unlike_layers("prefill", 999), *unlike_layers("generate", 7), *unlike_layers("verify", 5)])
    assert "generate\n" in text
    assert "verify" not in text
    assert "11 more kernels in 11 modules of 2 phases" in text
