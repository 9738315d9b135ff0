"""Rates, intervals, words and files of a flip search."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.changed import replace
from tests.measure.planted import planted_result
from tracediff.errors import TracediffError
from tracediff.findings.flips_file import read_flips, result_to_json
from tracediff.findings.flips_summary import nearest_flips, ranked_flips, summarise, wilson_interval
from tracediff.report.flips.words import percent


@settings(deadline=None)
@given(trials=st.integers(1, 10_000), data=st.data())
def test_the_interval_holds_the_rate_and_stays_within_0_and_1(trials, data):
    hits = data.draw(st.integers(0, trials))
    low, high = wilson_interval(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert low < high


def test_the_interval_is_wilson_s():
    # 11 of 1,920, computed independently: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    assert wilson_interval(11, 1920) == pytest.approx((0.003202, 0.010232), abs=2e-6)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.torch
def test_summaries_count_what_the_steps_hold():
    pytest.importorskip("torch")
    result = planted_result()
    summaries = summarise(result)
    assert [(summary.precision, summary.batch) for summary in summaries] == [
        ("float16", 2),
        ("float16", 8),
        ("bfloat16", 2),
        ("bfloat16", 8),
    ]
    assert sum(summary.flips for summary in summaries) == len(list(result.flips()))
    for summary in summaries:
        assert summary.steps == 8 * 13
        assert sum(one.steps for one in summary.by_margin) == summary.steps
        assert sum(one.flips for one in summary.by_margin) == summary.flips
        assert summary.nearer_base + summary.nearer_other + summary.as_near == summary.steps
        search = next(search for search in result.searches if search.label == summary.precision)
        steps = [[flip.step for flip in p.flips if flip.batch == summary.batch] for p in search.prompts]
        assert summary.first_divergence == tuple(min(found, default=None) for found in steps)


@pytest.mark.torch
def test_flips_are_ranked_by_how_near_their_ties_were_and_precisions_take_turns():
    pytest.importorskip("torch")
    result = planted_result()
    ranked = ranked_flips(result)
    assert sorted(map(str, ranked)) == sorted(map(str, result.flips()))
    assert len({search.label for search, _ in ranked}) == 2
    assert ranked[:2] == nearest_flips(result)
    for search in result.searches:
        margins = [flip.margin_ulp for owner, flip in ranked if owner is search]
        assert margins == sorted(margins)
        ties = [flip.base.tied for owner, flip in ranked if owner is search and flip.margin == 0]
        assert ties == sorted(ties, reverse=True)


@pytest.mark.torch
def test_findings_name_the_rate_the_reference_and_what_random_weights_do_not_show():
    pytest.importorskip("torch")
    from tracediff.report.flips.words import findings, warnings

    text = "\n".join(findings(planted_result()))
    assert "steps flip, with margins of at most" in text
    assert "neither batch size the right one" in text
    assert "random weights" in "\n".join(warnings(planted_result()))


def test_a_few_kept_prompts_of_a_search_are_not_passed_off_as_all_of_them():
    from tracediff.report.flips.words import findings, setting_words, warnings

    kept = read_flips(PUBLISHED / "smollm2" / "flips.json")
    assert ", 3 of 508 prompts, " in setting_words(kept)
    assert "chosen for their ties: the rate here says nothing" in " ".join(warnings(kept))
    assert any("3 of 258 steps flip, every one at an exact tie;" in sentence for sentence in findings(kept))


def test_one_flip_is_told_in_the_singular():
    from tracediff.report.flips.words import findings

    kept = read_flips(PUBLISHED / "smollm2" / "flips.json")
    float16, bfloat16 = kept.searches
    prompt = next(prompt for prompt in float16.prompts if [flip.batch for flip in prompt.flips].count(16) == 1)
    one = replace(kept, searches=(replace(float16, prompts=(prompt,)), bfloat16))
    assert any("1 of 129 steps flips, at an exact tie;" in sentence for sentence in findings(one))


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0.00%"), (0.0147, "1.47%"), (0.001, "0.10%"), (0.00068, "0.068%"), (2e-6, "0.0002%")]
)
def test_a_share_is_always_in_percent(share, words):
    assert percent(share) == words


PUBLISHED = Path(__file__).parents[2] / "profiles" / "tokens"


def test_the_published_search_shows_what_the_documentation_says():
    result = read_flips(PUBLISHED / "flips_prefill.json")
    found = {(summary.precision, summary.batch): summary for summary in summarise(result)}
    assert [found["float16", batch].flips for batch in (2, 8, 32)] == [23, 24, 29]
    assert [found["float32", batch].flips for batch in (2, 8, 32)] == [0, 0, 0]
    assert all(found["float32", batch].equal_steps == 0 for batch in (2, 8, 32))
    largest = {
        name: max(found[name, batch].largest_flip_margin_ulp for batch in (2, 8, 32))
        for name in ("float16", "bfloat16")
    }
    assert largest == {"float16": 6.0, "bfloat16": 9.0}
    assert all(search.repeatable for search in result.searches)
    assert all(summary.rows_agree for summary in found.values())
    assert any(flip.base.tied == 3 for _, flip in result.flips())


def test_the_published_generation_keeps_bfloat16_s_bits_at_batch_2():
    found = {(s.precision, s.batch): s for s in summarise(read_flips(PUBLISHED / "flips_generate.json"))}
    assert found["bfloat16", 2].equal_steps == found["bfloat16", 2].steps == 250
    assert found["float16", 2].flips == 4


def test_every_published_flip_is_a_near_tie_that_its_own_change_explains():
    """A token can only flip where the two logits together move by at least the margin."""
    for name in ("flips_prefill.json", "flips_generate.json"):
        for search in read_flips(PUBLISHED / name).searches:
            for prompt in search.prompts:
                changes = {other.batch: other.largest_change for other in prompt.batches}
                for flip in prompt.flips:
                    assert flip.margin <= 2 * changes[flip.batch][flip.step] * (1 + 1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no result of `tracediff flips`"),
        ('{"kind": "flips", "schema": 99}', "has schema 99"),
        ('{"kind": "flips", "schema": 1}', "is damaged"),
        ('{"kind": "flips", "schema": 1, "settings": {}, "searches": []}', "is damaged"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(tmp_path, content, words):
    path = tmp_path / "flips.json"
    path.write_text(content)
    with pytest.raises(TracediffError, match=words):
        read_flips(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(TracediffError, match="cannot read"):
        read_flips(tmp_path / "none.json")


@pytest.mark.torch
def test_the_json_form_is_plain_json_with_its_summary():
    pytest.importorskip("torch")
    data = json.loads(json.dumps(result_to_json(planted_result()), allow_nan=False))
    assert (data["schema"], data["kind"]) == (2, "flips")
    assert len(data["summary"]) == 4
