"""Gates: what fails a job that asked for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracediff.diff.result import TraceDiff, Verdict
from tracediff.errors import TracediffError
from tracediff.text import count


def verdicts_named(texts: Iterable[str]) -> tuple[Verdict, ...]:
    """Read verdicts, separated by commas, each once.

    Raises:
        TracediffError: A word is no verdict. A gate that can never fail would be worse than none.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    for word in words:
        if word not in set(Verdict):
            raise TracediffError(f"{word!r} is not a verdict", f"choose from {', '.join(Verdict)}")
    return tuple(dict.fromkeys(Verdict(word) for word in words))


def failures(diffs: Sequence[TraceDiff], verdicts: Iterable[Verdict], any_difference: bool) -> tuple[str, ...]:
    """Return why a gate fails, one phrase each; empty where it holds.

    What was left out of the comparison is as good as unknown: a gate never passes on what it has not seen.

    Args:
        diffs: The comparisons.
        verdicts: A module with one of these fails.
        any_difference: Any other kernel or launch fails.
    """
    gates = tuple(verdicts)
    counts = {verdict: sum(diff.verdicts[verdict] for diff in diffs) for verdict in gates}
    found = [f"{modules:,} × {verdict}" for verdict, modules in counts.items() if modules]
    changed = sum(row.changed for diff in diffs for row in diff.rows)
    if any_difference and changed:
        found.append(f"{count(changed, 'module')} with another kernel or launch")
    left_out = sum(each.kernels for diff in diffs for each in diff.not_compared if each.weighs)
    if left_out and (any_difference or Verdict.UNKNOWN in gates):
        found.append(f"{count(left_out, 'kernel')} not compared")
    return tuple(found)
