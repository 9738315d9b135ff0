"""Which change of a kernel can change bits: one table of rules per kind of kernel, each rule with its source.

The first rule of a table that applies to a pair decides. A table ends in `unknown`: nothing is called the same order
without a reason.
"""

from tracediff.diff.rules.choose import decide
from tracediff.diff.rules.rule import Rule

__all__ = ["Rule", "decide"]
