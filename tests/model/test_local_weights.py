"""Local weights: GGUF files, chat templates, and the names that results are stored under."""

import importlib.util
import json

import pytest

from tests.model.tiny_gguf import write_gguf
from tracediff.errors import TracediffError
from tracediff.model import load
from tracediff.model.load import load_model, prompt_tokens
from tracediff.model.spec import ModelSpec

CHAT = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    for package in ("gguf", "accelerate", "torch", "transformers"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("gguf") / "Tiny-Bytes.Q4_1.gguf"
    write_gguf(path, CHAT)
    return path


@pytest.mark.torch
def test_a_gguf_file_is_loaded_dequantised_under_its_own_name(gguf_file, capfd):
    import torch

    spec = ModelSpec(name=str(gguf_file), dtype="bf16")
    model = load_model(spec, "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config.num_hidden_layers == 2
    assert bool(model.model.layers[1].mlp.down_proj.weight.abs().max() > 0)
    assert (spec.label, spec.weights) == ("Tiny-Bytes.Q4_1", "real, dequantised from GGUF")
    assert capfd.readouterr().err == ""
    assert len(load_model(ModelSpec(name=str(gguf_file), layers=1), "cpu").model.layers) == 1


@pytest.mark.torch
def test_text_is_encoded_by_the_file_s_own_tokenizer_and_chat_template(gguf_file):
    pytest.importorskip("transformers", minversion="5", reason="transformers 4 makes no tokenizer of this tiny file")
    spec = ModelSpec(name=str(gguf_file))
    model = load_model(spec, "cpu")
    assert prompt_tokens(spec, model, text="hé").tolist() == [[104, 195, 169]]
    assert bytes(prompt_tokens(spec, model, text="hi", chat=True)[0].tolist()) == b"<user>hi<assistant>"


@pytest.mark.torch
def test_a_model_without_a_chat_template_says_so():
    pytest.importorskip("transformers")
    spec = ModelSpec(name="tiny")
    with pytest.raises(TracediffError, match="tiny has no chat template: leave --chat out"):
        prompt_tokens(spec, load_model(spec, "cpu"), text="hi", chat=True)


def test_missing_packages_are_one_line_with_the_command(tmp_path, monkeypatch):
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF")
    found = importlib.util.find_spec
    monkeypatch.setattr(load, "find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(TracediffError, match="reading GGUF needs gguf, not installed here: pip install gguf"):
        load.pretrained_source(ModelSpec(name=str(path)))


@pytest.fixture
def changed(gguf_file, tmp_path):
    """Returns what writes the file with some of its bytes replaced, as many times as they occur."""

    def write(*replacements):
        content = gguf_file.read_bytes()
        for old, new in replacements:
            assert old in content
            assert len(new) == len(old)
            content = content.replace(old, new)
        path = tmp_path / "changed.gguf"
        path.write_bytes(content)
        return ModelSpec(name=str(path))

    return write


def number_of(key, value):
    return key.encode() + (4).to_bytes(4, "little") + value.to_bytes(4, "little")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("key", "stated", "other", "words"),
    [
        ("llama.feed_forward_length", 128, 1 << 31, "is said to have 824,633,778,496 parameters, and holds 106,816"),
        ("llama.feed_forward_length", 128, 64, "holds .*mlp.* in another size than its model asks for"),
        ("llama.block_count", 2, 3, "lacks 9 tensors of its model, such as model.layers.2.input_layernorm.weight"),
        ("llama.attention.head_count", 4, 0, "cannot load changed: .*by zero"),
    ],
)
def test_a_header_that_describes_another_model_is_one_line(changed, key, stated, other, words):
    spec = changed((number_of(key, stated), number_of(key, other)))
    with pytest.raises(TracediffError, match=words) as raised:
        load_model(spec, "cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.torch
def test_a_tensor_under_another_name_is_not_made_up_at_random(changed):
    spec = changed((b"blk.1.ffn_down.weight", b"blk.1.ffn_dawn.weight"))
    with pytest.raises(TracediffError, match=r"lacks 1 tensor of its model, such as model\.layers\.1"):
        load_model(spec, "cpu")


@pytest.mark.torch
def test_a_type_of_tensor_that_cannot_be_dequantised_is_one_line(gguf_file, tmp_path):
    content = bytearray(gguf_file.read_bytes())
    name = b"output_norm.weight"
    at = content.index(name) + len(name) + 4 + 8
    content[at : at + 4] = (26).to_bytes(4, "little")  # 32-bit integers, as wide as the floats were
    path = tmp_path / "changed.gguf"
    path.write_bytes(content)
    with pytest.raises(TracediffError, match="cannot load changed: Dequantization for I32"):
        load_model(ModelSpec(name=str(path)), "cpu")


@pytest.mark.torch
def test_a_chat_template_that_is_no_template_is_one_line(changed):
    spec = changed((b"{% endfor %}<assistant>", b"{% endif  %}<assistant>"))
    with pytest.raises(TracediffError, match=r"cannot load changed: .*endif"):
        prompt_tokens(spec, load_model(spec, "cpu"), text="hi", chat=True)


@pytest.mark.torch
def test_a_file_that_is_no_gguf_is_one_line(tmp_path):
    for package in ("gguf", "accelerate", "transformers"):
        pytest.importorskip(package)
    path = tmp_path / "some.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(TracediffError, match=r"some\.gguf is not a GGUF file") as raised:
        load_model(ModelSpec(name=str(path)), "cpu")
    assert "\n" not in str(raised.value)


def test_a_gguf_file_that_does_not_exist_is_not_looked_for_on_the_hub():
    with pytest.raises(TracediffError, match=r"there is no file models/none\.gguf"):
        ModelSpec(name="models/none.gguf")


@pytest.mark.parametrize(
    ("folder", "config", "label"),
    [
        ("my-model", {}, "my-model"),
        ("hf", {"_name_or_path": "owner/SmolLM2-135M"}, "SmolLM2-135M"),
        ("hf", {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576}, "llama-30x576"),
        ("hf", None, "hf"),
        ("hf", [], "hf"),
        ("models--owner--name/snapshots/0123abc", {}, "owner/name"),
    ],
)
def test_a_directory_is_called_by_the_model_s_own_name(tmp_path, folder, config, label):
    directory = tmp_path / folder
    directory.mkdir(parents=True)
    if config is not None:
        (directory / "config.json").write_text(json.dumps(config))
    assert ModelSpec(name=str(directory)).label == label


def test_another_folder_s_process_is_given_an_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert ModelSpec(name="weights").with_absolute_path().name == str(tmp_path / "weights")
    assert ModelSpec(name="tiny").with_absolute_path().name == "tiny"
