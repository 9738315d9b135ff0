"""The screens of stored results as a person checked them, at two widths."""

import json
from pathlib import Path

import pytest

from tests.golden import assert_golden, run
from tests.profiles import FLOAT16

PROFILES = FLOAT16.parent
MAPS = PROFILES / "maps"
TOKENS = PROFILES / "tokens"

SCREENS: dict[str, tuple[str | Path, ...]] = {
    "explain-expected": ("explain", FLOAT16),
    "explain-varies": ("explain", PROFILES / "llama-3.2-1b-float16-700-tokens"),
    "explain-flips": ("explain", TOKENS / "smollm2"),
    "explain-captured-flip": ("explain", TOKENS / "smollm2-capture"),
    "flips-trained": ("flips", TOKENS / "smollm2" / "flips.json"),
    "flips-random": ("flips", TOKENS / "flips_prefill.json"),
    "determinism": ("determinism", TOKENS / "determinism.json"),
    "map": ("map", MAPS / "llama-3-8b-bfloat16-h100.json", "--buckets", "1,2,4,8,16,32"),
    "map-invariant": ("map", MAPS / "llama-3-8b-bfloat16-h200-fixed-chunk-no-workspace-fused-norm.json"),
    "map-diff": ("diff", MAPS / "llama-3-8b-float16-h100.json", MAPS / "llama-3-8b-float16-h200.json"),
    "remedies": ("remedies", PROFILES / "remedies" / "llama-3-8b-bfloat16-h200-every.json"),
}


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen(name, columns):
    screen = run(*SCREENS[name], columns=columns)
    assert max(map(len, screen.splitlines())) <= columns
    assert_golden(screen, f"results/{name}-{columns}.txt")


def test_every_number_of_a_map_s_screen_is_found_again_in_its_json():
    screen = " ".join(run(*SCREENS["map"], columns=120).split())
    summary = json.loads(run(*SCREENS["map"], "--format", "json"))["summary"]
    for module in summary["modules"]:
        label = module["module"] + ("" if module["keys"] is None else f", {module['keys']} keys")
        if len(module["classes"]) > 1:
            varying = f", {len(module['varying'])} vary" if module["varying"] else ""
            assert f"{label} {len(module['classes'])} classes{varying} " in screen
    for padding in summary["padding"]:
        words = f"{padding['more_rows']:.0%} more rows, {padding['more_time']:+.1%} GPU time"
        assert padding["rows"] == list(range(1, 33))
        assert set(padding["to"]) <= {1, 2, 4, 8, 16, 32}
        assert words in screen
    told = {name: f"{name}: {equal:,} equal, {other} not" for name, (equal, other) in summary["predictions"].items()}
    assert len(told) == 4
    assert all(words in screen for words in told.values())


def test_every_number_of_the_remedies_screen_is_found_again_in_their_json():
    lines = run(*SCREENS["remedies"], columns=120).splitlines()
    summary = json.loads(run(*SCREENS["remedies"], "--format", "json"))["summary"]
    settings = {each["setting"]: each for each in summary["settings"]}
    shown = [words for words in map(str.split, lines) if len(words) > 3 and words[0] in settings]
    assert len(shown) > 5
    for name, *_, worst, to_default in shown:
        assert worst == f"{settings[name]['worst_ratio_to_fastest']:.2f}"
        assert to_default == f"{settings[name]['worst_ratio_to_default']:.2f}"
    equal = {name for name, each in settings.items() if each["bit_equal"]}
    for name, *words in shown:
        classes = [len(found) for found in settings[name]["decode_classes"].values()]
        assert (words[0] == "equal") == (classes == [1, 1])
        assert name not in equal or classes == [1, 1]
    text = " ".join(" ".join(lines).split())
    for point in summary["fastest"]:
        assert f"{point['milliseconds']:.2f}" in text


def test_the_printed_json_of_a_map_is_a_map(tmp_path):
    path = tmp_path / "printed.json"
    path.write_text(run(*SCREENS["map"], "--format", "json"), encoding="utf-8")
    assert run("map", path, columns=80) == run("map", SCREENS["map"][1], columns=80)
