"""What each part of a kernel's name means, one token after the other, and how sure that is."""

import re

from msgspec import Struct

from tracediff.kernels.meanings import UNKNOWN, VERIFIED, Argument, Meanings, TokenRule
from tracediff.kernels.model import KernelName
from tracediff.kernels.registry import FAMILIES, parse
from tracediff.kernels.spelling import Spelling, arguments, spelled

_MEANINGS: list[Meanings] = [family.MEANINGS for family in FAMILIES if hasattr(family, "MEANINGS")]
_TOKENS: dict[str, tuple[TokenRule, ...]] = {}
_PROCEDURAL: dict[str, tuple[TokenRule, ...]] = {}
_ARGUMENTS: dict[tuple[str, int], tuple[Argument, ...]] = {}
for _each in _MEANINGS:
    _TOKENS |= _each.tokens
    _PROCEDURAL |= _each.procedural
    _ARGUMENTS |= _each.arguments


class Token(Struct, frozen=True, kw_only=True):
    """One part of a name.

    Attributes:
        text: As the name prints it.
        meaning: In words; `not read` where no rule knows it.
        certainty: `verified` (a primary source or a measurement), `inferred` (from data, no counterexample seen) or
            `unknown`.
    """

    text: str
    meaning: str
    certainty: str


def explain(name: str) -> tuple[Token, ...]:
    """Return the parts of a name in their order, each with its meaning.

    Procedural names are cut at their underscores, but parts that have one meaning together stay together. C++ names are
    cut into the function and its template arguments; parameters are left out: they follow from those.
    """
    kernel = parse(name)
    spelling = spelled(name)
    rules = _TOKENS.get(kernel.family)
    if rules is None and spelling.procedural.isidentifier():
        rules = _PROCEDURAL.get(kernel.family)
    if rules is not None:
        return _procedural(spelling.procedural, rules)
    if spelling.open >= 0:
        return _template(kernel, spelling)
    meaning = f"function of family {kernel.family}" if kernel.family != "other" else "not read"
    return (Token(text=spelling.procedural or name, meaning=meaning, certainty=_sure(kernel)),) if name else ()


def _sure(kernel: KernelName) -> str:
    return UNKNOWN if kernel.family == "other" else VERIFIED


def _procedural(procedural: str, rules: tuple[TokenRule, ...]) -> tuple[Token, ...]:
    """Explain each token by the first rule that fits and is not used up."""
    text = "_".join(part for part in procedural.split("_") if part)
    tokens = []
    used: set[int] = set()
    start = 0
    while start < len(text):
        end, meaning, certainty = _end_of_part(text, start), "not read", UNKNOWN
        for place, (pattern, *explained, once) in enumerate(rules):
            if place not in used and (fitting := _end_of_token(pattern, text, start)) is not None:
                end, (meaning, certainty) = fitting, explained
                if once:
                    used.add(place)
                break
        tokens.append(Token(text=text[start:end], meaning=meaning, certainty=certainty))
        start = end + 1
    return tuple(tokens)


def _end_of_token(pattern: str, text: str, start: int) -> int | None:
    """Return where the token that fits the pattern ends; None where none begins at `start`."""
    if "_" not in pattern:
        end = _end_of_part(text, start)
        return end if re.compile(pattern).fullmatch(text, start, end) else None
    found = re.compile(f"(?:{pattern})(?=_|$)").match(text, start)
    return found.end() if found else None


def _end_of_part(text: str, start: int) -> int:
    end = text.find("_", start)
    return len(text) if end < 0 else end


def _template(kernel: KernelName, spelling: Spelling) -> tuple[Token, ...]:
    listed, _ = arguments(spelling.text, spelling.open)
    function = f"function of family {kernel.family}"
    tokens = [Token(text=spelling.path, meaning=function, certainty=_sure(kernel))] if spelling.path else []
    labels = _ARGUMENTS.get((kernel.kernel or "", len(listed))) or _ARGUMENTS.get((kernel.kernel or "", 0)) or ()
    for place, text in enumerate(listed):
        meaning, certainty = labels[place] if place < len(labels) else ("template argument: not explained", UNKNOWN)
        if text:
            tokens.append(Token(text=text, meaning=meaning, certainty=certainty))
    return tuple(tokens)
