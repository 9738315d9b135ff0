"""Measure a model's evidence: which modules change bits with the batch size, and whether anything else does.

Everything runs in one process on the model as it is: no profiler, no kernel names. What is kept is small: per module
and phase whether bits are equal, the share of elements that differ and the largest difference in ULP; per batch size
row 0's logits of each phase's last position. On request also what each origin made of equal inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tracediff.measure import controls
from tracediff.measure.bits import compare, move
from tracediff.measure.controls import Subject
from tracediff.measure.crossings import Place
from tracediff.measure.noise import Noise, measure_noise
from tracediff.measure.repair import find_repair, kind
from tracediff.measure.replay import Differing, Recording, compare_run, pinned, record, replay
from tracediff.measured import (
    Bits,
    Control,
    LogitsMove,
    Repair,
    Unstable,
)
from tracediff.model.attention import STEADY_CANDIDATES, attention_set, can_set_attention
from tracediff.model.forward import forward
from tracediff.model.logits_hashes import logits_hashes
from tracediff.model.ranges import PREFILL, decode_phase


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPair:
    """Batch 1 against another batch size, row 0.

    Attributes:
        batch: The other batch size.
        logits: Bits of all positions' logits, by phase.
        tokens: Greedy choice at the last position at batch 1 and at `batch`, by phase.
        isolated: Bits of each stable module on equal inputs, by (phase number, module); those that differ in order.
        propagated: Bits of each module in the run.
        pinned_logits: The same with unstable modules pinned to batch 1; empty where none is unstable.
        moves: How far the logits moved, by phase.
        repair: What makes the logits bit-identical, unstable modules pinned; None where they are, or where it could not
            be sought.
        note: Why no repair was sought; None where one was, or none was needed.
        differing: What the origins made of equal inputs; empty unless asked for.
    """

    batch: int
    logits: dict[str, Bits]
    pinned_logits: dict[str, Bits]
    moves: dict[str, LogitsMove]
    tokens: dict[str, tuple[int, int]]
    isolated: dict[Place, Bits]
    propagated: dict[Place, Bits]
    repair: Repair | None
    note: str | None = None
    differing: Differing = field(default_factory=dict)

    @property
    def origins(self) -> list[Place]:
        """Modules that make a difference, in the order in which they first did."""
        return [place for place, bits in self.isolated.items() if not bits.equal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one model.

    Attributes:
        model, dtype, attention: As the traces' manifest names them.
        tokens: Length of the prompt.
        batches: Batch sizes, 1 first.
        phases: Names of the phases.
        pairs: Batch 1 against each other batch size.
        controls: By name: `run_to_run`, `neighbours`, `position`, `profiler`.
        unstable: Modules whose own bits vary.
        steady_attentions: With which attentions the run repeats itself; None where none was tried.
        logits: Row 0's logits of each phase's last position, by `batch/phase`.
        seconds: How long it took.
        activations: What the origins made of equal inputs, row 0, as `activations.safetensors` holds it; None where it
            was not asked for.
        gpu: What the model ran on; None without a GPU.
    """

    model: str
    dtype: str
    attention: str | None
    tokens: int
    batches: tuple[int, ...]
    phases: tuple[str, ...]
    pairs: tuple[MeasuredPair, ...]
    controls: dict[str, Control]
    unstable: tuple[Unstable, ...]
    steady_attentions: tuple[str, ...] | None
    logits: dict[str, torch.Tensor]
    seconds: float
    activations: dict[str, torch.Tensor] | None = None
    gpu: str | None = None

    @property
    def leak(self) -> Control | None:
        """The neighbours' control where it found that rows leak into each other."""
        control = self.controls["neighbours"]
        return control if control.equal is False else None


