"""What a measurement leaves behind: `evidence.json`, row 0's logits, and on request what the origins made."""

from __future__ import annotations

from pathlib import Path

from tracediff.files import replaced_when_complete
from tracediff.measure.evidence import Measured, MeasuredPair
from tracediff.measure.noise import REPEATS
from tracediff.measured import (
    ACTIVATIONS_FILE,
    EVIDENCE_FILE,
    LOGITS_FILE,
    Evidence,
    ModuleBits,
    PairEvidence,
    encode_evidence,
    worst_by_place,
)


def to_evidence(measured: Measured) -> Evidence:
    """Return what `evidence.json` holds."""
    return Evidence(
        model=measured.model,
        dtype=measured.dtype,
        tokens=measured.tokens,
        batches=measured.batches,
        phases=measured.phases,
        pairs=tuple(_pair_evidence(pair, measured) for pair in measured.pairs),
        notes=tuple(pair.note for pair in measured.pairs if pair.note is not None),
        controls=measured.controls,
        seconds=round(measured.seconds, 1),
        attention=measured.attention,
        repeats=REPEATS,
        unstable=measured.unstable,
        steady_attentions=measured.steady_attentions,
        gpu=measured.gpu,
    )


def _pair_evidence(pair: MeasuredPair, measured: Measured) -> PairEvidence:
    phases = measured.phases
    unstable = worst_by_place(measured.unstable, (1, pair.batch))
    modules: dict[str, dict[str, ModuleBits]] = {phase: {} for phase in phases}
    for place in dict.fromkeys([*pair.isolated, *pair.propagated]):
        number, name = place
        modules[phases[number]][name] = ModuleBits(
            isolated=pair.isolated.get(place),
            propagated=pair.propagated.get(place),
            unstable=unstable.get((phases[number], name)),
        )
    first = next(iter(pair.origins), None)
    return PairEvidence(
        batches=(1, pair.batch),
        logits=pair.logits,
        tokens=pair.tokens,
        modules=modules,
        first_origin=None if first is None else (phases[first[0]], first[1]),
        repair=pair.repair,
        moves=pair.moves,
        pinned_logits=pair.pinned_logits,
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
