"""Which results of a folder are of one model: what was measured of another model, card or attention answers nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tracediff.findings.determinism import DeterminismResult
from tracediff.findings.flips import FlipsResult
from tracediff.findings.remedies_catalog import DEFAULT
from tracediff.measured import Evidence
from tracediff.text import shorten
from tracediff.trace.manifest import RecordedManifest, read_manifest

_LONGEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What something was measured of. None where that was not recorded.

    Attributes:
        model: Preset, hub id, or the model's own name.
        weights: `random` or `real`.
        layers: Blocks that ran.
        seed: Of random weights.
        attention: How attention was computed.
        gpu: What it ran on.
        remedy: The setting of `tracediff remedies` that was in force.
    """

    model: str | None = None
    weights: str | None = None
    layers: int | None = None
    seed: int | None = None
    attention: str | None = None
    gpu: str | None = None
    remedy: str | None = None

    def unlike(self, other: Subject) -> str | None:
        """Return the first thing in which the other is different, as `GPU X, not Y`; None where nothing is."""
        for what, known, said in (
            ("model", self.model, other.model),
            ("weights", self.weights, other.weights),
            ("layers", self.layers, other.layers),
            ("seed", self.seed, other.seed),
            ("attention", self.attention, other.attention),
            ("GPU", self.gpu, other.gpu),
            ("setting", self.remedy, other.remedy),
        ):
            if known is not None and said is not None and known != said:
                return f"{what} {shorten(str(said), _LONGEST)}, not {shorten(str(known), _LONGEST)}"
        return None


def subject_of_capture(evidence: Evidence, directory: Path) -> Subject:
    """Return what a capture measured, as its evidence says it, and where that says nothing, the manifest beside it.

    Args:
        evidence: Of the capture.
        directory: Where it lies.
    """
    manifest, _, _ = read_manifest(directory / "evidence.json")
    about = manifest or RecordedManifest()
    weights = evidence.weights or about.weights
    return Subject(
        model=evidence.model,
        weights=None if weights is None else _weights(weights == "random"),
        layers=about.layers,
        seed=about.seed if weights == "random" else None,
        attention=evidence.attention or about.attention,
        gpu=evidence.gpu or about.gpu,
        remedy=DEFAULT,
    )


def subject_of_flips(result: FlipsResult) -> Subject:
    """Return what a flip search was of."""
    settings = result.settings
    return Subject(
        model=settings.model,
        weights=_weights(settings.random_weights),
        layers=settings.layers,
        seed=settings.seed if settings.random_weights else None,
        attention=settings.attention,
        gpu=result.machine.get("gpu"),
        remedy=settings.remedy,
    )


def subject_of_repeats(result: DeterminismResult) -> Subject:
    """Return what run-to-run repeats were of."""
    return Subject(model=result.model, gpu=result.machine.get("gpu"))


def of_dtype(result: FlipsResult, dtype: str) -> FlipsResult | None:
    """Return the part of a flip search that is of one precision; None where there is none."""
    kept = [
        (precision, search)
        for precision, search in zip(result.settings.precisions, result.searches, strict=True)
        if search.label == dtype
    ]
    if not kept:
        return None
    settings = replace(result.settings, precisions=tuple(precision for precision, _ in kept))
    return replace(result, settings=settings, searches=tuple(search for _, search in kept))


def _weights(random: bool) -> str:
    return "random" if random else "real"
