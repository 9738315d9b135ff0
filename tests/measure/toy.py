"""A model whose rows never touch, and modules with planted faults: what the controls are tested with.

Every sum is taken row by row on a copy of the row, so that the clean model gives the same bits at every batch size on
any machine.
"""

from types import SimpleNamespace

import torch
from torch import nn

VOCABULARY, WIDTH = 32, 16
PROMPT = torch.tensor([[3, 1, 4, 1, 5]])
DECODE = [9, 2]


class ByRow(nn.Module):
    """A linear layer that computes each row by itself."""

    def __init__(self, inputs=WIDTH, outputs=WIDTH):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)

    def forward(self, x):
        return torch.stack([self.product(row.clone()) for row in x])

    def product(self, row):
        return row @ self.weight.T


class Reorders(ByRow):
    """Sums k in two parts as soon as there is a second row: split-K 1 → 2."""

    def forward(self, x):
        self.parts = 1 if x.shape[0] == 1 else 2
        return super().forward(x)

    def product(self, row):
        half = row.shape[-1] // 2
        if self.parts == 1:
            return row @ self.weight.T
        return row[:, :half] @ self.weight[:, :half].T + row[:, half:] @ self.weight[:, half:].T


class Leaks(ByRow):
    """Adds a little of the other rows."""

    def forward(self, x):
        return super().forward(x) + 1e-3 * x.mean(0)


class AddsNoise(ByRow):
    """Never gives the same bits twice."""

    def forward(self, x):
        return super().forward(x) * (1 + 1e-3 * torch.rand(()))


class MindsPosition(ByRow):
    """Treats the last row of several otherwise."""

    def forward(self, x):
        y = super().forward(x).clone()
        if x.shape[0] > 1:
            y[-1] *= 1.001
        return y


class Block(nn.Module):
    """A residual block; the running mean over earlier tokens stands for attention."""

    def __init__(self, first, second):
        super().__init__()
        self.first_proj, self.second_proj = first(), second()

    def forward(self, x, before):
        mixed = self.first_proj(x)
        # Own sums of a module with children: the mean over this and all earlier tokens, row by row.
        history = mixed if before is None else torch.cat([before, mixed], 1)
        context = torch.stack([row.clone().mean(0, keepdim=True).expand(x.shape[1], -1) for row in history])
        return x + torch.tanh(self.second_proj(mixed + context)), history


class Toy(nn.Module):
    """Called as a transformers causal language model is."""

    def __init__(self, **faults):
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            Block(faults.get(f"first{index}", ByRow), faults.get(f"second{index}", ByRow)) for index in range(2)
        )
        self.lm_head = ByRow(WIDTH, VOCABULARY)
        self.requires_grad_(False)

    @property
    def device(self):
        return self.embed_tokens.weight.device

    def forward(self, input_ids, past_key_values=None, use_cache=True):
        x, caches = self.embed_tokens(input_ids), []
        for layer, before in zip(self.layers, past_key_values or [None, None], strict=True):
            x, history = layer(x, before)
            caches.append(history)
        return SimpleNamespace(logits=self.lm_head(x), past_key_values=caches)
