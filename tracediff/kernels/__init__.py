"""What a kernel name means: `parse(name)` reads the name of any NVIDIA kernel."""

from tracediff.kernels.compare import FieldChange, differing_fields
from tracediff.kernels.describe import describe
from tracediff.kernels.explain import Token, explain
from tracediff.kernels.model import KernelName, Types
from tracediff.kernels.registry import parse

__all__ = ["FieldChange", "KernelName", "Token", "Types", "describe", "differing_fields", "explain", "parse"]
