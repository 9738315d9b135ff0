"""The unfinished flip search on disk, so that an interrupted one goes on where it stopped. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.findings.flips import FlipSettings, PromptSteps, prompt_from, prompt_to_json, settings_from


@dataclass(slots=True, kw_only=True)
class SearchLog:
    """One JSON object per line, the settings first; then each finished prompt of each search.

    Attributes:
        path: The file; None keeps nothing on disk.
        machine: What the search runs on.
        repeatable: For each search (its place in the settings) whether two runs gave the same bits.
        found: For each search its finished prompts.
    """

    path: Path | None
    machine: dict[str, str | None]
    repeatable: dict[int, bool] = field(default_factory=dict)
    found: dict[int, list[PromptSteps]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None, settings: FlipSettings, machine: dict[str, str | None], force: bool) -> SearchLog:
        """Start a log, or read back the one of an interrupted search.

        Raises:
            TracediffError: The file is damaged or belongs to another search, and `force` was not given.
        """
        log = cls(path=path, machine=machine)
        if path is None:
            return log
        if path.exists() and not force:
            log._resume(path, settings)
        else:
            path.write_text(_line({"settings": asdict(settings), "machine": machine}), encoding="utf-8")
        return log

    def _resume(self, path: Path, settings: FlipSettings) -> None:
        text = path.read_text(encoding="utf-8")
        complete = text[: text.rfind("\n") + 1]  # an interruption may have cut the last line
        try:
            header, *records = [json.loads(line) for line in complete.splitlines()]
            same = settings_from(header["settings"]) == settings and header["machine"] == self.machine
            for record in records:
                if "repeatable" in record:
                    self.repeatable[record["search"]] = record["repeatable"]
                else:
                    self.prompts(record["search"]).append(prompt_from(record["prompt"]))
        except (ValueError, KeyError, TypeError) as error:
            raise TracediffError(f"{path} is damaged", "remove it, or add --force to start over") from error
        if not same:
            raise TracediffError(
                f"{path} is an unfinished search with other settings or on another machine",
                "repeat that command to finish it, or add --force to start over",
            )
        path.write_text(complete, encoding="utf-8")

    def prompts(self, search: int) -> list[PromptSteps]:
        """Return the finished prompts of one search; appending to the list adds to them."""
        return self.found.setdefault(search, [])

    def write_repeatable(self, search: int, repeatable: bool) -> None:
        """Keep whether the search's model repeats its bits."""
        self._append({"search": search, "repeatable": repeatable})

    def write_prompt(self, search: int, steps: PromptSteps) -> None:
        """Keep one finished prompt."""
        self._append({"search": search, "prompt": prompt_to_json(steps)})

    def remove(self) -> None:
        """Delete the file: the search is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _append(self, record: dict[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(record))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
