"""Plant a fault of each kind in a model, measure the evidence, and print what `tracediff explain` says of it.

python scripts/plant_faults.py                                    the tiny model on the CPU
python scripts/plant_faults.py --model llama-3-8b --layers 4 --device cuda
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tracediff.findings.explain import Explanation, explain
from tracediff.findings.facts import gather
from tracediff.measure.evidence import measure, write
from tracediff.measure.sampler import check_sampler
from tracediff.model.load import load_model, prompt_tokens
from tracediff.model.spec import ModelSpec


class InHalves(nn.Linear):
    """Sums in two halves of k, as a split-K of 2, at other batch sizes than 1."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the projection of `inputs` (batch, tokens, k)."""
        if inputs.shape[0] == 1:
            return super().forward(inputs)
        half = inputs.shape[-1] // 2
        return inputs[..., :half] @ self.weight[:, :half].T + inputs[..., half:] @ self.weight[:, half:].T


def reorders(module: nn.Module) -> None:
    """Change the order of summation with the batch size: no fault at all."""
    module.__class__ = InHalves


def leaks(module: nn.Module) -> None:
    """Mix the rows of a batch."""
    module.register_forward_hook(lambda _, arguments, output: output + output.mean(dim=0, keepdim=True) / 2)


def vibrates(module: nn.Module) -> None:
    """Add noise, other at every call."""
    module.register_forward_hook(lambda _, arguments, output: output + torch.rand_like(output) / 64)


def divides_by_epsilon(logits: Any, temperature: float) -> Any:
    """Sample as old servers did: a temperature of 0 becomes a tiny number, in the logits' own dtype."""
    return torch.softmax(logits / max(temperature, 1e-5), dim=-1).argmax(dim=-1)


def evidence_of(fault: Callable[[nn.Module], None] | None, spec: ModelSpec, device: str, directory: Path) -> None:
    """Measure a model with a fault in one projection of its first block, and write the evidence into `directory`."""
    model = load_model(spec, device)
    if fault is not None:
        fault(model.model.layers[0].mlp.down_proj)
    write(measure(model, prompt_tokens(spec, model), (1, 2), (3,), name=spec.label, dtype=spec.dtype), directory)


def main() -> None:
    """Plant, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    spec = ModelSpec(name=options.model, dtype=options.dtype, layers=options.layers)

    def show(what: str, explanation: Explanation) -> None:
        print(f"{what}: {explanation.headline}", flush=True)

    for fault in (None, reorders, leaks, vibrates):
        with tempfile.TemporaryDirectory() as name:
            evidence_of(fault, spec, options.device, Path(name))
            facts = gather(Path(name))
        show("as it is" if fault is None else f"a projection that {fault.__name__}", explain(facts))
        if fault is reorders:
            report = check_sampler(divides_by_epsilon, "divides_by_epsilon")
            show("the same with a sampler that divides by an epsilon", explain(facts, report))


if __name__ == "__main__":
    main()
