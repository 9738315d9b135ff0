"""Run-to-run repeats on the terminal: a table of operations and dtypes for each setting."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracediff.findings.determinism import SETTINGS, DeterminismResult, Repeats
from tracediff.text import printable


def print_determinism(result: DeterminismResult, console: Console) -> None:
    """Print one table per setting, the kernels of what varies, then what it says in sentences."""
    where = result.machine.get("gpu") or result.machine.get("device")
    console.print(Text(f"{where}, torch {result.machine.get('torch')}", style="dim"))
    for setting in SETTINGS:
        console.print(_table(result, setting))
    for operation, kernels in _varying_kernels(result).items():
        console.print(Text.assemble((f"{operation} ran ", "bold"), printable(", ".join(kernels))))
    for sentence in findings(result):
        console.print(Text(f"· {printable(sentence)}"))


def findings(result: DeterminismResult) -> list[str]:
    """Return what the measurements say, one sentence each."""
    sentences = []
    for setting in SETTINGS:
        rows = [row for row in result.rows if row.setting == setting and row.refused is None]
        varying = sorted({f"{row.operation} ({row.dtype})" for row in rows if row.varies})
        if not rows:
            continue
        if varying:
            sentences.append(f"{setting}: bits vary from run to run in {', '.join(varying)}")
        else:
            repeats = min(row.repeats for row in rows)
            sentences.append(
                f"{setting}: every one of {len(rows)} measurements gave the same bits in all {repeats} runs"
            )
        refused = sorted({row.operation for row in result.rows if row.setting == setting and row.refused})
        if refused:
            sentences.append(f"{setting}: not run here: {', '.join(refused)}")
    sentences.append("equal bits in so many runs show that an operation repeats here, not that it must everywhere")
    return sentences


def _varying_kernels(result: DeterminismResult) -> dict[str, list[str]]:
    """Return the kernels of each operation that varies, without their template arguments, each once."""
    found: dict[str, dict[str, None]] = {}
    for row in result.rows:
        if row.varies:
            names = (name.removeprefix("void ").partition("<")[0].partition("(")[0] for name in row.kernels)
            found.setdefault(row.operation, {}).update(dict.fromkeys(names))
    return {operation: list(names) for operation, names in found.items() if names}


def _table(result: DeterminismResult, setting: str) -> Table:
    """One row per operation, one column per dtype; sizes share a cell."""
    rows = [row for row in result.rows if row.setting == setting]
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=f"{setting} settings", title_justify="left", title_style="bold"
    )
    for column in ("operation", *dtypes):
        table.add_column(column, overflow="fold")
    for operation in dict.fromkeys(row.operation for row in rows):
        cells = [_cell([row for row in rows if row.operation == operation and row.dtype == dtype]) for dtype in dtypes]
        table.add_row(operation, *cells)
    return table


def _cell(rows: list[Repeats]) -> Text:
    """Say what several sizes of one operation did; the sizes are named where they do not agree."""
    varying, refused = [row for row in rows if row.varies], [row for row in rows if row.refused is not None]
    if varying:
        first = min(varying, key=lambda row: row.first_different or 0)
        worst = max((row.largest_ulp for row in varying if row.largest_ulp is not None), default=None)
        size = "" if worst is None else f", ≤ {worst:.3g} ULP"
        where = "" if len(varying) == len(rows) else f" (size {', '.join(row.size for row in varying)})"
        return Text(f"varies from run {first.first_different}{size}{where}", style="bold red")
    if refused:
        return Text("not run", style="yellow")
    return Text(f"same ×{rows[0].repeats}" if rows else "–", style="green" if rows else "dim")
