"""Models with planted faults, and small flip searches on them, for the tests beside."""

import functools

from tracediff.measure.flips import FlipRequest
from tracediff.model.load import load_model
from tracediff.model.spec import ModelSpec


def with_logits(change):
    """Return a loader whose models pass their logits through `change(logits)`."""

    def load(spec, device):
        model = load_model(spec, device)
        model.lm_head.register_forward_hook(lambda module, arguments, output: change(output))
        return model

    return load


def depends_on_batch(logits):
    """Coarse logits, so that near and exact ties are common, moved by up to one step at other batch sizes than 1."""
    import torch

    coarse = (logits.float() * 64).round() / 64
    if logits.shape[0] > 1:
        generator = torch.Generator().manual_seed(logits.shape[0])
        coarse = coarse + (torch.rand(logits.shape[-1], generator=generator) - 0.5) / 32
    return coarse.to(logits.dtype)


def same_at_every_batch(logits):
    """Every row computed like row 0: the tiny model on a CPU may itself depend on the batch size."""
    return logits


def noisy(logits):
    """Other bits at every call."""
    import torch

    return logits + torch.rand(logits.shape).to(logits.dtype) / 64


def request(**fields):
    """Return a small search of the tiny model on the CPU."""
    given = {"spec": ModelSpec(name="tiny"), "batches": (1, 2), "random": 4, "decode": 6, **fields}
    return FlipRequest(device="cpu", **given)


@functools.cache
def planted_result(mode="generate"):
    """Return a search with flips in two precisions, made once per test run."""
    from tracediff.measure.flips import search_flips

    wanted = request(batches=(1, 2, 8), dtypes=("float16", "bfloat16"), random=8, decode=12, tokens=12, mode=mode)
    return search_flips(wanted, load=with_logits(depends_on_batch))
