"""What is finished of a long measurement, on disk as one JSON object per line, so that an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class JsonLines:
    """A file that grows by whole lines; without a path nothing is kept.

    Attributes:
        path: The file, or None.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def start(self, header: dict[str, Any]) -> None:
        """Begin the file anew with one line."""
        if self.path is not None:
            self.path.write_text(_line(header), encoding="utf-8")

    def read(self) -> list[dict[str, Any]]:
        """Return what the whole lines hold; an interruption may have cut the last.

        Raises:
            ValueError: A line is not a JSON object.
        """
        # As `append` writes them: what was measured may hold NaN.
        try:
            found = [json.loads(line) for line in self._whole_lines().split("\n") if line]
        except RecursionError as error:
            raise ValueError("a line is nested too deeply") from error
        if not all(isinstance(each, dict) for each in found):
            raise ValueError("a line is no JSON object")
        return found

    def drop_cut_line(self) -> None:
        """Drop a last line that an interruption has cut: before the first `append` to a file that goes on."""
        if self.path is not None:
            self.path.write_text(self._whole_lines(), encoding="utf-8")

    def append(self, record: dict[str, Any]) -> None:
        """Add a line."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(record))

    def remove(self) -> None:
        """Delete the file: the measurement is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _whole_lines(self) -> str:
        if self.path is None:
            return ""
        text = self.path.read_text(encoding="utf-8", errors="replace")
        return text[: text.rfind("\n") + 1]


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"
