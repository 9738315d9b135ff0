"""What a kernel name means: `parse(name)` reads the name of any NVIDIA kernel."""

from tracediff.kernels.model import KernelName, Types
from tracediff.kernels.registry import parse

__all__ = ["KernelName", "Types", "parse"]
