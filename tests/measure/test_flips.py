"""The flip search on the tiny model, on the CPU: clean and with planted faults."""

import json

import pytest

from tests.measure.planted import depends_on_batch, noisy, planted_result, request, same_at_every_batch, with_logits
from tracediff.dtypes import FORMATS
from tracediff.errors import TracediffError
from tracediff.findings.flips_file import read_flips
from tracediff.measure.flips import search_flips
from tracediff.measure.prompts import Prompt
from tracediff.model.spec import ModelSpec

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_every_flip_is_a_step_whose_largest_logit_is_another_token():
    flips = list(planted_result().flips())
    assert flips
    for _, flip in flips:
        assert flip.base.token != flip.other.token
        for choice in (flip.base, flip.other):
            assert choice.token == choice.top[0].token
            assert choice.top[0].logit == max(top.logit for top in choice.top)
            assert len(choice.top) == 8


def test_steps_that_do_not_flip_are_not_reported_and_all_that_do_are():
    result = planted_result()
    for search in result.searches:
        for prompt in search.prompts:
            assert len(prompt.chosen) == 13
            assert [flip.base.token for flip in prompt.flips] == [prompt.chosen[flip.step] for flip in prompt.flips]


def test_margins_are_whole_ulp_of_the_logits_dtype():
    for search in planted_result().searches:
        for prompt in search.prompts:
            second = [top - margin for top, margin in zip(prompt.top, prompt.margin, strict=True)]
            spacing = FORMATS[search.dtype].spacing(
                [max(abs(a), abs(b)) for a, b in zip(prompt.top, second, strict=True)]
            )
            assert list(prompt.ulp) == spacing.tolist()
            assert list(prompt.margin_ulp) == [m / u for m, u in zip(prompt.margin, spacing, strict=True)]


def test_an_exact_tie_takes_the_lowest_id_and_says_how_many_tie():
    ties = [flip for _, flip in planted_result().flips() if flip.margin == 0]
    assert ties
    for flip in ties:
        tied = [top.token for top in flip.base.top if top.logit == flip.base.top[0].logit]
        assert flip.base.tied >= 2
        assert flip.base.token == min(tied)
        assert flip.margin_ulp == 0


def test_three_equal_logits_are_a_three_way_tie():
    from tracediff.measure.compare_steps import describe_choice

    logits = torch.tensor([0.5, 2.0, -1.0, 2.0, 1.75, 2.0], dtype=torch.bfloat16)
    choice = describe_choice(logits, FORMATS["bfloat16"], lambda token: None)
    assert (choice.token, choice.tied, choice.margin_ulp) == (1, 3, 0)
    assert [top.token for top in choice.top] == [1, 3, 5, 4, 0, 2]


def test_all_batch_sizes_are_fed_what_the_first_chose():
    """After a flip nothing else could be compared: the logits of a model that ignores batch size stay equal."""
    fed = []

    def load(spec, device):
        model = with_logits(depends_on_batch)(spec, device)
        model.register_forward_pre_hook(lambda _, args, given: fed.append(given["input_ids"].clone()), with_kwargs=True)
        return model

    result = search_flips(request(random=1, decode=4, reference=False), load=load)
    steps = result.searches[0].prompts[0]
    # Each batch size is run twice for the control first.
    control, first, second = fed[:20], fed[20:25], fed[25:]
    assert [len(tokens) for tokens in control[::5]] == [1, 1, 2, 2]
    for base, other in zip(first, second, strict=True):
        assert other.shape[0] == 2
        assert torch.equal(other, base.expand(2, -1))
    assert [tokens.item() for tokens in first[1:]] == list(steps.chosen[:-1])


def test_generation_decodes_with_a_cache_as_a_whole_forward_would():
    from tracediff.measure.generation import run_generate
    from tracediff.model.load import load_model, prompt_tokens
    from tracediff.model.spec import ModelSpec

    spec = ModelSpec(name="tiny", dtype="float32")
    model = load_model(spec, "cpu")
    prompt = prompt_tokens(spec, model, count=5)
    run = run_generate(model, prompt, 1, 4)
    whole = model(torch.cat([prompt, run.fed[None, :-1]], dim=1)).logits[0, 4:]
    torch.testing.assert_close(run.logits, whole, rtol=1e-4, atol=1e-5)
    assert torch.equal(whole.argmax(dim=-1), run.fed)


def test_prefill_mode_takes_every_position_of_one_forward():
    result = planted_result("prefill")
    assert result.settings.decode == 0
    assert {len(prompt.chosen) for search in result.searches for prompt in search.prompts} == {12}
    assert any(True for _ in result.flips())


def test_equal_logits_never_flip():
    def row_by_row(spec, device):
        """Batch N computed as N batches of 1: no batch size can differ from another."""
        model = with_logits(same_at_every_batch)(spec, device)
        plain = model.forward

        def forward(input_ids, **given):
            output = plain(input_ids=input_ids[:1], **given)
            output.logits = output.logits.expand(len(input_ids), -1, -1)
            return output

        model.forward = forward
        return model

    result = search_flips(request(dtypes=("float16", "float32"), reference=False), load=row_by_row)
    for search in result.searches:
        assert search.repeatable
        assert not search.flips
        for prompt in search.prompts:
            assert set(prompt.batches[0].changed_share) == {0}
            assert set(prompt.batches[0].largest_change) == {0}


def test_a_run_that_does_not_repeat_is_noticed():
    result = search_flips(request(random=1, reference=False), load=with_logits(noisy))
    assert not result.searches[0].repeatable


