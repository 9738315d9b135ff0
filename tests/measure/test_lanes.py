"""Many prompts at a time through a static cache: the same numbers as one prompt at a time."""

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.measure.planted import depends_on_batch, request, with_logits  # noqa: E402
from tests.measure.trained import trained_model  # noqa: E402
from tracediff.measure.flips import search_flips  # noqa: E402
from tracediff.measure.generation import run_at_once, run_generate  # noqa: E402
from tracediff.measure.lane_control import first_run  # noqa: E402
from tracediff.measure.lane_prefill import padded_length  # noqa: E402
from tracediff.measure.lane_rows import Task  # noqa: E402
from tracediff.measure.lanes import PLAIN, Decoder, Way, slots_for  # noqa: E402
from tracediff.measure.prompts import Prompt  # noqa: E402

PROMPTS = ["Monday", "The days of", "Tuesday Wed", "Monday", "Thurs", "F", "Saturday Sunday Mon", "Wednesday"]
WAYS = [Way(mixed=mixed, shared=shared) for mixed in (False, True) for shared in (False, True)]


def tasks(texts=PROMPTS):
    return [Task(tokens=tuple(text.encode())) for text in texts]


@pytest.fixture(scope="module")
def model():
    return trained_model()


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_prompt_s_logits_are_those_of_generation_by_itself(model, batch, way):
    decoder = Decoder(model, 9, graphs=False)
    for task, steps in zip(tasks(), decoder.run(tasks(), batch, way), strict=True):
        alone = run_generate(model, torch.tensor([task.tokens]), 1, 8)
        assert torch.equal(steps.fed, alone.fed)
        torch.testing.assert_close(steps.logits, alone.logits, rtol=1e-4, atol=1e-4)


def test_what_is_fed_is_followed(model):
    fed = torch.tensor([ord(letter) for letter in "xyzzy"])
    (steps,) = Decoder(model, 5, graphs=False).run([Task(tokens=(70, 71), fed=fed)], 2, WAYS[-1])
    assert torch.equal(steps.fed, fed)
    at_once = run_at_once(model, torch.tensor([[70, 71]]), fed, 5)
    torch.testing.assert_close(steps.logits, at_once, rtol=1e-4, atol=1e-4)


def test_prompts_of_several_cache_sizes_are_decoded_in_one_call(model):
    long = Task(tokens=tuple(b"Monday " * 40))
    assert slots_for(len(long.tokens), 4) == 4096
    short, other = Decoder(model, 4, graphs=False).run([tasks()[0], long], 2, WAYS[-1])
    torch.testing.assert_close(
        short.logits, run_generate(model, torch.tensor([tasks()[0].tokens]), 1, 3).logits, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        other.logits, run_generate(model, torch.tensor([long.tokens]), 1, 3).logits, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("length", "padded"), [(1, 16), (2, 16), (17, 16), (18, 32), (33, 32), (34, 64), (1025, 1024), (1500, 1500)]
)
def test_a_prompt_but_for_its_last_token_is_padded_to_a_power_of_two_the_model_has_positions_for(length, padded):
    assert padded_length(length, 1500) == padded


def test_prompts_of_other_lengths_in_the_batch_change_no_bit_of_a_prompt(model):
    """Each batch holds lengths of one, two and many tokens, padded alike, and prompts that are padded further."""
    texts = ["M", "Mo", "Monday Tues", "Monday Tuesday Wednesday", "T", "Sunday", "Friday Saturday Sunday Mo", "We"]
    plain = Decoder(model, 5, graphs=False).run(tasks(texts), 4, PLAIN)
    mixed = Decoder(model, 5, graphs=False).run(tasks(texts), 4, Way(mixed=True, shared=True))
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(plain, mixed, strict=True))


def test_what_the_padding_leaves_in_the_cache_reaches_no_logit(model, monkeypatch):
    import tracediff.measure.lane_prefill as module

    before = Decoder(model, 5, graphs=False).run(tasks(), 2, PLAIN)
    monkeypatch.setattr(module, "_PADDING", 77)
    after = Decoder(model, 5, graphs=False).run(tasks(), 2, PLAIN)
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(before, after, strict=True))


