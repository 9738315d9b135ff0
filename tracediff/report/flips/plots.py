"""What all figures here share: their colours and frame, and how one becomes data of a page, or an SVG or PNG file.

Colours are those of the HTML report; no meaning rests on colour alone. SVG and PNG are drawn by plotly's own exporter,
kaleido, which drives a Chrome or Chromium found on the machine. plotly is imported lazily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError, install_hint
from tracediff.files import refuse_to_overwrite, replaced_when_complete

TEXT, QUIET, LINE = "#1c1d21", "#5c5f69", "#dfdfda"
CHANGED, SAME = "#c43d00", "#5b6b80"
_FORMATS = ("svg", "png")


def rows_of_plots(titles: Sequence[str]) -> Any:
    """Return an empty figure of plots below each other that share their x axis, one for each title."""
    from plotly.subplots import make_subplots  # noqa: PLC0415

    return make_subplots(
        rows=max(1, len(titles)), cols=1, shared_xaxes=True, subplot_titles=list(titles), vertical_spacing=0.08
    )


def styled(figure: Any, title: str, rows: int, top: int = 80) -> Any:
    """Give a figure its title, font, colours and size.

    Args:
        figure: The figure; it is changed and returned.
        title: Above it.
        rows: How many plots stand below each other.
        top: Pixels above the first.
    """
    figure.update_layout(
        template="none",
        title={
            "text": title,
            "x": 0.02,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 16},
            "font": {"size": 16},
        },
        font={"family": "system-ui, 'DejaVu Sans', sans-serif", "size": 12, "color": TEXT},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        legend={"orientation": "h", "y": -0.14 if rows > 1 else -0.4, "x": 0, "font": {"color": QUIET}},
        margin={"l": 90, "r": 30, "t": top, "b": 80 if rows > 1 else 120},
        width=900,
        height=(140 if rows > 1 else 180) + 210 * max(rows, 1),
        barmode="overlay",
    )
    figure.update_xaxes(gridcolor=LINE, zeroline=False, linecolor=LINE)
    figure.update_yaxes(gridcolor=LINE, zeroline=False, linecolor=LINE)
    return figure


def write_images(
    figures: Mapping[str, Any], directory: Path, *, formats: Sequence[str] = _FORMATS, force: bool = False
) -> list[Path]:
    """Write each figure as `directory/stem.svg` and `.png`.

    Args:
        figures: Figures by file stem.
        directory: Made where it does not exist.
        formats: Of `svg` and `png`.
        force: Replace files that exist.

    Returns:
        The files written.

    Raises:
        TracediffError: A file exists, kaleido is not installed, or there is no Chrome or Chromium that it can drive.
    """
    paths = [(stem, directory / f"{stem}.{name}") for stem in figures for name in formats]
    directory.mkdir(parents=True, exist_ok=True)
    for _, path in paths:
        refuse_to_overwrite(path, force)
    try:
        import kaleido  # noqa: PLC0415
    except ImportError as error:
        raise TracediffError("SVG and PNG need kaleido", install_hint("figures")) from error
    try:
        for stem, path in paths:
            with replaced_when_complete(path) as temporary:
                options = {"format": path.suffix[1:], "scale": 2 if path.suffix == ".png" else 1}
                temporary.write_bytes(kaleido.calc_fig_sync(figures[stem], opts=options))
    except Exception as error:
        if isinstance(error, TracediffError):
            raise
        # Every way a browser can fail to start or to answer arrives here under its own name.
        hint = "install Chrome or Chromium (apt install chromium, or kaleido_get_chrome), or set BROWSER_PATH to one"
        raise TracediffError(f"no browser could draw the figures ({type(error).__name__})", hint) from error
    return [path for _, path in paths]


def figure_json(figure: Any) -> dict[str, Any]:
    """Return a figure as data for `Plotly.newPlot` in a page, as wide as its place there."""
    drawn: dict[str, Any] = figure.to_plotly_json()
    layout = {name: value for name, value in drawn["layout"].items() if name != "width"}
    return {"data": drawn["data"], "layout": layout}
