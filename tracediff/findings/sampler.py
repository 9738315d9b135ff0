"""What a check of a sampler found: whether it returns the argmax of the raw logits at temperature 0."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What the sampler did with one case.

    Attributes:
        name, dtype: Of the case.
        problem: What is wrong, in one line; None where every row got its argmax.
        note: What is worth knowing though nothing is wrong; None for nothing.
    """

    name: str
    dtype: str
    problem: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerReport:
    """All cases.

    Attributes:
        sampler: Its name as given.
        results: One per case and dtype.
    """

    sampler: str
    results: tuple[CaseResult, ...]

    @property
    def exact(self) -> bool:
        """Whether every row of every case got its argmax."""
        return all(result.problem is None for result in self.results)
