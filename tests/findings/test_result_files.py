"""Result files as they come: whatever stands in a field, the file is read or refused in one line."""

import copy
import json
from pathlib import Path

import pytest

from tracediff.errors import TracediffError
from tracediff.findings.determinism import read_determinism
from tracediff.findings.flips_file import read_flips, result_to_json
from tracediff.findings.flips_summary import summarise
from tracediff.findings.maps import read_map
from tracediff.findings.pasted_logits import read_steps
from tracediff.report.determinism.terminal import findings as determinism_findings
from tracediff.report.flips.words import findings as flip_findings
from tracediff.report.flips.words import warnings as flip_warnings

PUBLISHED = Path(__file__).parents[2] / "profiles" / "tokens"
WRONG = [None, True, -1, 2**70, 1.5, -0.25, 1e308, "text", [], [None], {}, {"a": 1}, [[1, 2, 3, 4]]]


@pytest.fixture(scope="module")
def flips():
    """A small valid flips.json: the first search that flips, cut to its first flip's prompt."""
    document = json.loads((PUBLISHED / "flips_generate.json").read_text())
    search = next(search for search in document["searches"] if any(prompt["flips"] for prompt in search["prompts"]))
    search["prompts"] = [next(prompt for prompt in search["prompts"] if prompt["flips"])]
    search["prompts"][0]["flips"] = search["prompts"][0]["flips"][:1]
    document["settings"]["precisions"] = [[search["dtype"], search["tf32"]]]
    return {**document, "searches": [search]}


@pytest.fixture(scope="module")
def determinism():
    document = json.loads((PUBLISHED / "determinism.json").read_text())
    return {**document, "rows": [row for row in document["rows"] if row["first_different"]][:2]}


def places(node, path=()):
    """Yield the path of every field; of a list only its first item."""
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


def with_value(document, path, value):
    changed = copy.deepcopy(document)
    node = changed
    for key in path[:-1]:
        node = node[key]
    if value is Ellipsis:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return changed


def read_or_refuse(path, document, read, use):
    path.write_text(json.dumps(document))
    try:
        result = read(path)
    except TracediffError as error:
        assert "\n" not in str(error)
        return False
    use(result)
    return True


def use_flips(result):
    summarise(result)
    flip_findings(result)
    flip_warnings(result)
    json.dumps(result_to_json(result), allow_nan=False)


def test_flips_are_read_or_refused_whatever_a_field_holds(flips, tmp_path):
    path = tmp_path / "flips.json"
    assert read_or_refuse(path, flips, read_flips, use_flips)
    refused = 0
    for place in places(flips):
        for value in [*WRONG, ...]:
            refused += not read_or_refuse(path, with_value(flips, place, value), read_flips, use_flips)
    assert refused > 500


def test_determinism_is_read_or_refused_whatever_a_field_holds(determinism, tmp_path):
    path = tmp_path / "determinism.json"

    def use(result):
        determinism_findings(result)
        json.dumps(result.to_dict(), allow_nan=False)

    assert read_or_refuse(path, determinism, read_determinism, use)
    refused = 0
    for place in places(determinism):
        for value in [*WRONG, ...]:
            refused += not read_or_refuse(path, with_value(determinism, place, value), read_determinism, use)
    assert refused > 100


def test_wrong_types_name_the_field_in_one_line():
    with pytest.raises(
        TracediffError, match=r"is damaged: Expected `array`, got `int` - at `\$\.searches\[0\]\.prompts"
    ):
        read_flips(Path(__file__).parent / "data" / "flips_wrong_types.json")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"kind": "flips", "schema": NaN}', b"{}"])
def test_what_is_no_result_at_all_is_one_line(tmp_path, content):
    path = tmp_path / "flips.json"
    path.write_bytes(content)
    for read in (read_flips, read_determinism):
        with pytest.raises(TracediffError) as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_tf32_margins_of_older_files_are_read_in_tf32_s_own_ulp():
    result = read_flips(PUBLISHED / "flips_prefill.json")
    tf32 = next(search for search in result.searches if search.tf32)
    assert max(flip.margin_ulp for flip in tf32.flips) < 16
    for prompt in tf32.prompts:
        for top, ulp in zip(prompt.top, prompt.ulp, strict=True):
            if 4 <= top < 8:
                assert ulp == 2.0**-8


def test_the_flips_of_older_files_tell_what_moved():
    result = read_flips(PUBLISHED / "flips_prefill.json")
    flips = [flip for _, flip in result.flips()]
    # Without the other token among the largest logits nothing is known.
    assert {flip.covered for flip in flips} <= {True, None}
    assert sum(flip.covered is True for flip in flips) > 700
    first = flips[0]
    assert first.moved == (
        abs(first.base.top[0].logit - first.other.logit_of(first.base.token)),
        abs(first.base.logit_of(first.other.token) - first.other.top[0].logit),
    )


def test_a_flip_that_nothing_moved_is_no_near_tie_and_is_said(flips, tmp_path):
    flip = flips["searches"][0]["prompts"][0]["flips"][0]
    still = with_value(flips, ("searches", 0, "prompts", 0, "flips", 0, "moved"), [0.0, 0.0])
    far = with_value(
        still, ("searches", 0, "prompts", 0, "flips", 0, "base", "top", 0, 1), flip["base"]["top"][0][1] + 9
    )
    path = tmp_path / "flips.json"
    path.write_text(json.dumps(far))
    result = read_flips(path)
    assert [flip.covered for _, flip in result.flips()] == [False]
    assert any("the chosen token was not the largest logit" in sentence for sentence in flip_warnings(result))


def test_a_margin_near_zero_is_measured_at_the_larger_of_its_two_logits():
    from tracediff.dtypes import FORMATS
    from tracediff.findings.flips import TopLogit, margin_in_ulp

    top = (TopLogit(token=0, logit=0.0), TopLogit(token=1, logit=-20.5))
    assert margin_in_ulp(FORMATS["bfloat16"], top) == 20.5 / 0.125


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("remedies/llama-3-8b-bfloat16-h100.json", "is a result of `tracediff remedies`, not a result of"),
        ("llama-3-8b-float16/evidence.json", "is the evidence of a capture, not a result of"),
        ("llama-3-8b-float16/b1.sqlite", "is an SQLite file, not a result of"),
    ],
)
def test_a_file_of_another_command_is_named(name, words):
    with pytest.raises(TracediffError, match=words):
        read_map(PUBLISHED.parent / name)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    path = tmp_path / "map.json"
    path.write_text("\n")
    with pytest.raises(TracediffError, match="is empty"):
        read_map(path)


@pytest.mark.parametrize(
    "name", ["tokens/flips_generate.json", "maps/llama-3-8b-float16-h100.json", "llama-3-8b-float16/evidence.json"]
)
def test_tracediff_s_own_files_are_no_pasted_logits(name):
    with pytest.raises(TracediffError, match="not pasted logits"):
        read_steps((PUBLISHED.parent / name).read_text(encoding="utf-8"))
