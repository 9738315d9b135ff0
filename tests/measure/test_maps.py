"""Maps and remedies measured on a tiny model on the CPU."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tracediff.errors import TracediffError  # noqa: E402
from tracediff.findings.maps import FORWARD, read_map  # noqa: E402
from tracediff.findings.maps_classes import classes_of  # noqa: E402
from tracediff.findings.remedies import read_remedies  # noqa: E402
from tracediff.findings.remedies_catalog import setting_named  # noqa: E402
from tracediff.measure.cached_keys import CachedKeys, decode_step, prefill, step_tokens  # noqa: E402
from tracediff.measure.fused_products import fused_forwards, lay_weights_together  # noqa: E402
from tracediff.measure.maps import MapRequest, measure_map  # noqa: E402
from tracediff.measure.maps_counts import HASHED, measure_part  # noqa: E402
from tracediff.measure.maps_modules import MapPart, RunningPart, checksum, parts_of  # noqa: E402
from tracediff.measure.part_file import PartFile  # noqa: E402
from tracediff.measure.remedies import RemediesRequest, measure_remedies  # noqa: E402
from tracediff.measure.remedies_apply import _fusion, applied  # noqa: E402
from tracediff.measure.remedies_bits import BitsRequest, measure_bits  # noqa: E402
from tracediff.model.load import load_model  # noqa: E402
from tracediff.model.logits_hashes import hash_of  # noqa: E402
from tracediff.model.spec import ModelSpec  # noqa: E402

pytestmark = pytest.mark.torch
TINY = ModelSpec(name="tiny", dtype="float32")
ON_CPU = ("default", "math", "row-by-row-attention+row-by-row-products", "pad-products-64", "float32-products",
          "fused-norm", "deterministic", "pad-batch-8", "fused-products",
          "row-by-row-products+fused-products")  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return load_model(TINY, "cpu")


def request(**fields):
    return MapRequest(
        **{"spec": TINY, "device": "cpu", "rows": (1, 2, 5), "forward_rows": (1, 4), "keys": (3,), **fields}
    )


@pytest.mark.parametrize("setting", ON_CPU)
def test_a_prompt_and_a_step_in_place_compute_what_one_forward_does(model, setting):
    tokens = step_tokens(model, 3, 7)
    with torch.inference_mode():
        whole = model(input_ids=tokens, use_cache=False).logits
    with applied(setting_named(setting), model):
        cached = CachedKeys.random(model, 3, 6)
        first = prefill(model, tokens[:, :6], cached)
        last = decode_step(model, tokens[:, 6:], cached, 6)
    assert torch.allclose(first, whole[:, :6], atol=1e-5)
    assert torch.allclose(last, whole[:, 6], atol=1e-5)


def test_a_setting_is_taken_back_completely(model):
    tokens = step_tokens(model, 2, 4)
    before = prefill(model, tokens)
    for setting in ON_CPU:
        with applied(setting_named(setting), model):
            prefill(model, tokens)
    assert torch.equal(prefill(model, tokens), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not any("forward" in vars(module) for module in model.modules())


def test_fused_products_share_one_weight_and_one_call(model):
    calls = []

    def product(x, weight):
        calls.append(len(weight))
        return torch.nn.functional.linear(x, weight)

    attention = model.model.layers[0].self_attn
    before = attention.k_proj.weight.clone()
    forwards = fused_forwards(model, product)
    x = torch.randn(2, 1, model.config.hidden_size)
    for name in ("q_proj", "k_proj", "v_proj"):
        linear = getattr(attention, name)
        assert torch.allclose(forwards[linear](x), linear(x), atol=1e-6)
    assert calls == [sum(len(getattr(attention, name).weight) for name in ("q_proj", "k_proj", "v_proj"))]
    forwards[attention.v_proj](x.clone())
    assert len(calls) == 2
    assert torch.equal(attention.k_proj.weight, before)
    weight = attention.k_proj.weight
    lay_weights_together(model)
    assert attention.k_proj.weight is weight


def test_a_forward_computes_each_group_of_fused_products_once(model, monkeypatch):
    calls = []

    def product(x, weight):
        calls.append(len(weight))
        return torch.nn.functional.linear(x, weight)

    monkeypatch.setattr("tracediff.measure.remedies_apply.product_of", lambda name: product)
    # Without a part for products, the fused ones alone are computed with it.
    with _fusion(model, setting_named("fused-products")):
        prefill(model, step_tokens(model, 2, 3))
    assert len(calls) == 2 * model.config.num_hidden_layers


def test_a_model_without_such_products_says_so():
    with pytest.raises(TracediffError, match="no products that can be fused"):
        fused_forwards(torch.nn.Linear(2, 2), torch.nn.functional.linear)


def test_a_map_with_fused_products_maps_those_that_run(model):
    names = [part.name for part in parts_of(model, setting_named("fused-products"), [], 0)]
    assert "qkv (fused)" in names
    assert "o_proj" in names
    assert not {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"} & set(names)


def test_a_setting_that_needs_a_gpu_says_so(model):
    with pytest.raises(TracediffError, match="GPU"), applied(setting_named("flash"), model):
        pass


def test_row_i_has_the_same_token_in_every_batch(model):
    assert torch.equal(step_tokens(model, 8, 3)[:2], step_tokens(model, 2, 3))


def test_a_checksum_tells_one_changed_bit_and_the_place_of_a_value():
    x = torch.randn(1000)
    other = x.clone()
    other.view(torch.int32)[7] ^= 1
    swapped = x.clone()
    swapped[[0, 1]] = x[[1, 0]]
    assert checksum([x]) == checksum([x.clone()])
    assert len({checksum([x]), checksum([other]), checksum([swapped]), checksum([x.view(10, 100)])}) == 4


def test_the_hash_is_the_one_that_maps_name():
    # Where this fails, `HASHED` in measure/maps_counts.py must get another name: stored maps compare by it.
    assert (HASHED, hash_of(torch.arange(5, dtype=torch.float32))) == ("splitmix64-sum-2", "8d2d560395b74550")


def test_row_0_is_the_same_however_many_rows_a_part_is_prepared_for(model):
    for few, many in zip(
        parts_of(model, setting_named("default"), [3], 0),
        parts_of(model, setting_named("default"), [3], 0),
        strict=True,
    ):
        assert few.prepare(2).inputs == many.prepare(9).inputs, few.name


def test_a_map_of_a_tiny_model_has_every_part_and_the_forward_first(tmp_path):
    path = tmp_path / "map.json"
    found = measure_map(request(), path)
    assert read_map(path) == found
    assert [each.name for each in found.modules][:1] == [FORWARD]
    assert {each.name for each in found.parts} >= {"q_proj", "qkv (fused)", "gate_up (fused)", "lm_head", "attention"}
    assert all(each.nanoseconds > 0 for module in found.modules for each in module.counts)
    assert all(not classes_of(module).varying for module in found.modules)
    assert not path.with_name("map.json.part").exists()


def test_forwards_of_two_settings_compare_by_bits():
    plain, by_row = (
        measure_map(request(rows=(1,), setting=setting)).forwards[0] for setting in ("default", "row-by-row-products")
    )
    assert plain.inputs == by_row.inputs


def test_what_a_map_calls_equal_is_equal(model):
    found = measure_map(request(rows=tuple(range(1, 13)), forward_rows=()))
    part = next(each for each in parts_of(model, setting_named("default"), [], 0) if each.name == "down_proj")
    running = part.prepare(12)
    with torch.inference_mode():
        rows = {count: running.run(count, 0)[0].clone() for count in range(1, 13)}
    mapped = next(each for each in found.parts if each.name == "down_proj")
    for a in mapped.counts:
        for b in mapped.counts:
            assert torch.equal(rows[a.rows], rows[b.rows]) == (a.bits == b.bits)


def out_of_memory_above(most):
    def run(rows, copy):
        if rows > most:
            raise torch.OutOfMemoryError
        return torch.zeros(rows, 3)

    return MapPart(
        name="q_proj", kind="product", shape="3", keys=None,
        prepare=lambda rows: RunningPart(run=run, copies=1, inputs="same"),
    )  # fmt: skip


def test_row_counts_that_do_not_fit_are_left_out_and_said():
    found = measure_part(out_of_memory_above(5), (1, 2, 4, 8, 16), "cpu")
    assert [count.rows for count in found.counts] == [1, 2, 4]
    assert found.left_out == ("16 rows: out of memory", "8 rows: out of memory")
    nothing = measure_part(out_of_memory_above(0), (1, 2), "cpu")
    assert (nothing.counts, len(nothing.left_out)) == ((), 2)


def test_a_batch_that_does_not_fit_is_left_out_of_the_bits_and_said(model, monkeypatch):
    def step(model, tokens, cached, keys):
        if len(tokens) > 2:
            raise torch.OutOfMemoryError
        return decode_step(model, tokens, cached, keys)

    monkeypatch.setattr("tracediff.measure.remedies_bits.decode_step", step)
    found = measure_bits(model, "default", BitsRequest(keys=(3,), batches=(1, 2, 4), prefill_batches=(1,), prompt=2))
    assert [batch for batch, _ in found.decode[3]] == [1, 2]
    assert "batch 4, 3 cached keys: out of memory" in found.left_out


def test_an_interrupted_map_goes_on_and_ends_as_an_uninterrupted_one(tmp_path):
    path = tmp_path / "map.json"
    stopped = measure_map(request(minutes=0), path)
    assert stopped.modules == ()
    assert "out of time" in stopped.notes[0]
    assert not path.exists()
    steps = []

    class StopError(Exception):
        pass

    def stop_at_the_third(text):
        steps.append(text)
        if len(steps) == 4:
            raise StopError

    with pytest.raises(StopError):
        measure_map(request(), path, progress=stop_at_the_third)
    part = path.with_name("map.json.part")
    with part.open("a") as file:
        file.write('{"module": {"name": "cut')  # as a full disk or a kill leaves it
    again = []
    found = measure_map(request(), path, progress=again.append)
    assert not set(again[1:]) & set(steps[1:3])
    plain = measure_map(request())
    assert [(each.identity, [count.bits for count in each.counts]) for each in found.modules] == [
        (each.identity, [count.bits for count in each.counts]) for each in plain.modules
    ]


def test_an_unfinished_map_with_other_options_is_not_mixed_in(tmp_path):
    path = tmp_path / "map.json"
    measure_map(request(minutes=0), path)
    part = path.with_name("map.json.part")
    part.write_text(part.read_text() + '{"module": {}}\n')
    with pytest.raises(TracediffError, match="other options"):
        measure_map(request(rows=(1, 2)), path)
    assert measure_map(request(rows=(1, 2)), path, force=True).modules


def test_pieces_from_another_machine_are_not_mixed_in(tmp_path):
    path = tmp_path / "map.json"
    measure_map(request(minutes=0), path)
    part = path.with_name("map.json.part")
    part.write_text(part.read_text().replace(torch.__version__, "1.0"))
    with pytest.raises(TracediffError, match="other torch"):
        measure_map(request(), path)


def test_remedies_of_a_tiny_model_are_measured_in_processes_of_their_own(tmp_path):
    path = tmp_path / "remedies.json"
    asked = RemediesRequest(
        spec=ModelSpec(name="tiny", dtype="float16"), device="cpu",
        settings=("default", "row-by-row-attention+row-by-row-products", "no-workspace", "pad-batch-4"),
        beside=("fused-products+fused-norm", "default"),
        keys=(5,), batches=(1, 2, 3), prefill_batches=(1, 2), timed_batches=(2,), prompt=4, rounds=2,
    )  # fmt: skip
    found = measure_remedies(asked, path)
    assert read_remedies(path) == found
    assert [bits.setting for bits in found.bits] == [
        "default",
        "row-by-row-attention+row-by-row-products",
        "pad-batch-4",
    ]
    assert "no-workspace" in found.notes[0]
    assert all(bits.error < 1e-2 and bits.repeats for bits in found.bits)
    by_row = found.bits_of("row-by-row-attention+row-by-row-products")
    assert len({bits for _, bits in by_row.decode[5]}) == 1
    assert list(found.times[0].rounds) == [*(bits.setting for bits in found.bits), "fused-products+fused-norm"]
    assert {len(rounds) for rounds in found.times[0].rounds.values()} == {2}
    assert not found.times[0].replayed


def test_remedies_stop_in_time_and_go_on(tmp_path):
    path = tmp_path / "remedies.json"
    asked = {"spec": TINY, "device": "cpu", "settings": ("default",), "keys": (1,), "batches": (1,),
             "prefill_batches": (1,), "timed_batches": (1,), "prompt": 2, "rounds": 1, "reference": False}  # fmt: skip
    assert measure_remedies(RemediesRequest(**asked, minutes=0), path).bits == ()
    assert not path.exists()
    assert len(measure_remedies(RemediesRequest(**asked), path).bits) == 1
    assert json.loads(path.read_text())["times"]


@pytest.mark.parametrize(
    "fields",
    [
        {"keys": ()},
        {"batches": (0,)},
        {"rounds": 0},
        {"settings": ("flash+cudnn",)},
        {"timed_batches": (1, 1)},
        {"prompt": 0},
    ],
)
def test_remedies_that_make_no_sense_are_refused_before_a_model_is_loaded(fields):
    with pytest.raises(TracediffError):
        RemediesRequest(**{"spec": TINY, "device": "cpu", **fields})


@pytest.mark.parametrize("asked", [{"softcap": 30.0}, {"sliding_window": 4}, {"s_aux": torch.zeros(4)}])
def test_attention_that_is_not_plain_is_refused_rather_than_mapped_wrongly(model, asked):
    from transformers import AttentionInterface

    with applied(setting_named("default"), model):
        attend = AttentionInterface._global_mapping["tracediff"]
    query, key = torch.zeros(1, 4, 1, 16), torch.zeros(1, 2, 9, 16)
    with pytest.raises(TracediffError, match="plain causal attention"):
        attend(model, query, key, key, None, **asked)
    assert attend(model, query, key, key, None, sliding_window=9)[0].shape == (1, 1, 4, 16)


def test_what_is_noted_before_the_machine_is_known_does_not_damage_the_unfinished_file(tmp_path):
    out = tmp_path / "result.json"
    part = PartFile.open(out, {"keys": (1, 2)}, None, force=False)
    part.add("note", "no reference")
    part.runs_on({"gpu": "H100"})
    part.add("bits", [1])
    again = PartFile.open(out, {"keys": (1, 2)}, None, force=False)
    assert (again.machine, again.pieces("note", str)) == ({"gpu": "H100"}, ["no reference"])
    assert again.pieces("bits", tuple) == [(1,)]
