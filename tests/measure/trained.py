"""A real checkpoint that the tests train themselves in a second: the tiny Llama, knowing the days of the week."""

import copy
import functools

import torch

from tracediff.model.load import load_model
from tracediff.model.spec import ModelSpec

DAYS = b"Monday Tuesday Wednesday Thursday Friday Saturday Sunday "


def trained_model():
    """Return a float32 model of its own that writes the days of the week."""
    return copy.deepcopy(_trained())


@functools.cache
def _trained():
    torch.manual_seed(0)
    model = load_model(ModelSpec(name="tiny", dtype="float32"), "cpu").requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    text = torch.tensor(list(DAYS * 4))
    for step in range(60):
        starts = torch.arange(8) * 7 + step % 7
        tokens = torch.stack([text[start : start + 64] for start in starts])
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)
