"""What `tracediff.model.load` promises, on the CPU."""

import json
import os
import subprocess
import sys
import warnings

import pytest

from tracediff.errors import TracediffError
from tracediff.model.attention import attention_failures_in_one_line
from tracediff.model.forward import forward
from tracediff.model.load import PRESETS, load_model, prompt_tokens
from tracediff.model.spec import ModelSpec

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# Parameters of the published models, counted from their model cards' safetensors.
PUBLISHED_PARAMETERS = {
    "llama-3-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-2-7b": 6_738_415_616,
}


@pytest.fixture(scope="module")
def tiny():
    return load_model(ModelSpec(name="tiny", dtype="float32"), "cpu")


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_a_preset_has_the_parameter_count_of_the_published_model(name, parameters):
    from transformers import AutoModelForCausalLM, LlamaConfig

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**PRESETS[name]))
    assert model.num_parameters() == parameters


def test_the_llama_3_2_presets_scale_their_rope():
    from transformers import LlamaConfig

    config = LlamaConfig(**PRESETS["llama-3.2-1b"])
    if hasattr(config, "rope_parameters"):
        parameters = config.rope_parameters
    else:  # transformers 4
        parameters = {**config.rope_scaling, "rope_theta": config.rope_theta}
    assert (parameters["rope_type"], parameters["rope_theta"], parameters["factor"]) == ("llama3", 500000.0, 32.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_have_the_asked_dtype_and_need_no_gradient(dtype):
    model = load_model(ModelSpec(name="tiny", dtype=dtype), "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tiny):
    tokens = prompt_tokens(ModelSpec(name="tiny"), tiny, count=5)
    again = load_model(ModelSpec(name="tiny", dtype="float32"), "cpu")
    other = load_model(ModelSpec(name="tiny", dtype="float32", seed=1), "cpu")
    assert torch.equal(tiny(tokens).logits, again(tokens).logits)
    assert not torch.equal(tiny(tokens).logits, other(tokens).logits)


def test_layers_keeps_the_first_blocks():
    model = load_model(ModelSpec(name="tiny", layers=1), "cpu")
    assert len(model.model.layers) == 1


def test_attention_is_the_asked_one():
    for attention in ("sdpa", "eager"):
        model = load_model(ModelSpec(name="tiny", attention=attention), "cpu")
        assert model.config._attn_implementation == attention


def test_a_directory_is_loaded_with_its_weights(tiny, tmp_path):
    directory = tmp_path / "my-model"
    tiny.save_pretrained(directory)
    spec = ModelSpec(name=str(directory), dtype="float32")
    tokens = prompt_tokens(ModelSpec(name="tiny"), tiny, count=5)
    assert torch.equal(load_model(spec, "cpu")(tokens).logits, tiny(tokens).logits)
    assert spec.label == "my-model"
    assert len(load_model(ModelSpec(name=str(directory), layers=1), "cpu").model.layers) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_hidden_layers": 3}, "lacks 9 tensors of its model, such as model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1 << 40}, "is said to have 1,099,511,627,776 layers"),
        ({"num_hidden_layers": 0}, "is said to have 0 layers"),
        ({"hidden_size": 1 << 20}, "parameters, and holds .* at most"),
        ({"intermediate_size": 64}, "in another size than its model asks for"),
        ({"num_attention_heads": 0}, "cannot load"),
        ({"vocab_size": "many"}, "cannot load"),
    ],
)
def test_a_description_that_is_not_of_the_weights_beside_it_is_one_line(tiny, tmp_path, fields, words):
    directory = tmp_path / "my-model"
    tiny.save_pretrained(directory)
    config = directory / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **fields}))
    with pytest.raises(TracediffError, match=words) as raised:
        load_model(ModelSpec(name=str(directory)), "cpu")
    assert "\n" not in str(raised.value)


def test_a_model_that_knows_no_sdpa_is_told_what_it_knows(tmp_path):
    from transformers import BloomConfig, BloomForCausalLM

    BloomForCausalLM(BloomConfig(n_layer=1, hidden_size=32, n_head=2, vocab_size=100)).save_pretrained(tmp_path)
    with pytest.raises(TracediffError, match="has no sdpa attention: add --attention eager"):
        load_model(ModelSpec(name=str(tmp_path)), "cpu")
    assert len(load_model(ModelSpec(name=str(tmp_path), attention="eager"), "cpu").transformer.h) == 1


