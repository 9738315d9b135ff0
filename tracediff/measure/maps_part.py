"""An unfinished measurement on disk, so that an interrupted one goes on where it stopped.

`FILE.part` holds one JSON object per line: what was asked for, the machine, and each finished piece.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError
from tracediff.measure.json_lines import JsonLines


@dataclass(slots=True)
class PartFile:
    """The pieces that are finished.

    Attributes:
        lines: The file.
        machine: What the measurement runs on; empty before the first piece.
        records: The pieces, in the order in which they were finished.
    """

    lines: JsonLines
    machine: dict[str, str | None] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, out: Path | None, asked: dict[str, Any], force: bool) -> PartFile:
        """Start beside the result file `out`, or read back what an interrupted measurement left there.

        Raises:
            TracediffError: The file is damaged or belongs to other options, and `force` was not given.
        """
        path = None if out is None else out.with_name(f"{out.name}.part")
        part = cls(lines=JsonLines(path))
        header = json.loads(json.dumps(asked, default=str))
        if path is None or not path.exists() or force:
            part.lines.start({"asked": header})
            return part
        try:
            first, *records = part.lines.read()
            same = first["asked"] == header
            # What is known before the machine (a note) stands before it.
            part.machine = dict(next((record["machine"] for record in records if "machine" in record), {}))
        except (ValueError, KeyError, TypeError) as error:
            raise TracediffError(f"{path} is damaged", "remove it, or add --force to start over") from error
        if not same:
            raise TracediffError(
                f"{path} is an unfinished measurement with other options",
                "repeat that command to finish it, or add --force to start over",
            )
        part.records = [record for record in records if "machine" not in record]
        part.lines.drop_cut_line()
        return part

    def runs_on(self, machine: dict[str, str | None]) -> None:
        """Keep what this runs on.

        Raises:
            TracediffError: The finished pieces are from another machine.
        """
        if not self.machine:
            self.machine = machine
            self.lines.append({"machine": machine})
        elif self.machine != machine:
            differing = [name for name in machine if machine[name] != self.machine.get(name)]
            raise TracediffError(
                f"the unfinished measurement has other {', '.join(differing)}",
                "finish it there, or add --force to start over",
            )

    def pieces(self, name: str) -> Sequence[Any]:
        """Return the finished pieces of one name."""
        return [record[name] for record in self.records if name in record]

    def add(self, name: str, piece: Any) -> None:
        """Keep a finished piece."""
        self.records.append({name: piece})
        self.lines.append({name: piece})

    def remove(self) -> None:
        """Delete the file: the measurement is finished."""
        self.lines.remove()
