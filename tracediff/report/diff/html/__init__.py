"""The HTML report: one file, no network, readable without its script."""

from tracediff.diff.chosen_modules import ChosenModules
from tracediff.diff.result import TraceDiff
from tracediff.findings.flips import FlipsResult


def render_html(diff: TraceDiff, flips: FlipsResult | None = None, modules: ChosenModules | None = None) -> str:
    """Return the report of `diff` as one self-contained HTML page, with the flips of the captured run.

    Where `modules` are named, the page lists these alone; its answer is that of all.
    """
    from tracediff.report.diff.html.render import render_html as render  # noqa: PLC0415 -- jinja2 only where it is needed

    return render(diff, flips, modules)


__all__ = ["render_html"]
