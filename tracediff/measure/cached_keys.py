"""A decode step against a given number of cached keys, and a prefill, at any batch, without copying the cache.

transformers' own cache copies all keys on every step; that would be the larger part of what is timed. Here the keys
are in one tensor per layer, the step writes its own behind them and attends to a view. Cached keys and values are
random where only kernels and bits matter.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

# Several times what an H100 or H200 caches itself: layers that share keys still read them from memory.
_ENOUGH_BYTES = 2**30


class _KeysInPlace(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (batch, key heads, keys, width) each, with room behind `position`."""

    def __init__(self, store: tuple[torch.Tensor, torch.Tensor], position: int) -> None:
        super().__init__()
        self.store, self.position, self.is_initialized = store, position, True

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys behind the cached ones and return a view of all."""
        batch, _heads, count, _width = keys.shape
        end = self.position + count
        views = []
        for stored, new in zip(self.store, (keys, values), strict=True):
            stored[:batch, :, self.position : end] = new
            views.append(stored[:batch, :, :end])
        return views[0], views[1]

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        return self.position

    def get_mask_sizes(self, query_length: Any, *_: Any, **__: Any) -> tuple[int, int]:
        return self.position + int(query_length), 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedKeys:
    """Room for keys and values of a model's layers.

    Attributes:
        stores: Keys and values of each layer; layers may share them.
    """

    stores: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @classmethod
    def random(cls, model: Any, batch: int, keys: int, seed: int = 0) -> CachedKeys:
        """Make room for `keys` cached keys and one step's own, filled with seeded random numbers.

        Layers share stores in turn where fewer stores already exceed the GPU's own cache many times: times and bits are
        what they would be, in less memory. A smaller batch reads the first rows of the same stores; what is timed has
        stores of its own batch, since the first rows of shared ones may fit into the GPU's cache.
        """
        heads = attention_heads(model)
        shape = (batch, heads.keys, keys + 1, heads.width)
        layers = model.config.num_hidden_layers
        dtype, device = next((each.dtype, each.device) for each in model.parameters())
        layer_bytes = 2 * dtype.itemsize * torch.Size(shape).numel()
        distinct = min(layers, max(2, -(-_ENOUGH_BYTES // layer_bytes)))
        generator = torch.Generator(device=device).manual_seed(seed)
        stores = [
            (
                torch.empty(shape, dtype=dtype, device=device).normal_(generator=generator),
                torch.empty(shape, dtype=dtype, device=device).normal_(generator=generator),
            )
            for _ in range(distinct)
        ]
        return cls(stores=tuple(stores[layer % distinct] for layer in range(layers)))

    def cache(self, position: int) -> Any:
        """Return a transformers cache that holds `position` keys."""
        return Cache(layers=[_KeysInPlace(store, position) for store in self.stores])


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionHeads:
    """How a model's attention is cut: query heads, key heads, and elements per head."""

    queries: int
    keys: int
    width: int


def attention_heads(model: Any) -> AttentionHeads:
    """Read the heads from a model's configuration; without key heads of their own, query heads have one each."""
    config = model.config
    queries = config.num_attention_heads
    return AttentionHeads(
        queries=queries,
        keys=getattr(config, "num_key_value_heads", None) or queries,
        width=getattr(config, "head_dim", None) or config.hidden_size // queries,
    )


def step_tokens(model: Any, batch: int, count: int = 1, seed: int = 0) -> torch.Tensor:
    """Return token ids (batch, count): seeded, and row i the same in every batch that has it."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(model.config.vocab_size, (count,), generator=generator) for _ in range(batch)]
    return torch.stack(rows).to(next(model.parameters()).device)


def decode_step(model: Any, tokens: torch.Tensor, cached: CachedKeys, keys: int) -> torch.Tensor:
    """Run one step of one token per row against `keys` cached keys; return the logits (batch, vocabulary)."""
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=tokens, use_cache=True, **_with_cache(model, cached.cache(keys))).logits
    return result[:, -1]


def prefill(model: Any, tokens: torch.Tensor, cached: CachedKeys | None = None) -> torch.Tensor:
    """Run a prompt; return the logits of all positions (batch, tokens, vocabulary). `cached` keeps its keys."""
    arguments = {} if cached is None else _with_cache(model, cached.cache(0))
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=tokens, use_cache=cached is not None, **arguments).logits
    return result


def _with_cache(model: Any, cache: Any) -> dict[str, Any]:
    # transformers 5.20 or so renamed the argument; the old name warns there.
    named = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return {named: cache}
