"""Run-to-run repeats on the terminal: a table of operations and dtypes for each setting."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.determinism import SETTINGS, DeterminismResult, Repeats
from tracediff.text import printable

_SHOWN_KERNELS = 3


def print_determinism(result: DeterminismResult, console: Console, everything: bool = False) -> None:
    """Print what varies from run to run, the kernels that ran there, and what it says in sentences.

    Args:
        result: What was measured.
        console: Where to.
        everything: Show every operation, also those whose bits repeat, and all kernels.
    """
    where = result.machine.get("gpu") or result.machine.get("device")
    console.print(Text(printable(f"{where}, torch {result.machine.get('torch')}"), style="dim"))
    for setting in SETTINGS:
        shown = _operations(result, setting, everything)
        if shown:
            console.print(_table(result, setting, shown))
    for operation, kernels in _varying_kernels(result).items():
        names = kernels if everything else kernels[:_SHOWN_KERNELS]
        more = f" and {len(kernels) - len(names)} more" if len(names) < len(kernels) else ""
        console.print(Text.assemble((f"{printable(operation)} ran ", "bold"), printable(", ".join(names)), more))
    for sentence in findings(result):
        console.print(Text(f"· {printable(sentence)}"))
    if not everything:
        console.print(Text("every operation and size: --all", style="dim"))


def _operations(result: DeterminismResult, setting: str, everything: bool) -> list[str]:
    """Return the operations to show: all, or those that vary or were refused."""
    rows = [row for row in result.rows if row.setting == setting]
    return list(dict.fromkeys(row.operation for row in rows if everything or row.varies or row.refused is not None))


def findings(result: DeterminismResult) -> list[str]:
    """Return what the measurements say, one sentence each; names of operations hold commas."""
    sentences = []
    for setting in SETTINGS:
        rows = [row for row in result.rows if row.setting == setting and row.refused is None]
        varying = _varying_operations(rows)
        if not rows:
            continue
        if varying:
            sentences.append(f"{setting}: bits vary from run to run in {'; '.join(varying)}")
        else:
            repeats = min(row.repeats for row in rows)
            sentences.append(
                f"{setting}: every one of {len(rows)} measurements gave the same bits in all {repeats} runs"
            )
        refused = sorted({row.operation for row in result.rows if row.setting == setting and row.refused})
        if refused:
            sentences.append(f"{setting}: not run here: {'; '.join(refused)}")
    sentences.append("equal bits in so many runs show that an operation repeats here, not that it must everywhere")
    return sentences


def _varying_operations(rows: Sequence[Repeats]) -> list[str]:
    """Name each operation that varies, with its dtypes where it does so in some only."""
    dtypes = {row.dtype for row in rows}
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.varies:
            found.setdefault(row.operation, {})[row.dtype] = None
    return [
        operation if set(varying) == dtypes and len(dtypes) > 1 else f"{operation} ({', '.join(varying)})"
        for operation, varying in found.items()
    ]


def _varying_kernels(result: DeterminismResult) -> dict[str, list[str]]:
    """Return the kernels of each operation that varies, without their template arguments, each once."""
    found: dict[str, dict[str, None]] = {}
    for row in result.rows:
        if row.varies:
            names = (name.removeprefix("void ").partition("<")[0].partition("(")[0] for name in row.kernels)
            found.setdefault(row.operation, {}).update(dict.fromkeys(names))
    return {operation: list(names) for operation, names in found.items() if names}


def _table(result: DeterminismResult, setting: str, operations: Sequence[str]) -> Table:
    """One row per operation, one column per dtype; sizes share a cell."""
    rows = [row for row in result.rows if row.setting == setting]
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=f"{setting} settings", title_justify="left", title_style="bold"
    )
    for column in ("operation", *dtypes):
        table.add_column(printable(column), overflow="fold")
    for operation in operations:
        cells = [_cell([row for row in rows if row.operation == operation and row.dtype == dtype]) for dtype in dtypes]
        table.add_row(printable(operation), *cells)
    return table


def _cell(rows: list[Repeats]) -> Text:
    """Say what several sizes of one operation did; the sizes are named where they do not agree."""
    varying, refused = [row for row in rows if row.varies], [row for row in rows if row.refused is not None]
    if varying:
        first = min(varying, key=lambda row: row.first_different or 0)
        # An element near zero is thousands of its own ULP off when it is hardly off: plain differences mislead less.
        worst = max((row.largest_difference for row in varying if row.largest_difference is not None), default=None)
        size = "" if worst is None else f", by up to {worst:.3g}"
        where = "" if len(varying) == len(rows) else f" (size {', '.join(row.size for row in varying)})"
        return Text(f"varies from run {first.first_different}{size}{where}", style="bold red")
    if refused:
        return Text("not run", style="yellow")
    return Text(f"same ×{rows[0].repeats}" if rows else "–", style="green" if rows else "dim")