def measure(
    model: nn.Module,
    prompt: torch.Tensor,
    batches: Sequence[int],
    decode_tokens: Sequence[int],
    *,
    name: str,
    dtype: str,
    attention: str | None = None,
    recorded_hashes: Mapping[str, Sequence[str]] | None = None,
    activations: bool = False,
) -> Measured:
    """Measure all evidence of a model.

    Args:
        model: A causal language model of transformers, or one that is called like it.
        prompt: Token ids (1, tokens) on the model's device; every row of a batch holds them.
        batches: Batch sizes; batch 1 is always measured.
        decode_tokens: The token that every row is given in each decode step.
        name, dtype, attention: As the traces' manifest names them.
        recorded_hashes: `logits_hashes` of the profiled process, one of each recording.
        activations: Whether to keep what the origins made of equal inputs.

    Raises:
        torch.OutOfMemoryError: A batch does not fit.
    """
    start = time.monotonic()
    others = tuple(batch for batch in dict.fromkeys(batches) if batch != 1)
    subject, alone = _subject(model, prompt, others, decode_tokens)
    phases = tuple(subject.phases)
    found_by_controls = _controls(subject, others, recorded_hashes)
    logits = _last_logits(1, phases, alone)
    pairs = []
    for batch in others:
        pair, together = _pair(subject, batch, alone, activations)
        pairs.append(pair)
        logits |= _last_logits(batch, phases, together)
        del together
    repeats_itself = found_by_controls["run_to_run"].equal is not False
    return Measured(
        model=name,
        dtype=dtype,
        attention=attention,
        tokens=prompt.shape[1],
        batches=(1, *others),
        phases=phases,
        pairs=tuple(pairs),
        controls=found_by_controls,
        unstable=tuple(each for noise in subject.noise.values() for each in noise.unstable(phases)),
        steady_attentions=None if repeats_itself else _steady_attentions(subject, (1, *others), attention),
        logits=logits,
        seconds=time.monotonic() - start,
        activations=_activations(pairs, phases) if activations else None,
        gpu=torch.cuda.get_device_name(prompt.device) if prompt.device.type == "cuda" else None,
    )


def _subject(
    model: nn.Module, prompt: torch.Tensor, others: Sequence[int], decode_tokens: Sequence[int]
) -> tuple[Subject, list[torch.Tensor]]:
    """Record batch 1, look for noise at every batch size, and return what is measured and batch 1's logits."""

    def run(tokens: torch.Tensor) -> list[torch.Tensor]:
        return forward(model, tokens, decode_tokens)

    recording, alone = _recorded(model, run, prompt)
    subject = Subject(
        model=model,
        run=run,
        prompt=prompt,
        phases=(PREFILL, *(decode_phase(step) for step in range(len(decode_tokens)))),
        vocabulary=alone[0].shape[-1],
        recording=recording,
        noise={batch: _noise(model, run, prompt, recording, batch) for batch in (1, *others)},
    )
    return subject, alone


