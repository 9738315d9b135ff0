"""The page's numbers on the trained model come from the file of counts."""

import importlib.util
import json

import pytest

from tests.profiles import PROFILES
from tracediff.errors import TracediffError
from tracediff.findings.flips_file import read_flips

ROOT = PROFILES.parent
COUNTS = PROFILES / "tokens" / "smollm2.json"
OWN_LENGTH = PROFILES / "tokens" / "smollm2-own-length.json"
EXAMPLES = PROFILES / "tokens" / "smollm2" / "flips.json"


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counted():
    return json.loads(COUNTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def own_length():
    return json.loads(OWN_LENGTH.read_text(encoding="utf-8"))


def test_the_page_holds_what_the_script_makes(counted, own_length):
    page = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")
    assert script("document_flips").tables(counted, own_length) in page


def test_every_prompt_was_searched_in_both_precisions(counted):
    whole = counted["whole"]
    assert {name: found["prompts"] for name, found in whole["sequences"].items()} == {"float16": 508, "bfloat16": 508}


@pytest.mark.parametrize("path", [COUNTS, OWN_LENGTH], ids=lambda path: path.stem)
def test_the_counts_add_up(path):
    whole = json.loads(path.read_text(encoding="utf-8"))["whole"]
    kinds = {"question", "code", "chat", "text", "arithmetic", "long"}
    for precision, margins in whole["margins"].items():
        flips = whole["flips"][precision]
        rows = [row for row in whole["rows"] if row["precision"] == precision]
        for bins in ("in_ulp", "in_logits"):
            assert sum(row["flips"] for row in margins[bins]) == len(flips)
            assert sum(row["steps"] for row in margins[bins]) == margins["steps"]
        for groups in ({"all"}, kinds, {row["group"] for row in rows if "tokens" in row["group"]}):
            assert sum(row["flips"] for row in rows if row["group"] in groups) == len(flips)
        # What moved covers every flip's margin.
        assert all(margin <= sum(moved) * (1 + 1e-6) for _, _, _, margin, _, _, moved in flips)
        assert margins["steps"] == 129 * whole["sequences"][precision]["prompts"]


@pytest.mark.parametrize("path", [COUNTS, OWN_LENGTH], ids=lambda path: path.stem)
def test_the_fast_path_agrees_with_one_prompt_at_a_time_on_the_sample(path):
    slow = json.loads(path.read_text(encoding="utf-8"))["slow"]
    assert slow["equal"] == slow["prompts"] > 0
    assert slow["flips"] > 0


def test_the_remedies_were_searched_in_both_precisions_beside_the_same_prompts(counted):
    assert len(counted["parts"]) == 6
    for part in counted["parts"]:
        shape = [(row["precision"], row["batch"], row["steps"]) for row in part["rows"]]
        assert shape == [(row["precision"], row["batch"], row["steps"]) for row in part["same"]]
        assert {(precision, steps) for precision, _, steps in shape} == {("float16", 7611), ("bfloat16", 7611)}


def test_the_examples_are_whole_prompts_of_the_campaign(counted):
    examples = read_flips(EXAMPLES)
    kept = [(search.label, [flip.prompt, flip.step, flip.batch, flip.margin]) for search, flip in examples.flips()]
    assert kept
    for label, flip in kept:
        assert flip in [each[:4] for each in counted["whole"]["flips"][label]]
    assert max(flip.base.tied for _, flip in examples.flips()) >= 3


def test_a_part_is_set_beside_the_same_prompts_and_other_prompts_are_refused():
    """Every fourth prompt of a search, searched again as a part of it."""
    pytest.importorskip("torch")
    from tests.measure.planted import planted_result

    module, whole = script("flip_campaign"), planted_result()
    from tests.changed import replace

    def part(numbers):
        searches = [
            replace(
                search,
                prompts=tuple(
                    replace(search.prompts[number], prompt=place, flips=(), length=length)
                    for place, (number, length) in enumerate(numbers)
                ),
            )
            for search in whole.searches
        ]
        return replace(whole, settings=replace(whole.settings, prompts=len(numbers)), searches=tuple(searches))

    found = module.same_prompts(whole, part([(3, 12), (7, 12)]), 4)
    assert [prompt.prompt for prompt in found.searches[0].prompts] == [3, 7]
    with pytest.raises(TracediffError, match="not every 4th prompt of the whole"):
        module.same_prompts(whole, part([(3, 12), (7, 13)]), 4)


def test_another_run_is_compared_number_by_number():
    pytest.importorskip("torch")
    from tests.changed import replace
    from tests.measure.planted import planted_result

    module, whole = script("flip_campaign"), planted_result()
    search, *others = whole.searches

    def again(prompts):
        there = replace(whole, searches=(replace(search, prompts=prompts), *others))
        return module.searched_again(whole, there, 1)

    prompts, flips = search.prompts, len(search.flips)
    same = again(prompts)["by_dtype"][search.label]
    assert same == {
        "prompts": len(prompts),
        "same_tokens": len(prompts),
        "same_numbers": len(prompts),
        "flips": [flips] * 3,
    }
    flipping = next(place for place, prompt in enumerate(prompts) if prompt.flips)
    other = [replace(each, flips=()) if place == flipping else each for place, each in enumerate(prompts)]
    found = again(tuple(other))["by_dtype"][search.label]
    left = flips - len(prompts[flipping].flips)
    assert (found["same_tokens"], found["same_numbers"]) == (len(prompts), len(prompts) - 1)
    assert found["flips"] == [flips, left, left]


def test_an_unfinished_search_counts_with_what_it_finished(tmp_path):
    pytest.importorskip("torch")
    from tests.measure.planted import depends_on_batch, request, with_logits
    from tracediff.measure.flips import search_flips

    def kill(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_flips(request(), tmp_path / "f.json", progress=kill, load=with_logits(depends_on_batch))
    result = script("flip_campaign")._read(tmp_path / "f.json.part")
    assert [len(search.prompts) for search in result.searches] == [2]
    assert "ended before all prompts" in result.notes[0]
