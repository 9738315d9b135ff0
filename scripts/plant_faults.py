"""Plant faults in a model, alone and together, measure the evidence, and count the wrong answers.

    python scripts/plant_faults.py                                                     the tiny model on the CPU
    python scripts/plant_faults.py --model llama-3-8b --layers 4 --tokens 300 --device cuda     attention that varies

Every scenario is tried `--tries` times, with other weights, prompt and noise each time. A wrong answer is an accusation
of what was not planted, or a miss of what was: right is "leak" exactly where a leak was planted, traced to its module,
and "unstable" for what varies; where a leak is in a module that varies by itself, "cannot tell" is right too. Exits 1
where an answer is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tracediff.measure.evidence import measure
from tracediff.measure.evidence_file import to_evidence
from tracediff.measure.sampler import check_sampler
from tracediff.measured import ControlResult, Evidence
from tracediff.model.load import load_model, prompt_tokens
from tracediff.model.spec import ModelSpec

DOWN, ATTENTION = "model.layers.0.mlp.down_proj", "model.layers.1.self_attn"


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
    """Mix a little of every row of the batch into each."""
    module.register_forward_hook(lambda _, arguments, output: output + output.mean(dim=0, keepdim=True) / 64)


def minds_position(module: nn.Module) -> None:
    """Treat the last row of several otherwise."""

    def change(_: nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        if output.shape[0] > 1:
            changed[-1] *= 1.01
        return changed

    module.register_forward_hook(change)


def vibrates(module: nn.Module) -> None:
    """Add noise, other at every call."""
    module.register_forward_hook(lambda _, arguments, output: _with_noise(output))


def vibrates_now_and_then(module: nn.Module) -> None:
    """Add noise in one call of eight."""
    module.register_forward_hook(lambda _, arguments, output: _with_noise(output) if torch.rand(()) < 1 / 8 else output)


def attention_vibrates(module: nn.Module) -> None:
    """Add noise to what attention computes, before its output projection: `self_attn` itself is to blame."""
    module.o_proj.register_forward_pre_hook(lambda _, arguments: (_with_noise(arguments[0]),))


def _with_noise(output: torch.Tensor) -> torch.Tensor:
    return output * (1 + torch.randint(2, (1,), device=output.device).to(output.dtype) / 64)


def divides_by_epsilon(logits: Any, temperature: float) -> Any:
    """Sample as old servers did: a temperature of 0 becomes a tiny number, in the logits' own dtype."""
    return torch.softmax(logits / max(temperature, 1e-5), dim=-1).argmax(dim=-1)


def argmax(logits: Any, temperature: float) -> Any:
    """Sample as temperature 0 should."""
    return logits.argmax(dim=-1)


