"""A GGUF file is dequantised once for all dtypes of a search, and each model is what loading it in that dtype gives."""

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
for package in ("transformers", "gguf", "accelerate"):
    pytest.importorskip(package)

from tests.measure.planted import request  # noqa: E402
from tests.model.tiny_gguf import write_gguf  # noqa: E402
from tracediff.measure.flips_models import Models  # noqa: E402
from tracediff.model.load import load_model  # noqa: E402
from tracediff.model.spec import ModelSpec  # noqa: E402

DTYPES = ("float16", "bfloat16", "float32")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "Tiny.Q4_1.gguf"
    write_gguf(path)
    return str(path)


def noted(loads):
    def load(spec, device):
        loads.append((spec.dtype, device))
        return load_model(spec, device)

    return load


def test_every_weight_and_buffer_is_that_of_a_model_loaded_in_its_dtype(weights):
    loads = []
    models = Models(request=request(spec=ModelSpec(name=weights), dtypes=DTYPES), load=noted(loads))
    for dtype in DTYPES:
        found, right = models.get(dtype), load_model(ModelSpec(name=weights, dtype=dtype), "cpu")
        for named in ("named_parameters", "named_buffers"):
            held, expected = dict(getattr(found, named)()), dict(getattr(right, named)())
            assert held.keys() == expected.keys()
            for name, tensor in expected.items():
                assert held[name].dtype == tensor.dtype
                assert torch.equal(held[name], tensor), name
        prompt = torch.tensor([[70, 71, 72]])
        assert torch.equal(found(input_ids=prompt).logits, right(input_ids=prompt).logits)
        assert not any(parameter.requires_grad for parameter in found.parameters())
        assert not found.training
    assert loads == [("float32", "cpu")]


def test_weights_that_are_tied_stay_tied():
    from tracediff.measure.flips_models import in_dtype

    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
    model[1].weight = model[0].weight
    cast = in_dtype(model, "bfloat16")
    assert cast[1].weight is cast[0].weight
    assert cast[0].weight.dtype is torch.bfloat16
    assert model[0].weight.dtype is torch.float32


def test_one_dtype_is_loaded_as_it_is(weights):
    loads = []
    models = Models(request=request(spec=ModelSpec(name=weights), dtypes=("bfloat16",)), load=noted(loads))
    assert models.get("bfloat16").dtype is torch.bfloat16
    assert loads == [("bfloat16", "cpu")]


def test_a_model_of_which_some_weights_always_stay_in_float32_is_loaded_for_each_dtype(weights):
    loads = []

    def load(spec, device):
        model = noted(loads)(spec, device)
        model._keep_in_fp32_modules = ["norm"]
        return model

    models = Models(request=request(spec=ModelSpec(name=weights), dtypes=DTYPES[:2]), load=load)
    assert models.get("float16").dtype is torch.float16
    assert loads[-1] == ("float16", "cpu")


def test_a_search_parses_a_gguf_file_once(weights, monkeypatch):
    import gguf

    from tracediff.measure.flips import search_flips

    parsed, maps = [], []
    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    monkeypatch.setattr(gguf, "GGUFReader", lambda *given: parsed.append(given) or reader(*given))
    monkeypatch.setattr(gguf, "get_tensor_name_map", lambda *given: maps.append(given) or name_map(*given))
    spec = ModelSpec(name=weights)
    search_flips(request(spec=spec, dtypes=DTYPES[:2], random=1, decode=1), load=load_model)
    assert (len(parsed), len(maps)) == (1, 1)
    search_flips(request(spec=spec, dtypes=DTYPES[:1], random=1, decode=1), load=load_model)
    assert len(parsed) == 2  # nothing is kept: the file may be another by then


def test_the_reference_of_one_dtype_of_a_gguf_file_is_in_float32(weights):
    models = Models(
        request=request(spec=ModelSpec(name=weights), dtypes=("bfloat16",), reference=True), load=load_model
    )
    exact = models.reference("bfloat16")
    assert {value.dtype for value in (*exact.parameters(), *exact.buffers())} == {torch.float32}
    prompt = torch.tensor([[70, 71, 72]])
    assert exact(input_ids=prompt).logits.dtype is torch.float32


def test_gguf_is_as_it_was_after_a_file_that_cannot_be_loaded(tmp_path):
    import gguf

    from tracediff.errors import TracediffError

    before = gguf.GGUFReader, gguf.get_tensor_name_map
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(TracediffError):
        load_model(ModelSpec(name=str(tmp_path / "broken.gguf")), "cpu")
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
