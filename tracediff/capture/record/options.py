"""What the user asked a recording for."""

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tracediff.capture.options import DEFAULT_FOLDER
from tracediff.errors import TracediffError

MODULES, BLOCKS, NONE = "modules", "blocks", "none"
RANGES = (MODULES, BLOCKS, NONE)

# What tracediff itself tells nsys: where the report goes, and what the recording is called.
_OWN_OPTIONS = ("-o", "--output", "--session", "--session-new", "--export", "-f", "--force-overwrite", "--command-file")
# What tells nsys to record a part of the run.
_BOUNDS = ("-c", "--capture-range", "-y", "--delay", "-d", "--duration")
_STARTS_NSYS = re.compile(r"(?:^|[\s/;&|'\"(])nsys\s+(?:profile|launch|start)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRange:
    """Steps A up to, not including, B, counted from 0 in every process; None: to the end."""

    first: int
    past: int | None

    @classmethod
    def parse(cls, text: str) -> "StepRange":
        """Read `A:B`, `A:` or `:B`.

        Raises:
            TracediffError: It is none of these, or holds no step.
        """
        found = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text)
        if found is None or found[0] == ":":
            raise TracediffError(f"--steps {text} is no range of steps", "give A:B, as in --steps 10:20")
        steps = cls(first=int(found[1] or 0), past=int(found[2]) if found[2] else None)
        if steps.past is not None and steps.past <= steps.first:
            raise TracediffError(f"--steps {text} holds no step", "A:B is from A up to, not including, B")
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """What to record.

    Attributes:
        command: The program and its arguments.
        out: Folder for the traces; None derives one below `tracediff-runs`.
        ranges: `modules`: a range around every torch module's forward; `blocks`: around the model's blocks, what is
            outside them, and the modules directly below; `none`: the program's own alone.
        steps: Which forwards of the root module are kept; None: what the program or a signal bounds, or all.
        nsys_args: Further options of `nsys profile`, as a shell would take them.
        algorithm_log: Whether cuBLASLt's chosen algorithms become marks in the trace.
        nsys: The profiler; None looks for one.
        force: Whether a folder that holds files may be written to.
    """

    command: tuple[str, ...]
    out: Path | None = None
    ranges: str = MODULES
    steps: StepRange | None = None
    nsys_args: tuple[str, ...] = ()
    algorithm_log: bool = True
    nsys: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if not self.command:
            raise TracediffError("no program to record", "name it after --: tracediff record -- python script.py")
        if self.ranges not in RANGES:
            raise TracediffError(f"unknown --ranges {self.ranges}", f"choose one of {', '.join(RANGES)}")
        if self.steps is not None and self.ranges == NONE:
            raise TracediffError("--steps counts forwards, which --ranges none does not see", "leave one out")
        for option in self.nsys_options:
            if option.split("=")[0] in _OWN_OPTIONS:
                raise TracediffError(f"--nsys-args may not hold {option.split('=')[0]}", "tracediff record sets it")
        if Path(self.command[0]).name == "nsys" or _STARTS_NSYS.search(" ".join(self.command)):
            raise TracediffError(
                f"{self.command[0]} starts an nsys of its own",
                "record the program itself; options of nsys go into --nsys-args",
            )
        if shutil.which(self.command[0]) is None:
            raise TracediffError(
                f"{self.command[0]} was not found, or is no program", "check COMMAND, the part after --"
            )

    @property
    def nsys_options(self) -> tuple[str, ...]:
        """The further options of nsys, one by one.

        Raises:
            TracediffError: A quote is left open.
        """
        try:
            return tuple(word for words in self.nsys_args for word in shlex.split(words))
        except ValueError as error:
            raise TracediffError(f"--nsys-args cannot be read ({error})", "close the quotes") from error

    @property
    def nsys_records_a_part(self) -> bool:
        """Whether an option of nsys's bounds what it records."""
        return any(option.split("=")[0] in _BOUNDS for option in self.nsys_options)

    @property
    def folder(self) -> Path:
        """Where the trace goes: `--out`, or a name made from the program's."""
        return self.out or DEFAULT_FOLDER / f"record-{_name_of(self.command)}"


def _name_of(command: tuple[str, ...]) -> str:
    """Return a short name for what a command runs: the script where an interpreter runs one."""
    words = [Path(word).stem for word in command[:3] if not word.startswith("-")]
    interpreted = len(words) > 1 and re.fullmatch(r"python[\d.]*|torchrun|bash|sh", words[0])
    name = words[1] if interpreted else words[0]
    return re.sub(r"[^\w.-]+", "-", name)[:40] or "program"
