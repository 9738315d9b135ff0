"""What each part of a kernel's name means, one token after the other, and how sure that is."""

import re
from dataclasses import dataclass

from tracediff.kernels.explain_rules import ARGUMENTS, PROCEDURAL_ONLY, TOKENS, Rule
from tracediff.kernels.model import KernelName
from tracediff.kernels.registry import parse
from tracediff.kernels.spelling import Spelling, arguments, spelled

VERIFIED = "verified"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
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

    Procedural names are cut at their underscores, C++ names into the function and its template arguments. Parameters
    are left out: they follow from the template arguments.
    """
    kernel = parse(name)
    spelling = spelled(name)
    rules = TOKENS.get(kernel.family)
    if rules is None and spelling.procedural.isidentifier():
        rules = PROCEDURAL_ONLY.get(kernel.family)
    if rules is not None:
        return _procedural(spelling.procedural, rules)
    if spelling.open >= 0:
        return _template(kernel, spelling)
    meaning = f"function of family {kernel.family}" if kernel.family != "other" else "not read"
    return (Token(text=spelling.procedural or name, meaning=meaning, certainty=_sure(kernel)),) if name else ()


def _sure(kernel: KernelName) -> str:
    return UNKNOWN if kernel.family == "other" else VERIFIED


def _procedural(procedural: str, rules: tuple[Rule, ...]) -> tuple[Token, ...]:
    """Explain each token by the first rule that fits and is not used up."""
    tokens = []
    used: set[int] = set()
    for text in procedural.split("_"):
        if not text:
            continue
        for place, (pattern, meaning, certainty, once) in enumerate(rules):
            if place in used or re.fullmatch(pattern, text) is None:
                continue
            if once:
                used.add(place)
            tokens.append(Token(text=text, meaning=meaning, certainty=certainty))
            break
        else:
            tokens.append(Token(text=text, meaning="not read", certainty=UNKNOWN))
    return tuple(tokens)


def _template(kernel: KernelName, spelling: Spelling) -> tuple[Token, ...]:
    listed, _ = arguments(spelling.text, spelling.open)
    function = f"function of family {kernel.family}"
    tokens = [Token(text=spelling.path, meaning=function, certainty=_sure(kernel))] if spelling.path else []
    labels = ARGUMENTS.get((kernel.kernel or "", len(listed))) or ARGUMENTS.get((kernel.kernel or "", 0)) or ()
    for place, text in enumerate(listed):
        meaning, certainty = labels[place] if place < len(labels) else ("template argument: not explained", UNKNOWN)
        if text:
            tokens.append(Token(text=text, meaning=meaning, certainty=certainty))
    return tuple(tokens)
