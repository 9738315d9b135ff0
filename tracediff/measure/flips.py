"""Search for the steps where another batch size chooses another token: prompts, precisions, resuming.

A search appends each finished prompt to `FILE.part` and becomes `FILE` when it is done; the same command run again
after an interruption continues after the last complete line, and ends in the same bytes. Imports torch in functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    PromptSteps,
    Search,
)
from tracediff.findings.flips_file import result_to_json
from tracediff.measure.flips_log import SearchLog
from tracediff.measure.prompts import Prompt
from tracediff.model.load import load_model, load_tokenizer, prompt_tokens
from tracediff.model.spec import ModelSpec
from tracediff.text import json_text

if TYPE_CHECKING:
    from tracediff.measure.compare_steps import PromptRuns, TextOf
    from tracediff.measure.generation import Steps
    from tracediff.measure.lanes import Decoder, Task

StepProgress = Callable[[int, int, str], None]
# Prompts of a static search that run together, and how many logits of all their batch sizes may lie in memory.
_PROMPTS_AT_ONCE, _LOGITS_AT_ONCE = 64, 2_500_000_000


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
        mix: With a static cache, let rows hold different prompts where a control shows that this changes no bit.
        graphs: With a static cache on a GPU, decode with CUDA graphs.
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
        if self.cache not in CACHES:
            raise TracediffError(f"unknown cache {self.cache}", f"choose one of {', '.join(CACHES)}")
        if self.cache == STATIC and (self.mode == PREFILL or self.find is not None or self.decode < 1):
            raise TracediffError("a static cache is for whole searches that decode", "leave --cache static out")
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
    models = _Models(request=request, load=load)
    tokenizer = load_tokenizer(request.spec) if request.prompts is not None or not request.spec.is_preset else None
    prompts = _prompts(request, models.get(precisions[0][0]), tokenizer)
    settings = _settings(request, prompts, precisions)
    log = SearchLog.open(
        None if out is None else out.with_name(f"{out.name}.part"), settings, machine(request.device), force
    )
    total = len(precisions) * len(prompts)
    searches = []
    for place, (dtype, tf32) in enumerate(precisions):
        started = place * len(prompts)

        def tell(done: int, text: str, started: int = started, label: str = "tf32" if tf32 else dtype) -> None:
            progress(started + done, total, f"{label}, {text}")

        one = _PrecisionSearch(
            request=request, models=models, prompts=prompts, log=log, place=place, dtype=dtype, tf32=tf32,
            text_of=_token_texts(tokenizer), tell=tell,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _PrecisionSearch:
    """Searches all prompts in one precision.

    Attributes:
        request: What to search.
        models: Loads the model.
        prompts: The prompts' tokens, with their kinds.
        log: What is finished already, and where each finished prompt goes.
        place: The precision's place in the settings.
        dtype, tf32: The precision.
        text_of: Decodes one token.
        tell: Called with the prompts done and what is running.
    """

    request: FlipRequest
    models: _Models
    prompts: Sequence[_Encoded]
    log: SearchLog
    place: int
    dtype: str
    tf32: bool
    text_of: TextOf
    tell: Callable[[int, str], None]

    def run(self) -> Search:
        """Search what is not finished, and return all of it."""
        done = self.log.prompts(self.place)
        finished = {steps.prompt for steps in done}
        waiting = [prompt for prompt in self.prompts if prompt.number not in finished]
        if waiting:
            from tracediff.measure.compare_steps import float32_products  # noqa: PLC0415 -- it imports torch

            with float32_products(tf32=self.tf32), _memory_in_one_line(self.request, self.dtype):
                for steps in self._one_by_one(waiting) if self.request.cache == DYNAMIC else self._together(waiting):
                    self.log.write_prompt(self.place, steps)
                    done.append(steps)
        return Search(
            dtype=self.dtype,
            tf32=self.tf32,
            repeatable=self.log.repeatable.get(self.place, False),
            stopped_early=len(done) < len(self.prompts),
            prompts=tuple(sorted(done, key=lambda steps: steps.prompt)),
            mixed=self.log.mixed_batches(self.place),
        )

    def _one_by_one(self, waiting: Sequence[_Encoded]) -> Iterator[PromptSteps]:
        """Run every prompt by itself, all rows copies of it."""
        import torch  # noqa: PLC0415

        from tracediff.measure.compare_steps import PromptRuns, same_bits  # noqa: PLC0415
        from tracediff.measure.generation import run_generate, run_prefill  # noqa: PLC0415

        request, done = self.request, self.log.prompts(self.place)
        for prompt in waiting:
            if request.find is not None and sum(len(steps.flips) for steps in done) >= request.find:
                return
            self.tell(len(done), f"prompt {prompt.number}")
            model = self.models.get(self.dtype)
            tokens = torch.tensor([prompt.tokens], dtype=torch.int64, device=model.device)

            def run(batch: int, fed: Any = None, model: Any = model, tokens: Any = tokens) -> Steps:
                if request.mode == PREFILL:
                    return run_prefill(model, tokens, batch)
                return run_generate(model, tokens, batch, request.decode, fed)

            base = run(request.batches[0])
            others = {batch: run(batch, base.fed) for batch in request.batches[1:]}
            if self.place not in self.log.repeatable:
                self.log.write_repeatable(self.place, same_bits(base, run(request.batches[0], base.fed)))
            yield self._compared(
                PromptRuns(
                    number=prompt.number,
                    length=len(prompt.tokens),
                    kind=prompt.kind,
                    base=base,
                    others=others,
                    reference=self._reference(prompt, base),
                )
            )

    def _together(self, waiting: Sequence[_Encoded]) -> Iterator[PromptSteps]:
        """Run many prompts at a time through a static cache."""
        from tracediff.measure.compare_steps import PromptRuns, same_bits  # noqa: PLC0415
        from tracediff.measure.lanes import Decoder, Task, slots_for  # noqa: PLC0415

        request, count = self.request, self.request.decode + 1
        on_gpu = request.device.startswith("cuda")
        decoder = Decoder(self.models.get(self.dtype), count, graphs=on_gpu and request.graphs)
        by_slots: dict[int, list[_Encoded]] = {}
        # Prompts of one length are prefilled together.
        for prompt in sorted(waiting, key=lambda prompt: (len(prompt.tokens), prompt.number)):
            by_slots.setdefault(slots_for(len(prompt.tokens), count), []).append(prompt)
        logits = count * self.models.get(self.dtype).config.vocab_size * len(request.batches)
        for slots, chunk in _chunks_of(by_slots, max(1, min(_PROMPTS_AT_ONCE, _LOGITS_AT_ONCE // logits))):
            done = len(self.log.prompts(self.place))
            self.tell(done, f"{len(chunk)} prompts of up to {slots} tokens, batch {request.batches[0]}")
            tasks = [Task(tokens=prompt.tokens) for prompt in chunk]
            base = self._run(decoder, tasks, request.batches[0], slots)
            if self.place not in self.log.repeatable:
                again = decoder.run(
                    tasks, request.batches[0], mixed=self._mixes(decoder, tasks, request.batches[0], slots)
                )
                self.log.write_repeatable(self.place, all(map(same_bits, base, again)))
            fed = [Task(tokens=task.tokens, fed=steps.fed) for task, steps in zip(tasks, base, strict=True)]
            others = {}
            for part, batch in enumerate(request.batches[1:], start=1):
                self.tell(
                    done + len(chunk) * part // len(request.batches),
                    f"{len(chunk)} prompts of up to {slots} tokens, batch {batch}",
                )
                others[batch] = self._run(decoder, fed, batch, slots)
            for place, prompt in enumerate(chunk):
                yield self._compared(
                    PromptRuns(
                        number=prompt.number,
                        length=len(prompt.tokens),
                        kind=prompt.kind,
                        base=base[place],
                        others={batch: steps[place] for batch, steps in others.items()},
                        reference=self._reference(prompt, base[place]),
                    )
                )

    def _run(self, decoder: Decoder, tasks: list[Task], batch: int, slots: int) -> list[Steps]:
        return decoder.run(tasks, batch, mixed=self._mixes(decoder, tasks, batch, slots))

    def _mixes(self, decoder: Decoder, tasks: list[Task], batch: int, slots: int) -> bool:
        """Return whether rows may hold different prompts; measured once for each batch size and cache size."""
        if batch == 1 or not self.request.mix:
            return batch == 1
        known = self.log.independent.get((self.place, batch, slots))
        if known is None:
            known = decoder.rows_are_independent(tasks, batch)
            self.log.write_independent(self.place, batch, slots, known)
        return known

    def _reference(self, prompt: _Encoded, base: Steps) -> Any:
        """Return the logits of the same weights in float32 after the same tokens; None where they are not wanted."""
        import torch  # noqa: PLC0415

        from tracediff.measure.compare_steps import float32_products  # noqa: PLC0415
        from tracediff.measure.generation import run_at_once, run_prefill  # noqa: PLC0415

        exact = self.models.reference(self.dtype)
        if exact is None:
            return None
        tokens = torch.tensor([prompt.tokens], dtype=torch.int64, device=exact.device)
        with float32_products(tf32=False):
            if self.request.mode == PREFILL:
                return run_prefill(exact, tokens, 1).logits.float()
            return run_at_once(exact, tokens, base.fed, len(base.fed))

    def _compared(self, runs: PromptRuns) -> PromptSteps:
        from tracediff.dtypes import FORMATS, TF32  # noqa: PLC0415
        from tracediff.measure.compare_steps import compare_runs  # noqa: PLC0415

        return compare_runs(runs, TF32 if self.tf32 else FORMATS[self.dtype], self.text_of)


def _chunks_of(by_slots: dict[int, list[_Encoded]], size: int) -> Iterator[tuple[int, list[_Encoded]]]:
    for slots, prompts in sorted(by_slots.items()):
        for start in range(0, len(prompts), size):
            yield slots, prompts[start : start + size]


def machine(device: str) -> dict[str, str | None]:
    """Return what the numbers depend on beside the model: device, GPU, torch, CUDA and transformers."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    on_gpu = device.startswith("cuda")
    return {
        "device": "cuda" if on_gpu else device,
        "gpu": torch.cuda.get_device_name(torch.device(device)) if on_gpu else None,
        "torch": str(torch.__version__),
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


def _notes(spec: ModelSpec, searches: Sequence[Search]) -> list[str]:
    notes = []
    if spec.is_preset:
        notes.append(
            "random weights: the kernels and their bits are those of the real geometry, the margins are not those of a "
            "trained model, so the flip rate says nothing about one"
        )
    if spec.is_gguf:
        notes.append("the weights were dequantised from a GGUF file: another precision of them has margins of its own")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """One prompt as tokens.

    Attributes:
        number: Its index.
        tokens: Its token ids.
        kind: What kind of prompt it is; None where the file does not say.
    """

    number: int
    tokens: tuple[int, ...]
    kind: str | None


def _prompts(request: FlipRequest, model: Any, tokenizer: Any) -> list[_Encoded]:
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
        _Encoded(number=number, tokens=tuple(tokens[0].tolist()), kind=kind)
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
    request: FlipRequest, prompts: Sequence[_Encoded], precisions: Sequence[tuple[str, bool]]
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
        prompts_sha256=hashlib.sha256(json.dumps([list(prompt.tokens) for prompt in prompts]).encode()).hexdigest(),
        decode=request.decode if request.mode == GENERATE else 0,
        precisions=tuple(precisions),
        reference=request.reference,
        find=request.find,
        cache=request.cache,
        chat=request.chat,
    )


def _token_texts(tokenizer: Any) -> TextOf:
    return lambda token: None if tokenizer is None else str(tokenizer.decode([token]))
