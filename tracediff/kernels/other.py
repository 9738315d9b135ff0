"""Kernels that no family reads: well-known ones have a role, and the whole name stays `unparsed`.

The function's name tells the role (CUB's scans and reductions, all-reduces of PyTorch and SGLang, serving libraries'
norms, activations, rotary embeddings and quantization); a name that tells none has role `other`.
"""

from tracediff.kernels.function_words import role_of
from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling

_LONGEST_FUNCTION = 200


def read(name: str, spelling: Spelling) -> KernelName:
    """Return what little the name tells."""
    function = spelling.path.rpartition("::")[2]
    known = 0 < len(function) <= _LONGEST_FUNCTION and function.replace("_", "a").isalnum() and function.isascii()
    role = role_of(function) if known else "other"
    if role == "other" and "::ImplicitGemm" in spelling.text:
        role = "gemm"
    return KernelName(name=name, family="other", role=role, kernel=function if known else None, unparsed=name or None)
