"""Figures of the way from bits to tokens, as plotly figures, HTML data and SVG or PNG files. plotly is imported lazily.

Colours are those of the HTML report; no meaning rests on colour alone. SVG and PNG are drawn by plotly's own exporter,
kaleido, which drives a Chrome or Chromium found on the machine.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError, install_hint
from tracediff.files import refuse_to_overwrite, replaced_when_complete
from tracediff.findings.flips import Flip, FlipsResult, Search, StepChoice
from tracediff.findings.flips_summary import nearest_flips
from tracediff.measured import Evidence, ModuleBits, State
from tracediff.report.flips.words import number, tie_words, token_words

_TEXT, _QUIET, _LINE = "#1c1d21", "#5c5f69", "#dfdfda"
_STEPS, _CHANGED, _SAME = "#c9cad0", "#c43d00", "#5b6b80"
_BATCH_COLOURS = ("#c43d00", "#0b6fae", "#8a6a00", "#7a4fc4", "#2c7a4b")
_BATCH_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
_BATCH_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_FORMATS = ("svg", "png")
# Flips whose top-8 logits become a figure of their own.
_DRAWN_FLIPS = 3
# Margin bins end at 1, 2, 4, … 2^10 ULP; what is larger shares one bin.
_LARGEST_BIN = 11


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


def flip_figures(result: FlipsResult) -> dict[str, Any]:
    """Return the figures of a flip search by file stem: margins, logit changes, and the first flips' largest logits."""
    figures = {"margins": margin_histogram(result), "logit_changes": logit_changes(result)}
    for search, flip in nearest_flips(result)[:_DRAWN_FLIPS]:
        stem = f"top_logits_{search.dtype}{'_tf32' if search.tf32 else ''}_p{flip.prompt}_s{flip.step}_b{flip.batch}"
        figures[stem] = top_logits(flip, result.settings.batches[0], search.label)
    return figures


def margin_histogram(result: FlipsResult) -> Any:
    """Draw how many steps have which margin, and how many of these flip, for each precision.

    Bins are powers of two in ULP of the logits' dtype; exact ties and everything beyond 1024 ULP have their own.
    """
    searches = [search for search in result.searches if search.prompts]
    figure = _rows_of_plots([search.label for search in searches])
    names = ["tie", *(f"≤ {2**exponent}" for exponent in range(_LARGEST_BIN)), f"> {2 ** (_LARGEST_BIN - 1)}"]
    for row, search in enumerate(searches, start=1):
        steps = [0] * len(names)
        for margin in (margin for prompt in search.prompts for margin in prompt.margin_ulp):
            steps[_margin_bin(margin)] += 1
        figure.add_bar(
            x=list(range(len(names))),
            y=steps,
            name="steps",
            marker_color=_STEPS,
            showlegend=row == 1,
            legendgroup="steps",
            row=row,
            col=1,
        )
        others = result.settings.batches[1:]
        for place, batch in enumerate(others):
            flips = [0] * len(names)
            for flip in search.flips:
                flips[_margin_bin(flip.margin_ulp)] += flip.batch == batch
            # Batch sizes are drawn side by side within their bin.
            offset = (place - (len(others) - 1) / 2) * 0.8 / len(others)
            figure.add_scatter(
                x=[each + offset for each, count in enumerate(flips) if count],
                y=[count for count in flips if count],
                mode="markers+text",
                text=[str(count) for count in flips if count],
                textposition="top center",
                textfont={"size": 10},
                marker={**_batch_marker(place), "size": 8},
                name=f"flips, batch {result.settings.batches[0]} → {batch}",
                legendgroup=f"batch {batch}",
                showlegend=row == 1,
                row=row,
                col=1,
            )
        figure.update_yaxes(type="log", title_text="steps", dtick=1, row=row, col=1)
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names)
    figure.update_xaxes(title_text="margin (top-1 minus top-2 logit) in ULP", row=len(searches), col=1)
    return _styled(figure, "Margin of every step, and of the steps that flip", len(searches))


def logit_changes(result: FlipsResult) -> Any:
    """Draw the largest change of any logit against the step: the median over prompts, the range, and the flips."""
    searches = [search for search in result.searches if search.prompts]
    figure = _rows_of_plots([search.label for search in searches])
    for row, search in enumerate(searches, start=1):
        for place, batch in enumerate(result.settings.batches[1:]):
            columns = _changes_by_step(search, batch)
            name = f"batch {result.settings.batches[0]} → {batch}"
            figure.add_scatter(
                # A logarithmic axis has no zero: a step whose logits are all equal is a gap.
                x=list(range(len(columns))),
                y=[statistics.median(column) or None for column in columns],
                mode="lines+markers",
                marker={**_batch_marker(place), "size": 5},
                line={"dash": _BATCH_DASHES[place % len(_BATCH_DASHES)], "width": 1.5},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(column) - statistics.median(column) for column in columns],
                    "arrayminus": [0] * len(columns),
                    "thickness": 0.7,
                    "width": 2,
                },
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                row=row,
                col=1,
            )
        flips = search.flips
        figure.add_scatter(
            x=[flip.step for flip in flips],
            y=[_change_at(search, flip) for flip in flips],
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": _TEXT},
            name="flip",
            legendgroup="flip",
            showlegend=row == 1,
            row=row,
            col=1,
        )
        changes = [change for prompt in search.prompts for other in prompt.batches for change in other.largest_change]
        ticks = _log_ticks(changes)
        words = [f"{tick:g}" for tick in ticks]
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=words, title_text="logit change", row=row, col=1)
    figure.update_xaxes(title_text="step", row=len(searches), col=1)
    title = "Largest change of a logit at each step (median over prompts, bar to the largest)"
    return _styled(figure, title, len(searches))


