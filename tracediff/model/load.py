"""The models that are recorded: presets with real geometries and random weights, or real weights.

A preset needs no download and no licence. Which kernel runs depends on shapes and types, not on values, so random
weights of the real geometry run the real kernels. Weights are made directly on the device; the same seed gives the
same weights on the same GPU model and torch version.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.model.attention import attention_implementation
from tracediff.model.gguf_header import read_gguf_header
from tracediff.model.gguf_reading import gguf_read_once
from tracediff.model.presets import PRESETS
from tracediff.model.spec import ModelSpec
from tracediff.text import count, printable, shorten

# Everything a model needs and nothing that could run code on loading (no pickles, no Python files).
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_MOST_LAYERS = 10_000
#: Of weights of 4 bits, the smallest in safetensors.
_ELEMENTS_PER_BYTE = 2
#: Tied tensors are stored once; no model has more copies.
_MOST_PARAMETERS_PER_ELEMENT = 2
#: What is shorter says little without the name of its exception: `'weight'`.
_A_SENTENCE = 20
_LONGEST_REASON = 300


def load_model(spec: ModelSpec, device: str) -> Any:
    """Make or load the model on `device`, in evaluation mode and without gradients.

    Args:
        spec: Which model.
        device: `cuda`, `cuda:N` or `cpu`.

    Returns:
        A transformers causal language model, a `torch.nn.Module`.

    Raises:
        TracediffError: No GPU, not enough memory, unknown, gated or unreachable model, more layers than the model has.
    """
    import torch  # noqa: PLC0415 -- seconds, and a laptop that only diffs has none
    import transformers  # noqa: PLC0415

    require_device(device)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    dtype = getattr(torch, spec.dtype)
    with _load_failures_in_one_line(spec), gguf_read_once(spec):
        if spec.is_preset:
            config = transformers.LlamaConfig(**_preset_geometry(spec))
            torch.manual_seed(spec.seed)
            with torch.device(device):
                model = transformers.AutoModelForCausalLM.from_config(
                    config, dtype=dtype, attn_implementation=attention_implementation(spec.attention)
                )
        else:
            source = pretrained_source(spec)
            config = transformers.AutoConfig.from_pretrained(**source)
            _keep_layers(config, spec)
            _refuse_improbable_sizes(spec, source["pretrained_model_name_or_path"], config)
            with _quiet(spec):
                model, found = transformers.AutoModelForCausalLM.from_pretrained(
                    **source,
                    config=config,
                    dtype=dtype,
                    attn_implementation=attention_implementation(spec.attention),
                    ignore_mismatched_sizes=True,  # refused below, in words that say which
                    output_loading_info=True,
                )
            _refuse_unfit_weights(spec, found)
            model = model.to(device)
    return model.eval().requires_grad_(False)


def prompt_tokens(
    spec: ModelSpec, model: Any, *, text: str | None = None, count: int = 6, chat: bool = False, tokenizer: Any = None
) -> Any:
    """Return one prompt as token ids.

    Args:
        spec: The model's spec; its seed makes the random prompt.
        model: What `load_model` returned.
        text: The prompt's text. Presets have no tokenizer: each UTF-8 byte is one token there.
        count: Without text, how many random tokens.
        chat: Whether the text is one user message, put into the model's own chat template.
        tokenizer: What `load_tokenizer` returned, where it is at hand; else it is loaded.

    Returns:
        An int64 tensor (1, tokens) on the model's device. Random tokens are the same on every device.

    Raises:
        TracediffError: An empty prompt, one longer than the model's positions, or `chat` without a chat template.
    """
    import torch  # noqa: PLC0415

    if text is None:
        generator = torch.Generator().manual_seed(spec.seed)
        tokens = torch.randint(model.config.vocab_size, (1, count), generator=generator)
    else:
        tokenizer = tokenizer or load_tokenizer(spec)
        tokens = torch.tensor([_encoded(spec, tokenizer, text, chat)], dtype=torch.int64)
    length = tokens.shape[1]
    if length == 0:
        raise TracediffError("the prompt has no tokens", "give --prompt a text, or --tokens 1 or more")
    if length > model.config.max_position_embeddings:
        limit = model.config.max_position_embeddings
        raise TracediffError(f"the prompt has {length} tokens, {spec.label} takes {limit}", "shorten it")
    return tokens.to(model.device)


def load_tokenizer(spec: ModelSpec) -> Any:
    """Return the model's tokenizer; None for a preset, which has none.

    Raises:
        TracediffError: The model has no tokenizer beside its weights, or it cannot be loaded.
    """
    if spec.is_preset:
        return None
    from transformers import AutoTokenizer  # noqa: PLC0415

    with _load_failures_in_one_line(spec), _quiet(spec):
        return AutoTokenizer.from_pretrained(**pretrained_source(spec))


def _encoded(spec: ModelSpec, tokenizer: Any, text: str, chat: bool) -> list[int]:
    if not chat:
        return list(text.encode()) if tokenizer is None else list(tokenizer(text).input_ids)
    if tokenizer is None or not tokenizer.chat_template:
        raise TracediffError(f"{spec.label} has no chat template", "leave --chat out")
    message = [{"role": "user", "content": text}]
    with _load_failures_in_one_line(spec):  # the template is a program of the model's
        return list(tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)["input_ids"])


def has_gpu() -> bool:
    """Whether torch can use a GPU."""
    import torch  # noqa: PLC0415

    return bool(torch.cuda.is_available())


def require_device(device: str, hint: str = "run it on a machine with one, or with `--device cpu`") -> None:
    """Raise TracediffError, with a hint, where `device` is a GPU and there is none that torch can use."""
    if device.startswith("cuda") and not has_gpu():
        import torch  # noqa: PLC0415

        why = "this torch is a CPU build" if torch.version.cuda is None else "torch sees no NVIDIA GPU"
        raise TracediffError(f"no GPU to run on ({why})", hint)


def model_directory(spec: ModelSpec) -> Path:
    """Return the directory of a model that is not a preset, fetching a hub model into the hub's own cache first.

    Of a GGUF file it is the folder that holds the file.

    Raises:
        TracediffError: The model is gated, does not exist, or the hub cannot be reached.
    """
    if spec.is_directory:
        return Path(spec.name)
    if spec.is_gguf:
        return Path(spec.name).parent
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    with _load_failures_in_one_line(spec):
        return Path(snapshot_download(spec.name, allow_patterns=_HUB_FILES))


def pretrained_source(spec: ModelSpec) -> dict[str, Any]:
    """Return the arguments by which transformers' `from_pretrained` finds a model that is not a preset.

    Raises:
        TracediffError: As `model_directory`, a damaged GGUF file, or one without the packages that read it.
    """
    source: dict[str, Any] = {"pretrained_model_name_or_path": model_directory(spec)}
    if spec.is_gguf:
        missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
        if missing:
            raise TracediffError(
                f"reading GGUF needs {' and '.join(missing)}, not installed here", f"pip install {' '.join(missing)}"
            )
        read_gguf_header(Path(spec.name))
        source["gguf_file"] = Path(spec.name).name
    return source


def _quiet(spec: ModelSpec) -> AbstractContextManager[Any]:
    """Return a context without the progress bars of the GGUF reader, which no setting of transformers turns off."""
    return redirect_stderr(io.StringIO()) if spec.is_gguf else nullcontext()


def _preset_geometry(spec: ModelSpec) -> dict[str, Any]:
    geometry = dict(PRESETS[spec.name])
    if spec.layers is not None:
        _refuse_more_layers(spec, geometry["num_hidden_layers"])
        geometry["num_hidden_layers"] = spec.layers
    return geometry


def _keep_layers(config: Any, spec: ModelSpec) -> None:
    if spec.layers is not None:
        _refuse_more_layers(spec, config.num_hidden_layers)
        config.num_hidden_layers = spec.layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: spec.layers]


def _refuse_more_layers(spec: ModelSpec, available: int) -> None:
    if spec.layers is not None and spec.layers > available:
        raise TracediffError(f"{spec.label} has {available} layers, not {spec.layers}", "give a smaller --layers")


def _refuse_improbable_sizes(spec: ModelSpec, directory: Path, config: Any) -> None:
    """Refuse a model that would take much more memory than its weights fill: its description is not theirs."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    layers = getattr(config, "num_hidden_layers", 1)
    if not 0 < layers <= _MOST_LAYERS:
        raise TracediffError(f"{spec.label} is said to have {layers:,} layers", "fetch or convert it again")
    stored = _most_elements(spec, directory)
    with torch.device("meta"):
        parameters = transformers.AutoModelForCausalLM.from_config(config).num_parameters()
    if stored and parameters > _MOST_PARAMETERS_PER_ELEMENT * stored:
        what = f"is said to have {parameters:,} parameters, and holds {stored:,} at most"
        raise TracediffError(f"{spec.label} {what}", "fetch or convert it again")