def _last_logits(batch: int, phases: Sequence[str], logits: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return row 0's logits of each phase's last position, by `batch/phase`."""
    return {f"{batch}/{phase}": each[0, -1].cpu() for phase, each in zip(phases, logits, strict=True)}


def _controls(
    subject: Subject, others: Sequence[int], recorded_hashes: Mapping[str, Sequence[str]] | None
) -> dict[str, Control]:
    return {
        "run_to_run": controls.run_to_run(subject, (1, *others)),
        "neighbours": controls.neighbours(subject, others),
        "position": controls.position(subject, others),
        "profiler": controls.profiler(recorded_hashes, subject),
    }


def _recorded(model: nn.Module, run: controls.Run, prompt: torch.Tensor) -> tuple[Recording, list[torch.Tensor]]:
    logits: list[torch.Tensor] = []
    recording = record(model, lambda: logits.extend(run(prompt)))
    return recording, logits


def _noise(model: nn.Module, run: controls.Run, prompt: torch.Tensor, recording: Recording, batch: int) -> Noise:
    tokens = prompt.repeat(batch, 1)
    return measure_noise(model, lambda: run(tokens), recording, batch)


def _steady_attentions(subject: Subject, batches: Sequence[int], attention: str | None) -> tuple[str, ...] | None:
    """Return with which other attentions every repeat of the run gives the same logits; None where none can be set."""
    if not can_set_attention(subject.model):
        return None
    steady = []
    for name in (name for name in STEADY_CANDIDATES if name != attention):
        with attention_set(subject.model, name):
            try:
                repeats = [_repeats(subject, batch) for batch in batches]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                continue  # a backend that does not take these shapes and types
        if all(repeats):
            steady.append(name)
    return tuple(steady)


def _repeats(subject: Subject, batch: int) -> bool:
    tokens = subject.prompt.repeat(batch, 1)
    first, *others = (logits_hashes(batch, subject.phases, subject.run(tokens)) for _ in range(subject.repeats))
    return all(each == first for each in others)


def _pair(
    subject: Subject, batch: int, alone: Sequence[torch.Tensor], activations: bool
) -> tuple[MeasuredPair, list[torch.Tensor]]:
    model, recording, phases = subject.model, subject.recording, subject.phases
    tokens = subject.prompt.repeat(batch, 1)
    varied = {**subject.noise[1].varied, **subject.noise[batch].varied}
    unstable = {crossing.place for crossing in varied}

    def run() -> Sequence[torch.Tensor]:
        return subject.run(tokens)

    differing: Differing = {}
    isolated = replay(model, run, recording, differing if activations else None)
    isolated = {place: bits for place, bits in isolated.items() if place not in unstable}
    differing = {key: tensors for key, tensors in differing.items() if key[0].place not in unstable}
    together: list[torch.Tensor] = []
    propagated = compare_run(model, lambda: together.extend(run()), recording)
    logits = _compared(phases, alone, together)

    def run_pinned() -> Sequence[torch.Tensor]:
        with pinned(model, recording, varied):
            return run()

    pinned_logits = _compared(phases, alone, run_pinned()) if varied else {}
    repair, note = None, None
    if not all(bits.equal for bits in (pinned_logits or logits).values()):
        repair, note = _repair(subject, batch, run_pinned, alone, isolated)
    pair = MeasuredPair(
        batch=batch,
        logits=logits,
        pinned_logits=pinned_logits,
        moves={phase: move(a[0], b[0]) for phase, a, b in zip(phases, alone, together, strict=True)},
        tokens={
            phase: (int(first[0, -1].argmax()), int(second[0, -1].argmax()))
            for phase, first, second in zip(phases, alone, together, strict=True)
        },
        isolated=isolated,
        propagated=propagated,
        repair=repair,
        note=note,
        differing=differing,
    )
    return pair, together


def _compared(
    phases: Sequence[str], alone: Sequence[torch.Tensor], together: Sequence[torch.Tensor]
) -> dict[str, Bits]:
    return {phase: compare(first, second[:1]) for phase, first, second in zip(phases, alone, together, strict=True)}


def _repair(
    subject: Subject,
    batch: int,
    run: Callable[[], Sequence[torch.Tensor]],
    alone: Sequence[torch.Tensor],
    isolated: Mapping[Place, Bits],
) -> tuple[Repair | None, str | None]:
    try:
        found = find_repair(
            subject.model,
            lambda: [each[:1] for each in run()],
            alone,
            suspects={kind(name) for (_, name), bits in isolated.items() if not bits.equal},
            kinds={kind(name) for _, name in subject.recording.places},
        )
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        # A module that cannot be called one row at a time must not cost the rest of the evidence.
        return None, f"no repair was sought at batch {batch}: {type(error).__name__}: {str(error)[:160]}"
    return found, None


def _activations(pairs: Sequence[MeasuredPair], phases: Sequence[str]) -> dict[str, torch.Tensor]:
    """Name the tensors: `<batch>/<phase>/<module>`, with ` -> <child>` where the module handed it to a child.

    Further calls in one phase and further tensors of one call end in `#<call>.<tensor>`.
    """
    named: dict[str, torch.Tensor] = {}
    for pair in pairs:
        for (crossing, number), tensors in pair.differing.items():
            name = f"{phases[crossing.phase]}/{crossing.maker}"
            name += f" -> {crossing.module}" if crossing.is_input else ""
            name += f"#{crossing.call}.{number}" if crossing.call or number else ""
            named |= {f"{batch}/{name}": tensor for batch, tensor in zip((1, pair.batch), tensors, strict=True)}
    return named
