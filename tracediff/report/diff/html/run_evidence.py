"""What was measured of the whole run: logits, tokens, repair, controls."""

from __future__ import annotations

from dataclasses import dataclass

from tracediff.diff.words import listing
from tracediff.measured import Bits, Control, Repair, RunEvidence
from tracediff.report.diff.html.measured import bits_in_words
from tracediff.text import printable, shorten

_LONGEST = 400

_CONTROLS = {
    "run_to_run": ("The same run twice", "bits must not depend on when it runs"),
    "neighbours": ("Other neighbours in the batch", "a row's bits must not depend on what the other rows hold"),
    "position": ("Row first, last, in the middle", "a row's bits should not depend on its place in the batch"),
    "profiler": ("With and without the profiler", "watching must not change bits"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseView:
    """What came out of one phase.

    Attributes:
        name: The phase.
        logits: Bits of the repeated row's logits, None where not measured.
        logits_text: The same in words, empty where not measured.
        tokens: The greedy choice (a, b).
        flipped: Whether it differs, None where not measured.
    """

    name: str
    logits: Bits | None
    logits_text: str
    tokens: tuple[str, str]
    flipped: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """One control: something that must not change bits.

    Attributes:
        title: What was varied.
        meaning: What must hold.
        equal: Whether it held, None where not measured.
        text: The result in words.
        compared: What or how much was compared.
    """

    title: str
    meaning: str
    equal: bool | None
    text: str
    compared: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """What was measured of the whole run.

    Attributes:
        phases: Logits and tokens.
        repair: What makes the logits bit-identical, in a sentence; empty where nothing was tried.
        controls: What must not change bits.
        notes: What could not be measured.
    """

    phases: tuple[PhaseView, ...]
    repair: str
    controls: tuple[ControlView, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[ControlView, ...]:
        """The controls that did not hold."""
        return tuple(control for control in self.controls if control.equal is False)


def view_run(evidence: RunEvidence | None) -> RunView | None:
    """Return what the page shows of the whole run, None where nothing was measured."""
    if evidence is None:
        return None
    names = dict.fromkeys([*evidence.logits, *evidence.tokens])
    return RunView(
        phases=tuple(_phase(name, evidence.logits.get(name), evidence.tokens.get(name)) for name in names),
        repair=_repair(evidence.repair),
        controls=tuple(_control(name, control) for name, control in evidence.controls.items()),
        notes=tuple(printable(shorten(note, _LONGEST)) for note in evidence.notes),
    )


def _phase(name: str, logits: Bits | None, tokens: tuple[int, int] | None) -> PhaseView:
    return PhaseView(
        name=printable(name),
        logits=logits,
        logits_text=bits_in_words(logits),
        tokens=("–", "–") if tokens is None else (str(tokens[0]), str(tokens[1])),
        flipped=None if tokens is None else tokens[0] != tokens[1],
    )


def _repair(repair: Repair | None) -> str:
    if repair is None:
        return ""
    if repair.logits_equal and repair.minimal:
        rest = "; doing that to all the other modules does not" if repair.complement_logits_equal is False else ""
        kinds = listing(map(printable, repair.minimal), limit=20)
        return f"Computing {kinds} row by row makes the logits bit-identical{rest}."
    if not repair.logits_equal:
        return "Computing every module row by row does not make the logits bit-identical."
    return ""


def _control(name: str, control: Control) -> ControlView:
    title, meaning = _CONTROLS.get(name, (printable(shorten(name, _LONGEST)).replace("_", " "), ""))
    text = "not measured"
    if control.equal is not None:
        bits = Bits(equal=control.equal, share=control.share, max_ulp=control.max_ulp)
        text = bits_in_words(bits)
        if not control.equal and control.first is not None:
            text += f", first: {printable(shorten(control.first, _LONGEST))}"
    return ControlView(
        title=title,
        meaning=meaning,
        equal=control.equal,
        text=text,
        compared=printable(shorten(control.compared, _LONGEST)),
    )
