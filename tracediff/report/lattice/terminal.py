"""The lattice of pasted logits or logprobs on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.lattice import LOGITS, SHORT_NAMES, Lattice, MarginInUlp
from tracediff.text import printable

_SHOWN_GAPS = 8
_SHOWN_STEPS = 40


def print_lattices(lattices: Sequence[Lattice], console: Console, names: Sequence[str | None] = ()) -> None:
    """Print one step in full, several as one line each.

    Args:
        lattices: One per decoding step.
        console: Where to.
        names: What the input calls each step; by default they are counted.
    """
    if len(lattices) == 1:
        _print_one(lattices[0], console)
        return
    table = _table(("step", "values", "probably", "spacing", "top", "next", "gap", "in ULP"))
    for step, lattice in enumerate(lattices[:_SHOWN_STEPS]):
        gap = lattice.gaps[0]
        name = names[step] if step < len(names) else None
        table.add_row(
            printable(name or str(step)),
            str(lattice.count),
            "–" if lattice.probable is None else SHORT_NAMES[lattice.probable],
            "–" if lattice.spacing is None else f"{lattice.spacing:g}",
            printable(gap.label),
            printable(gap.next_label),
            _gap_words(gap.gap),
            _ulp_words(gap.ulp),
        )
    console.print(table)
    if len(lattices) > _SHOWN_STEPS:
        console.print(Text(f"{len(lattices) - _SHOWN_STEPS} more steps not shown (--format json has all)", style="dim"))
    for note in dict.fromkeys(note for lattice in lattices for note in lattice.notes):
        console.print(Text(f"· {printable(note)}"))


def _print_one(lattice: Lattice, console: Console) -> None:
    console.print(Text(f"{lattice.sentence[0].upper()}{lattice.sentence[1:]}", style="bold"))
    for margin in lattice.margins if lattice.margin else ():
        console.print(Text(f"· {_margin_words(margin)}"))
    gaps = _table(("from", "to", "value", "gap", "in ULP"))
    for gap in lattice.gaps[:_SHOWN_GAPS]:
        labels = (printable(gap.label), printable(gap.next_label))
        gaps.add_row(*labels, f"{gap.value:g}", _gap_words(gap.gap), _ulp_words(gap.ulp))
    console.print(gaps)
    if len(lattice.gaps) > _SHOWN_GAPS:
        console.print(Text(f"{len(lattice.gaps) - _SHOWN_GAPS} more gaps (--format json has all)", style="dim"))
    console.print(Text(f"Why: {lattice.count} {lattice.kind}"))
    if lattice.kind == LOGITS:
        table = _table(("dtype", "exact", "fit", "chance that any numbers fit"))
        for fit in lattice.fits:
            table.add_row(fit.dtype, str(fit.exact), str(fit.fitting), _chance(fit.chance_log10))
        console.print(table)
    if lattice.spacing is not None:
        chance = _chance(lattice.spacing_chance_log10 or 0.0)
        console.print(Text(f"All differences are multiples of {lattice.spacing:g} (by chance: {chance})"))
    for dtype, low, high in lattice.implied:
        console.print(Text(f"· one ULP of {dtype} for logits between {low:g} and {high:g} in absolute value"))
    for note in lattice.notes:
        console.print(Text(f"· {printable(note)}"))


def _margin_words(margin: MarginInUlp) -> str:
    where = (
        f"at {margin.low:g}"
        if margin.low == margin.high
        else f"where the top logit is {margin.low:g} to {margin.high:g}"
    )
    return f"{margin.ulp:g} ULP of {margin.dtype} {where}"


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _gap_words(gap: float) -> Text:
    return Text("exact tie", style="bold") if gap == 0 else Text(f"{gap:g}")


def _ulp_words(ulp: float | None) -> str:
    return "–" if ulp is None else f"{ulp:g}"


def _chance(log10: float) -> str:
    return "certain" if log10 > -0.05 else f"{10**log10:.2g}" if log10 > -5 else f"1e{log10:.0f}"
