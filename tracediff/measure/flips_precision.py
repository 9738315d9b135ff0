"""Search one precision for flips: prompt after prompt, or many at a time through a static cache.

Before a batch size counts, it is run twice with the same tokens. Where its bits do not repeat, every prompt runs twice
there, and a step whose two runs choose different tokens is noise and no flip. Imports torch in functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracediff.findings.flips import DYNAMIC, PREFILL, PromptSteps, Search
from tracediff.findings.remedies_catalog import Kind, setting_named
from tracediff.measure.flips_log import ControlRecord, SearchLog
from tracediff.measure.flips_models import Models, memory_in_one_line
from tracediff.model.attention import attention_failures_in_one_line

if TYPE_CHECKING:
    from tracediff.measure.compare_steps import TextOf
    from tracediff.measure.flips import FlipRequest
    from tracediff.measure.generation import Steps
    from tracediff.measure.lane_rows import Task
    from tracediff.measure.lanes import Decoder

# Prompts of a static search that run together, and what share of the free memory the logits of all their batch sizes
# may fill.
_PROMPTS_AT_ONCE, _LOGITS_SHARE = 256, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompt:
    """One prompt as tokens.

    Attributes:
        number: Its index.
        tokens: Its token ids.
        kind: What kind of prompt it is; None where the file does not say.
    """

    number: int
    tokens: tuple[int, ...]
    kind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionSearch:
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
    models: Models
    prompts: Sequence[EncodedPrompt]
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
            from tracediff.measure.remedies_apply import applied  # noqa: PLC0415

            # The reference is copied before a remedy changes modules.
            model, _ = self.models.get(self.dtype), self.models.reference(self.dtype)
            setting = setting_named(self.request.remedy)
            remedy = applied(setting, model, keep_attention=setting.part(Kind.ATTENTION) is None)
            one_line = memory_in_one_line(self.request, self.dtype)
            refusals = attention_failures_in_one_line(self.request.spec.attention, self.dtype)
            with float32_products(tf32=self.tf32), one_line, refusals, remedy:
                for steps in self._one_by_one(waiting) if self.request.cache == DYNAMIC else self._together(waiting):
                    self.log.write_prompt(self.place, steps)
                    done.append(steps)
        noisy = self.log.noisy_batches(self.place)
        return Search(
            dtype=self.dtype,
            tf32=self.tf32,
            repeatable=self.request.batches[0] not in noisy,
            stopped_early=len(done) < len(self.prompts),
            prompts=tuple(sorted(done, key=lambda steps: steps.prompt)),
            mixed=self.log.mixed_batches(self.place),
            noisy=noisy,
        )

    def _one_by_one(self, waiting: Sequence[EncodedPrompt]) -> Iterator[PromptSteps]:
        """Run every prompt by itself, all rows copies of it."""
        first, *others = self.request.batches
        done = self.log.prompts(self.place)
        # Attention varies from run to run with many keys rather than with few.
        longest = max(self.prompts, key=lambda prompt: len(prompt.tokens))
        for prompt in waiting:
            if self.request.find is not None and sum(len(steps.flips) for steps in done) >= self.request.find:
                return
            self.tell(len(done), f"prompt {prompt.number}")
            noisy = self._noisy_with(longest)
            runs = _Runs()
            runs.first[first] = base = self._alone(prompt, first)
            for batch in others:
                runs.first[batch] = self._alone(prompt, batch, base.fed)
            for batch in noisy:
                runs.again[batch] = self._alone(prompt, batch, base.fed)
            yield self._compared(prompt, runs)

    def _noisy_with(self, prompt: EncodedPrompt) -> tuple[int, ...]:
        """Return the batch sizes whose bits do not repeat with this prompt; measured once."""
        from tracediff.measure.generation import same_bits  # noqa: PLC0415

        fed = None
        for batch in self.request.batches:
            if self.log.control(self.place, batch) is None:
                once = self._alone(prompt, batch, fed)
                fed = once.fed if fed is None else fed
                repeats = same_bits(once, self._alone(prompt, batch, fed))
                self.log.write_control(self.place, ControlRecord(batch=batch, repeats=repeats))
        return self.log.noisy_batches(self.place)

    def _alone(self, prompt: EncodedPrompt, batch: int, fed: Any = None) -> Steps:
        import torch  # noqa: PLC0415

        from tracediff.measure.generation import run_generate, run_prefill  # noqa: PLC0415

        model = self.models.get(self.dtype)
        tokens = torch.tensor([prompt.tokens], dtype=torch.int64, device=model.device)
        if self.request.mode == PREFILL:
            return run_prefill(model, tokens, batch)
        return run_generate(model, tokens, batch, self.request.decode, fed)

    def _together(self, waiting: Sequence[EncodedPrompt]) -> Iterator[PromptSteps]:
        """Run many prompts at a time through a static cache."""
        from tracediff.measure.lane_rows import Task  # noqa: PLC0415
        from tracediff.measure.lanes import Decoder, free_bytes, slots_for  # noqa: PLC0415

        first, *others = self.request.batches
        count = self.request.decode + 1
        on_gpu = self.request.device.startswith("cuda")
        model = self.models.get(self.dtype)
        decoder = Decoder(model, count, graphs=on_gpu and self.request.graphs)
        by_slots: dict[int, list[EncodedPrompt]] = {}
        # Prompts of one length are prefilled together.
        for prompt in sorted(waiting, key=lambda prompt: (len(prompt.tokens), prompt.number)):
            by_slots.setdefault(slots_for(len(prompt.tokens), count), []).append(prompt)
        logits = count * model.config.vocab_size * len(self.request.batches) * model.dtype.itemsize
        fitting = int(free_bytes(model.device) * _LOGITS_SHARE) // logits
        for slots, chunk in _chunks_of(by_slots, max(1, min(_PROMPTS_AT_ONCE, fitting))):
            done = len(self.log.prompts(self.place))
            runs = [_Runs() for _ in chunk]
            tasks = [Task(tokens=prompt.tokens) for prompt in chunk]
            for part, batch in enumerate((first, *others)):
                self.tell(
                    done + len(chunk) * part // len(self.request.batches),
                    f"{len(chunk)} prompts of up to {slots} tokens, batch {batch}",
                )
                once, again = self._run(decoder, tasks, batch, slots)
                for each, steps in zip(runs, once, strict=True):
                    each.first[batch] = steps
                for each, steps in zip(runs, again, strict=False):
                    each.again[batch] = steps
                if batch == first:
                    tasks = [Task(tokens=task.tokens, fed=steps.fed) for task, steps in zip(tasks, once, strict=True)]
            for prompt, each in zip(chunk, runs, strict=True):
                yield self._compared(prompt, each)

    def _run(self, decoder: Decoder, tasks: list[Task], batch: int, slots: int) -> tuple[list[Steps], list[Steps]]:
        """Run tasks of one cache size; where bits do not repeat, once more with the same tokens."""
        from tracediff.measure.lane_control import first_run  # noqa: PLC0415
        from tracediff.measure.lane_rows import Task  # noqa: PLC0415
        from tracediff.measure.lanes import Way  # noqa: PLC0415

        known = self.log.control(self.place, batch, slots)
        if known is None:
            control, once = first_run(
                decoder, tasks, batch, mix=self.request.mix, sharing_holds=self.log.sharing_holds(self.place)
            )
            known = ControlRecord(
                batch=batch,
                slots=slots,
                repeats=control.repeats,
                mixed=control.way.mixed,
                shared=control.way.shared,
            )
            self.log.write_control(self.place, known)
        else:
            once = decoder.run(tasks, batch, Way(mixed=known.mixed, shared=known.shared))
        if known.repeats:
            return once, []
        fed = [Task(tokens=task.tokens, fed=steps.fed) for task, steps in zip(tasks, once, strict=True)]
        return once, decoder.run(fed, batch, Way(mixed=known.mixed, shared=known.shared))

    def _reference(self, prompt: EncodedPrompt, base: Steps) -> Any:
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

    def _compared(self, prompt: EncodedPrompt, runs: _Runs) -> PromptSteps:
        from tracediff.dtypes import FORMATS, TF32  # noqa: PLC0415
        from tracediff.measure.compare_steps import PromptRuns, compare_runs  # noqa: PLC0415

        first, *others = self.request.batches
        return compare_runs(
            PromptRuns(
                number=prompt.number,
                length=len(prompt.tokens),
                kind=prompt.kind,
                base=runs.first[first],
                base_again=runs.again.get(first),
                others={batch: runs.first[batch] for batch in others},
                others_again={batch: runs.again[batch] for batch in others if batch in runs.again},
                reference=self._reference(prompt, runs.first[first]),
            ),
            TF32 if self.tf32 else FORMATS[self.dtype],
            self.text_of,
        )


@dataclass(frozen=True, slots=True)
class _Runs:
    """One prompt's runs by batch size; `again` holds those that were repeated because bits do not repeat there."""

    first: dict[int, Steps] = field(default_factory=dict)
    again: dict[int, Steps] = field(default_factory=dict)


def _chunks_of(by_slots: Mapping[int, list[EncodedPrompt]], size: int) -> Iterator[tuple[int, list[EncodedPrompt]]]:
    for slots, prompts in sorted(by_slots.items()):
        for start in range(0, len(prompts), size):
            yield slots, prompts[start : start + size]
