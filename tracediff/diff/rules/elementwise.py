"""Kernels that never sum: each output element depends on fixed input elements, whatever the launch."""

from __future__ import annotations

from tracediff.diff.result import Verdict
from tracediff.diff.rules.rule import Rule, always

ELEMENTWISE = (
    Rule(
        name="elementwise",
        when=always,
        verdict=Verdict.SAME_ORDER,
        reason="elementwise, never reduces",
        source="one thread computes an element from its operands alone (PyTorch CUDALoops.cuh)",
    ),
)

COPY = (
    Rule(
        name="copy",
        when=always,
        verdict=Verdict.SAME_ORDER,
        reason="moves values, never reduces",
        source="no arithmetic",
    ),
)
