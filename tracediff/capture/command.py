"""nsys's command lines."""

from pathlib import Path

from tracediff.model.ranges import DOMAIN, RUN


def record_command(nsys: Path, output: Path, captures: int, device: str, session: str, program: list[str]) -> list[str]:
    """Return the nsys command that records `captures` runs of one process into `output.1.nsys-rep`, `output.2…`.

    Args:
        nsys: The profiler.
        output: Where to, without suffix.
        captures: How many runs the program makes.
        device: On a GPU the CUDA profiler's start and stop delimit a run. Without one there is no CUDA to call, so
            each NVTX range `run` does.
        session: A name for the recording, to end it by.
        program: What to record.
    """
    on_gpu = device.startswith("cuda")
    traced = ["--trace=cuda,nvtx", "--cuda-graph-trace=node"] if on_gpu else ["--trace=nvtx"]
    delimiter = (
        ["--capture-range=cudaProfilerApi"] if on_gpu else ["--capture-range=nvtx", f"--nvtx-capture={RUN}@{DOMAIN}"]
    )
    return [
        str(nsys),
        "profile",
        f"--session-new={session}",
        *traced,
        "--sample=none",
        "--cpuctxsw=none",
        *delimiter,
        f"--capture-range-end=repeat:{captures}",
        f"--output={output}",
        "--force-overwrite=true",
        *program,
    ]


def end_command(nsys: Path, session: str) -> list[str]:
    """Return the nsys command that ends a recording and the recorded program; nsys's own agent outlives a signal."""
    return [str(nsys), "shutdown", f"--session={session}", "--kill=sigkill"]


def probe_command(nsys: Path, output: Path, program: list[str]) -> list[str]:
    """Return the nsys command that records the ranges of a whole program into `output.nsys-rep`."""
    quiet = ["--trace=nvtx", "--sample=none", "--cpuctxsw=none"]
    return [str(nsys), "profile", *quiet, f"--output={output}", "--force-overwrite=true", *program]


def import_command(importer: Path, recording: Path, report: Path) -> list[str]:
    """Return the command of nsys's importer that turns a recording (`.qdstrm`) into a report (`.nsys-rep`)."""
    return [str(importer), f"--input-file={recording}", f"--output-file={report}"]


def export_command(nsys: Path, report: Path, output: Path) -> list[str]:
    """Return the nsys command that exports a report to SQLite."""
    return [str(nsys), "export", "--type=sqlite", f"--output={output}", "--force-overwrite=true", str(report)]
