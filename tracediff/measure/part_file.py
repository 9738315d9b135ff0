"""A long measurement that can be interrupted: what is finished is on disk, and the same command goes on from there.

`FILE.part` holds one JSON object per line: what was asked for, the machine, and each finished piece.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tracediff.errors import TracediffError
from tracediff.files import is_stream, refuse_to_overwrite, write_text
from tracediff.measure.json_lines import JsonLines
from tracediff.text import json_text

Piece = TypeVar("Piece")

OUT_OF_TIME = "out of time: the same command goes on from here"


@dataclass(slots=True)
class PartFile:
    """The pieces that are finished, and whether there is time for more.

    Attributes:
        out: Where the result goes; None keeps nothing on disk.
        force: Whether the result may replace a file.
        lines: The file.
        deadline: On the monotonic clock, in seconds; None never ends.
        stopped: Whether something was left for the next run.
        machine: What the measurement runs on; empty before the first piece.
        records: The pieces, in the order in which they were finished.
    """

    out: Path | None
    force: bool
    lines: JsonLines
    deadline: float | None
    stopped: bool = False
    machine: dict[str, str | None] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, out: Path | None, asked: dict[str, Any], minutes: float | None, force: bool) -> PartFile:
        """Start beside the result file, or read back what an interrupted measurement left there.

        Args:
            out: The result file; None keeps nothing on disk.
            asked: What is measured; a file with anything else belongs to another measurement.
            minutes: Nothing is started after this; None goes on to the end.
            force: Replace an existing `out`, and start over where an unfinished measurement lies beside it.

        Raises:
            TracediffError: `out` exists, or the unfinished file is damaged or belongs to other options, and `force` was
                not given.
        """
        if out is not None:
            refuse_to_overwrite(out, force)
        path = None if out is None or is_stream(out) else out.with_name(f"{out.name}.part")
        deadline = None if minutes is None else time.monotonic() + minutes * 60
        part = cls(out=out, force=force, lines=JsonLines(path), deadline=deadline)
        header = json.loads(json.dumps(asked, default=str))
        if path is None or not path.exists() or force:
            part.lines.start({"asked": header})
            return part
        with part._damage_in_one_line():
            first, *records = part.lines.read()
            same = first["asked"] == header
            # What is known before the machine (a note) comes before it.
            part.machine = dict(next((record["machine"] for record in records if "machine" in record), {}))
        part.records = [record for record in records if "machine" not in record]
        if not same and not part.records:  # nothing is lost: it ended before the first piece
            part.machine = {}
            part.lines.start({"asked": header})
            return part
        if not same:
            raise TracediffError(
                f"{path} is an unfinished measurement with other options",
                "repeat that command to finish it, or add --force to start over",
            )
        part.lines.drop_cut_line()
        return part

    def time_is_up(self) -> bool:
        """Whether nothing more may be started; asked only where something is still to do."""
        self.stopped = self.stopped or (self.deadline is not None and time.monotonic() > self.deadline)
        return self.stopped

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

    def pieces(self, name: str, read: Callable[[Any], Piece]) -> list[Piece]:
        """Return the finished pieces of one name.

        Args:
            name: As they were added.
            read: Makes a piece of its JSON form.

        Raises:
            TracediffError: One cannot be read.
        """
        with self._damage_in_one_line():
            return [read(record[name]) for record in self.records if name in record]

    def add(self, name: str, piece: Any) -> None:
        """Keep a finished piece."""
        self.records.append({name: piece})
        self.lines.append({name: piece})

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result and delete the file; where the time was up, leave it for the next run."""
        if self.out is not None and not self.stopped:
            write_text(self.out, json_text(result) + "\n", self.force)
            self.lines.remove()

    @contextmanager
    def _damage_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise TracediffError(f"{self.lines.path} is damaged", "remove it, or add --force to start over") from error
