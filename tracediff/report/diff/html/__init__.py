"""The HTML report: one file, no network, readable without its script."""

from tracediff.diff.result import TraceDiff


def render_html(diff: TraceDiff) -> str:
    """Return the report of `diff` as one self-contained HTML page."""
    from tracediff.report.diff.html.render import render_html as render  # noqa: PLC0415 -- jinja2 only where it is needed

    return render(diff)


__all__ = ["render_html"]
