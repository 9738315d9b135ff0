"""What a user needs to put a setting in force, as lines for a shell and for Python."""

from __future__ import annotations

import shlex

from tracediff.findings.remedies_catalog import Setting


def setting_to_shell(setting: Setting) -> str:
    """Return the setting as shell lines: exports, then what only code can do, as comments."""
    lines = [f"# {setting.name}: {setting.words}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in setting.environment.items()]
    lines += [f"# {line}" for line in what_code_must_do(setting)]
    return "\n".join(lines) + "\n"


def what_code_must_do(setting: Setting) -> list[str]:
    """Return what the environment cannot set, one line each; empty where it suffices."""
    lines = []
    for part in setting.parts:
        if part.code or part.cannot:
            why = f" ({part.cannot})" if part.cannot else ""
            lines.append(f"{part.name} needs code{why}:")
            lines += [f"    {line}" for line in part.code]
    if setting.padded_batch is not None:
        lines.append(
            f"pad every batch to a multiple of {setting.padded_batch} rows (what schedules the batches must do it)"
        )
    return lines