def _most_elements(spec: ModelSpec, directory: Path) -> int:
    """Return how many elements the files of a model can hold; 0 where it has none, which transformers tells better."""
    if spec.is_gguf:
        return read_gguf_header(Path(spec.name)).elements
    files = [path for pattern in ("*.safetensors", "*.bin") for path in directory.glob(pattern)]
    return _ELEMENTS_PER_BYTE * sum(path.stat().st_size for path in files)


def _refuse_unfit_weights(spec: ModelSpec, found: dict[str, Any]) -> None:
    """Refuse weights that lack tensors of the model or hold them in other sizes: transformers makes up such ones."""
    if missing := found["missing_keys"]:
        what = f"lacks {count(len(missing), 'tensor')} of its model, such as {min(missing)}"
    elif mismatched := found["mismatched_keys"]:
        first = next(iter(mismatched))
        name = first if isinstance(first, str) else first[0]  # transformers 5 gives both shapes with it
        what = f"holds {name} in another size than its model asks for"
    else:
        return
    raise TracediffError(f"{spec.label} {what}", "fetch or convert it again")


@contextmanager
def _load_failures_in_one_line(spec: ModelSpec) -> Iterator[None]:
    """Turn what torch, transformers and the hub raise into one line that says what to do."""
    # The hub's loggers repeat the whole story on stderr.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        yield
    except TracediffError:
        raise
    except Exception as error:
        names = {type(link).__name__ for link in _causes(error)}
        if "OutOfMemoryError" in names or "DefaultCPUAllocator" in str(error):
            raise out_of_memory(spec) from error
        if "GatedRepoError" in names or "gated repo" in str(error):
            hint = f"accept its terms on huggingface.co/{spec.name}, then `hf auth login`; or use a preset"
            raise TracediffError(f"{spec.label} is gated", hint) from error
        if "RepositoryNotFoundError" in names:
            hint = "check the id; a private one needs `hf auth login`"
            raise TracediffError(f"the hub has no model {spec.name}", hint) from error
        if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}:
            hint = "check the connection, give a local directory, or use a preset"
            raise TracediffError(f"cannot fetch {spec.name} from the hub", hint) from error
        if "does not support an attention implementation" in str(error):
            raise TracediffError(f"{spec.label} has no {spec.attention} attention", "add --attention eager") from error
        # Files of others, read by packages of others: a wrong value ends anywhere in them, as any exception.
        said = " ".join(str(error).split())
        said = f"{type(error).__name__}: {said}" if len(said) < _A_SENTENCE else said
        raise TracediffError(f"cannot load {spec.label}", shorten(printable(said), _LONGEST_REASON)) from error


def out_of_memory(spec: ModelSpec, batch: int | None = None) -> TracediffError:
    """Return the error for a model or a batch that does not fit."""
    what = f"{spec.label} in {spec.dtype}" + ("" if batch is None else f" at batch {batch}")
    return TracediffError(f"out of memory: {what} does not fit", "use --layers, a smaller model, batch or prompt")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
