"""Apply a setting to a loaded model, and undo it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracediff.errors import TracediffError
from tracediff.findings.remedies_catalog import Kind, Setting
from tracediff.measure.fused_products import Product, fused_forwards

_PADDED_ROWS = 64
_ATTENTION_NAME = "tracediff"

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Takes query (batch, heads, queries, width), key and value (batch, key heads, keys, width) and the scale; returns
(batch, heads, queries, width)."""


def missing_environment(setting: Setting) -> dict[str, str]:
    """Return the variables that the setting needs and this process was not started with."""
    return {name: value for name, value in setting.environment.items() if os.environ.get(name) != value}


@contextmanager
def applied(setting: Setting, model: nn.Module, *, keep_attention: bool = False) -> Iterator[None]:
    """Run the block with the setting in force.

    Args:
        setting: What to apply.
        model: On which model.
        keep_attention: Leave the model's attention as it is, where the setting has no part for it.

    Raises:
        TracediffError: The process lacks the environment, or the setting needs a GPU or Triton that is not there.
    """
    device = next(model.parameters()).device
    missing = missing_environment(setting) if device.type == "cuda" else {}
    if missing:
        needed = " ".join(f"{name}={value}" for name, value in missing.items())
        raise TracediffError(f"{setting.name} needs an environment set before the start", f"start with {needed}")
    unfit = next((part.name for part in setting.parts if part.gpu_only and device.type != "cuda"), None)
    if unfit is not None:
        raise TracediffError(f"{unfit} needs a GPU", "leave it out, or measure on one")
    with ExitStack() as stack:
        if not keep_attention:
            stack.enter_context(_attention(model, setting.part(Kind.ATTENTION)))
        stack.enter_context(_products(model, setting.part(Kind.PRODUCTS)))
        stack.enter_context(_fusion(model, setting))
        stack.enter_context(_norms(model, setting.part(Kind.NORMS)))
        stack.enter_context(_library(setting.part(Kind.LIBRARY)))
        yield


def attention_of(name: str | None) -> Attention:
    """Return the attention of a setting; None is torch's own choice, called as transformers calls it."""
    if name == "fixed-chunk":
        fixed = _triton("attention").fixed_chunk_attention
        return lambda query, key, value, scale: fixed(query, key, value, scale).transpose(1, 2)
    if name == "row-by-row-attention":
        return _row_by_row
    if name == "efficient":
        return _efficient
    if name == "grouped-queries":
        return _grouped_queries
    if name == "flex":
        return _flex
    backend = {
        None: None,
        "flash": SDPBackend.FLASH_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "math": SDPBackend.MATH,
    }[name]

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        if backend is None:
            return _torch_attention(query, key, value, scale)
        with sdpa_kernel(backend):
            return _torch_attention(query, key, value, scale)

    return attend


def product_of(name: str | None) -> Product | None:
    """Return the product of a setting; None leaves it to the module."""
    if name in ("fixed-tile", "fixed-step"):
        module = _triton("products")
        product: Product = module.linear_fixed_tile if name == "fixed-tile" else module.linear_fixed_step
        return product
    return {
        None: None,
        "pad-products-64": _padded,
        "row-by-row-products": lambda x, weight: torch.cat([functional.linear(row, weight) for row in x.split(1)]),
        "float32-products": lambda x, weight: functional.linear(x.float(), weight.float()).to(x.dtype),
    }[name]


def _triton(module: str) -> Any:
    import importlib  # noqa: PLC0415

    try:
        return importlib.import_module(f"tracediff.measure.invariant.{module}")
    except ModuleNotFoundError as error:
        raise TracediffError(
            "Triton is not installed", "it comes with torch's CUDA builds; or leave this part out"
        ) from error


# -- attention --------------------------------------------------------------------------------------------------------


def _torch_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=query.shape[2] > 1, scale=scale, enable_gqa=key.shape[1] != query.shape[1]
    )


def _efficient(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        return functional.scaled_dot_product_attention(query, key, value, is_causal=query.shape[2] > 1, scale=scale)


def _grouped_queries(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    if query.shape[2] > 1:
        return _efficient(query, key, value, scale)
    batch, heads, _, width = query.shape
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], width)
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        return functional.scaled_dot_product_attention(grouped, key, value, scale=scale).reshape(query.shape)


def _flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    for tensor in (query, key, value):
        for dimension in (0, 2):
            torch._dynamo.maybe_mark_dynamic(tensor, dimension)  # one kernel for all batches and lengths
    output: torch.Tensor = _compiled_flex_attention()(
        query,
        key,
        value,
        score_mod=_causal if query.shape[2] > 1 else None,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
        kernel_options={"FORCE_USE_FLEX_ATTENTION": True},
    )
    return output


