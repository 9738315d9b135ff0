"""`tracediff explain`: is a different text at a different batch size a bug?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracediff.cli.options import FORMAT_OPTION, TableJsonMarkdown, emit, say, say_written, stdout_console

if TYPE_CHECKING:
    from tracediff.findings.facts import Facts

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    directory: Path = typer.Argument(metavar="DIR", help="A capture directory with evidence.json, flips.json, …"),
    sampler: str | None = typer.Option(None, help="Check this sampler at temperature 0: module:function."),
    sampler_input: str = typer.Option("torch", help="What the sampler takes: torch or numpy."),
    figures: Path | None = typer.Option(
        None,
        help="Also draw how the difference grows, and the largest logits at flips, as SVG and PNG in this directory.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace figures that exist."),
    output_format: Annotated[TableJsonMarkdown, FORMAT_OPTION] = TableJsonMarkdown.TABLE,
) -> None:
    """Say whether a difference between batch sizes is expected or a bug, question by question, with the evidence.

    Reads stored results only. A sampler is a function of (logits, temperature) that returns one token per row.

    Example: tracediff explain captures/ --sampler my_server.sampling:sample
    """
    from tracediff.findings.explain import explain as walk
    from tracediff.findings.facts import gather

    facts = gather(directory)
    report = None
    if sampler is not None:
        from tracediff.measure.sampler import check_sampler, load_sampler

        report = check_sampler(load_sampler(sampler), sampler, sampler_input)
    explanation = walk(facts, report)
    if figures is not None:
        _draw(facts, figures, force)
    if output_format is TableJsonMarkdown.JSON:
        from tracediff.text import json_text

        emit(json_text(explanation.to_dict(), indent=1) + "\n")
    elif output_format is TableJsonMarkdown.MARKDOWN:
        from tracediff.report.explain.terminal import explanation_to_markdown

        emit(explanation_to_markdown(explanation))
    else:
        from tracediff.report.explain.terminal import print_explanation

        print_explanation(explanation, stdout_console())


def _draw(facts: "Facts", directory: Path, force: bool) -> None:
    from tracediff.report.flips.figures import top_logits_figures
    from tracediff.report.flips.growth import growth_figures
    from tracediff.report.flips.plots import write_images

    drawn = growth_figures(facts.evidence) if facts.evidence is not None else {}
    for name, flips in facts.flips:
        of_which = f"{Path(name).stem}_" if len(facts.flips) > 1 else ""
        drawn |= {of_which + stem: figure for stem, figure in top_logits_figures(flips).items()}
    if not drawn:
        say("Nothing to draw: no token flipped, and no module differs in bits or evidence.json is missing")
    for path in write_images(drawn, directory, force=force):
        say_written(path)
