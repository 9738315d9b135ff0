"""One rule: when it applies to two aligned kernels, what it says, and how we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from tracediff.diff.result import Kernel, Verdict


class Rule(Struct, frozen=True, kw_only=True):
    """A line of a rule table.

    Attributes:
        name: What the rule is about, unique within its table.
        when: Whether it applies to kernel a (first trace) and kernel b (second trace).
        verdict: What it then says.
        reason: One phrase for the reader, or a function of both kernels that gives it.
        source: The measurement or the source code behind the rule.
    """

    name: str
    when: Callable[[Kernel, Kernel], bool]
    verdict: Verdict
    reason: str | Callable[[Kernel, Kernel], str]
    source: str

    def why(self, a: Kernel, b: Kernel) -> str:
        """Return the reason for this pair."""
        return self.reason if isinstance(self.reason, str) else self.reason(a, b)


def first_match(rules: Sequence[Rule], a: Kernel, b: Kernel) -> Rule | None:
    """Return the first rule that applies, None where none does."""
    return next((rule for rule in rules if rule.when(a, b)), None)


def always(a: Kernel, b: Kernel) -> bool:
    """Apply to every pair: the last line of a table."""
    return True
