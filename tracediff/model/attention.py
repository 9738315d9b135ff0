"""How attention is computed: torch's own choice of a backend, one named backend, or written-out matrix products.

torch's `scaled_dot_product_attention` chooses among several backends by shape, type and GPU, so the default's bits may
depend on all three. A named backend is held by `torch.nn.attention.sdpa_kernel` around every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tracediff.errors import TracediffError

#: torch's choice; the backends by their names in torch's documentation; `eager` is transformers' written-out form.
ATTENTIONS = ("sdpa", "flash", "efficient", "cudnn", "math", "eager")
DEFAULT_ATTENTION = "sdpa"
#: Tried where a run does not repeat itself, the fastest first.
STEADY_CANDIDATES = ("flash", "efficient", "math")

_BACKENDS = {
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "math": "MATH",
}
# What torch says where a backend takes no such type, shape or device: on a GPU, on a CPU, and what cuDNN says itself.
_REFUSALS = ("No available kernel", "No viable backend", "cuDNN")


def attention_implementation(name: str) -> str:
    """Return what transformers calls an attention (`attn_implementation`), made known to it where needed.

    Args:
        name: One of `ATTENTIONS`.
    """
    if name not in _BACKENDS:
        return name
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415
    from transformers.masking_utils import sdpa_mask  # noqa: PLC0415

    # transformers takes every name with "flash" in it for one of its own.
    implementation = f"tracediff_{name[:3]}"
    AttentionInterface.register(implementation, _attention_on(name))
    AttentionMaskInterface.register(implementation, sdpa_mask)
    return implementation


def _attention_on(name: str) -> Callable[..., Any]:
    """Return transformers' attention function held to one backend."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward  # noqa: PLC0415

    backend = getattr(SDPBackend, _BACKENDS[name])

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        groups = getattr(module, "num_key_value_groups", 1)
        if name == "efficient" and groups > 1:
            # This backend has no grouped heads: every query head gets keys and values of its own.
            key, value = repeat_kv(key, groups), repeat_kv(value, groups)
            module = SimpleNamespace(is_causal=getattr(module, "is_causal", True))
        with sdpa_kernel(backend):
            return sdpa_attention_forward(module, query, key, value, mask, **options)

    return attention


def can_set_attention(model: Any) -> bool:
    """Whether the attention of a loaded model can be changed: it is one of transformers'."""
    return hasattr(getattr(model, "config", None), "_attn_implementation")


@contextmanager
def attention_set(model: Any, name: str) -> Iterator[None]:
    """Compute attention in another way while the block runs.

    Args:
        model: A transformers model.
        name: One of `ATTENTIONS`.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = attention_implementation(name)
    try:
        yield
    finally:
        model.config._attn_implementation = before


@contextmanager
def attention_failures_in_one_line(name: str, dtype: str) -> Iterator[None]:
    """Turn torch's refusal of a backend into one line that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if name not in _BACKENDS or not any(words in str(error) for words in _REFUSALS):
            raise
        raise TracediffError(
            f"--attention {name} does not run here with {dtype} and these shapes",
            f"choose another of {', '.join(each for each in ATTENTIONS if each != name)}",
        ) from error
