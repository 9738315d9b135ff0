"""Gates: what fails a job that asked for it.

A verdict looks at what the traces predict, `bits` at what was measured. The two can disagree: most changes of order in
16 bits round to the same result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.result import TraceDiff, Verdict
from tracediff.errors import TracediffError
from tracediff.measured import State
from tracediff.text import count

BITS: Literal["bits"] = "bits"

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
        TracediffError: The gate is `bits`, and of a comparison no bits were measured.
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
    """Say what was measured to differ in bits, or to vary from run to run, in the phases that are compared."""
    logits = modules = varying = 0
    for diff in diffs:
        phases = _phases(diff)
        evidence = {} if diff.evidence is None or chosen is not None else diff.evidence.logits
        measured = [bits for phase, bits in evidence.items() if bits is not None and phase in phases]
        rows = diff.rows if chosen is None else chosen.rows(diff.rows)
        states = [row.state for row in rows if row.state is not None]
        if not measured and not states:
            raise TracediffError(
                f"--fail-on {BITS}: no bits were measured of {diff.a.info.path} and {diff.b.info.path}",
                "`tracediff capture` measures them; the other gates look at what the traces predict",
            )
        logits += sum(not bits.equal for bits in measured)
        modules += states.count(State.ORIGIN)
        varying += states.count(State.UNSTABLE)
    found = [f"logits differ in bits in {count(logits, 'phase')}"] if logits else []
    found += [f"{count(modules, 'module')} with different bits on equal inputs"] if modules else []
    return found + ([f"{count(varying, 'module')} whose bits vary from run to run"] if varying else [])


def _phases(diff: TraceDiff) -> frozenset[str | None]:
    """Return the phases compared, each by its own text where several steps are one row."""
    steps = {each.phase: each.texts for each in diff.a.executions if each.texts}
    return frozenset(text for row in diff.rows for text in steps.get(row.phase or "", (row.phase,)))
