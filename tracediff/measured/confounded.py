"""Controls of older evidence that noise could explain.

Until schema 2 each control was run once, on whole runs, and no module's own noise was known. On an H100, torch's
default attention (cuDNN) gives different bits from run to run at decode against 129 keys or more
(docs/reduction-order.md), so such a control may have found that, and no leak.
"""

from __future__ import annotations

from msgspec.structs import replace

from tracediff.measured.model import Control, Evidence

_RUN_TO_RUN = "run_to_run"
# With fewer keys no attention was seen to vary.
_KEYS_THAT_MAY_VARY = 129
_WHY_VARIES = "the run does not repeat itself, and the file was written before noise was told apart: capture again"
_WHY_ATTENTION = (
    "attention over this many tokens may vary by itself, and the file was written before noise was told apart: "
    "capture again"
)


def without_confounded(evidence: Evidence) -> Evidence:
    """Return evidence of schema 1 with controls that noise could explain as "cannot tell"."""
    run_to_run = evidence.controls.get(_RUN_TO_RUN)
    if run_to_run is None or run_to_run.equal is not True:
        why = _WHY_VARIES
    elif evidence.tokens + len(evidence.phases) > _KEYS_THAT_MAY_VARY:
        why = _WHY_ATTENTION
    else:
        return evidence
    return replace(
        evidence,
        controls={name: _doubted(name, control, why) for name, control in evidence.controls.items()},
    )


def _doubted(name: str, control: Control, why: str) -> Control:
    if name == _RUN_TO_RUN or control.equal is not False:
        return control
    return replace(control, equal=None, why=why)
