"""The story that every report begins with."""

from hypothesis import given
from hypothesis import strategies as st

from tests.diff.rules.make import kernel, nvjet
from tests.diff.test_attached_evidence import side
from tests.profiles import BFLOAT16, FLOAT16
from tracediff.diff import diff_tables
from tracediff.diff.headline import headlines
from tracediff.diff.result import Row, TraceDiff
from tracediff.diff.summary import summarise
from tracediff.diff.verdict import judge_row
from tracediff.diff.words import layers_in_words, listing
from tracediff.trace import read_trace

OTHER = nvjet(2, tile=(128, 16, 64))


def row(module, a, b, layer=0, phase="prefill"):
    pairs, verdict, reason = judge_row([(a, b)])
    return Row(phase=phase, layer=layer, module=module, a=(a,), b=(b,), pairs=pairs, verdict=verdict, reason=reason)


def blocks(name, a, b, layers=range(4), phase="prefill"):
    return tuple(row(f"model.layers.{layer}.{name}", a, b, layer, phase) for layer in layers)


def words(tmp_path, *rows):
    return summarise(TraceDiff(a=side(tmp_path / "a" / "b1", 1), b=side(tmp_path / "b" / "b2", 2), rows=rows))


def real(folder):
    return diff_tables(*(read_trace(folder / f"b{batch}.sqlite") for batch in (1, 2)))


def test_float16_the_first_sentence_tells_the_story():
    sentences = summarise(real(FLOAT16))
    assert sentences[0] == (
        "In prefill, 7 of 7 projections run another kernel in every block; "
        "2 of 7 sum in another order (q_proj and o_proj: split-K 3 → 2)."
    )
    assert sentences[1] == (
        "In decode[0] and decode[1], all 7 projections keep their kernel in every block; none sums in another order."
    )
    # Said once: the sentence about orders would only repeat it.
    assert not any(sentence.startswith("The order of a sum") for sentence in sentences)


def test_bfloat16_the_first_sentence_says_that_no_order_changed():
    assert summarise(real(BFLOAT16))[0] == (
        "In prefill, 7 of 7 projections run another kernel in every block; none sums in another order."
    )


def test_another_order_in_some_blocks_is_told_with_its_layers(tmp_path):
    rows = (*blocks("q_proj", nvjet(3), OTHER, (0, 2, 3)), *blocks("q_proj", nvjet(3), nvjet(3), (1,)))
    sentences = words(tmp_path, *rows)
    assert sentences[0] == (
        "In prefill, 1 of 1 projection runs another kernel, in some blocks; "
        "1 of 1 sums in another order in some blocks (q_proj: split-K 3 → 2)."
    )
    assert "The order of a sum changed in 3 modules: q_proj in layers 0, 2–3 of prefill (split-K 3 → 2)." in sentences


def test_what_the_headline_does_not_tell_follows(tmp_path):
    flash = kernel("flash_fwd_splitkv_kernel", "flash_attn2", "attention", split_k_form="split-kv", grid=(1, 4, 32))
    other = kernel("flash_fwd_splitkv_kernel", "flash_attn2", "attention", split_k_form="split-kv", grid=(1, 2, 64))
    sentences = words(tmp_path, *blocks("q_proj", nvjet(3), OTHER), *blocks("attn", flash, other, (9,)))
    assert "(q_proj: split-K 3 → 2)" in sentences[0]
    assert "The order of a sum also changed in 1 module: attn in layer 9 of prefill (split-KV 4 → 2)." in sentences


def test_many_phases_are_counted_after_three_stories():
    rows = [
        each for number in range(40) for each in blocks("q_proj", nvjet(3 + number), OTHER, phase=f"decode[{number}]")
    ]
    found = headlines(rows)
    assert len(found) == 4
    assert found[-1] == "37 more phases change in other ways."


def test_phases_with_one_story_share_a_sentence():
    rows = [each for step in range(9) for each in blocks("q_proj", nvjet(3), OTHER, phase=f"decode[{step}]")]
    (only,) = headlines(rows)
    assert only.startswith("In decode[0], decode[1], decode[2], decode[3], decode[4], decode[5] and 3 more, 1 of 1")


def test_names_without_layers_do_not_fill_the_page(tmp_path):
    rows = [
        row(f"m{number}", kernel(f"x{number}", role="reduction"), kernel("y", role="reduction"), None)
        for number in range(418)
    ]
    sentences = words(tmp_path, *rows)
    assert any("m0, m1, m2, m3, m4, m5 and 412 more of prefill" in sentence for sentence in sentences)
    assert max(map(len, sentences)) < 300


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), max_size=20), st.integers(2, 8))
def test_a_listing_accounts_for_every_word(words, limit):
    text = listing(words, limit)
    if len(words) > limit + 1:
        assert text.endswith(f" and {len(words) - limit} more")
        assert text.startswith(", ".join(words[:limit]))
    else:
        assert text.replace(" and ", ", ") == ", ".join(words)


def test_layers_are_written_as_spans():
    assert layers_in_words([]) == ""
    assert layers_in_words([5]) == "layer 5"
    assert layers_in_words([3, 0, 1, 2, 5]) == "layers 0–3, 5"
