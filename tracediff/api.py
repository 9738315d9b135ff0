"""The library: `tracediff.open`, `tracediff.diff`, `tracediff.parse_kernel`. The command line is its first user."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tracediff.kernels import KernelName, parse
from tracediff.trace import KernelTable, Naming, read_trace
from tracediff.trace.file_head import is_sqlite, read_head
from tracediff.trace.part import Part, choose

if TYPE_CHECKING:
    import pandas

    from tracediff.diff.answer import Answer
    from tracediff.diff.result import Kernel, TraceDiff


class Diff(Struct, frozen=True, dict=True):
    """Two traces compared, for programs and notebooks.

    Attributes:
        result: The typed result: sides, rows with their aligned kernels, evidence.
    """

    result: TraceDiff

    @cached_property
    def answer(self) -> Answer:
        """What happened, why, how it is known, and what is left open."""
        from tracediff.diff.answer import answer  # noqa: PLC0415 -- `open` needs none of this

        return answer(self.result)

    @cached_property
    def rows(self) -> pandas.DataFrame:
        """One line per (phase, module), in the order of the run; times in ns."""
        import pandas  # noqa: PLC0415 -- 0.5 s, and not everyone wants frames

        return pandas.DataFrame(
            {
                "phase": row.phase,
                "layer": row.layer,
                "module": row.module,
                "verdict": str(row.verdict),
                "reason": row.reason,
                "split_k_a": row.split_k[0],
                "split_k_b": row.split_k[1],
                "splitk_reduce_a": row.splitk_reduce[0],
                "splitk_reduce_b": row.splitk_reduce[1],
                "duration_ns_a": row.duration_ns[0],
                "duration_ns_b": row.duration_ns[1],
                "bits_equal": row.bits_equal,
                "state": None if row.state is None else str(row.state),
            }
            for row in self.result.rows
        ).convert_dtypes()

    @cached_property
    def kernels(self) -> pandas.DataFrame:
        """One line per executed kernel of both traces, in launch order within its module; times in ns."""
        import pandas  # noqa: PLC0415 -- 0.5 s, and not everyone wants frames

        return pandas.DataFrame(
            {
                "trace": trace,
                "phase": row.phase,
                "layer": row.layer,
                "module": row.module,
                "position": position,
                **_kernel_fields(kernel),
            }
            for row in self.result.rows
            for trace, kernels in (("a", row.a), ("b", row.b))
            for position, kernel in enumerate(kernels)
        ).convert_dtypes()

    def __repr__(self) -> str:
        """Return one line: the result holds every kernel."""
        return f"<Diff {self.result.in_a_line}>"

    def to_json(self) -> str:
        """Return the whole result as JSON text (docs/library.md)."""
        from tracediff.report.diff.json import diff_to_json  # noqa: PLC0415

        return diff_to_json(self.result)

    def to_markdown(self) -> str:
        """Return the answer and what changed as Markdown."""
        from tracediff.report.diff.markdown import diff_to_markdown  # noqa: PLC0415

        return diff_to_markdown(self.result)

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from tracediff.report.diff.html import render_html  # noqa: PLC0415

        return render_html(self.result)

    def _repr_html_(self) -> str:
        from tracediff.report.diff.notebook import diff_to_notebook  # noqa: PLC0415

        return diff_to_notebook(self.result)


def open(
    path: Path | str,
    *,
    rank: int | None = None,
    device: int | None = None,
    iteration: int | None = None,
    range_pattern: str | None = None,
    phase_pattern: str | None = None,
    layer_pattern: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> KernelTable:
    """Read a trace: an nsys export (SQLite, Parquet folder) or report, or PyTorch profiler JSON.

    Args:
        path: The trace.
        rank, device, iteration: Only this process, GPU or execution of each phase, counted from 0.
        range_pattern: Only ranges whose text matches this regex; a group is the name.
        phase_pattern: Ranges that match this regex are phases; a group is the name.
        layer_pattern: Regex with a group that finds a layer's number in a module's name.
        say: Takes a line for people where something takes long (a report is exported first).

    Raises:
        TracediffError: It cannot be read, or has no such part; the message says why.
    """

    def export(report: Path) -> Path:
        from tracediff.capture.report_cache import exported  # noqa: PLC0415 -- only reports need nsys

        return exported(report, say)

    naming = Naming(range=range_pattern, phase=phase_pattern, layer=layer_pattern)
    table = read_trace(path, naming, export)
    return choose(table, Part(rank=rank, device=device, iteration=iteration))


#: An export of so many bytes, about 100,000 kernels, is read with others side by side.
_LARGE_EXPORT = 12 << 20
_AT_ONCE = 4


def open_all(paths: Sequence[Path], **options: Any) -> Iterator[KernelTable]:
    """Read several traces, each when it is asked for; large nsys exports a few ahead, side by side.

    Args:
        paths: The traces.
        options: As `open` takes them.

    Raises:
        TracediffError: As `open`, when the trace would be next.
    """

    def read(path: Path) -> KernelTable:
        return open(path, **options)

    processes = min(len(paths), _AT_ONCE, os.cpu_count() or 1)
    if processes < 2 or not all(_is_large_export(path) for path in paths):
        return map(read, paths)
    from tracediff.trace.apart import apart, can_share  # noqa: PLC0415 -- one trace, or small ones, need none

    return apart(read, paths, processes) if can_share() else map(read, paths)


def _is_large_export(path: Path) -> bool:
    return path.is_file() and path.stat().st_size >= _LARGE_EXPORT and is_sqlite(read_head(path))


def diff(a: KernelTable | Path | str, b: KernelTable | Path | str, *, phases: Collection[str] = ()) -> Diff:
    """Compare two traces, with what was measured beside them where `tracediff capture` recorded them.

    Args:
        a, b: Traces, or what `open` returned; `a` is the reference.
        phases: Only the rows of these phases; all when empty. The answer is that of the whole run.

    Raises:
        TracediffError: A trace cannot be read, or a named phase is in neither.
    """
    from tracediff.diff.compare import diff_tables  # noqa: PLC0415 -- `open` needs none of this
    from tracediff.diff.evidence import attach_evidence  # noqa: PLC0415

    tables = [each if isinstance(each, KernelTable) else open(each) for each in (a, b)]
    return Diff(attach_evidence(diff_tables(tables[0], tables[1], phases)))


def parse_kernel(name: str) -> KernelName:
    """Return what a kernel's name says: family, role, types, tile, stages, cluster, split-K, …; unknown fields None."""
    return parse(name)


def _kernel_fields(kernel: Kernel) -> dict[str, Any]:
    parsed = kernel.parsed
    return {
        "name": parsed.name,
        "family": parsed.family,
        "role": parsed.role,
        "tile": None if parsed.tile is None else "x".join("?" if part is None else str(part) for part in parsed.tile),
        "stages": parsed.stages,
        "split_k": kernel.split_k,
        "split_k_source": kernel.split_k_source,
        "grid": "x".join(map(str, kernel.grid)),
        "block": "x".join(map(str, kernel.block)),
        "registers": kernel.registers,
        "shared_memory_bytes": kernel.shared_memory_bytes,
        "duration_ns": kernel.duration_ns,
    }
