"""The shape of a step of a recorded program."""

from __future__ import annotations

import re
from typing import NamedTuple

from tracediff.errors import TracediffError

#: The recorder writes batch × 2³² + tokens (`step_payload` in tracediff/capture/record/module_ranges.py).
_BITS_OF_TOKENS = 32
_WRITTEN = re.compile(r"(?:(\d{1,9})[x×*])?(\d{1,9})")


class Shape(NamedTuple):
    """Batch and tokens of a step; `str` writes it as people do: `8x1`, or `8` where tokens lie end to end.

    Attributes:
        batch: Rows of the first tensor; 0 where the tokens of all requests lie end to end.
        tokens: Tokens of a row, or of all requests.
    """

    batch: int
    tokens: int

    @classmethod
    def of_payload(cls, payload: int) -> Shape:
        """Read a shape as the recorder writes it into the payload of a range."""
        return cls(max(payload >> _BITS_OF_TOKENS, 0), payload & (1 << _BITS_OF_TOKENS) - 1)

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read a shape as a user writes it: `8x1`, `8×1`, `8`.

        Raises:
            TracediffError: It is none.
        """
        found = _WRITTEN.fullmatch(text.strip())
        if found is None:
            raise TracediffError(f"{text!r} is not a shape", "give batch and tokens, as in --between 1x1 8x1")
        return cls(int(found[1] or 0), int(found[2]))

    def __str__(self) -> str:
        return f"{self.batch}x{self.tokens}" if self.batch else str(self.tokens)

    @property
    def end_to_end(self) -> bool:
        """Whether the tokens of all requests lie end to end."""
        return self.batch == 0
