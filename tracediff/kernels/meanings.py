"""How a family's file explains the parts of its names: the types and words that those files share.

A token rule is (pattern, meaning, certainty, once). The first rule whose pattern fits a whole token explains it. A rule
that counts once explains the first such token only, so `64x8` and `64x16` of one name can mean two things. A pattern
with an underscore explains several parts of the name as one token (`execute_split_k_kernel`) and comes before the rules
of its parts. Patterns are bounded and plain.
"""

from collections.abc import Mapping

from msgspec import Struct, field

VERIFIED, INFERRED, UNKNOWN = "verified", "inferred", "unknown"
"""How sure a meaning is: from a primary source or a measurement; from data, no counterexample seen; not at all."""

TokenRule = tuple[str, str, str, bool]
Argument = tuple[str, str]
"""Meaning and certainty of one template argument."""

PAIR = r"\d{1,9}x\d{1,9}"
TRIPLE = r"\d{1,9}x\d{1,9}x\d{1,9}"
ELEMENT = r"(?:void|bf16|tf32|[fsu]\d{1,2}|c?f\d{2}|e\dm\d|b1)"
SCALED = r"(?:[\dx]*[a-z]\w{2,4}x)?" + ELEMENT
ARCH: TokenRule = (r"sm\d{2,3}[a-z]?", "generation that the code was written for", VERIFIED, True)


class Meanings(Struct, frozen=True, kw_only=True):
    """What one family's file knows of the parts of its names.

    Attributes:
        tokens: Rules for the tokens of a family's names, by family.
        procedural: The same of families that also have C++ template names, which are not cut at underscores.
        arguments: Meanings of template arguments, by function and how many there are; 0: any number.
    """

    tokens: Mapping[str, tuple[TokenRule, ...]] = field(default_factory=dict)
    procedural: Mapping[str, tuple[TokenRule, ...]] = field(default_factory=dict)
    arguments: Mapping[tuple[str, int], tuple[Argument, ...]] = field(default_factory=dict)
