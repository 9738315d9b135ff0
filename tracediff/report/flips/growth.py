"""How a difference grows from the first origin to the logits, module by module, as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracediff.measured import Evidence, ModuleBits, State
from tracediff.report.flips.plots import CHANGED, SAME, rows_of_plots, styled


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsChange:
    """How far one module's output is from batch 1's in the run.

    Attributes:
        module: Its path.
        max_ulp: Largest distance in units of the last place; None where unknown.
        share: Share of elements that differ.
        is_origin: Whether its outputs differ even on equal inputs.
    """

    module: str
    max_ulp: int | None
    share: float
    is_origin: bool


def ulp_growth(modules: Sequence[BitsChange], title: str = "From the first origin to the logits") -> Any:
    """Draw how the difference grows through the modules of one forward.

    Args:
        modules: In the order they run, from the first origin on.
        title: Above the figure.
    """
    figure = rows_of_plots(["largest distance in ULP", "share of differing elements"])
    names = [module.module for module in modules]
    ulps: list[float | None] = [module.max_ulp or None for module in modules]
    shares: list[float | None] = [module.share or None for module in modules]
    for row, values in enumerate((ulps, shares), start=1):
        origins = [place for place, module in enumerate(modules) if module.is_origin]
        figure.add_scatter(
            x=list(range(len(modules))),
            y=values,
            text=names,
            mode="lines",
            line={"color": SAME, "width": 1.2},
            name="in the run",
            showlegend=row == 1,
            row=row,
            col=1,
        )
        figure.add_scatter(
            x=origins,
            y=[values[place] for place in origins],
            text=[names[place] for place in origins],
            mode="markers",
            marker={"color": CHANGED, "size": 6, "symbol": "diamond"},
            name="origin: differs even on equal inputs",
            showlegend=row == 1,
            row=row,
            col=1,
        )
    figure.update_yaxes(type="log", dtick=1, title_text="ULP", row=1, col=1)
    figure.update_yaxes(title_text="share", tickformat=".0%", rangemode="tozero", row=2, col=1)
    ticks = _block_starts(names)
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()))
    return styled(figure, title, 2)


def growth_figures(evidence: Evidence) -> dict[str, Any]:
    """Return, by file stem, the growth through the prefill of every pair of batch sizes whose bits differ there.

    Args:
        evidence: What was measured.
    """
    figures = {}
    for pair in evidence.pairs:
        for phase in evidence.phases[:1]:
            changes = module_changes(pair.modules.get(phase, {}))
            if changes:
                base, batch = pair.batches
                title = f"{evidence.model}, {evidence.dtype}, {phase}: batch {base} → {batch}, module by module"
                figures[f"growth_b{batch}"] = ulp_growth(changes, title)
    return figures


def module_changes(modules: Mapping[str, ModuleBits]) -> list[BitsChange]:
    """Return the modules without children from the first origin on, in the order they ran.

    Args:
        modules: What was measured of one phase, by module path.
    """
    parents = {name.rpartition(".")[0] for name in modules}
    changes = []
    for name, measured in modules.items():
        bits = measured.propagated
        if name in parents or bits is None:
            continue
        is_origin = measured.state is State.ORIGIN
        changes.append(BitsChange(module=name, max_ulp=bits.max_ulp, share=bits.share, is_origin=is_origin))
    first = next((place for place, change in enumerate(changes) if change.is_origin), len(changes))
    return changes[first:]


def _block_starts(names: Sequence[str]) -> dict[int, str]:
    """Return which places of the axis to name: the first module of each block, and what follows the last."""
    starts: dict[int, str] = {}
    before = None
    for place, name in enumerate(names):
        block = next((word for word in name.split(".") if word.isdecimal()), None)
        if block != before or block is None:
            starts[place] = name.rpartition(".")[2] if block is None else f"layer {block}"
        before = block
    step = math.ceil(len(starts) / 12)
    return dict(list(starts.items())[::step])
