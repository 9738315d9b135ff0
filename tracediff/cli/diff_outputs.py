"""Where the result of `tracediff diff` goes: in which form, to which files, and what goes together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tracediff.cli.options import (
    Format,
    console_for,
    emit,
    given,
    refuse_ignored_options,
    say,
    say_written,
    stdout_is_free,
)
from tracediff.errors import TracediffError

if TYPE_CHECKING:
    from tracediff.diff import ManyDiff
    from tracediff.report.diff.view import View


class Form(StrEnum):
    """What the result looks like."""

    TABLE = "--format table"
    MARKDOWN = "--format markdown"
    JSON = "--format json"
    CSV = "--format csv"
    SUMMARY = "--summary"


#: Options that choose what a person sees, and the forms that heed them. JSON and CSV hold everything, unfolded and with
#: full names, in the order of the run; the summary is the answer, which is that of all modules.
HEEDED: dict[str, frozenset[Form]] = {
    "module": frozenset({Form.TABLE, Form.MARKDOWN, Form.JSON, Form.CSV}),
    "sort": frozenset({Form.TABLE, Form.MARKDOWN}),
    "everything": frozenset({Form.TABLE, Form.MARKDOWN, Form.JSON, Form.CSV}),
    "unfold": frozenset({Form.TABLE, Form.MARKDOWN, Form.JSON, Form.CSV}),
    "kernels": frozenset({Form.TABLE, Form.JSON, Form.CSV}),
}
#: With one of these `--module` means something in every form: gates count the modules, the page shows them.
_HEEDS_MODULES = ("exit_code", "fail_on", "html", "open_report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where the result goes.

    Attributes:
        form: What the result looks like.
        output: Its file; None for standard output.
        report: The HTML page, if any.
        save: The SQLite file, if any.
        no_color: No colours on a terminal.
        force: Replace files that exist.
    """

    form: Form
    output: Path | None
    report: Path | None
    save: Path | None
    no_color: bool
    force: bool

    @property
    def files(self) -> list[Path]:
        """Every file that is written."""
        return [path for path in (self.report, self.save, self.output) if path is not None]

    @property
    def stdout_is_taken(self) -> bool:
        """Whether the page or the SQLite file goes to standard output, where nothing else may stand then."""
        return not stdout_is_free(self.report, self.save)

    @property
    def on_screen_alone(self) -> bool:
        """Whether a table is printed and no file is made of it."""
        return self.form is Form.TABLE and self.report is None and self.output is None and not self.stdout_is_taken


def form_of(context: typer.Context, output_format: Format, summary: bool) -> Form:
    """Return the form that the user asks for.

    Raises:
        TracediffError: Two forms are asked for, or an option is given that the form does not heed.
    """
    if summary and given(context, "output_format"):
        raise TracediffError("--summary is one line of text and has no --format", "leave one of them out")
    form = Form.SUMMARY if summary else Form(f"--format {output_format}")
    heeded = [name for name in context.params if form in HEEDED.get(name, [form])]
    if any(given(context, name) for name in _HEEDS_MODULES):
        heeded.append("module")
    refuse_ignored_options(context, heeded, f"means nothing with {form}")
    return form


def refuse_what_does_not_fit(context: typer.Context, outputs: Outputs, inputs: tuple[Path, ...]) -> None:
    """Raise TracediffError where outputs exclude each other, or a file may not be written."""
    from tracediff.files import is_stdout, refuse_to_overwrite, resolved

    files = outputs.files
    if len({"-" if is_stdout(path) else resolved(path) for path in files}) < len(files):
        raise TracediffError(f"{files[0]} cannot hold two outputs", "name another file for each")
    if outputs.stdout_is_taken and outputs.output is None and given(context, "output_format"):
        raise TracediffError(
            f"{outputs.form} has no place: standard output is taken by --html or --save", "give -o FILE"
        )
    if outputs.report is not None and is_stdout(outputs.report) and given(context, "open_report"):
        raise TracediffError("--open cannot open a page on standard output", "name a file")
    for path in files:
        refuse_to_overwrite(path, outputs.force, inputs=inputs)


def write_outputs(many: ManyDiff, outputs: Outputs, view: View) -> None:
    """Write the page and the SQLite file, then the result; warnings go to standard error, whatever the form."""
    _say_warnings(many, outputs)
    if outputs.report is not None:
        _write_page(many, outputs.report, outputs.force, view)
    if outputs.save is not None:
        from tracediff.report.diff.sqlite import save_diffs

        save_diffs(many.diffs, outputs.save, outputs.force)
        say_written(outputs.save)
    if outputs.output is not None or not outputs.stdout_is_taken:
        _write_result(many, outputs, view)
    elif outputs.form is Form.SUMMARY:
        say(_summary(many).rstrip("\n"))


def _say_warnings(many: ManyDiff, outputs: Outputs) -> None:
    """Print why a comparison may mislead; not where a screen shows it anyway."""
    from tracediff.streams import standard_output

    shown = outputs.form in (Form.TABLE, Form.MARKDOWN) and outputs.output is None and not outputs.stdout_is_taken
    if shown and standard_output().isatty():
        return
    for number, diff in enumerate(many.diffs, start=1):
        for warning in diff.warnings:
            say(f"Warning: {f'{number}: ' if len(many.diffs) > 1 else ''}{warning}")


def _write_page(many: ManyDiff, report: Path, force: bool, view: View) -> None:
    from tracediff.files import write_text
    from tracediff.findings.captured_flips import flips_of
    from tracediff.report.diff.html import render_html
    from tracediff.report.diff.html.many import render_many

    only = len(many.diffs) == 1
    page = (
        render_html(many.diffs[0], flips_of(many.diffs[0]), view.modules) if only else render_many(many, view.modules)
    )
    write_text(report, page, force)
    say_written(report)


def _write_result(many: ManyDiff, outputs: Outputs, view: View) -> None:
    if outputs.form is Form.TABLE:
        with console_for(outputs.output, outputs.no_color, outputs.force) as console:
            if len(many.diffs) == 1:
                from tracediff.report.diff.terminal import print_diff

                print_diff(many.diffs[0], console, view)
            else:
                from tracediff.report.diff.many_terminal import print_many

                print_many(many, console, view)
        return
    text = _summary(many) if outputs.form is Form.SUMMARY else _rendered(many, outputs.form, view)
    if outputs.output is None:
        emit(text)
    else:
        from tracediff.files import write_text

        write_text(outputs.output, text, outputs.force)
        say_written(outputs.output)


def _rendered(many: ManyDiff, form: Form, view: View) -> str:
    from tracediff.report.diff import many_renderer, renderer

    name = form.removeprefix("--format ")
    return renderer(name)(many.diffs[0], view) if len(many.diffs) == 1 else many_renderer(name)(many, view)


def _summary(many: ManyDiff) -> str:
    from tracediff.report.diff.answer_words import summary_line

    return "".join(f"{summary_line(each)}\n" for each in many.diffs)