Fault = tuple[str, Callable[[nn.Module], None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is planted, and which answers are right.

    Attributes:
        name: In words.
        faults: Module paths and what is done to them.
        neighbours, position: The right answers of these controls.
        leak_in: The module that a leak must be traced to.
        unstable: Modules that must be found to vary.
        sampler: What samples, and whether it is right.
    """

    name: str
    faults: tuple[Fault, ...] = ()
    neighbours: tuple[ControlResult, ...] = (ControlResult.EQUAL, ControlResult.CANNOT_TELL)
    position: tuple[ControlResult, ...] = (ControlResult.EQUAL, ControlResult.CANNOT_TELL)
    leak_in: str | None = None
    unstable: frozenset[str] = field(default_factory=frozenset)
    sampler: tuple[Callable[[Any, float], Any], bool] = (argmax, True)


LEAK = {"neighbours": (ControlResult.DIFFERS,), "position": tuple(ControlResult), "leak_in": DOWN}
SCENARIOS = (
    Scenario(name="clean"),
    Scenario(name="a different order of summation", faults=((DOWN, reorders),)),
    Scenario(name="leak", faults=((DOWN, leaks),), **LEAK),
    Scenario(name="noise", faults=((DOWN, vibrates),), unstable=frozenset({DOWN})),
    Scenario(name="noise now and then", faults=((DOWN, vibrates_now_and_then),)),
    Scenario(name="unstable attention", faults=((ATTENTION, attention_vibrates),), unstable=frozenset({ATTENTION})),
    Scenario(
        name="leak and unstable attention",
        faults=((DOWN, leaks), (ATTENTION, attention_vibrates)),
        unstable=frozenset({ATTENTION}),
        **LEAK,
    ),
    Scenario(
        name="leak and noise in one module",
        faults=((DOWN, leaks), (DOWN, vibrates)),
        neighbours=(ControlResult.CANNOT_TELL, ControlResult.DIFFERS),
        position=tuple(ControlResult),
        unstable=frozenset({DOWN}),
    ),
    Scenario(name="minds its position", faults=((DOWN, minds_position),), position=(ControlResult.DIFFERS,)),
    Scenario(name="wrong sampler", sampler=(divides_by_epsilon, False)),
)


def wrong_answers(scenario: Scenario, evidence: Evidence) -> list[str]:
    """Return what evidence says wrongly of a scenario."""
    wrong = []
    for name, right in (("neighbours", scenario.neighbours), ("position", scenario.position)):
        control = evidence.controls[name]
        if control.answer not in right:
            wrong.append(f"{name}: {control.answer} ({control.first or control.why})")
    first = evidence.controls["neighbours"].first
    if scenario.leak_in is not None and not (first or "").endswith(scenario.leak_in):
        wrong.append(f"the leak is traced to {first}")
    missing = scenario.unstable - {each.module for each in evidence.unstable}
    if missing:
        wrong.append(f"not found to vary: {', '.join(sorted(missing))}")
    origins = {pair.first_origin[1] for pair in evidence.pairs if pair.first_origin is not None}
    if origins & scenario.unstable:
        wrong.append("noise is taken for an origin")
    sampler, is_right = scenario.sampler
    report = check_sampler(sampler, "planted")
    if all(result.problem is None for result in report.results) is not is_right:
        wrong.append(f"a sampler that is {'right' if is_right else 'wrong'} is said to be the other")
    return wrong


def evidence_of(scenario: Scenario, spec: ModelSpec, arguments: argparse.Namespace, model: nn.Module) -> Evidence:
    """Plant the faults of a scenario, measure, and take the faults out again."""
    known = [(module, dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in model.modules()]
    classes = [(module, module.__class__) for module in model.modules()]
    try:
        for path, plant in scenario.faults:
            plant(model.get_submodule(path))
        prompt = prompt_tokens(spec, model, count=arguments.tokens)
        measured = measure(
            model, prompt, arguments.batches, (3,), name=spec.label, dtype=spec.dtype, attention=spec.attention
        )
    finally:
        for module, kept_class in classes:
            module.__class__ = kept_class
        for module, hooks, pre_hooks in known:
            for current, before in ((module._forward_hooks, hooks), (module._forward_pre_hooks, pre_hooks)):
                for handle in current.keys() - before.keys():
                    del current[handle]
    return to_evidence(measured)


def main() -> int:
    """Plant, measure, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--tokens", type=int, default=6)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    print(f"{where}, torch {torch.__version__}, {arguments.model} {arguments.dtype}, {arguments.tokens} tokens")
    wrong = dict.fromkeys((scenario.name for scenario in SCENARIOS), 0)
    for number in range(arguments.tries):
        spec = ModelSpec(
            name=arguments.model,
            dtype=arguments.dtype,
            layers=arguments.layers,
            attention=arguments.attention,
            seed=number,
        )
        model = load_model(spec, arguments.device)
        for scenario in SCENARIOS:
            start = time.monotonic()
            evidence = evidence_of(scenario, spec, arguments, model)
            answers = wrong_answers(scenario, evidence)
            wrong[scenario.name] += bool(answers)
            told = ", ".join(f"{name} {control.answer}" for name, control in evidence.controls.items())
            varies = len({each.module for each in evidence.unstable})
            seconds = time.monotonic() - start
            print(f"{number} {scenario.name}: {told}; {varies} modules vary; {seconds:.1f} s", *answers, flush=True)
        del model
        if arguments.device.startswith("cuda"):
            torch.cuda.empty_cache()
    print("\n| planted | tries | wrong answers |\n|---|---:|---:|")
    for name, count in wrong.items():
        print(f"| {name} | {arguments.tries} | {count} |")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
