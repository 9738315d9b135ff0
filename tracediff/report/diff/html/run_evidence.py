"""Evidence about the whole run: logits, tokens, repair, controls; `tracediff.diff.evidence` says what stands where.

What a capture did not measure, or another version wrote otherwise, is left out; keys not known here are listed as they
stand.
"""

from __future__ import annotations

from typing import Any

from tracediff.diff.words import listing
from tracediff.report.diff.html.measured import read_bits
from tracediff.report.diff.html.view import ControlView, PhaseEvidence, RunEvidence, Step
from tracediff.text import printable, shorten

_LONGEST = 400
_SHOWN = frozenset(
    {"schema", "batches", "modules", "first_origin", "contradictions", "logits", "tokens", "repair", "controls"}
)

_CONTROLS = {
    "run_to_run": ("The same run twice", "bits must not depend on when it runs"),
    "neighbours": ("Other neighbours in the batch", "a row's bits must not depend on what the other rows hold"),
    "position": ("Row first, last, in the middle", "a row's bits should not depend on its place in the batch"),
    "profiler": ("With and without the profiler", "watching must not change bits"),
}


def read_run(evidence: dict[str, Any] | None) -> RunEvidence | None:
    """Return what was measured of the whole run, None where nothing was."""
    if not isinstance(evidence, dict):
        return None
    logits, tokens = _dict(evidence.get("logits")), _dict(evidence.get("tokens"))
    controls = _dict(evidence.get("controls"))
    others = {name: value for name, value in evidence.items() if name not in _SHOWN and value is not None}
    return RunEvidence(
        phases=tuple(_phase(name, logits.get(name), tokens.get(name)) for name in dict.fromkeys([*logits, *tokens])),
        repair=_repair(_dict(evidence.get("repair"))),
        controls=tuple(_control(name, _dict(value)) for name, value in controls.items()),
        others=tuple((_label(name), _words(value)) for name, value in others.items()),
    )


def logits_step(run: RunEvidence | None) -> Step:
    """Return whether the logits agree, as a link of the chain."""
    known = [phase for phase in (run.phases if run else ()) if phase.logits is not None]
    if not known:
        return Step(title="Logits", value="not measured", text="of the repeated row, per phase", state="missing")
    differing = [phase for phase in known if phase.logits is not None and not phase.logits.equal]
    if not differing:
        return Step(title="Logits", value="equal bits", text=f"in {_all(len(known))}", state="clear")
    return Step(
        title="Logits",
        value=f"{len(differing)} of {len(known)} differ",
        text=f"first in {differing[0].name}",
        state="changed",
    )


def token_step(run: RunEvidence | None) -> Step:
    """Return whether a token changed, as a link of the chain."""
    known = [phase for phase in (run.phases if run else ()) if phase.flipped is not None]
    if not known:
        return Step(title="Token", value="not measured", text="greedy choice of the repeated row", state="missing")
    flipped = [phase for phase in known if phase.flipped]
    if not flipped:
        return Step(title="Token", value="same", text=f"in {_all(len(known))}", state="clear")
    return Step(
        title="Token",
        value=f"{len(flipped)} of {len(known)} flip",
        text=f"first in {flipped[0].name}: {flipped[0].tokens[0]} → {flipped[0].tokens[1]}",
        state="changed",
    )


def _all(number: int) -> str:
    return "the one phase measured" if number == 1 else f"all {number} phases"


def _phase(name: str, logits: Any, tokens: Any) -> PhaseEvidence:
    chosen = _dict(tokens)
    equal = chosen.get("equal")
    return PhaseEvidence(
        name=printable(name),
        logits=read_bits(logits),
        tokens=(_words(chosen.get("a")), _words(chosen.get("b"))),
        flipped=None if not isinstance(equal, bool) else not equal,
    )


def _repair(repair: dict[str, Any]) -> str:
    kinds = [printable(str(kind)) for kind in repair.get("minimal") or ()]
    equal, complement = repair.get("logits_equal"), repair.get("complement_logits_equal")
    if equal is True and kinds:
        rest = "; doing that to all the other modules does not" if complement is False else ""
        return f"Computing {listing(kinds, limit=20)} row by row makes the logits bit-identical{rest}."
    if equal is False:
        return "Computing every module row by row does not make the logits bit-identical."
    return ""


def _control(name: str, control: dict[str, Any]) -> ControlView:
    title, meaning = _CONTROLS.get(name, (_label(name), ""))
    equal = control.get("equal")
    bits = read_bits(control)
    first = control.get("first")
    where = f", first: {_words(first)}" if bits is not None and not bits.equal and first is not None else ""
    compared = control.get("compared")
    return ControlView(
        title=title,
        meaning=meaning,
        equal=equal if isinstance(equal, bool) else None,
        text=f"{bits.text}{where}" if bits is not None else "not measured",
        compared=_words(compared) if compared is not None else "–",
    )


def _dict(value: Any) -> dict[str, Any]:
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}


def _label(name: str) -> str:
    return printable(shorten(name, _LONGEST)).replace("_", " ")


def _words(value: Any) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None:
        text = "–"
    elif isinstance(value, dict):
        text = ", ".join(f"{name}: {_words(part)}" for name, part in value.items())
    elif isinstance(value, (list, tuple)):
        text = ", ".join(map(_words, value)) or "none"
    else:
        text = str(value)
    return printable(shorten(text, _LONGEST))
