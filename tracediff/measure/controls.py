"""Controls: what must not change bits, measured: running again, other neighbours, another position, the profiler.

They tell a change of reduction order, which every kernel library makes, from a bug. Each runs the same shape, hence the
same kernels, so a single differing bit is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from tracediff.measure.bits import compare
from tracediff.measure.replay import compare_run, record
from tracediff.measured import Bits, Control

Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]
"""Takes token ids (batch, tokens), returns the logits of each phase (batch, positions, vocabulary)."""

_NEIGHBOURS = 3


def run_to_run(run: Run, prompt: torch.Tensor, batches: Sequence[int], phases: Sequence[str]) -> Control:
    """Run each batch size twice; all rows of all logits must be equal."""
    found: list[tuple[str, Bits]] = []
    for batch in batches:
        tokens = prompt.repeat(batch, 1)
        first = run(tokens)
        found += _compared(f"batch {batch}, ", phases, first, run(tokens))
    return _control(found, f"the same run twice at batch {' and '.join(map(str, batches))}")


def neighbours(
    model: nn.Module, run: Run, prompt: torch.Tensor, batches: Sequence[int], phases: Sequence[str], vocabulary: int
) -> Control:
    """Give the other rows other content; row 0's logits must not move. A leak is traced to its first module.

    Args:
        model: What `run` runs.
        run: Runs it.
        prompt: Token ids (1, tokens) of row 0.
        batches: Batch sizes; those of one row have no neighbours.
        phases: Names of the phases, for words.
        vocabulary: Neighbours are random tokens below it, seeded.
    """
    found: list[tuple[str, Bits]] = []
    leak: str | None = None
    for batch in batches:
        copies = prompt.repeat(batch, 1)
        plain = [logits[:1] for logits in run(copies)]
        for seed in range(_NEIGHBOURS if batch > 1 else 0):
            others = _with_neighbours(prompt, batch, 0, vocabulary, seed)
            compared = _compared(f"batch {batch}, ", phases, plain, [logits[:1] for logits in run(others)])
            found += compared
            if leak is None and not all(bits.equal for _, bits in compared):
                leak = _first_leak(model, run, copies, others)
    control = _control(found, f"row 0 beside {_NEIGHBOURS} sets of random neighbours and beside copies of itself")
    return replace(control, first=f"{control.first}, {leak}") if leak else control


def _first_leak(model: nn.Module, run: Run, copies: torch.Tensor, others: torch.Tensor) -> str | None:
    """Return the first module whose output for row 0 changes with the neighbours."""
    recording = record(model, lambda: run(copies), rows=1)
    places = compare_run(model, lambda: run(others), recording)
    return next((name for (_, name), bits in places.items() if not bits.equal), None)


def position(run: Run, prompt: torch.Tensor, batches: Sequence[int], phases: Sequence[str], vocabulary: int) -> Control:
    """Put the row first, in the middle and last among the same neighbours; its logits must not move."""
    found: list[tuple[str, Bits]] = []
    for batch in batches:
        at_place = {
            place: [
                logits[place : place + 1]
                for logits in run(_with_neighbours(prompt, batch, place, vocabulary, seed=_NEIGHBOURS))
            ]
            for place in sorted({0, batch // 2, batch - 1})
        }
        for place in list(at_place)[1:]:
            found += _compared(f"batch {batch}, row {place}, ", phases, at_place[0], at_place[place])
    return _control(found, "the row first, in the middle and last")


def profiler(recorded: Mapping[str, str] | None, plain: dict[str, str]) -> Control:
    """Compare the logits of the profiled process with those of this one, by their hashes.

    Args:
        recorded: Hash by `batch/phase` from the profiled process; None where it gave none.
        plain: The same from a process without a profiler.
    """
    words = "logits of the recorded process and of one without the profiler, by hash"
    common = [key for key in plain if recorded is not None and key in recorded]
    if recorded is None or not common:
        return Control(equal=None, compared=words)
    first = next((key for key in common if recorded[key] != plain[key]), None)
    return Control(equal=first is None, compared=words, first=first, max_ulp=0 if first is None else None)


def _with_neighbours(prompt: torch.Tensor, batch: int, place: int, vocabulary: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(vocabulary, (batch - 1, prompt.shape[1]), generator=generator).to(prompt.device)
    return torch.cat([others[:place], prompt, others[place:]])


def _compared(
    words: str, phases: Sequence[str], a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]
) -> list[tuple[str, Bits]]:
    return [(f"{words}{phase}", compare(first, second)) for phase, first, second in zip(phases, a, b, strict=True)]


def _control(found: list[tuple[str, Bits]], words: str) -> Control:
    differing = [(where, bits) for where, bits in found if not bits.equal]
    if not differing:
        return Control(equal=True if found else None, compared=words)
    known = [bits.max_ulp for _, bits in differing if bits.max_ulp is not None]
    return Control(
        equal=False,
        compared=words,
        first=differing[0][0],
        share=max(bits.share for _, bits in differing),
        max_ulp=max(known) if len(known) == len(differing) else None,
    )
