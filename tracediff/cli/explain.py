"""`tracediff explain`: is another text at another batch size a bug?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracediff.cli.application import Argument, Command
from tracediff.cli.options import PATH, TableJsonMarkdown, emit, format_option, say, stdout_console

if TYPE_CHECKING:
    from tracediff.findings.facts import Facts


@click.command(cls=Command)
@click.argument(
    "directory", cls=Argument, metavar="DIR", type=PATH, help="A capture directory with evidence.json, flips.json, …"
)
@click.option("--sampler", help="Check this sampler at temperature 0: module:function.")
@click.option("--sampler-input", default="torch", help="What the sampler takes: torch or numpy.")
@click.option("--figures", type=PATH, help="Also draw how the difference grows, as SVG and PNG in this directory.")
@click.option("--force", is_flag=True, help="Replace figures that exist.")
@format_option(TableJsonMarkdown)
def explain(
    directory: Path,
    sampler: str | None,
    sampler_input: str,
    figures: Path | None,
    force: bool,
    output_format: TableJsonMarkdown,
) -> None:
    """Say whether what was measured is expected, suspect or inconclusive, and why.

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
    from tracediff.report.flips.figures import growth_figures, write_images

    drawn = growth_figures(facts.evidence) if facts.evidence is not None else {}
    if not drawn:
        say("Nothing to draw: no module differs in bits, or evidence.json is missing")
    for path in write_images(drawn, directory, force=force):
        say(f"Wrote {path}")