def test_a_directory_without_weights_is_one_line(tiny, tmp_path):
    tiny.config.save_pretrained(tmp_path)
    with pytest.raises(TracediffError, match=r"cannot load .*model\.safetensors"):
        load_model(ModelSpec(name=str(tmp_path)), "cpu")


def test_random_prompts_depend_on_the_seed_alone(tiny):
    first, again, other = (prompt_tokens(ModelSpec(name="tiny", seed=seed), tiny, count=7) for seed in (3, 3, 4))
    assert first.shape == (1, 7)
    assert first.dtype == torch.int64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_preset_reads_text_as_bytes(tiny):
    assert prompt_tokens(ModelSpec(name="tiny"), tiny, text="hé").tolist() == [[104, 195, 169]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "llama-9"}, "unknown model llama-9"),
        ({"dtype": "int8"}, "unknown dtype int8"),
        ({"attention": "fast"}, "unknown attention fast"),
        ({"layers": 0}, "0 layers are too few"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_in_one_line(fields, words):
    with pytest.raises(TracediffError, match=words):
        ModelSpec(**fields)


def test_more_layers_than_the_model_has_are_refused():
    with pytest.raises(TracediffError, match="tiny has 2 layers, not 3"):
        load_model(ModelSpec(name="tiny", layers=3), "cpu")


def test_an_empty_or_too_long_prompt_is_refused(tiny):
    with pytest.raises(TracediffError, match="no tokens"):
        prompt_tokens(ModelSpec(name="tiny"), tiny, text="")
    with pytest.raises(TracediffError, match="513 tokens, tiny takes 512"):
        prompt_tokens(ModelSpec(name="tiny"), tiny, count=513)


def test_a_directory_that_holds_no_model_is_one_line(tmp_path):
    with pytest.raises(TracediffError, match="cannot load"):
        load_model(ModelSpec(name=str(tmp_path)), "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_is_one_line():
    with pytest.raises(TracediffError, match="no GPU to run on"):
        load_model(ModelSpec(name="tiny"), "cuda")


def test_out_of_memory_is_one_line(monkeypatch):
    import transformers

    def fail(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_config", fail)
    with pytest.raises(TracediffError, match=r"out of memory: tiny in float16 does not fit"):
        load_model(ModelSpec(name="tiny"), "cpu")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", "owner/model is gated"),
        ("RepositoryNotFoundError", "the hub has no model owner/model"),
        ("LocalEntryNotFoundError", "cannot fetch owner/model from the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(monkeypatch, error, words):
    import huggingface_hub

    def fail(*_args, **_options):
        raise type(error, (OSError,), {})("404 Client Error\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(TracediffError, match=words) as raised:
        load_model(ModelSpec(name="owner/model"), "cpu")
    assert "\n" not in str(raised.value)


def test_a_hub_model_without_network_is_one_line(tmp_path):
    code = (
        "from tracediff.model.load import *\n"
        "try: load_model(ModelSpec(name='owner/model'), 'cpu')\n"
        "except TracediffError as error: print(error)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    assert done.stdout.startswith("cannot fetch owner/model from the hub: ")
    assert done.stderr == ""


@pytest.mark.parametrize("attention", ["flash", "math", "eager"])
def test_every_attention_computes_the_same_up_to_rounding(attention):
    def logits(name):
        spec = ModelSpec(name="tiny", dtype="float32", attention=name)
        model = load_model(spec, "cpu")
        return forward(model, prompt_tokens(spec, model).repeat(2, 1), [1])

    for asked, default in zip(logits(attention), logits("sdpa"), strict=True):
        assert torch.allclose(asked, default, atol=1e-5)


def test_a_backend_that_does_not_run_here_is_one_line():
    spec = ModelSpec(name="tiny", dtype="float32", attention="efficient")  # a GPU's alone
    model = load_model(spec, "cpu")
    with (
        pytest.raises(TracediffError, match="--attention efficient does not run here with float32"),
        attention_failures_in_one_line(spec.attention, spec.dtype),
    ):
        forward(model, prompt_tokens(spec, model), [])


def test_the_cache_is_handed_on_without_a_warning_of_transformers():
    spec = ModelSpec(name="tiny", dtype="float32")
    model = load_model(spec, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forward(model, prompt_tokens(spec, model), [1, 2])
