"""Evidence on models without faults and with planted ones: each fault is caught by what is there to catch it."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402

from tests.measure import toy  # noqa: E402
from tracediff.measure.bits import compare  # noqa: E402
from tracediff.measure.evidence import measure  # noqa: E402
from tracediff.measure.evidence_file import to_evidence, write  # noqa: E402
from tracediff.measured import encode_evidence, read_evidence  # noqa: E402
from tracediff.model.logits_hashes import logits_hashes  # noqa: E402


def measured(batches=(1, 2, 3), recorded_hashes=None, activations=False, **faults):
    model = toy.Toy(**faults)
    return measure(
        model,
        toy.PROMPT,
        batches,
        toy.DECODE,
        name="toy",
        dtype="float32",
        recorded_hashes=recorded_hashes,
        activations=activations,
    )


@pytest.fixture(scope="module")
def clean():
    return measured()


@pytest.fixture(scope="module")
def reordered():
    return measured(second1=toy.Reorders)


def test_a_clean_model_has_no_origin_and_equal_logits(clean):
    for pair in clean.pairs:
        assert pair.origins == []
        assert all(bits.equal for bits in [*pair.logits.values(), *pair.propagated.values()])
        assert pair.repair is None


def test_the_controls_of_a_clean_model_are_reported_and_clean(clean):
    assert {name: control.equal for name, control in clean.controls.items()} == {
        "run_to_run": True,
        "neighbours": True,
        "position": True,
        "profiler": None,
    }
    assert clean.leak is None


def test_every_module_is_replayed_in_every_phase(clean):
    names = {name for name, _ in toy.Toy().named_modules() if name and name != "layers"}
    for phase in range(3):
        assert names <= {name for number, name in clean.pairs[0].isolated if number == phase}


def test_the_module_that_reorders_is_the_only_origin(reordered):
    for pair in reordered.pairs:
        assert {name for _, name in pair.origins} == {"layers.1.second_proj"}
        assert pair.origins[0] == (0, "layers.1.second_proj")


def test_what_comes_after_the_origin_differs_in_the_run_but_not_on_equal_inputs(reordered):
    pair = reordered.pairs[0]
    assert pair.isolated[0, "lm_head"].equal
    assert not pair.propagated[0, "lm_head"].equal
    assert pair.propagated[0, "layers.0.second_proj"].equal


def test_the_repair_is_the_kind_that_reorders_and_its_complement_does_not_help():
    pair = measured(second0=toy.Reorders, second1=toy.Reorders).pairs[0]
    assert pair.repair is not None
    assert (pair.repair.minimal, pair.repair.logits_equal) == (("second_proj",), True)
    assert pair.repair.complement_logits_equal is False


def test_the_repair_needs_every_kind_that_reorders():
    pair = measured(first0=toy.Reorders, second1=toy.Reorders).pairs[0]
    assert pair.repair is not None
    assert pair.repair.minimal == ("first_proj", "second_proj")


def test_reordering_leaves_the_controls_clean(reordered):
    assert [reordered.controls[name].equal for name in ("run_to_run", "neighbours", "position")] == [True] * 3


def test_a_leak_between_rows_is_caught_and_traced_to_its_module():
    evidence = measured(first1=toy.Leaks)
    assert evidence.leak is not None
    assert evidence.leak.first is not None
    assert evidence.leak.first.endswith("layers.1.first_proj")
    assert evidence.controls["run_to_run"].equal is True


def test_noise_is_caught_run_to_run():
    control = measured(first0=toy.AddsNoise).controls["run_to_run"]
    assert control.equal is False
    assert control.first == "batch 1, prefill, layers.0.first_proj"


def test_a_row_that_minds_its_position_is_caught():
    evidence = measured(first0=toy.MindsPosition)
    assert evidence.controls["position"].equal is False
    assert evidence.controls["neighbours"].equal is True


def test_the_profiler_control_compares_the_hashes_of_the_recorded_process():
    model = toy.Toy()
    from tracediff.model.forward import forward

    logits = forward(model, toy.PROMPT, toy.DECODE)
    phases = ("prefill", "decode[0]", "decode[1]")
    hashes = {place: [found] * 2 for place, found in logits_hashes(1, phases, logits).items()}
    assert measured((1,), recorded_hashes=hashes).controls["profiler"].equal is True
    changed = measured((1,), recorded_hashes=hashes | {"1/decode[0]": ["0" * 16] * 2}).controls["profiler"]
    assert (changed.equal, changed.first) == (False, "1/decode[0]")


def test_a_module_that_cannot_be_called_by_row_costs_the_repair_alone(monkeypatch):
    class NeedsCompany(toy.Reorders):
        def forward(self, x):
            if type(self).refuses and x.shape[0] == 1:
                raise RuntimeError("needs its rows together")
            return super().forward(x)

    NeedsCompany.refuses = False
    from tracediff.measure import evidence as module

    find = module.find_repair

    def refusing(*arguments, **keywords):
        NeedsCompany.refuses = True
        try:
            return find(*arguments, **keywords)
        finally:
            NeedsCompany.refuses = False

    monkeypatch.setattr(module, "find_repair", refusing)
    evidence = measured((1, 2), second0=NeedsCompany)
    assert evidence.pairs[0].repair is None
    assert evidence.pairs[0].origins
    assert "needs its rows together" in to_evidence(evidence).notes[0]
    assert evidence.controls["neighbours"].equal is True


def test_a_model_alone_has_no_pairs_and_its_neighbours_are_not_measured():
    evidence = measured((1,))
    assert evidence.pairs == ()
    assert evidence.controls["neighbours"].equal is None


def test_the_model_is_left_as_it_was():
    model = toy.Toy(second0=toy.Reorders)
    before = model(toy.PROMPT.repeat(2, 1)).logits
    measure(model, toy.PROMPT, (1, 2), toy.DECODE, name="toy", dtype="float32")
    assert torch.equal(model(toy.PROMPT.repeat(2, 1)).logits, before)
    for module in model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_it_is_stored_as_json_and_safetensors(reordered, tmp_path):
    from safetensors.torch import load_file

    write(reordered, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.json", "logits.safetensors"]
    # Shares are rounded on the way into the file, so the two are compared as files.
    stored = read_evidence(tmp_path / "evidence.json")
    assert encode_evidence(stored) == encode_evidence(to_evidence(reordered))
    logits = load_file(tmp_path / "logits.safetensors")
    assert set(logits) == {f"{batch}/{phase}" for batch in (1, 2, 3) for phase in reordered.phases}
    assert all(row.shape == (toy.VOCABULARY,) for row in logits.values())


def test_on_request_what_the_origins_made_of_equal_inputs_is_stored(tmp_path):
    from safetensors.torch import load_file

    evidence = measured((1, 2), activations=True, second1=toy.Reorders)
    write(evidence, tmp_path)
    stored = load_file(tmp_path / "activations.safetensors")
    origins = [f"{evidence.phases[phase]}/{module}" for phase, module in evidence.pairs[0].origins]
    assert set(stored) == {f"{batch}/{origin}" for batch in (1, 2) for origin in origins}
    for (phase, module), bits in evidence.pairs[0].isolated.items():
        if not bits.equal:
            name = f"{evidence.phases[phase]}/{module}"
            assert compare(stored[f"1/{name}"], stored[f"2/{name}"]) == bits
            assert stored[f"2/{name}"].shape[0] == 1


def test_a_difference_in_what_a_module_hands_to_a_child_names_both():
    model = toy.Toy()
    hands = model.layers[1].second_proj.register_forward_pre_hook(
        lambda module, arguments: (arguments[0] * (1 + 1e-3 * (arguments[0].shape[0] > 1)),)
    )
    evidence = measure(model, toy.PROMPT, (1, 2), [], name="toy", dtype="float32", activations=True)
    hands.remove()
    assert set(evidence.activations) == {f"{batch}/prefill/layers.1 -> layers.1.second_proj" for batch in (1, 2)}


def test_a_clean_model_has_no_activations_to_store(tmp_path):
    from safetensors.torch import load_file

    write(measured((1, 2), activations=True), tmp_path)
    assert load_file(tmp_path / "activations.safetensors") == {}


def test_a_real_llama_is_repaired_by_computing_every_kind_row_by_row():
    from tracediff.model.load import load_model, prompt_tokens
    from tracediff.model.spec import ModelSpec

    spec = ModelSpec(name="tiny", dtype="float32", layers=1, attention="eager")
    model = load_model(spec, "cpu")
    evidence = measure(model, prompt_tokens(spec, model), (1, 2), [3], name="tiny", dtype="float32")
    pair = evidence.pairs[0]
    # Which modules reorder depends on the machine's BLAS; that the repair works does not.
    assert pair.repair is None or pair.repair.logits_equal
    assert {"model.layers.0.self_attn", "model.layers.0.mlp.down_proj"} <= {name for _, name in pair.isolated}