class _RowsMixed(torch.nn.Module):
    """A head that adds a little of the other rows."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, hidden):
        logits = self.head(hidden)
        return logits + 1e-2 * logits.mean(dim=0, keepdim=True)


def way_found(model, batch, **options):
    """Return what the first run of the tasks finds, having checked that its numbers are those of plain copies."""
    given = {"mix": True, "sharing_holds": False, **options}
    control, steps = first_run(Decoder(model, 4, graphs=False), tasks(), batch, **given)
    if control.repeats:
        plain = Decoder(model, 4, graphs=False).run(tasks(), batch, PLAIN)
        assert all(torch.equal(one.logits, other.logits) for one, other in zip(steps, plain, strict=True))
    return control


def test_a_model_whose_rows_are_independent_runs_in_the_fastest_way(model):
    for batch in (1, 2, 4):
        control = way_found(model, batch)
        assert control.repeats
        assert control.way == Way(mixed=True, shared=True)
    assert way_found(model, 4, mix=False).way == PLAIN


def test_rows_that_depend_on_their_neighbours_are_noticed():
    model = trained_model()
    model.lm_head = _RowsMixed(model.lm_head)
    control = way_found(model, 4)
    assert not control.way.mixed
    assert control.repeats


def test_lanes_that_would_share_another_lane_s_row_are_noticed():
    """Row 0 leaks into the others: of all shared lanes that would be row 0 of the first lane."""
    model = trained_model()
    model.lm_head.register_forward_hook(lambda _module, _arguments, output: output + output[:1] / 64)
    assert not way_found(model, 1).way.shared


def test_copies_that_do_not_agree_are_noticed():
    model = trained_model()
    model.lm_head.register_forward_hook(
        lambda _module, _arguments, output: output + torch.arange(len(output))[:, None, None] / 8
    )
    assert not Decoder(model, 4, graphs=False).run(tasks()[:1], 4, PLAIN)[0].rows_agree
    assert not way_found(model, 4).way.mixed


def test_copies_that_do_not_agree_are_noticed_where_both_witnesses_stand_in_a_first_row():
    model = trained_model()
    model.lm_head.register_forward_hook(
        lambda _module, _arguments, output: output + torch.arange(len(output))[:, None, None] / 8
    )
    control, _ = first_run(Decoder(model, 4, graphs=False), tasks(PROMPTS[:5]), 4, mix=True, sharing_holds=False)
    assert not control.way.mixed
    assert control.repeats


def test_a_model_that_does_not_repeat_itself_is_noticed_and_its_rows_are_not_mixed():
    model = trained_model()
    model.lm_head.register_forward_hook(lambda _module, _arguments, output: output + torch.rand(output.shape) / 64)
    control = way_found(model, 4)
    assert not control.repeats
    assert control.way == PLAIN


def test_where_bits_do_not_repeat_lanes_share_only_if_that_was_right_elsewhere():
    model = trained_model()
    plain, calls = model.lm_head.forward, []

    def drifting(hidden):
        calls.append(len(hidden))
        return plain(hidden) * (1 + len(calls) / 1e4)

    model.lm_head.forward = drifting
    assert way_found(model, 4).way == PLAIN
    assert way_found(model, 4, sharing_holds=True).way == Way(mixed=False, shared=True)


def prompts():
    return tuple(Prompt(text=text, kind="days" if "day" in text else "other") for text in PROMPTS)


def static(**fields):
    return request(prompts=prompts(), cache="static", decode=8, batches=(1, 2, 4), reference=False, **fields)


def test_mixed_rows_find_the_same_flips_as_one_prompt_at_a_time():
    """Where the control holds, and where it does not, since then every prompt is run by itself."""
    load = with_logits(depends_on_batch)
    together = search_flips(static(), load=load)
    alone = search_flips(static(mix=False), load=load)
    assert [flip for _, flip in together.flips()]
    assert together.searches[0].prompts == alone.searches[0].prompts
    assert alone.searches[0].mixed == ()


def test_rows_that_are_not_independent_are_run_by_themselves():
    def mixes_rows(logits):
        return logits + logits.mean(dim=0, keepdim=True) / 8

    result = search_flips(static(), load=with_logits(mixes_rows))
    assert result.searches[0].mixed == ()
    assert (
        result.searches[0].prompts == search_flips(static(mix=False), load=with_logits(mixes_rows)).searches[0].prompts
    )


def test_kinds_of_prompts_are_kept():
    kinds = [steps.kind for steps in search_flips(static()).searches[0].prompts]
    assert kinds == [prompt.kind for prompt in prompts()]


@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_killed_search_ends_in_the_same_bytes(tmp_path, monkeypatch, stop_at):
    import tracediff.measure.flips_precision as module

    monkeypatch.setattr(module, "_PROMPTS_AT_ONCE", 3)
    whole, resumed = tmp_path / "whole.json", tmp_path / "resumed.json"
    search_flips(static(), whole)
    calls = []

    def kill(done, total, text):
        calls.append(done)
        if len(calls) > stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_flips(static(), resumed, progress=kill)
    search_flips(static(), resumed)
    assert resumed.read_bytes() == whole.read_bytes()


def test_steps_that_choose_another_token_when_run_again_are_noise_and_no_flips():
    """The same logits at every batch size, but every other call moves them: nothing here is due to the batch size."""

    def load(spec, device):
        model = trained_model()
        calls = []

        def wobble(logits):
            calls.append(1)
            coarse = (logits * 4).round() / 4
            return coarse + torch.rand(logits.shape[-1], generator=torch.Generator().manual_seed(len(calls))) * 4

        model.lm_head.register_forward_hook(lambda _module, _arguments, output: wobble(output))
        return model

    for cache in ("static", "dynamic"):
        (search,) = search_flips(request(prompts=prompts(), cache=cache, decode=8, reference=False), load=load).searches
        assert not search.repeatable
        assert search.noisy == (1, 2)
        noise = {(steps.prompt, step) for steps in search.prompts for step in (*steps.noise, *steps.batches[0].noise)}
        assert noise
        assert not noise & {(flip.prompt, flip.step) for flip in search.flips}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_cuda_graphs_and_mixed_rows_find_the_flips_of_the_slow_path(dtype):
    from tests.changed import replace

    fast = replace(static(dtypes=(dtype,)), device="cuda", batches=(1, 2, 8))
    slow = replace(fast, mix=False, graphs=False)
    assert search_flips(fast).searches[0].prompts == search_flips(slow).searches[0].prompts


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_shared_lanes_in_a_cuda_graph_have_the_bits_of_plain_copies(dtype):
    from tracediff.model.load import load_model
    from tracediff.model.spec import ModelSpec

    model = load_model(ModelSpec(name="tiny", dtype=dtype, attention="efficient"), "cuda")
    for batch in (1, 4):
        plain = Decoder(model, 9, graphs=False).run(tasks(), batch, PLAIN)
        shared = Decoder(model, 9, graphs=True).run(tasks(), batch, Way(mixed=True, shared=True))
        assert all(torch.equal(one.logits, other.logits) for one, other in zip(plain, shared, strict=True))
