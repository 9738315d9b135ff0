"""Numbers and traces in words, the same in every report for people."""

from __future__ import annotations

from collections.abc import Iterable

from tracediff.diff.result import Kernel, Side
from tracediff.text import count
from tracediff.trace.table import TraceInfo

#: The time of what did not run.
NOT_RUN = "–"


def duration(nanoseconds: int | None) -> str:
    """Write a duration with three digits that count: `812 ns`, `4.29 µs`, `15.3 ms`; None for what did not run."""
    if nanoseconds is None:
        return NOT_RUN
    value, unit = float(nanoseconds), "ns"
    for larger in ("µs", "ms", "s"):
        if abs(value) < 1000:
            break
        value, unit = value / 1000, larger
    if unit == "ns":
        return f"{nanoseconds} ns"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f} {unit}"


def gpu_time(kernels: Iterable[Kernel]) -> str:
    """Write the GPU time of kernels; a dash where there are none."""
    times = [kernel.duration_ns for kernel in kernels]
    return duration(sum(times) if times else None)


def change(a: int, b: int) -> str:
    """Write a relative change so that rounding never hides one: `+3 %`, `−0.4 %`, `0 %` only when equal."""
    if a == b:
        return "0 %"
    if a == 0:
        return "new"
    percent = (b - a) / a * 100
    digits = 0 if abs(percent) >= 1 else 1 if abs(percent) >= 0.1 else None
    if digits is None:
        return "+<0.1 %" if percent > 0 else "−<0.1 %"
    return f"{'+' if percent > 0 else '−'}{abs(percent):.{digits}f} %"


def trace_words(info: TraceInfo) -> str:
    """Say in one line what was recorded: GPU, model, dtype, batch, tokens, profiler, as far as known."""
    parts = [
        info.gpu,
        info.model,
        info.dtype,
        None if info.batch is None else f"batch {info.batch}",
        None if info.tokens is None else count(info.tokens, "token"),
        f"{info.profiler} {info.profiler_version}" if info.profiler_version else info.profiler,
    ]
    return " · ".join(part for part in parts if part)


def coverage_words(side: Side) -> str:
    """Say where a trace's kernels went; every kernel is accounted for."""
    coverage = side.coverage
    rest = [
        f"{number:,} {words}"
        for number, words in (
            (coverage.in_phase_only, "directly under a phase"),
            (coverage.outside_ranges, "outside every range"),
            (coverage.no_launch, "without a launch call in the trace"),
        )
        if number
    ]
    return f"{coverage.in_module:,} of {count(coverage.kernels, 'kernel')} in a module" + (
        f" ({', '.join(rest)})" if rest else ""
    )


def difference(before: int, after: int) -> str:
    """Return the difference of two whole numbers with its sign, empty where there is none."""
    if before == after:
        return ""
    return f"+{after - before:,}" if after > before else f"−{before - after:,}"


def share(part: float) -> str:
    """Return a share of 1 in percent: 0 % and 100 % only where it is exactly that."""
    percent = part * 100
    if percent <= 0:
        return "0 %"
    if percent >= 100:
        return "100 %"
    if percent < 0.1:
        return "<0.1 %"
    if percent > 99.9:
        return ">99.9 %"
    return f"{percent:.1f} %"