def ulp_growth(modules: Sequence[BitsChange], title: str = "From the first origin to the logits") -> Any:
    """Draw how the difference grows through the modules of one forward.

    Args:
        modules: In the order they run, from the first origin on.
        title: Above the figure.
    """
    figure = _rows_of_plots(["largest distance in ULP", "share of differing elements"])
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
            line={"color": _SAME, "width": 1.2},
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
            marker={"color": _CHANGED, "size": 6, "symbol": "diamond"},
            name="origin: differs even on equal inputs",
            showlegend=row == 1,
            row=row,
            col=1,
        )
    figure.update_yaxes(type="log", dtick=1, title_text="ULP", row=1, col=1)
    figure.update_yaxes(title_text="share", tickformat=".0%", rangemode="tozero", row=2, col=1)
    ticks = _block_starts(names)
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()))
    return _styled(figure, title, 2)


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


def top_logits(flip: Flip, base: int, precision: str) -> Any:
    """Draw the largest logits of one flip at both batch sizes; the chosen token is outlined, equal logits say so."""
    from plotly.subplots import make_subplots  # noqa: PLC0415

    sides = ((base, flip.base), (flip.batch, flip.other))
    titles = [f"batch {batch}: token {choice.token}{_tie_suffix(choice)}" for batch, choice in sides]
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.2)
    values = [logit.logit for _, choice in sides for logit in choice.top]
    low = min(values) - 0.4 * ((max(values) - min(values)) or 1.0)
    for column, (_, choice) in enumerate(sides, start=1):
        chosen = [logit.token == choice.token for logit in choice.top]
        figure.add_bar(
            # Bars grow from the lower end of the axis, since from zero they would all look alike.
            base=low,
            x=[logit.logit - low for logit in choice.top],
            y=[token_words(logit.token, logit.text) for logit in choice.top],
            orientation="h",
            text=[number(logit.logit) for logit in choice.top],
            textposition="inside",
            textangle=0,
            insidetextfont={"color": _TEXT},
            marker={
                "color": ["#ffdcc8" if is_chosen else "#e4e5e9" for is_chosen in chosen],
                "line": {
                    "color": [_CHANGED if is_chosen else _LINE for is_chosen in chosen],
                    "width": [3 if is_chosen else 1 for is_chosen in chosen],
                },
            },
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(
        range=[low, max(values) + 0.05 * (max(values) - low)], title_text="logit (axis cut at the left)"
    )
    margin = (
        "an exact tie" if flip.margin == 0 else f"a margin of {number(flip.margin)} ({number(flip.margin_ulp)} ULP)"
    )
    title = f"{precision}, prompt {flip.prompt}, step {flip.step}: at batch {base} {margin}"
    return _styled(figure, title, 2, top=120)


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


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers for a logarithmic axis that shows these values: some even where it spans no decade."""
    positive = [value for value in values if value > 0]
    if not positive:
        return []
    low, high = min(positive), max(positive)
    digits = (1, 1.5, 2, 3, 4, 5, 7) if high < 5 * low else (1, 2, 5) if high < 500 * low else (1,)
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
    return [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]


def _changes_by_step(search: Search, batch: int) -> list[list[float]]:
    rows = [other.largest_change for prompt in search.prompts for other in prompt.batches if other.batch == batch]
    longest = max(map(len, rows), default=0)
    return [[row[step] for row in rows if step < len(row)] for step in range(longest)]


def _change_at(search: Search, flip: Flip) -> float:
    prompt = next(prompt for prompt in search.prompts if prompt.prompt == flip.prompt)
    return next(other.largest_change[flip.step] for other in prompt.batches if other.batch == flip.batch)


def _margin_bin(margin_ulp: float) -> int:
    """Return 0 for a tie, 1 up to 1 ULP, 2 up to 2, 3 up to 4, …"""
    return 0 if margin_ulp == 0 else min(_LARGEST_BIN, max(0, math.ceil(math.log2(margin_ulp)))) + 1


def _tie_suffix(choice: StepChoice) -> str:
    return f"<br><sup>{tie_words(choice)}</sup>" if choice.tied > 1 else ""


def _batch_marker(place: int) -> dict[str, Any]:
    return {
        "color": _BATCH_COLOURS[place % len(_BATCH_COLOURS)],
        "symbol": _BATCH_SYMBOLS[place % len(_BATCH_SYMBOLS)],
    }


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


def _rows_of_plots(titles: Sequence[str]) -> Any:
    from plotly.subplots import make_subplots  # noqa: PLC0415

    return make_subplots(
        rows=max(1, len(titles)), cols=1, shared_xaxes=True, subplot_titles=list(titles), vertical_spacing=0.08
    )


def _styled(figure: Any, title: str, rows: int, top: int = 80) -> Any:
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
        font={"family": "system-ui, 'DejaVu Sans', sans-serif", "size": 12, "color": _TEXT},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        legend={"orientation": "h", "y": -0.14 if rows > 1 else -0.4, "x": 0, "font": {"color": _QUIET}},
        margin={"l": 90, "r": 30, "t": top, "b": 80 if rows > 1 else 120},
        width=900,
        height=(140 if rows > 1 else 180) + 210 * max(rows, 1),
        barmode="overlay",
    )
    figure.update_xaxes(gridcolor=_LINE, zeroline=False, linecolor=_LINE)
    figure.update_yaxes(gridcolor=_LINE, zeroline=False, linecolor=_LINE)
    return figure
