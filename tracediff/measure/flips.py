"""Search for the steps where another batch size chooses another token: prompts, precisions, resuming.

A search appends each finished prompt to `FILE.part` and becomes `FILE` when it is done; the same command run again
after an interruption continues after the last complete line, and ends in the same bytes. Imports torch in functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracediff.bounds import require_number
from tracediff.errors import TracediffError
from tracediff.files import refuse_to_overwrite, write_text
from tracediff.findings.flips import (
    CACHES,
    DYNAMIC,
    GENERATE,
    MODES,
    PREFILL,
    STATIC,
    FlipSettings,
    FlipsResult,
    Search,
)
from tracediff.findings.flips_file import result_to_json
from tracediff.findings.remedies_catalog import DEFAULT, Kind, setting_named
from tracediff.measure.flips_log import SearchLog
from tracediff.measure.flips_models import Models
from tracediff.measure.flips_precision import EncodedPrompt, PrecisionSearch
from tracediff.measure.machine import machine_and_workspace
from tracediff.measure.prompts import Prompt
from tracediff.model.attention import DEFAULT_ATTENTION
from tracediff.model.gguf_reading import gguf_read_once
from tracediff.model.load import load_model, load_tokenizer, prompt_tokens
from tracediff.model.spec import ModelSpec
from tracediff.text import json_text

if TYPE_CHECKING:
    from tracediff.measure.compare_steps import TextOf

StepProgress = Callable[[int, int, str], None]


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
        prompts: What to give the model; None takes random tokens.
        chat: Whether each prompt is one user message in the model's chat template.
        random: How many random prompts.
        tokens: Tokens of each random prompt.
        decode: Decode steps after the prefill.
        find: Stop each precision after so many flips; None searches all prompts.
        cache: `dynamic`: one prompt at a time, with the cache that grows as in transformers' own generation. `static`:
            many prompts at a time, with a cache of fixed size, masked attention, and on a GPU CUDA graphs.
        mix: With a static cache, run many prompts at once in each way that a control shows to change no bit; else every
            prompt runs by itself.
        graphs: With a static cache on a GPU, decode with CUDA graphs.
        remedy: Parts of a setting of `tracediff remedies` that hold during the search, joined by `+`. Without a part
            for attention it is the spec's; one with such a part needs the cache that grows.
    """

    spec: ModelSpec
    device: str
    batches: tuple[int, ...] = (1, 2)
    dtypes: tuple[str, ...] = ("float16",)
    tf32: bool = False
    reference: bool = True
    mode: str = "generate"
    prompts: tuple[Prompt, ...] | None = None
    chat: bool = False
    random: int = 16
    tokens: int = 6
    decode: int = 32
    find: int | None = None
    cache: str = DYNAMIC
    mix: bool = True
    graphs: bool = True
    remedy: str = DEFAULT

    def __post_init__(self) -> None:
        if len(set(self.batches)) < 2 or len(set(self.batches)) != len(self.batches):
            raise TracediffError("a flip needs two batch sizes", "give two or more different ones, as --batch 1 2")
        for what, value, least in (
            *(("batch size", batch, 1) for batch in self.batches),
            ("--random", self.random, 1),
            ("--tokens", self.tokens, 1),
            ("--decode", self.decode, 0),
            ("--find", 1 if self.find is None else self.find, 1),
        ):
            require_number(what, value, least)
        if self.mode not in MODES:
            raise TracediffError(f"unknown mode {self.mode}", f"choose one of {', '.join(MODES)}")
        if self.cache not in CACHES:
            raise TracediffError(f"unknown cache {self.cache}", f"choose one of {', '.join(CACHES)}")
        if self.cache == STATIC and (self.mode == PREFILL or self.find is not None or self.decode < 1):
            raise TracediffError("a static cache is for whole searches that decode", "leave --cache static out")
        setting = setting_named(self.remedy)
        if setting.part(Kind.ATTENTION) is not None:
            if self.cache == STATIC:
                raise TracediffError(
                    f"{self.remedy} decides attention, and knows no masks", "search with --cache dynamic"
                )
            if self.spec.attention != DEFAULT_ATTENTION:
                raise TracediffError(f"{self.remedy} decides attention too", "leave --attention out")
        if setting.padded_batch is not None:
            raise TracediffError("a padded batch is another batch size", "leave it out, and give that size to --batch")
        if self.prompts is not None and not self.prompts:
            raise TracediffError("there is no prompt", "give one prompt per line")


