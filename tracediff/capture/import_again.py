"""Import what nsys recorded and failed to import: on a busy machine its importer fails now and then, and then works.

Seen with nsys 2023.4 and eight at a time: 6 of 1,080 imports failed, in `AnalysisStatus::SetNextState`; of these 3 were
made again, and worked.
"""

from collections.abc import Mapping
from pathlib import Path

from tracediff.capture.command import import_command
from tracediff.capture.find_nsys import importer_of
from tracediff.processes import run_program

_ATTEMPTS = 3


def import_again(nsys: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Import each recording of a folder that has no report: `name.qdstrm` into `name.nsys-rep`.

    Args:
        nsys: The profiler whose importer is used; where it has none, nothing is done.
        folder: Where recordings lie and reports go.
        environment: What the importer gets.
    """
    importer = importer_of(nsys)
    if importer is None:
        return
    for recording in sorted(folder.glob("*.qdstrm")):
        report = recording.with_suffix(".nsys-rep")
        for _ in range(_ATTEMPTS):
            if report.is_file():
                break
            done = run_program(import_command(importer, recording, report), folder=folder, environment=environment)
            if done.code != 0:  # a report of a failed import may lack events
                report.unlink(missing_ok=True)
