"""The families, in the order in which they are asked."""

from tracediff.kernels.model import KernelName


def parse(name: str) -> KernelName:
    """Read a kernel's demangled (or mangled, or procedural) name. Never raises."""
    return KernelName(name=name, family="other", role="other", unparsed=name)
