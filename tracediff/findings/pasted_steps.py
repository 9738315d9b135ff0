"""What every form of pasted logits becomes: steps of readings, and the names by which texts call their values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tracediff.findings.lattice import LOGITS, LOGPROBS, PROBABILITIES, Reading

# What texts call their values, in small letters → the kind of values.
KINDS = {
    **dict.fromkeys(("logit", "logits", "score", "scores"), LOGITS),
    **dict.fromkeys(("logprob", "logprobs", "log_prob", "log_probs", "logprobability", "logprobsresult"), LOGPROBS),
    **dict.fromkeys(("prob", "probs", "probability", "probabilities"), PROBABILITIES),
}
_KEY_PREFIX = re.compile(r"^(?:top|prompt|output|input|completion|next_token|token_ids|raw)_")
# What texts call the token beside a value; the first that is there names it.
LABELS = ("decoded_token", "token", "tok_str", "token_str", "text", "token_id", "tokenid", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedStep:
    """The values of one decoding step.

    Attributes:
        readings: The values as printed.
        kind: `logits`, `logprobs` or `probabilities` where the input says so, else None.
        dtype: The dtype that the input states (`dtype=torch.bfloat16`), else None.
        name: What the input calls it (the head of a table's column), else None.
        notes: What to keep in mind, one sentence each.
    """

    readings: tuple[Reading, ...]
    kind: str | None = None
    dtype: str | None = None
    name: str | None = None
    notes: tuple[str, ...] = ()


def kind_of_key(key: str) -> str | None:
    """Return the kind of the values under a key (`top_logprobs`), None where it names none."""
    stem, before = key.lower(), ""
    while stem != before:
        before, stem = stem, _KEY_PREFIX.sub("", stem)
    return KINDS.get(stem)


def is_number(text: str) -> bool:
    """Whether a text is a number, infinite ones too."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
