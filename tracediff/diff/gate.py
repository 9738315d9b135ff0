"""Gates: which verdicts fail a job that asked for it."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.result import Verdict
from tracediff.errors import TracediffError


def verdicts_named(texts: Iterable[str]) -> tuple[Verdict, ...]:
    """Read verdicts, separated by commas, each once.

    Raises:
        TracediffError: A word is no verdict. A gate that can never fail would be worse than none.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    for word in words:
        if word not in set(Verdict):
            raise TracediffError(f"{word!r} is no verdict", f"choose from {', '.join(Verdict)}")
    return tuple(dict.fromkeys(Verdict(word) for word in words))
