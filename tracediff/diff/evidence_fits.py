"""Whether evidence is of the two traces that it lies beside: files are copied, renamed and recorded again.

The strongest sign is the hash of each trace, which `tracediff capture` writes into the evidence. Older evidence has
none; then what the evidence says of itself is compared with what the traces and their manifest say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tracediff.diff.result import Side, TraceDiff
from tracediff.diff.words import listing
from tracediff.files import sha256_of
from tracediff.measured import Evidence
from tracediff.text import shorten
from tracediff.trace.manifest import read_manifest
from tracediff.trace.ranges import OWN_PHASE

_LONGEST = 60
_PREFILL = "prefill"


def why_it_does_not_fit(evidence: Evidence, diff: TraceDiff) -> str | None:
    """Return what tells that the evidence is not of these traces, as the end of a sentence; None where nothing does.

    Args:
        evidence: What lies beside the traces.
        diff: The traces, all their phases.
    """
    return next(_objections(evidence, diff), None)


def _objections(evidence: Evidence, diff: TraceDiff) -> Iterator[str]:
    for label, side in (("a", diff.a), ("b", diff.b)):
        yield from _of_the_capture(evidence, side)
        yield from _of_the_phases(evidence, _phases(diff, label), _as_read(side))
        hashed = evidence.traces.get(side.info.batch or 0)
        yield from _of_the_batch(diff, label) if hashed is None else _of_the_file(hashed, side)
    measured = {module for pair in evidence.pairs for modules in pair.modules.values() for module in modules}
    if measured and not any(row.module in measured for row in diff.rows):
        yield f"is of modules that the traces do not name{_as_read(diff.a) or _as_read(diff.b)}"


def _of_the_capture(evidence: Evidence, side: Side) -> Iterator[str]:
    """Compare what both sides say of model, type, prompt, attention, weights and GPU."""
    info = side.info
    for what, said, known in (
        ("model", evidence.model, info.model),
        ("dtype", evidence.dtype, info.dtype),
        ("weights", evidence.weights, info.weights),
        ("attention", evidence.attention, info.attention),
        ("GPU", evidence.gpu or _gpu_of_the_capture(side), info.gpu),
    ):
        if said is not None and known is not None and said != known:
            yield f"is of {what} {shorten(said, _LONGEST)}, the traces of {shorten(known, _LONGEST)}"
    if info.tokens is not None and info.tokens != evidence.tokens:
        yield f"is of a prompt of {evidence.tokens:,} tokens, the traces of one of {info.tokens:,}"


def _gpu_of_the_capture(side: Side) -> str | None:
    """Return the GPU that the manifest states; the trace's own word goes before it in `TraceInfo`."""
    manifest, _, _ = read_manifest(Path(side.info.path))
    return None if manifest is None else manifest.gpu


def _phases(diff: TraceDiff, label: str) -> frozenset[str]:
    """Return the phases of one trace as it names them, each step by itself."""
    texts = {each.phase: each.texts for side in (diff.b, diff.a) for each in side.executions if each.texts}
    there = {row.phase for row in diff.rows if getattr(row, label) and row.phase is not None}
    return frozenset(text for phase in there for text in texts.get(phase, (phase,)))


def _as_read(side: Side) -> str:
    """Say by which options the user chose the ranges of a trace: what it then lacks may be in the file."""
    return f" as read with {listing(side.info.chosen_by)}" if side.info.chosen_by else ""


def _of_the_phases(evidence: Evidence, phases: frozenset[str], as_read: str) -> Iterator[str]:
    for phase in evidence.phases:
        if phase not in phases:
            yield f"is of a run with {shorten(phase, _LONGEST)}, which a trace does not have{as_read}"
    for phase in sorted(phases - set(evidence.phases)):
        if OWN_PHASE.fullmatch(phase):
            yield f"is of a run without {phase}, which a trace has{as_read}"


def _of_the_file(expected: str, side: Side) -> Iterator[str]:
    path = Path(side.info.path)
    if path.is_file() and _hash_of(path) != expected:
        yield f"is of a different recording than {shorten(path.name, _LONGEST)}"


def _hash_of(path: Path) -> str:
    """Return the file's SHA-256: one trace is compared with several."""
    status = path.stat()
    return _hash_of_version(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_of_version(path: Path, inode: int, size: int, modified_ns: int) -> str:
    return sha256_of(path)


def _of_the_batch(diff: TraceDiff, label: str) -> Iterator[str]:
    """Compare the batch size with the prefill's products as cuBLASLt logged them: n of most is batch × tokens."""
    info = getattr(diff, label).info
    logged = Counter(
        kernel.algorithm.n
        for row in diff.rows
        if row.phase == _PREFILL
        for kernel in getattr(row, label)
        if kernel.algorithm is not None and kernel.algorithm.n is not None
    )
    if info.batch and info.tokens and logged and logged[info.batch * info.tokens] < max(logged.values()):
        name = shorten(Path(info.path).name, _LONGEST)
        yield f"is not of {name}: its products are not those of batch {info.batch} with {info.tokens:,} tokens"
