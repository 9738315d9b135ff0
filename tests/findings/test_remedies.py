"""Remedies: settings by name, and what their measurements say."""

import json
from pathlib import Path

import pytest

from tracediff.errors import TracediffError
from tracediff.findings.remedies import (
    RemediesResult,
    SettingBits,
    TimedPoint,
    cheapest_invariant,
    equal_classes,
    prices,
    read_remedies,
)
from tracediff.findings.remedies_catalog import PARTS, RECOMMENDED, setting_named
from tracediff.report.remedies.csv import remedies_to_csv
from tracediff.report.remedies.markdown import remedies_to_markdown

MEASURED = sorted((Path(__file__).parents[2] / "profiles" / "remedies").glob("*.json"))


def bits(setting, decode="aa", prefill="aa"):
    def row(letters):
        return tuple((place, None if letter == "?" else letter) for place, letter in enumerate(letters, 1))

    return SettingBits(
        setting=setting,
        decode={300: row(decode)},
        prefill=row(prefill),
        prompt=6,
        decode_is_prefill=None,
        left=(),
        error=None,
        memory_bytes=None,
    )


def result(*settings, rounds=None, batch=1):
    points = () if rounds is None else (TimedPoint(keys=300, batch=batch, rounds=rounds, replayed=True),)
    return RemediesResult(
        machine={"gpu": "H100"}, model="m", dtype="float16", layers=None, batches=(1, 2), prefill_batches=(1, 2),
        bits=settings, times=points, failed={},
    )  # fmt: skip


def test_a_setting_has_one_name_however_its_parts_are_ordered():
    assert setting_named("fused-norm+no-workspace+flash").name == "flash+no-workspace+fused-norm"
    assert setting_named("default").name == "default"
    assert setting_named("pad-batch-64+flash").name == "flash+pad-batch-64"
    assert all(setting_named(name).name == name for name in RECOMMENDED)


@pytest.mark.parametrize("name", ["flash+cudnn", "nothing", "", "flash+", "pad-batch-0", "no-split+no-workspace"])
def test_settings_that_contradict_themselves_or_do_not_exist_are_refused(name):
    with pytest.raises(TracediffError):
        setting_named(name)


def test_every_part_says_what_it_does_and_what_it_needs():
    for part in PARTS:
        assert part.words
        assert part.environment or part.code or part.cannot


def test_a_setting_is_invariant_only_where_every_step_and_prompt_has_one_bit_pattern():
    def invariant(*arguments):
        return prices(result(bits("flash", *arguments)))[0].invariant

    assert invariant("aa", "bb")
    assert not invariant("ab", "bb")
    assert not invariant("aa", "bc")
    assert not invariant("a?", "bb")
    assert not invariant("aa", "")


def test_a_setting_with_a_batch_left_out_is_not_called_invariant():
    assert not prices(result(bits("flash", "a", "aa")))[0].invariant
    assert not prices(result(bits("flash", "aa", "a")))[0].invariant


def test_a_setting_that_was_only_timed_has_a_price_and_no_bits():
    found = result(bits("default"), rounds={"default": (2.0,), "flash": (1.0,)})
    assert found.settings == ("default", "flash")
    default, flash = prices(found)
    assert (default.worst_ratio, flash.worst_ratio) == (2.0, 1.0)
    assert (flash.bits, flash.invariant) == (None, False)
    assert cheapest_invariant(found).setting == "default"


def test_nothing_measured_is_not_invariant():
    assert not prices(result(bits("flash", "", "")))[0].invariant


def test_a_batch_that_varies_stands_alone():
    assert equal_classes(((1, "a"), (2, None), (3, "a"), (4, None))) == ((1, 3), (2,), (4,))


def test_prices_are_ratios_of_medians_to_the_fastest_and_to_the_default():
    found = result(bits("default"), bits("flash"), rounds={"default": (10.0, 11.0, 12.0), "flash": (20.0, 22.0, 99.0)})
    default, flash = prices(found)
    assert (default.worst_ratio, flash.worst_ratio, flash.ratio_to_default) == (1.0, 2.0, 2.0)
    assert found.times[0].spread("default") == pytest.approx(2 / 11)


def test_a_setting_that_was_not_timed_everywhere_has_no_price():
    found = result(bits("default"), bits("flash"), rounds={"default": (10.0,)})
    assert prices(found)[1].worst_ratio is None
    assert cheapest_invariant(found).setting == "default"


def test_the_cheapest_is_looked_for_among_the_invariant_alone():
    found = result(
        bits("default", "ab"), bits("flash"), bits("math"),
        rounds={"default": (1.0,), "flash": (3.0,), "math": (2.0,)},
    )  # fmt: skip
    assert cheapest_invariant(found).setting == "math"
    assert not cheapest_invariant(found).reaches_goal


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    found = result(bits("default", "a?"), rounds={"default": (1.0, 2.0)})
    path = tmp_path / "remedies.json"
    path.write_text(json.dumps(found.to_dict()))
    assert read_remedies(path) == found


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("times"),
        lambda data: data["times"][0]["rounds"].clear(),
        lambda data: data["times"][0].update(rounds={"default": []}),
        lambda data: data["bits"][0].pop("left"),
        lambda data: data["bits"][0].update(decode={"x": []}),
        lambda data: data["bits"][0].update(decode={"-1": []}),
        lambda data: data.update(batches=[1, 2**40]),
        lambda data: data["bits"][0].update(left=[3]),
        lambda data: data["bits"][0].update(error="small"),
        lambda data: data["bits"][0].update(setting=None),
        lambda data: data["times"][0].update(rounds={"default": [0.0]}),
        lambda data: data["times"][0].update(keys=None),
        lambda data: data.update(failed={"flash": 3}),
        lambda data: data.update(kind="map"),
    ],
)
def test_a_damaged_result_is_one_line(tmp_path, damage):
    data = json.loads(json.dumps(result(bits("default"), rounds={"default": (1.0,)}).to_dict()))
    damage(data)
    path = tmp_path / "remedies.json"
    path.write_text(json.dumps(data))
    with pytest.raises(TracediffError, match=r"remedies\.json"):
        read_remedies(path)


def test_names_that_a_result_makes_up_run_nowhere():
    name = "=1+1|<img src=x>"
    found = result(bits(name, "ab"), rounds={name: (1.0,)})
    csv, markdown = remedies_to_csv(found), remedies_to_markdown(found)
    assert f"'{name}" in csv
    assert "<img" not in markdown
    assert markdown.count("| =1+1\\|&lt;img src=x&gt; |") == 2  # two tables


@pytest.mark.parametrize("path", [path for path in MEASURED if "every" not in path.stem], ids=lambda path: path.stem)
def test_the_measured_combination_is_invariant_at_every_batch_and_prompt(path):
    found = read_remedies(path)
    best = cheapest_invariant(found)
    assert best.setting.startswith("fixed-chunk+no-workspace+")
    assert found.batches == tuple(range(1, 65))
    assert found.prefill_batches == tuple(range(1, 17))
    assert set(best.bits.decode) == {300, 4000}


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_measured_times_are_of_five_rounds_or_more_that_hardly_differ(path):
    found = read_remedies(path)
    assert all(len(rounds) >= 5 for point in found.times for rounds in point.rounds.values())
    best = cheapest_invariant(found).setting
    assert all(point.spread(best) < 0.02 for point in found.times)
    assert all(point.spread(setting) < 0.1 for point in found.times for setting in point.rounds)
