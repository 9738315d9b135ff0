"""Whether two traces should be compared at all. They always are; what differs besides the batch is said first."""

from __future__ import annotations

from pathlib import Path

from tracediff.trace import KernelTable
from tracediff.trace.table import TraceInfo

_FIELDS = (
    ("gpu", "GPUs"),
    ("sm_count", "numbers of multiprocessors"),
    ("model", "models"),
    ("dtype", "element types"),
    ("weights", "weights"),
    ("attention", "attention implementations"),
    ("tokens", "prompt lengths"),
    ("profiler", "profilers"),
    ("profiler_version", "profiler versions"),
    ("schema_version", "export schemas"),
)

_OF_ONE_PROFILER = frozenset({"profiler_version", "schema_version"})


def comparability_warnings(a: KernelTable, b: KernelTable) -> tuple[str, ...]:
    """Return one sentence for each thing that may mislead a reader of the comparison."""
    warnings = ["a and b are the same file."] if _same_file(a.info.path, b.info.path) else []
    warnings += [
        f"The traces are of different {words}: {_value(a.info, field)} and {_value(b.info, field)}."
        for field, words in _FIELDS
        if _differs(a.info, b.info, field)
    ]
    for name in sorted(a.info.versions.keys() & b.info.versions.keys()):
        if name != "nsys" and a.info.versions[name] != b.info.versions[name]:
            warnings.append(f"{name} differs: {a.info.versions[name]} and {b.info.versions[name]}.")
    for label, table in (("a", a), ("b", b)):
        coverage = table.coverage
        if coverage.in_module + coverage.in_phase_only == 0:
            a_range = "a record_function block" if table.info.profiler == "torch" else "an NVTX range"
            warnings.append(
                f"No kernel of {label} was launched inside {a_range}: there are no phases and modules to compare."
            )
    places = {(key.phase, key.module) for key in a.keys}
    if not any((key.phase, key.module) in places for key in b.keys):
        warnings.append("The traces have no phase and module in common, so no kernel has a counterpart.")
    return tuple(warnings)


def _same_file(a: str, b: str) -> bool:
    try:
        return Path(a).samefile(b)
    except OSError:
        return False


def _differs(a: TraceInfo, b: TraceInfo, field: str) -> bool:
    value_a, value_b = getattr(a, field), getattr(b, field)
    if field in _OF_ONE_PROFILER and a.profiler != b.profiler:
        return False
    if field == "tokens" and a.shape is not None and b.shape is not None:
        return False  # the user chose steps of these lengths
    return value_a is not None and value_b is not None and value_a != value_b


def _value(info: TraceInfo, field: str) -> str:
    return str(getattr(info, field))
