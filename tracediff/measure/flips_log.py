"""The unfinished flip search on disk, so that an interrupted one can be resumed. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.findings.checked_json import decoded
from tracediff.findings.flips import BatchSize, Count, FlipSettings, PromptSteps
from tracediff.findings.flips_file import prompt_to_json
from tracediff.measure.json_lines import JsonLines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One line after the settings: a finished prompt, or what a control found."""

    search: Count
    prompt: PromptSteps | None = None
    repeatable: bool | None = None
    independent: tuple[BatchSize, Count, bool] | None = None


@dataclass(slots=True, kw_only=True)
class SearchLog:
    """One JSON object per line, the settings first; then each finished prompt of each search.

    Attributes:
        lines: The file.
        machine: What the search runs on.
        repeatable: For each search (its place in the settings) whether two runs gave the same bits.
        independent: For each search, batch size and cache size whether rows of other prompts left a row's bits alone.
        found: For each search its finished prompts.
    """

    lines: JsonLines
    machine: dict[str, str | None]
    repeatable: dict[int, bool] = field(default_factory=dict)
    independent: dict[tuple[int, int, int], bool] = field(default_factory=dict)
    found: dict[int, list[PromptSteps]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None, settings: FlipSettings, machine: dict[str, str | None], force: bool) -> SearchLog:
        """Start a log, or read back the one of an interrupted search.

        Raises:
            TracediffError: The file is damaged or belongs to another search, and `force` was not given.
        """
        log = cls(lines=JsonLines(path), machine=machine)
        if path is not None and path.exists() and not force:
            log._resume(path, settings)
        else:
            log.lines.start({"settings": asdict(settings), "machine": machine})
        return log

    def _resume(self, path: Path, settings: FlipSettings) -> None:
        try:
            header, *records = self.lines.read()
            same = decoded(header["settings"], FlipSettings) == settings and header["machine"] == self.machine
            for record in records:
                self._add(decoded(record, _Record))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TracediffError(f"{path} is damaged", "remove it, or add --force to start over") from error
        if not same:
            raise TracediffError(
                f"{path} is an unfinished search with other settings or on another machine",
                "repeat that command to finish it, or add --force to start over",
            )
        self.lines.drop_cut_line()

    def _add(self, record: _Record) -> None:
        if record.prompt is not None:
            self.prompts(record.search).append(record.prompt)
        if record.repeatable is not None:
            self.repeatable[record.search] = record.repeatable
        if record.independent is not None:
            batch, slots, independent = record.independent
            self.independent[record.search, batch, slots] = independent

    def mixed_batches(self, search: int) -> tuple[int, ...]:
        """Return the batch sizes whose rows held different prompts at every cache size."""
        found: dict[int, bool] = {}
        for (place, batch, _), independent in self.independent.items():
            if place == search:
                found[batch] = found.get(batch, True) and independent
        return tuple(sorted(batch for batch, independent in found.items() if independent))

    def prompts(self, search: int) -> list[PromptSteps]:
        """Return the finished prompts of one search; appending to the list adds to them."""
        return self.found.setdefault(search, [])

    def write_repeatable(self, search: int, repeatable: bool) -> None:
        """Keep whether the search's model repeats its bits."""
        self.repeatable[search] = repeatable
        self.lines.append({"search": search, "repeatable": repeatable})

    def write_independent(self, search: int, batch: int, slots: int, independent: bool) -> None:
        """Keep whether rows of different prompts got the bits of copies."""
        self.independent[search, batch, slots] = independent
        self.lines.append({"search": search, "independent": [batch, slots, independent]})

    def write_prompt(self, search: int, steps: PromptSteps) -> None:
        """Keep one finished prompt."""
        self.lines.append({"search": search, "prompt": prompt_to_json(steps)})

    def remove(self) -> None:
        """Delete the file: the search is finished."""
        self.lines.remove()
