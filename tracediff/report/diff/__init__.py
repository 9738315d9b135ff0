"""A diff of traces, in every format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracediff.diff import ManyDiff, TraceDiff
    from tracediff.report.diff.view import View


def renderer(output_format: str) -> Callable[[TraceDiff, View], str]:
    """Return what writes two traces' comparison as text: `json`, `markdown` or `csv`."""
    if output_format == "json":
        from tracediff.report.diff.json import diff_to_json  # noqa: PLC0415 -- one format per run

        return lambda diff, view: diff_to_json(diff, view.modules)
    if output_format == "csv":
        from tracediff.report.diff.csv import diff_to_csv  # noqa: PLC0415

        return lambda diff, view: diff_to_csv(diff, view.modules)
    from tracediff.report.diff.markdown import diff_to_markdown  # noqa: PLC0415

    return diff_to_markdown


def many_renderer(output_format: str) -> Callable[[ManyDiff, View], str]:
    """Return what writes several traces' comparison with the first as text: `json`, `markdown` or `csv`."""
    if output_format == "json":
        from tracediff.report.diff.many_json import many_to_json  # noqa: PLC0415

        return lambda many, view: many_to_json(many, view.modules)
    if output_format == "csv":
        from tracediff.report.diff.csv import many_to_csv  # noqa: PLC0415

        return lambda many, view: many_to_csv(many, view.modules)
    from tracediff.report.diff.markdown import many_to_markdown  # noqa: PLC0415

    return many_to_markdown
