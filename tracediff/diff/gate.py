"""Gates: what fails a job that asked for it.

A verdict looks at what the traces predict, `bits` at what was measured. The two can disagree: most changes of order in
16 bits round to the same result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.evidence import unused_evidence
from tracediff.diff.places import phase_name
from tracediff.diff.result import Row, TraceDiff, Verdict
from tracediff.diff.words import listing
from tracediff.errors import TracediffError
from tracediff.measured import Bits, State
from tracediff.text import count
from tracediff.trace.ranges import OWN_PHASE

BITS: Literal["bits"] = "bits"

_OTHER_GATES = "the other gates look at what the traces predict"

Gate = Verdict | Literal["bits"]


def gates_named(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Read verdicts and `bits`, separated by commas, each once.

    Raises:
        TracediffError: A word is neither. A gate that can never fail would be worse than none.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    for word in words:
        if word != BITS and word not in set(Verdict):
            raise TracediffError(f"{word!r} is not a verdict", f"choose from {', '.join([*Verdict, BITS])}")
    return tuple(dict.fromkeys(BITS if word == BITS else Verdict(word) for word in words))


def failures(
    diffs: Sequence[TraceDiff], gates: Iterable[Gate], any_difference: bool, modules: ChosenModules | None = None
) -> tuple[str, ...]:
    """Return why a gate fails, one phrase each; empty where it holds.

    What was left out of the comparison is as good as unknown: a gate never passes on what it has not seen.

    Args:
        diffs: The comparisons.
        gates: A module with one of these verdicts fails; with `bits`, whatever was measured to differ in bits.
        any_difference: Any different kernel or launch fails.
        modules: Only these count, and not the logits; None counts all. Kernels that were not compared always count.

    Raises:
        TracediffError: The gate is `bits`, no bits are known to differ, and not all were measured: the logits of each
            phase compared, or with `modules` the outputs of each of them on equal inputs.
    """
    gates = tuple(gates)
    verdicts = [gate for gate in gates if isinstance(gate, Verdict)]
    rows = [row for diff in diffs for row in diff.rows]
    chosen = rows if modules is None else modules.rows(rows)
    among = "" if modules is None else f" (of {modules.words(rows)})"
    counts = Counter(row.verdict for row in chosen)
    found = [f"{counts[verdict]:,} × {verdict}{among}" for verdict in verdicts if counts[verdict]]
    if BITS in gates:
        found += [f"{words}{among}" for words in _different_bits(diffs, modules)]
    changed = sum(row.changed for row in chosen)
    if any_difference and changed:
        found.append(f"{count(changed, 'module')} with a different kernel or launch{among}")
    left_out = sum(each.kernels for diff in diffs for each in diff.not_compared if each.weighs)
    if left_out and (any_difference or Verdict.UNKNOWN in verdicts):
        found.append(f"{count(left_out, 'kernel')} not compared")
    return tuple(found)


def _different_bits(diffs: Sequence[TraceDiff], chosen: ChosenModules | None) -> list[str]:
    """Say what was measured to differ in bits, or to vary from run to run, in the phases that are compared.

    Raises:
        TracediffError: Nothing was, and of some of it no bits are known.
    """
    logits = modules = varying = 0
    for diff in diffs:
        known = {} if chosen is not None else _logits(diff)
        states = [row.state for row in _rows(diff, chosen)]
        logits += sum(bits is not None and not bits.equal for bits in known.values())
        modules += states.count(State.ORIGIN)
        varying += states.count(State.UNSTABLE)
    found = [f"logits differ in bits in {count(logits, 'phase')}"] if logits else []
    found += [f"{count(modules, 'module')} with different bits on equal inputs"] if modules else []
    found += [f"{count(varying, 'module')} whose bits vary from run to run"] if varying else []
    if not found:
        for diff in diffs:
            _refuse_what_was_not_measured(diff, chosen)
    return found


def _refuse_what_was_not_measured(diff: TraceDiff, chosen: ChosenModules | None) -> None:
    unused = unused_evidence(diff)
    if unused is not None:
        raise TracediffError(f"--fail-on {BITS}: {unused.rstrip('.')}", _OTHER_GATES)
    what = _not_measured(diff, chosen)
    if what is None:
        return
    traces = f"{diff.a.info.path} and {diff.b.info.path}"
    if not _anything_measured(diff.judged):
        raise TracediffError(
            f"--fail-on {BITS}: no bits were measured of {traces}",
            f"`tracediff capture` measures them; {_OTHER_GATES}",
        )
    raise TracediffError(
        f"--fail-on {BITS}: no {what} were measured of {traces}",
        f"other bits were, but a gate does not pass on what was not; {_OTHER_GATES}",
    )


def _not_measured(diff: TraceDiff, chosen: ChosenModules | None) -> str | None:
    """Return what is gated and was not measured, as in `no … were measured`; None where everything was."""
    rows = _rows(diff, chosen)
    unseen = [row for row in rows if row.bits_equal is None]
    if chosen is not None:
        return f"bits of {count(len(unseen), 'module')} (of --module {chosen.pattern})" if unseen else None
    logits = _logits(diff)
    phases = [phase for phase, bits in logits.items() if bits is None]
    if phases:
        return f"logits of {listing(phases)}"
    if logits or not unseen:
        return None
    return f"bits of {listing(dict.fromkeys(phase_name(row.phase) for row in unseen))}"


def _anything_measured(diff: TraceDiff) -> bool:
    logits = () if diff.evidence is None else diff.evidence.logits.values()
    return any(bits is not None for bits in logits) or any(row.state is not None for row in diff.rows)


def _rows(diff: TraceDiff, chosen: ChosenModules | None) -> Sequence[Row]:
    return diff.rows if chosen is None else chosen.rows(diff.rows)


def _logits(diff: TraceDiff) -> dict[str, Bits | None]:
    """Return the bits of the logits of each phase compared that has logits; None where they were not measured."""
    known = {} if diff.evidence is None else diff.evidence.logits
    phases = [phase for phase in _phases(diff) if phase is not None]
    return {phase: known.get(phase) for phase in phases if phase in known or OWN_PHASE.fullmatch(phase)}


def _phases(diff: TraceDiff) -> tuple[str | None, ...]:
    """Return the phases compared, each by its own text where several steps are one row."""
    steps = {each.phase: each.texts for each in diff.a.executions if each.texts}
    return tuple(dict.fromkeys(text for row in diff.rows for text in steps.get(row.phase or "", (row.phase,))))
