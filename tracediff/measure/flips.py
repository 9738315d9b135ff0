"""Search for the steps where another batch size chooses another token: prompts, precisions, resuming.

A search writes one line per finished prompt to `FILE.part` and becomes `FILE` when it is done; the same command run
again after an interruption goes on behind the last complete line. Imports torch inside functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, write_text
from tracediff.findings.flips import (
    MODES,
    FlipSettings,
    FlipsResult,
    PromptSteps,
    Search,
)
from tracediff.measure.flips_log import SearchLog
from tracediff.measure.flips_search import Steps, compare_prompt, float32_products, run_generate, run_prefill, same_run
from tracediff.model.load import load_model, model_directory, prompt_tokens
from tracediff.model.spec import ModelSpec
from tracediff.text import json_text

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipRequest:
    """What to search.

    Attributes:
        spec: The model; its dtype is replaced by each of `dtypes`.
        device: `cuda`, `cuda:N` or `cpu`.
        batches: Batch sizes; the first is the base that the others are compared with.
        dtypes: Precisions to search.
        tf32: Also search float32 with TF32 products; NVIDIA GPUs only.
        reference: Compare 16-bit logits with the same weights in float32.
        mode: `generate` (prefill and decode steps, as real generation) or `prefill` (every position of one forward).
        texts: Prompts; None takes random ones.
        random: How many random prompts.
        tokens: Tokens of each random prompt.
        decode: Decode steps after the prefill.
        find: Stop each precision after so many flips; None searches all prompts.
    """

    spec: ModelSpec
    device: str
    batches: tuple[int, ...] = (1, 2)
    dtypes: tuple[str, ...] = ("float16",)
    tf32: bool = False
    reference: bool = True
    mode: str = "generate"
    texts: tuple[str, ...] | None = None
    random: int = 16
    tokens: int = 6
    decode: int = 32
    find: int | None = None

    def __post_init__(self) -> None:
        if len(set(self.batches)) < 2 or len(set(self.batches)) != len(self.batches):
            raise TracediffError("a flip needs two batch sizes", "give two or more different ones, as --batch 1 2")
        for what, value, least in (
            ("batch size", min(self.batches), 1),
            ("--random", self.random, 1),
            ("--tokens", self.tokens, 1),
            ("--decode", self.decode, 0),
            ("--find", 1 if self.find is None else self.find, 1),
        ):
            if value < least:
                raise TracediffError(f"{what} {value} is too small", f"give {least} or more")
        if self.mode not in MODES:
            raise TracediffError(f"unknown mode {self.mode}", f"choose one of {', '.join(MODES)}")
        if self.texts is not None and not self.texts:
            raise TracediffError("the prompt file is empty", "give one prompt per line")


def search_flips(
    request: FlipRequest,
    out: Path | None = None,
    *,
    force: bool = False,
    progress: Progress = lambda done, total, text: None,
    load: Callable[[ModelSpec, str], Any] = load_model,
) -> FlipsResult:
    """Search every precision and return what was found.

    Args:
        request: What to search.
        out: Result file; with it the search can be resumed.
        force: Replace an existing `out`, and start over where an unfinished search lies beside it.
        progress: Called with (prompts done, prompts in all, what is running).
        load: Loads the model; tests give models with planted faults.

    Raises:
        TracediffError: No GPU, no model, no memory, logits that are not numbers, `out` exists or belongs to another
            search.
    """
    import torch  # noqa: PLC0415

    if out is not None:
        refuse_to_overwrite(out, force)
    precisions, notes = _precisions(request)
    models = _Models(request=request, load=load)
    prompts = _prompts(request, models.get(precisions[0][0]))
    settings = _settings(request, prompts, precisions)
    text_of = _token_texts(request.spec)
    log = SearchLog.open(
        None if out is None else out.with_name(f"{out.name}.part"), settings, machine(request.device), force
    )
    total = len(precisions) * len(prompts)
    searches = []
    for place, (dtype, tf32) in enumerate(precisions):
        done, repeatable = log.prompts(place), log.repeatable.get(place)
        for number in range(len(done), len(prompts)):
            if _found_enough(request.find, done):
                break
            progress(place * len(prompts) + number, total, f"{'tf32' if tf32 else dtype}, prompt {number}")
            model, exact = models.get(dtype), models.reference(dtype)
            tokens = torch.tensor([prompts[number]], dtype=torch.int64, device=model.device)
            runs = _runner(request, tokens)
            with float32_products(tf32=tf32), _memory_in_one_line(request, dtype):
                steps, base = compare_prompt(
                    runs,
                    model,
                    exact,
                    number=number,
                    length=len(prompts[number]),
                    batches=request.batches,
                    dtype=dtype,
                    text_of=text_of,
                )
                if repeatable is None:
                    repeatable = same_run(base, runs(model, request.batches[0], base.fed))
                    log.write_repeatable(place, repeatable)
            log.write_prompt(place, steps)
            done.append(steps)
        searches.append(
            Search(
                dtype=dtype,
                tf32=tf32,
                repeatable=bool(repeatable),
                stopped_early=len(done) < len(prompts),
                prompts=tuple(done),
            )
        )
    progress(total, total, "done")
    result = FlipsResult(
        settings=settings, machine=log.machine, searches=tuple(searches), notes=(*notes, *_notes(settings, searches))
    )
    if out is not None:
        write_text(out, json_text(result.to_dict()) + "\n", force=force)
        log.remove()
    return result


def machine(device: str) -> dict[str, str | None]:
    """Return what the numbers depend on beside the model: device, GPU, torch, CUDA and transformers."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    on_gpu = device.startswith("cuda")
    return {
        "device": "cuda" if on_gpu else device,
        "gpu": torch.cuda.get_device_name(torch.device(device)) if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
    }


