"""The diff in words: what changed, what of it can matter, what did, where it began, and whether it looks like a bug.

One sentence per fact, the story of each phase first and the judgement last. Without evidence the
sentences say what the traces alone allow, and that no bits were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tracediff.diff.fold import module_in_block
from tracediff.diff.headline import headlines, told_rows
from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.diff.words import layers_in_words, listing
from tracediff.measured import Bits, Control, RunEvidence, State

# Groups named in one sentence; the rest is counted.
_NAMED = 4


def summarise(diff: TraceDiff) -> tuple[str, ...]:
    """Return the diff as sentences, for every report alike.

    Args:
        diff: The diff, with evidence attached where there is some.
    """
    if not diff.rows:
        return tuple(headlines(diff.rows))
    sentences = [*headlines(diff.rows), *_can_matter(diff.rows)]
    measured = [row for row in diff.rows if row.bits_equal is not None]
    if measured:
        sentences += _did_matter(measured)
    if diff.evidence is not None:
        sentences += _outcome(diff.evidence)
        sentences += _controls(diff.evidence)
    if not measured and diff.evidence is None:
        sentences.append("No bits were measured: `tracediff capture` with --evidence replays every module.")
    else:
        sentences.append(_judgement(diff))
    return tuple(sentences)


def _equal(measured: Bits | Control | None) -> bool | None:
    return None if measured is None else measured.equal


# -- what of the changes can matter -----------------------------------------------------------------------------------


def _can_matter(rows: Sequence[Row]) -> list[str]:
    told = told_rows(rows)
    changed = [row for row in rows if row.verdict is Verdict.ORDER_CHANGED]
    untold = [row for row in changed if (row.phase, row.module) not in told]
    unknown = [row for row in rows if row.verdict is Verdict.UNKNOWN]
    same = sum(row.verdict is Verdict.SAME_ORDER for row in rows)
    sentences = []
    if untold:
        also = "also " if len(untold) < len(changed) else ""
        sentences.append(f"The order of a sum {also}changed in {_modules(len(untold))}: {_places(untold, True)}.")
    if unknown:
        sentences.append(f"The trace cannot tell for {_modules(len(unknown))}: {_places(unknown, True)}.")
    if same:
        rest = "the others" if changed or unknown else "all of these"
        sentences.append(f"In {rest} ({same:,}) every sum keeps its order, so their bits cannot change.")
    return sentences


# -- what did matter --------------------------------------------------------------------------------------------------


def _did_matter(measured: Sequence[Row]) -> list[str]:
    origins = [row for row in measured if row.bits_equal is False]
    sentences = []
    if origins:
        sentences.append(
            f"Given equal inputs, {len(origins):,} of {_modules(len(measured))} give other bits: "
            f"{_places(origins, False)}."
        )
        sentences.append(f"The first is {_module_name(origins[0])} in {_phase(origins[0])}.")
        passed_on = sum(row.state is State.PROPAGATED for row in measured)
        if passed_on:
            sentences.append(f"{passed_on:,} more only pass a difference on.")
    else:
        sentences.append(f"Given equal inputs, all {_modules(len(measured))} that were replayed give equal bits.")
    wrong = [row for row in measured if row.contradicted]
    if wrong:
        sentences.append(
            f"PREDICTION CONTRADICTED in {_modules(len(wrong))}, predicted to keep their bits: {_places(wrong, True)}. "
            "Please report this."
        )
    unmoved = [row for row in measured if row.verdict is Verdict.ORDER_CHANGED and row.bits_equal]
    if unmoved:
        sentences.append(f"In {_modules(len(unmoved))} the order changed and the bits came out equal.")
    settled = sum(row.verdict is Verdict.UNKNOWN and row.bits_equal is True for row in measured)
    if settled:
        sentences.append(f"Of those the trace could not tell, {settled:,} gave equal bits.")
    return sentences


def _outcome(evidence: RunEvidence) -> list[str]:
    sentences = []
    logits = {phase: _equal(value) for phase, value in evidence.logits.items()}
    differing = [phase for phase, equal in logits.items() if equal is False]
    if differing:
        flipped = [phase for phase, (a, b) in evidence.tokens.items() if a != b]
        chosen = f"another token is chosen in {listing(flipped)}" if flipped else "the same tokens are chosen"
        sentences.append(f"The logits differ in {listing(differing)}; {chosen}.")
    elif logits:
        sentences.append(f"The logits are bit-identical in {listing(logits)}.")
    repair = evidence.repair
    if repair is not None and repair.minimal:
        kinds = listing(repair.minimal, limit=20)
        rest = "; computing all others so does not" if repair.complement_logits_equal is False else ""
        if repair.logits_equal:
            sentences.append(f"Computing {kinds} row by row makes the logits bit-identical{rest}.")
    elif repair is not None and not repair.logits_equal:
        sentences.append("Computing every module row by row does not make the logits bit-identical.")
    return sentences


_CONTROL_WORDS = {
    "run_to_run": ("run to run", "THE SAME RUN TWICE GIVES OTHER BITS"),
    "neighbours": ("other neighbours", "LEAK: a row's bits depend on what its neighbours hold"),
    "position": ("row position", "a row's bits depend on its position in the batch"),
    "profiler": ("with and without the profiler", "the profiler changes bits"),
}


def control_findings(controls: Mapping[str, Control]) -> list[str]:
    """Return a sentence for every control that found other bits, with where it first did.

    Args:
        controls: As measured, by name.
    """
    sentences = []
    for name, (_, words) in _CONTROL_WORDS.items():
        if _equal(controls.get(name)) is False:
            where = controls[name].first
            sentences.append(f"{words[0].upper()}{words[1:]}" + (f" (first: {where})." if where else "."))
    return sentences


def _controls(evidence: RunEvidence) -> list[str]:
    controls = evidence.controls
    clean = [words for name, (words, _) in _CONTROL_WORDS.items() if _equal(controls.get(name)) is True]
    sentences = control_findings(controls)
    if clean:
        sentences.append(f"Controls with equal bits: {', '.join(clean)}.")
    return sentences


def _judgement(diff: TraceDiff) -> str:
    controls = {} if diff.evidence is None else diff.evidence.controls
    failed = [name for name in _CONTROL_WORDS if _equal(controls.get(name)) is False]
    if "neighbours" in failed:
        return "This looks like a bug: data leaks between rows of a batch."
    if "run_to_run" in failed:
        return "This looks like a bug or a nondeterministic kernel: results change without any change of shape."
    if any(row.contradicted for row in diff.rows):
        return "This needs a look: bits changed where no sum changed its order."
    missing = [words for name, (words, _) in _CONTROL_WORDS.items() if _equal(controls.get(name)) is None]
    if "position" in failed or "profiler" in failed:
        return "This needs a look: see the control that failed."
    if {"run to run", "other neighbours"} & set(missing):
        return "Whether it is a bug cannot be said: the controls were not measured."
    origins = [row for row in diff.rows if row.bits_equal is False]
    where = "changed" if all(row.verdict is Verdict.ORDER_CHANGED for row in origins) else "changed or may have changed"
    return f"Nothing here looks like a bug: bits change only where the order of a sum {where}."


# -- words ------------------------------------------------------------------------------------------------------------


def _places(rows: Iterable[Row], with_reason: bool) -> str:
    """Name rows by module, layers and phase, those that share all but the module or the phase together."""
    layers: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        key = (_phase(row), _module_name(row) if row.layer is None else module_in_block(row), row.reason)
        layers.setdefault(key, []).extend([] if row.layer is None else [row.layer])
    joined: dict[tuple[str, str, str], list[str]] = {}
    for (phase, module, reason), found in layers.items():
        where = f" in {layers_in_words(found)}" if found else ""
        joined.setdefault((where, phase, reason if with_reason else ""), []).append(module)
    phases: dict[tuple[str, str, str], list[str]] = {}
    for (where, phase, reason), modules in joined.items():
        phases.setdefault((listing(dict.fromkeys(modules)), where, reason), []).append(phase)
    parts = [
        f"{modules}{where} of {listing(named)}" + (f" ({reason})" if reason else "")
        for (modules, where, reason), named in phases.items()
    ]
    if len(parts) <= _NAMED + 1:
        return "; ".join(parts)
    return "; ".join(parts[:_NAMED]) + f"; and {len(parts) - _NAMED:,} more kinds"


def _module_name(row: Row) -> str:
    return row.module or "kernels outside the modules"


def _phase(row: Row) -> str:
    return row.phase if row.phase is not None else "no phase"


def _modules(number: int) -> str:
    return f"{number:,} module{'' if number == 1 else 's'}"
