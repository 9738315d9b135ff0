"""Maps and remedies in every format."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from tests.findings.maps import batch_map, forward, module
from tracediff.findings.maps import read_map
from tracediff.findings.maps_compare import compare_maps
from tracediff.findings.remedies import read_remedies
from tracediff.report.map.compare import map_diff_to_json, print_map_diff
from tracediff.report.map.html import map_to_html
from tracediff.report.map.rows import COLUMNS, map_to_csv, write_parquet
from tracediff.report.map.strips import strip_of
from tracediff.report.map.terminal import LINES, print_map
from tracediff.report.map.words import classes_in_words, padding_sentences
from tracediff.report.remedies.csv import remedies_to_csv
from tracediff.report.remedies.markdown import remedies_to_markdown
from tracediff.report.remedies.terminal import print_remedies

PROFILES = Path(__file__).parents[2] / "profiles"
MAPS = sorted((PROFILES / "maps").glob("*.json"))
REMEDIES = sorted((PROFILES / "remedies").glob("*.json"))
BFLOAT16_H100 = PROFILES / "maps/llama-3-8b-bfloat16-h100.json"
HOSTILE = '\x1b[31m<script>alert(1)</script>"&'


def printed(print_it, found, width, **more):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_it(found, console, **more)
    return console.file.getvalue()


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_map_takes_at_most_thirty_lines_of_the_terminal(path, width):
    text = printed(print_map, read_map(path), width, buckets=(1, 2, 4, 8, 16, 32, 64))
    lines = text.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= width
    assert "down_proj" in text
    assert "predicted against measured" in text


def test_no_version_of_a_map_is_cut_and_no_range_of_rows():
    lines = printed(print_map, read_map(BFLOAT16_H100), 80).splitlines()
    assert "cudnn 91900, triton 3.6.0, transformers 5.17.0" in " ".join(" ".join(lines).split())
    classes = next(line for line in lines if line.startswith("k_proj")).split("classes")[1].strip()
    whole = classes_in_words(next(each for each in read_map(BFLOAT16_H100).modules if each.name == "k_proj"))
    assert classes.endswith(" …")
    assert whole.startswith(classes.removesuffix("…"))


def test_modules_that_gave_one_bit_pattern_share_a_line():
    text = printed(print_map, batch_map(forward("aab"), module("aaa", name="q"), module("aaa", name="k")), 80)
    assert "all equal, 1–3 rows: q · k\n" in text


def test_one_count_that_varies_is_told_in_the_singular():
    sentence = padding_sentences(batch_map(forward("abb?")), [1, 2, 3])[0]
    assert "; but 1 count varies from run to run" in sentence


@pytest.mark.parametrize("width", [80, 90, 120, 140])
def test_names_of_settings_are_broken_behind_a_plus_alone(width):
    text = printed(print_remedies, read_remedies(PROFILES / "remedies/llama-3-8b-bfloat16-h200.json"), width)
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:2] == ["setting", "decode"])
    cells = [line[: lines[first].index("decode")].split("  ")[0] for line in lines[first + 1 :]]
    names = {part for cell in cells[:8] for part in cell.strip("+ ").split("+")}
    assert {"fixed-chunk", "no-workspace", "fused-products", "fused-norm", "fixed-tile"} <= names
    assert not {"-norm", "fused", "norm", "no-works", "products"} & names


@pytest.mark.parametrize("width", [20, 30, 40, 60, 300])
def test_a_narrow_terminal_has_fewer_columns_not_empty_or_broken_ones(width):
    text = printed(print_remedies, read_remedies(PROFILES / "remedies/llama-3-8b-bfloat16-h100-every.json"), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    (header,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["setting", "decode"]]
    assert "equal" in lines[header + 1].split()
    assert ("1.01" in lines[header + 1]) == ("× fastest" in lines[header]) == (width >= 40)


def remedies_without(**parts):
    found = read_remedies(PROFILES / "remedies/llama-3-8b-bfloat16-h100.json")
    return replace(found, **{"bits": (), "times": (), "notes": (), **parts})


@pytest.mark.parametrize("width", [20, 80])
def test_a_result_of_which_every_setting_failed_says_why_and_has_no_table(width):
    failed = {"fused-norm": "out of memory", "default": "out of memory"}
    words = " ".join(printed(print_remedies, remedies_without(failed=failed), width).split())
    assert "no setting's bits were compared · fused-norm was not measured: out of memory · default was" in words
    assert "decode" not in words
    assert "CPU" not in words


def test_times_of_the_cpu_are_told_whatever_was_timed():
    found = read_remedies(PROFILES / "remedies/llama-3-8b-bfloat16-h100.json")
    told = "times are of the CPU, without CUDA graphs"
    one = {name: rounds for name, rounds in found.times[0].rounds.items() if name != "default"}
    on_the_cpu = remedies_without(times=(replace(found.times[0], rounds=one, replayed=False),))
    assert told in printed(print_remedies, on_the_cpu, 120)
    assert told not in printed(print_remedies, found, 120)
    assert told not in printed(print_remedies, remedies_without(bits=found.bits), 120)


def test_the_answer_stands_above_the_table_and_the_default_follows_what_is_bit_equal():
    lines = printed(print_remedies, read_remedies(PROFILES / "remedies/llama-3-8b-float16-h200.json"), 120).splitlines()
    assert lines[2].startswith("bit-equal over batch 1–64 and the prompt at 1–16, cheapest: fixed-chunk+no-workspace+")
    settings = [line.split()[0] for line in lines if line.split()[-1:] and line.split()[-1].count(".") == 1]
    assert settings.index("default") == settings.index("fixed-chunk+fixed-tile+fused-norm") + 1


def test_a_map_with_very_many_modules_and_classes_stays_short():
    letters = "abcdefghijklmnopqrstuvwxyz" * 2
    parts = [module(letters, name=f"m{number}") for number in range(40)]
    text = printed(print_map, batch_map(forward(letters), forward(letters, keys=2000), *parts), 80)
    assert len(text.splitlines()) <= LINES
    assert "more modules" in text


def test_an_empty_map_is_printed_too():
    text = printed(print_map, batch_map(forward("")), 80)
    assert "nothing measured" in text


def test_padding_is_said_in_rows_and_time_and_who_forbids_it():
    found = batch_map(forward("abb", ns=[10, 10, 20]))
    assert padding_sentences(found, [1, 2, 3]) == [
        "forward, 300 keys: 1–3 rows are one class when padded 1 → 2: 17% more rows, +0.0% GPU time"
    ]
    forbidden = padding_sentences(batch_map(forward("aa?"), module("aa?", name="o_proj")), [1, 2, 3])
    assert forbidden == [
        "forward, 300 keys: 1–3 rows: no padding gives them the same bits; no padding makes o_proj equal there"
    ]
    assert padding_sentences(batch_map(forward("aaa")), [1, 2]) == [
        "forward, 300 keys: 1–2 rows have the same bits as they are"
    ]


def test_buckets_are_grouped_by_bits_and_unmeasured_ones_said():
    first, _ = padding_sentences(batch_map(forward("aab?")), None, [1, 2, 3, 4, 9])
    assert first == "forward, 300 keys: buckets with equal bits: 1, 2 · 3 · 4 (varies) · 9 (not measured)"


def test_a_strip_covers_every_count_once_and_wide_counts_are_not_wider_than_the_axis():
    one = module("aab?a", rows=[1, 2, 3, 4, 8])
    strip = strip_of(one, 8, whole=False)
    assert [stretch.glyph for stretch in strip.stretches] == ["a", "b", "~", "a"]
    assert [stretch.colour for stretch in strip.stretches] == [0, 1, None, 0]
    for a, b in zip(strip.stretches, strip.stretches[1:], strict=False):
        assert a.left + a.width == pytest.approx(b.left, abs=1e-3)
    last = strip.stretches[-1]
    assert last.left + last.width == pytest.approx(100, abs=1e-3)
    assert "1–2 rows: class a" in strip.stretches[0].words


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.buttons = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "button":
            self.buttons.append(dict(attrs))
        for name, value in attrs:
            assert not (name in ("src", "href") and value and "//" in value), value
            assert not name.startswith("on"), name


def test_the_page_has_a_strip_per_module_that_speaks_and_asks_for_no_network():
    found = read_map(MAPS[0])
    html = map_to_html(found, buckets=(1, 2, 4))
    page = _Page()
    page.feed(html)
    assert html.count('class="strip" role="group"') == len(found.modules)
    assert all(button["aria-label"] and button["title"] for button in page.buttons)
    assert "http://" not in html
    assert "https://" not in html
    assert html.index("forward, 300 keys") < html.index("q_proj")


def test_names_from_a_file_are_escaped_in_every_format():
    found = batch_map(forward("ab"), module("ab", name=HOSTILE, orders=[HOSTILE, "x"]), model=HOSTILE)
    page = _Page()
    page.feed(map_to_html(found))
    assert page.tags.count("script") == 1
    assert "\x1b" not in printed(print_map, found, 100)
    assert "\x1b" not in printed(print_map_diff, compare_maps(found, found), 100)


def test_csv_has_one_row_per_module_and_count_and_reads_back():
    found = batch_map(forward("aa?"), module("ab", orders=["split-K 3", "unsplit"], ns=[5, 6]))
    rows = list(csv.DictReader(io.StringIO(map_to_csv(found))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["module"], row["rows"], row["class"], row["order"], row["ns"]) for row in rows] == [
        ("forward", "1", "1", "", ""),
        ("forward", "2", "1", "", ""),
        ("forward", "3", "", "", ""),
        ("q_proj", "1", "1", "split-K 3", "5"),
        ("q_proj", "2", "2", "unsplit", "6"),
    ]


def test_parquet_holds_the_same_rows_with_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "map.parquet"
    write_parquet(batch_map(forward("a?")), path)
    table = parquet.read_table(path)
    assert table.column_names == list(COLUMNS)
    assert table.column("rows").to_pylist() == [1, 2]
    assert table.column("bits").to_pylist() == ["a", None]
    assert table.column("ns").to_pylist() == [None, None]


def test_two_measured_maps_compare_on_the_terminal_and_as_json():
    by_name = {path.stem: read_map(path) for path in MAPS}
    diff = compare_maps(by_name["llama-3-8b-bfloat16-h100"], by_name["llama-3-8b-float16-h100"])
    text = printed(print_map_diff, diff, 120)
    assert re.search(r"q_proj +\d+ +not known +\d+", text)
    assert "split-K 2" in text
    data = json.loads(map_diff_to_json(diff))
    assert data["kind"] == "map-diff"
    assert {change["name"] for change in data["modules"]} >= {"forward", "down_proj", "attention"}


def test_padding_beyond_the_map_is_not_called_impossible():
    text = " ".join(padding_sentences(batch_map(forward("aab")), buckets=[1, 2, 8]))
    assert "8 (not measured)" in text
    assert "1–8 rows: the map ends at 3 rows" in text
    assert "no padding" not in text


@pytest.mark.parametrize("path", REMEDIES, ids=lambda path: path.stem)
def test_measured_remedies_are_shown_in_every_format(path):
    found = read_remedies(path)
    text = printed(print_remedies, found, 120)
    assert len(text.splitlines()) <= LINES
    assert re.search(r"bit-equal over batch 1.* cheapest: fixed-chunk\+", " ".join(text.split()))
    markdown = remedies_to_markdown(found)
    assert all(f"`{setting}`" in markdown for setting in found.settings)
    rows = list(csv.DictReader(io.StringIO(remedies_to_csv(found))))
    assert len(rows) == sum(len(point.rounds) for point in found.times)
    assert {row["setting"] for row in rows} == set(found.settings)


@pytest.mark.parametrize("text", ["\x9b31m", "\u202eevil", "\x00", "\u2028", "\ue000"])
def test_no_page_holds_a_control_character_of_a_result(text):
    found = batch_map(forward("ab"), module("ab", name=f"q{text}"), model=f"m{text}", notes=(f"note {text}",))
    page = map_to_html(found)
    assert text not in page
    assert text.encode("unicode_escape").decode() in page