def _precisions(request: FlipRequest) -> tuple[list[tuple[str, bool]], list[str]]:
    precisions = [(dtype, False) for dtype in request.dtypes]
    if not request.tf32:
        return precisions, []
    if not request.device.startswith("cuda"):
        return precisions, ["TF32 exists on NVIDIA GPUs only: that row is left out here"]
    return [*precisions, ("float32", True)], []


def _notes(settings: FlipSettings, searches: Sequence[Search]) -> list[str]:
    notes = []
    if settings.random_weights:
        notes.append(
            "random weights: the kernels and their bits are those of the real geometry, the margins are not those of a "
            "trained model, so the flip rate says nothing about one"
        )
    if any(search.stopped_early for search in searches):
        notes.append("a search that stops at --find overstates the flip rate: it ends right after a prompt with flips")
    return notes


@dataclass(slots=True, kw_only=True)
class _Models:
    """Holds one model at a time, and its float32 copy where one is asked for."""

    request: FlipRequest
    load: Callable[[ModelSpec, str], Any]
    dtype: str | None = None
    model: Any = None
    exact: Any = None

    def get(self, dtype: str) -> Any:
        if dtype != self.dtype:
            self.model = self.exact = None
            _free_memory()
            self.model = self.load(replace(self.request.spec, dtype=dtype), self.request.device)
            self.dtype = dtype
        return self.model

    def reference(self, dtype: str) -> Any:
        """Return the same weights in float32; None for a float32 model or where no reference is wanted."""
        import copy  # noqa: PLC0415

        if dtype == "float32" or not self.request.reference:
            return None
        if self.exact is None:
            with _memory_in_one_line(self.request, f"{dtype} with its float32 reference"):
                self.exact = copy.deepcopy(self.get(dtype)).float()
        return self.exact


def _free_memory() -> None:
    import gc  # noqa: PLC0415

    import torch  # noqa: PLC0415

    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def _memory_in_one_line(request: FlipRequest, what: str) -> Iterator[None]:
    import torch  # noqa: PLC0415

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TracediffError(
            f"out of memory: {request.spec.label} in {what}, batches {', '.join(map(str, request.batches))}",
            "use --layers, a smaller model or batch, or --no-reference",
        ) from error


def _prompts(request: FlipRequest, model: Any) -> list[list[int]]:
    """Return the prompts as token ids."""
    if request.texts is not None:
        encoded = [prompt_tokens(request.spec, model, text=text) for text in request.texts]
    else:
        seeds = range(request.spec.seed, request.spec.seed + request.random)
        encoded = [prompt_tokens(replace(request.spec, seed=seed), model, count=request.tokens) for seed in seeds]
    prompts: list[list[int]] = [tokens[0].tolist() for tokens in encoded]
    longest = max(len(prompt) for prompt in prompts) + (request.decode if request.mode == "generate" else 0)
    if longest > model.config.max_position_embeddings:
        limit = model.config.max_position_embeddings
        raise TracediffError(
            f"prompt and decode steps need {longest} positions, {request.spec.label} has {limit}", "lower --decode"
        )
    return prompts


def _settings(
    request: FlipRequest, prompts: Sequence[Sequence[int]], precisions: Sequence[tuple[str, bool]]
) -> FlipSettings:
    return FlipSettings(
        model=request.spec.label,
        random_weights=request.spec.is_preset,
        layers=request.spec.layers,
        attention=request.spec.attention,
        seed=request.spec.seed,
        batches=request.batches,
        mode=request.mode,
        prompts=len(prompts),
        prompts_sha256=hashlib.sha256(json.dumps([list(prompt) for prompt in prompts]).encode()).hexdigest(),
        decode=request.decode if request.mode == "generate" else 0,
        precisions=tuple(precisions),
        reference=request.reference,
        find=request.find,
    )


def _token_texts(spec: ModelSpec) -> Callable[[int], str | None]:
    if spec.is_preset:
        return lambda token: None
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_directory(spec))
    except (OSError, ValueError):  # a directory of weights alone still has logits
        return lambda token: None
    return lambda token: str(tokenizer.decode([token]))


def _runner(request: FlipRequest, tokens: Any) -> Callable[[Any, int, Any], Steps]:
    if request.mode == "prefill":
        return lambda model, batch, fed: run_prefill(model, tokens, batch)
    return lambda model, batch, fed: run_generate(model, tokens, batch, request.decode, fed)


def _found_enough(find: int | None, done: Sequence[PromptSteps]) -> bool:
    return find is not None and sum(len(prompt.flips) for prompt in done) >= find
