"""Changes of GPU time that are beyond what equal work varies by: the layers of a model repeat the same kernels."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from msgspec import Struct

from tracediff.diff.fold import fold
from tracediff.diff.result import Row
from tracediff.report.words import change

#: Fewer layers that ran the same kernels say little of how much a time varies.
_FEWEST_LAYERS = 4
#: A difference of means beyond this many standard errors is told.
_STANDARD_ERRORS = 2


class Spread(Struct, frozen=True, kw_only=True):
    """How much the GPU time of equal work varies within each trace.

    Attributes:
        relative: Standard deviation over the mean for one module, the median over kinds of modules, on both sides; None
            where no kind ran the same kernels in enough layers.
    """

    relative: tuple[float, float] | None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Spread:
        """Return the spread over layers that ran the same kernels."""
        kinds: dict[object, list[Row]] = {}
        for row in rows:
            kinds.setdefault((row.phase, row.kind), []).append(row)
        found: list[tuple[float, float]] = []
        for members in kinds.values():
            for folded in fold(members):
                times = list(zip(*(row.duration_ns for row in folded.rows), strict=True))
                if len(folded.rows) >= _FEWEST_LAYERS and all(map(any, times)):
                    a, b = (statistics.stdev(side) / statistics.mean(side) for side in times)
                    found.append((a, b))
        if not found:
            return cls(relative=None)
        return cls(relative=(statistics.median(a for a, _ in found), statistics.median(b for _, b in found)))

    def change(self, before: float, after: float, parts: float = 1) -> str:
        """Return `+3 %`; empty where equal work varies as much, or where too little was repeated to tell.

        Args:
            before, after: GPU time on both sides: sums over `parts` modules, or their means.
            parts: How many modules of about equal time they are made of; see `equal_parts`.
        """
        if before == 0 or after == 0 or round(before) == round(after):
            return change(round(before), round(after))
        if self.relative is None or parts < _FEWEST_LAYERS:
            return ""
        errors = [time * relative / parts**0.5 for time, relative in zip((before, after), self.relative, strict=True)]
        noise = _STANDARD_ERRORS * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
        return change(round(before), round(after)) if abs(after - before) > noise else ""


def equal_parts(times: Iterable[int]) -> float:
    """Return how many equal times vary as much in sum as these do: (sum)² / sum of squares; at least 1."""
    values = list(times)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else 1
