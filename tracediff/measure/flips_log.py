"""The unfinished flip search on disk, so that an interrupted one can be resumed. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from tracediff.errors import TracediffError
from tracediff.findings.checked_json import decoded
from tracediff.findings.flips import BatchSize, Count, FlipSettings, FlipsResult, PromptSteps, Search
from tracediff.findings.flips_file import prompt_to_json
from tracediff.measure.json_lines import JsonLines


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """What a control found at one batch size.

    Attributes:
        batch: The batch size.
        slots: The size of the static cache; 0 with a cache that grows.
        repeats: Whether the same run twice gave the same bits.
        mixed: Whether rows may hold different prompts.
        shared: Whether lanes may share all operations but sums.
    """

    batch: BatchSize
    slots: Count = 0
    repeats: bool
    mixed: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One line after the settings: a finished prompt, or what a control found."""

    search: Count
    prompt: PromptSteps | None = None
    control: ControlRecord | None = None


@dataclass(slots=True, kw_only=True)
class SearchLog:
    """One JSON object per line, the settings first; then each finished prompt of each search.

    Attributes:
        lines: The file.
        machine: What the search runs on.
        controls: What was found, by search (its place in the settings), batch size and cache size.
        found: For each search its finished prompts.
    """

    lines: JsonLines
    machine: dict[str, str | None]
    controls: dict[tuple[int, int, int], ControlRecord] = field(default_factory=dict)
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
        machine = self.machine
        if self._read(path) != settings or self.machine != machine:
            raise TracediffError(
                f"{path} is an unfinished search with other settings or on another machine",
                "repeat that command to finish it, or add --force to start over",
            )
        self.lines.drop_cut_line()

    def _read(self, path: Path) -> FlipSettings:
        """Read all whole lines; return the settings of the search."""
        try:
            header, *records = self.lines.read()
            settings = decoded(header["settings"], FlipSettings)
            self.machine = header["machine"]
            for record in records:
                self._add(decoded(record, _Record))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TracediffError(f"{path} is damaged", "remove it, or add --force to start over") from error
        return settings

    def _add(self, record: _Record) -> None:
        if record.prompt is not None:
            self.prompts(record.search).append(record.prompt)
        if record.control is not None:
            self.controls[record.search, record.control.batch, record.control.slots] = record.control

    def control(self, search: int, batch: int, slots: int = 0) -> ControlRecord | None:
        """Return what a control found at a batch size; None where none was made yet."""
        return self.controls.get((search, batch, slots))

    def mixed_batches(self, search: int) -> tuple[int, ...]:
        """Return the batch sizes above 1 whose rows held different prompts at every cache size."""
        controls = self._of(search)
        alone = {control.batch for control in controls if not control.mixed}
        return tuple(sorted({control.batch for control in controls} - alone - {1}))

    def noisy_batches(self, search: int) -> tuple[int, ...]:
        """Return the batch sizes at which the same run twice gave different bits."""
        return tuple(sorted({control.batch for control in self._of(search) if not control.repeats}))

    def sharing_holds(self, search: int) -> bool:
        """Return whether lanes that share operations had the bits of lanes that do not, at any batch size."""
        return any(control.shared and control.repeats for control in self._of(search))

    def _of(self, search: int) -> list[ControlRecord]:
        return [control for (place, _, _), control in self.controls.items() if place == search]

    def prompts(self, search: int) -> list[PromptSteps]:
        """Return the finished prompts of one search; appending to the list adds to them."""
        return self.found.setdefault(search, [])

    def write_control(self, search: int, control: ControlRecord) -> None:
        """Keep what a control found."""
        self.controls[search, control.batch, control.slots] = control
        self.lines.append({"search": search, "control": asdict(control)})

    def write_prompt(self, search: int, steps: PromptSteps) -> None:
        """Keep one finished prompt."""
        self.lines.append({"search": search, "prompt": prompt_to_json(steps)})

    def remove(self) -> None:
        """Delete the file: the search is finished."""
        self.lines.remove()


def read_unfinished(path: Path) -> tuple[FlipsResult, list[tuple[int, ControlRecord]]]:
    """Read a search that did not end: what it finished, and what its controls found, each with its search's place.

    Raises:
        TracediffError: The file is damaged.
    """
    log = SearchLog(lines=JsonLines(path), machine={})
    settings = log._read(path)
    searches = tuple(
        Search(
            dtype=dtype,
            tf32=tf32,
            repeatable=settings.batches[0] not in log.noisy_batches(place),
            stopped_early=False,
            prompts=tuple(sorted(log.prompts(place), key=lambda steps: steps.prompt)),
            mixed=log.mixed_batches(place),
            noisy=log.noisy_batches(place),
        )
        for place, (dtype, tf32) in enumerate(settings.precisions)
    )
    note = "the search was ended before all prompts were searched"
    result = FlipsResult(settings=settings, machine=log.machine, searches=searches, notes=(note,))
    return result, [(place, control) for (place, _, _), control in log.controls.items()]