def test_rows_that_do_not_agree_are_noticed():
    def tilt(logits):
        return logits + torch.arange(len(logits)).to(logits.dtype).reshape(-1, *[1] * (logits.dim() - 1)) / 8

    result = search_flips(request(random=1, reference=False), load=with_logits(tilt))
    assert not result.searches[0].prompts[0].batches[0].rows_agree


def test_the_reference_is_the_same_weights_in_float32():
    result = search_flips(request(dtypes=("float16", "bfloat16", "float32")))
    half, brain, full = (search.prompts[0] for search in result.searches)
    assert full.to_reference == ()
    assert 0 < max(half.to_reference) < min(brain.to_reference)


def test_find_stops_after_so_many_flips_and_says_that_the_rate_is_too_high():
    result = search_flips(request(random=8, decode=12, tokens=12, find=1), load=with_logits(depends_on_batch))
    search = result.searches[0]
    assert search.stopped_early
    assert len(search.prompts) < 8
    assert not any(prompt.flips for prompt in search.prompts[:-1])
    assert any("overstates" in note for note in result.notes)


def test_the_same_seed_finds_the_same_and_another_seed_other_prompts():
    from tests.changed import replace

    wanted = request(reference=False)
    first, again = search_flips(wanted), search_flips(wanted)
    other = search_flips(replace(wanted, spec=replace(wanted.spec, seed=7)))
    assert first == again
    assert first.settings.prompts_sha256 != other.settings.prompts_sha256


def test_a_result_file_reads_back_as_it_was_written(tmp_path):
    out = tmp_path / "flips.json"
    result = search_flips(request(), out, load=with_logits(depends_on_batch))
    assert read_flips(out) == result
    assert [path.name for path in tmp_path.iterdir()] == ["flips.json"]


def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "flips.json"
    wanted = request(dtypes=("float16", "bfloat16"))
    whole = search_flips(wanted, load=with_logits(depends_on_batch))
    ran = []

    def interrupt(done, total, text):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_flips(wanted, out, progress=interrupt, load=with_logits(depends_on_batch))
    part = tmp_path / "flips.json.part"
    part.write_text(part.read_text() + '{"search":1,"prom')  # cut in the middle of a line
    resumed = search_flips(
        wanted, out, progress=lambda done, total, text: ran.append(done), load=with_logits(depends_on_batch)
    )
    assert ran == [6, 7, 8]
    assert resumed == whole
    assert not part.exists()


def test_an_unfinished_search_with_other_settings_is_not_continued(tmp_path):
    out = tmp_path / "flips.json"
    (tmp_path / "flips.json.part").write_text("")
    with pytest.raises(TracediffError, match="damaged"):
        search_flips(request(), out)
    search_flips(request(), out, force=True)
    header = json.dumps({"settings": json.loads(out.read_text())["settings"], "machine": {}})
    (tmp_path / "flips.json.part").write_text(header + "\n")
    out.unlink()
    with pytest.raises(TracediffError, match="other settings or on another machine"):
        search_flips(request(), out)


def test_an_existing_result_is_not_replaced_unasked(tmp_path):
    out = tmp_path / "flips.json"
    out.write_text("{}")
    with pytest.raises(TracediffError, match="exists"):
        search_flips(request(), out)


def test_logits_that_are_not_numbers_are_refused():
    with pytest.raises(TracediffError, match=r"not numbers.*bfloat16"):
        search_flips(request(random=1), load=with_logits(lambda logits: logits / 0 * 0))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batches": (2,)}, "two batch sizes"),
        ({"batches": (2, 2)}, "two batch sizes"),
        ({"batches": (0, 2)}, "batch size 0"),
        ({"random": 0}, "--random 0"),
        ({"tokens": 0}, "--tokens 0"),
        ({"decode": -1}, "--decode -1"),
        ({"find": 0}, "--find 0"),
        ({"mode": "sample"}, "unknown mode sample"),
        ({"prompts": ()}, "there is no prompt"),
        ({"remedy": "row-by-row-attention", "cache": "static"}, "row-by-row-attention decides attention"),
        ({"remedy": "row-by-row-attention", "spec": ModelSpec(name="tiny", attention="math")}, "decides attention too"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(fields, words):
    with pytest.raises(TracediffError, match=words):
        request(**fields)


def test_a_remedy_with_an_attention_of_its_own_holds_where_the_cache_grows(monkeypatch):
    import tracediff.measure.remedies_apply as module

    batches, plain = [], module._row_by_row

    def noted(query, *rest):
        batches.append(len(query))
        return plain(query, *rest)

    monkeypatch.setattr(module, "_row_by_row", noted)
    result = search_flips(request(random=1, decode=2, remedy="row-by-row-attention+fused-norm", reference=False))
    assert result.settings.remedy == "row-by-row-attention+fused-norm"
    assert set(batches) == {1, 2}


def test_a_prompt_that_leaves_no_room_to_decode_is_refused():
    with pytest.raises(TracediffError, match="520 positions, tiny has 512"):
        search_flips(request(tokens=500, decode=20, random=1))


def test_text_prompts_are_searched_and_not_stored(tmp_path):
    out = tmp_path / "flips.json"
    result = search_flips(request(prompts=(Prompt(text="a secret"), Prompt(text="another")), reference=False), out)
    assert [prompt.length for prompt in result.searches[0].prompts] == [8, 7]
    assert "secret" not in out.read_text()


def test_tf32_is_left_out_on_the_cpu_and_the_result_says_so():
    result = search_flips(request(dtypes=("float32",), tf32=True, random=1))
    assert [search.label for search in result.searches] == ["float32"]
    assert any("TF32" in note for note in result.notes)
