"""Measure a model's evidence: which modules change bits with the batch size, and whether anything else does.

Everything runs in one process on the model as it is: no profiler, no kernel names. What is kept is small: per module
and phase whether bits are equal, the share of elements that differ and the largest difference in ULP; per batch size
row 0's logits of each phase's last position. On request also what each origin made of equal inputs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from tracediff.files import replaced_when_complete
from tracediff.measure import controls
from tracediff.measure.bits import compare
from tracediff.measure.repair import find_repair, kind
from tracediff.measure.replay import Differing, Place, Recording, compare_run, record, replay
from tracediff.measured import (
    ACTIVATIONS_FILE,
    EVIDENCE_FILE,
    LOGITS_FILE,
    Bits,
    Control,
    Evidence,
    ModuleBits,
    PairEvidence,
    Repair,
    encode_evidence,
)
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
        isolated: Bits of each module on equal inputs, by (phase number, module); those that differ in order.
        propagated: Bits of each module in the run.
        repair: What makes the logits bit-identical; None where they are, or where it could not be sought.
        note: Why no repair was sought; None where one was, or none was needed.
        differing: What the origins made of equal inputs; empty unless asked for.
    """

    batch: int
    logits: dict[str, Bits]
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
        model, dtype: As the traces' manifest names them.
        tokens: Length of the prompt.
        batches: Batch sizes, 1 first.
        phases: Names of the phases.
        pairs: Batch 1 against each other batch size.
        controls: By name: `run_to_run`, `neighbours`, `position`, `profiler`.
        logits: Row 0's logits of each phase's last position, by `batch/phase`.
        seconds: How long it took.
        activations: What the origins made of equal inputs, row 0, as `activations.safetensors` holds it; None where it
            was not asked for.
    """

    model: str
    dtype: str
    tokens: int
    batches: tuple[int, ...]
    phases: tuple[str, ...]
    pairs: tuple[MeasuredPair, ...]
    controls: dict[str, Control]
    logits: dict[str, torch.Tensor]
    seconds: float
    activations: dict[str, torch.Tensor] | None = None

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
    recorded_hashes: Mapping[str, str] | None = None,
    activations: bool = False,
) -> Measured:
    """Measure all evidence of a model.

    Args:
        model: A causal language model of transformers, or one that is called like it.
        prompt: Token ids (1, tokens) on the model's device; every row of a batch holds them.
        batches: Batch sizes; batch 1 is always measured.
        decode_tokens: The token that every row is given in each decode step.
        name, dtype: As the traces' manifest names them.
        recorded_hashes: `logits_hashes` of the profiled process.
        activations: Whether to keep what the origins made of equal inputs.

    Raises:
        torch.OutOfMemoryError: A batch does not fit.
    """
    start = time.monotonic()
    others = tuple(batch for batch in dict.fromkeys(batches) if batch != 1)
    phases = (PREFILL, *(decode_phase(step) for step in range(len(decode_tokens))))

    def run(tokens: torch.Tensor) -> list[torch.Tensor]:
        return forward(model, tokens, decode_tokens)

    recording, alone = _recorded(model, run, prompt)
    vocabulary = alone[0].shape[-1]
    logits = {f"1/{phase}": each[0, -1].cpu() for phase, each in zip(phases, alone, strict=True)}
    hashes = logits_hashes(1, phases, alone)
    pairs = []
    for batch in others:
        pair, together = _pair(model, run, prompt, batch, phases, recording, alone, activations)
        pairs.append(pair)
        logits |= {f"{batch}/{phase}": each[0, -1].cpu() for phase, each in zip(phases, together, strict=True)}
        hashes |= logits_hashes(batch, phases, together)
    del recording
    largest = (1, *others[-1:])
    return Measured(
        model=name,
        dtype=dtype,
        tokens=prompt.shape[1],
        batches=(1, *others),
        phases=phases,
        pairs=tuple(pairs),
        controls={
            "run_to_run": controls.run_to_run(run, prompt, largest, phases),
            "neighbours": controls.neighbours(model, run, prompt, others, phases, vocabulary),
            "position": controls.position(run, prompt, others, phases, vocabulary),
            "profiler": controls.profiler(recorded_hashes, hashes),
        },
        logits=logits,
        seconds=time.monotonic() - start,
        activations=_activations(pairs, phases) if activations else None,
    )


def _recorded(model: nn.Module, run: controls.Run, prompt: torch.Tensor) -> tuple[Recording, list[torch.Tensor]]:
    logits: list[torch.Tensor] = []
    recording = record(model, lambda: logits.extend(run(prompt)))
    return recording, logits


def _pair(
    model: nn.Module,
    run: controls.Run,
    prompt: torch.Tensor,
    batch: int,
    phases: Sequence[str],
    recording: Recording,
    alone: Sequence[torch.Tensor],
    activations: bool,
) -> tuple[MeasuredPair, list[torch.Tensor]]:
    tokens = prompt.repeat(batch, 1)
    differing: Differing = {}
    isolated = replay(model, lambda: run(tokens), recording, differing if activations else None)
    together: list[torch.Tensor] = []
    propagated = compare_run(model, lambda: together.extend(run(tokens)), recording)
    logits = {phase: compare(first, second[:1]) for phase, first, second in zip(phases, alone, together, strict=True)}
    repair = note = None
    if not all(bits.equal for bits in logits.values()):
        try:
            repair = find_repair(
                model,
                lambda: [each[:1] for each in run(tokens)],
                alone,
                suspects={kind(name) for (_, name), bits in isolated.items() if not bits.equal},
                kinds={kind(name) for _, name in recording.places},
            )
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            # A module that cannot be called one row at a time must not cost the rest of the evidence.
            note = f"no repair was sought at batch {batch}: {type(error).__name__}: {str(error)[:160]}"
    pair = MeasuredPair(
        batch=batch,
        logits=logits,
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


def _activations(pairs: Sequence[MeasuredPair], phases: Sequence[str]) -> dict[str, torch.Tensor]:
    """Name the tensors: `<batch>/<phase>/<module>`, with ` -> <child>` where the module handed it to a child.

    Further calls in one phase and further tensors of one call end in `#<call>.<tensor>`.
    """
    named: dict[str, torch.Tensor] = {}
    for pair in pairs:
        for ((phase, module), child, call, number), tensors in pair.differing.items():
            name = f"{phases[phase]}/{module}" + (f" -> {child}" if child is not None else "")
            name += f"#{call}.{number}" if call or number else ""
            named |= {f"{batch}/{name}": tensor for batch, tensor in zip((1, pair.batch), tensors, strict=True)}
    return named


def to_evidence(measured: Measured) -> Evidence:
    """Return what `evidence.json` holds."""
    return Evidence(
        model=measured.model,
        dtype=measured.dtype,
        tokens=measured.tokens,
        batches=measured.batches,
        phases=measured.phases,
        pairs=tuple(_pair_evidence(pair, measured.phases) for pair in measured.pairs),
        notes=tuple(pair.note for pair in measured.pairs if pair.note is not None),
        controls=measured.controls,
        seconds=round(measured.seconds, 1),
    )


def _pair_evidence(pair: MeasuredPair, phases: Sequence[str]) -> PairEvidence:
    modules: dict[str, dict[str, ModuleBits]] = {phase: {} for phase in phases}
    for place in dict.fromkeys([*pair.isolated, *pair.propagated]):
        number, name = place
        modules[phases[number]][name] = ModuleBits(
            isolated=pair.isolated.get(place), propagated=pair.propagated.get(place)
        )
    first = next(iter(pair.origins), None)
    return PairEvidence(
        batches=(1, pair.batch),
        logits=pair.logits,
        tokens=pair.tokens,
        modules=modules,
        first_origin=None if first is None else (phases[first[0]], first[1]),
        repair=pair.repair,
    )


def write(measured: Measured, directory: Path) -> None:
    """Write `evidence.json`, `logits.safetensors` and, where asked for, `activations.safetensors` into a directory.

    What is there is replaced.

    Raises:
        TracediffError: They cannot be written.
    """
    from safetensors.torch import save_file  # noqa: PLC0415 -- only writing needs it

    for file_name, tensors in ((LOGITS_FILE, measured.logits), (ACTIVATIONS_FILE, measured.activations)):
        if tensors is not None:
            with replaced_when_complete(directory / file_name) as temporary:
                save_file({name: each.contiguous() for name, each in tensors.items()}, temporary)
    with replaced_when_complete(directory / EVIDENCE_FILE) as temporary:
        temporary.write_text(encode_evidence(to_evidence(measured)), encoding="utf-8")