def search_flips(
    request: FlipRequest,
    out: Path | None = None,
    *,
    force: bool = False,
    progress: StepProgress = lambda done, total, text: None,
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
    if out is not None:
        refuse_to_overwrite(out, force)
    precisions, notes = _precisions(request)
    models = Models(request=request, load=load)
    with gguf_read_once(request.spec):
        model, tokenizer = models.get(precisions[0][0]), load_tokenizer(request.spec)
    prompts = _prompts(request, model, tokenizer)
    settings = _settings(request, prompts, precisions)
    log = SearchLog.open(
        None if out is None else out.with_name(f"{out.name}.part"),
        settings,
        machine_and_workspace(request.device),
        force,
    )
    total = len(precisions) * len(prompts)
    searches = []
    for place, (dtype, tf32) in enumerate(precisions):
        started = place * len(prompts)

        def tell(done: int, text: str, started: int = started, label: str = "tf32" if tf32 else dtype) -> None:
            progress(started + done, total, f"{label}, {text}")

        one = PrecisionSearch(
            request=request, models=models, prompts=prompts, log=log, place=place, dtype=dtype, tf32=tf32,
            text_of=token_texts(tokenizer), tell=tell,
        )  # fmt: skip
        searches.append(one.run())
    progress(total, total, "done")
    result = FlipsResult(
        settings=settings,
        machine=log.machine,
        searches=tuple(searches),
        notes=(*notes, *_notes(request.spec, searches)),
    )
    if out is not None:
        write_text(out, json_text(result_to_json(result)) + "\n", force=force)
        log.remove()
    return result


def _precisions(request: FlipRequest) -> tuple[list[tuple[str, bool]], list[str]]:
    precisions = [(dtype, False) for dtype in request.dtypes]
    if not request.tf32:
        return precisions, []
    if not request.device.startswith("cuda"):
        return precisions, ["TF32 exists on NVIDIA GPUs only: that row is left out here"]
    return [*precisions, ("float32", True)], []


def notes_on_weights(spec: ModelSpec) -> list[str]:
    """Return why numbers of these weights may mislead, one sentence each."""
    notes = []
    if spec.is_preset:
        notes.append(
            "random weights: the kernels and their bits are those of the real geometry, the margins are not those of a "
            "trained model, so the flip rate says nothing about one"
        )
    if spec.is_gguf:
        notes.append("the weights were dequantised from a GGUF file: another precision of them has margins of its own")
    return notes


def _notes(spec: ModelSpec, searches: Sequence[Search]) -> list[str]:
    notes = notes_on_weights(spec)
    if any(search.stopped_early for search in searches):
        notes.append("a search that stops at --find overstates the flip rate: it ends right after a prompt with flips")
    return notes


def _prompts(request: FlipRequest, model: Any, tokenizer: Any) -> list[EncodedPrompt]:
    """Return the prompts as token ids."""
    spec = request.spec
    if request.prompts is not None:
        kinds = [prompt.kind for prompt in request.prompts]
        encoded = [
            prompt_tokens(spec, model, text=prompt.text, chat=request.chat, tokenizer=tokenizer)
            for prompt in request.prompts
        ]
    else:
        kinds = [None] * request.random
        seeds = range(spec.seed, spec.seed + request.random)
        encoded = [prompt_tokens(replace(spec, seed=seed), model, count=request.tokens) for seed in seeds]
    prompts = [
        EncodedPrompt(number=number, tokens=tuple(tokens[0].tolist()), kind=kind)
        for number, (tokens, kind) in enumerate(zip(encoded, kinds, strict=True))
    ]
    longest = max(len(prompt.tokens) for prompt in prompts) + (request.decode if request.mode == GENERATE else 0)
    if longest > model.config.max_position_embeddings:
        limit = model.config.max_position_embeddings
        raise TracediffError(
            f"prompt and decode steps need {longest} positions, {request.spec.label} has {limit}", "lower --decode"
        )
    return prompts


def _settings(
    request: FlipRequest, prompts: Sequence[EncodedPrompt], precisions: Sequence[tuple[str, bool]]
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
        prompts_sha256=prompts_sha256([prompt.tokens for prompt in prompts]),
        decode=request.decode if request.mode == GENERATE else 0,
        precisions=tuple(precisions),
        reference=request.reference,
        find=request.find,
        cache=request.cache,
        chat=request.chat,
        remedy=setting_named(request.remedy).name,
    )


def prompts_sha256(prompts: Sequence[Sequence[int]]) -> str:
    """Return a hash of the prompts' token ids."""
    return hashlib.sha256(json.dumps([list(tokens) for tokens in prompts]).encode()).hexdigest()


def token_texts(tokenizer: Any) -> TextOf:
    """Return what decodes one token; it returns None where there is no tokenizer."""
    return lambda token: None if tokenizer is None else str(tokenizer.decode([token]))