@functools.cache
def _compiled_flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention  # noqa: PLC0415

    return torch.compile(flex_attention)


def _causal(score: torch.Tensor, batch: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
    return torch.where(query >= key, score, float("-inf"))


def _row_by_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    backend = SDPBackend.FLASH_ATTENTION if query.is_cuda else SDPBackend.MATH
    with sdpa_kernel(backend):
        rows = [_torch_attention(*row, scale) for row in zip(query.split(1), key.split(1), value.split(1), strict=True)]
    return torch.cat(rows)


# What transformers hands to attention where a model's is not the plain one.
_OTHER_ATTENTION = ("softcap", "s_aux", "position_bias")


def _refuse_other_attention(mask: Any, keys: int, rest: dict[str, Any]) -> None:
    """Raise TracediffError where the model asks for what the attention here leaves out: a wrong sum is no map."""
    asked = [name for name in _OTHER_ATTENTION if rest.get(name) is not None]
    window = rest.get("sliding_window")
    if mask is not None or asked or (window is not None and keys > window):
        what = asked[0] if asked else "an attention mask" if mask is not None else f"a window of {window} keys"
        raise TracediffError(f"the model's attention has {what}", "maps and remedies are for plain causal attention")


@contextmanager
def _attention(model: nn.Module, name: str | None) -> Iterator[None]:
    """Register the attention with transformers and let the model use it."""
    from transformers import AttentionInterface  # noqa: PLC0415

    attend = attention_of(name)

    def forward(
        module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **rest: Any
    ) -> tuple[torch.Tensor, None]:
        _refuse_other_attention(mask, key.shape[2], rest)
        scale = rest.get("scaling") or query.shape[-1] ** -0.5
        return attend(query, key, value, scale).transpose(1, 2).contiguous(), None

    AttentionInterface.register(_ATTENTION_NAME, forward)
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = _ATTENTION_NAME
    try:
        yield
    finally:
        config._attn_implementation = before


# -- products and norms -----------------------------------------------------------------------------------------------


def _padded(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1])
    rows = len(flat)
    padded = functional.pad(flat, (0, 0, 0, -rows % _PADDED_ROWS))
    return functional.linear(padded, weight)[:rows].view(*x.shape[:-1], -1)


@contextmanager
def _products(model: nn.Module, name: str | None) -> Iterator[None]:
    product = product_of(name)
    if product is None:
        yield
        return

    def forward_of(linear: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
        bias = linear.bias
        return lambda x: product(x, linear.weight) if bias is None else product(x, linear.weight) + bias

    with _other_forwards({each: forward_of(each) for each in model.modules() if isinstance(each, nn.Linear)}):
        yield


@contextmanager
def _fusion(model: nn.Module, setting: Setting) -> Iterator[None]:
    if setting.part(Kind.FUSION) is None:
        yield
        return
    product = product_of(setting.part(Kind.PRODUCTS)) or functional.linear
    with _other_forwards(fused_forwards(model, product)):
        yield


@contextmanager
def _norms(model: nn.Module, name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return

    def forward_of(norm: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: functional.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)

    with _other_forwards({each: forward_of(each) for each in model.modules() if is_rms_norm(each)}):
        yield


def is_rms_norm(module: nn.Module) -> bool:
    """Whether this is a root-mean-square norm as Llama-like models have it."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


@contextmanager
def _other_forwards(forwards: dict[nn.Module, Callable[[torch.Tensor], torch.Tensor]]) -> Iterator[None]:
    """Give modules other forwards; an instance's attribute hides its class's method."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward_before in before.items():
            module.__dict__.pop("forward", None)
            if forward_before is not None:
                module.forward = forward_before


@contextmanager
def _library(name: str | None) -> Iterator[None]:
    if name == "deterministic":
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
    elif name == "no-split":
        with _split_k_forbidden():
            yield
    else:
        yield


@contextmanager
def _split_k_forbidden() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    flags = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    before = {flag: getattr(matmul, flag) for flag in flags}
    library = torch.backends.cuda.preferred_blas_library()
    try:
        torch.backends.cuda.preferred_blas_library("cublaslt")
        for flag in flags:
            setattr(matmul, flag, (False, False))
        yield
    finally:
        for flag, value in before.items():
            setattr(matmul, flag, value)
        torch.backends.cuda.preferred_blas_library(library)
