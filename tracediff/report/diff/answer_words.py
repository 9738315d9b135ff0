"""The answer in words, the same in every output for people. Every string is printable."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tracediff.diff.answer import Answer, ControlAnswer, Link, Margin, answer
from tracediff.diff.compared import LeftOut
from tracediff.diff.overview import Section
from tracediff.diff.places import phase_name
from tracediff.diff.result import TraceDiff
from tracediff.diff.words import listing
from tracediff.measured import ControlResult
from tracediff.report.diff.subject import side_words
from tracediff.report.words import duration
from tracediff.text import count, printable

_RESULTS = {
    ControlResult.EQUAL: "equal",
    ControlResult.DIFFERS: "different",
    ControlResult.CANNOT_TELL: "cannot tell",
}
_WHY_LEFT_OUT = {
    LeftOut.OTHER_KIND: "executions that ran different kernels",
    LeftOut.OTHER_COUNT: "ran a different number of times",
    LeftOut.OTHER_LAUNCH: "executions that launched them differently",
    LeftOut.SET_UP: "set-up before the first range",
    LeftOut.OUTSIDE: "in no module, beyond those listed",
    LeftOut.NOT_ASKED_FOR: "not selected by --phase",
}
_NAMED_REPAIRS = 7
_NAMED_OF_MORE_REPAIRS = 5
_NAMED_CONTRADICTIONS = 3


class Fact(Struct, frozen=True, kw_only=True):
    """One line under the answer.

    Attributes:
        label: What it is about: `controls`, `chain`, …
        text: The fact.
        grave: Whether a reader must not miss it.
    """

    label: str
    text: str
    grave: bool = False


def answer_line(found: Answer) -> tuple[str, str]:
    """Return the judgement, in capitals, and what follows it."""
    words = ". ".join(filter(None, [f"{found.basis} {found.outcome}".lstrip(), found.because]))
    return str(found.judgement).upper(), printable(words)


def summary_line(diff: TraceDiff) -> str:
    """Return one line for a chat: `batch 1 → batch 2: expected: logits differ, …`; with how many warnings there are."""
    a, b = side_words(diff.a, diff.b)
    marker = f" [{count(len(diff.warnings), 'warning')}]" if diff.warnings else ""
    return printable(f"{a} → {b}: {answer(diff).sentence}{marker}")


def facts(found: Answer) -> tuple[Fact, ...]:
    """Return the lines under the answer: controls, chain, margin, what was left out, repair, what would settle it."""
    result = []
    if found.controls:
        grave = any(control.result is ControlResult.DIFFERS for control in found.controls)
        result.append(Fact(label="controls", text=controls_line(found.controls), grave=grave))
    links = " → ".join(map(_link, found.chain))
    result.append(Fact(label="chain", text=f"{links}   (of {count(found.chain[0].total, 'module')})"))
    if found.margin is not None and found.margin.max_abs:
        result.append(Fact(label="margin", text=_margin(found.margin)))
    if found.contradicted:
        named = listing(map(printable, found.contradicted), limit=_NAMED_CONTRADICTIONS)
        result.append(Fact(label="broken rule", text=f"predicted equal, measured different bits: {named}", grave=True))
    if found.not_compared:
        left_out = [
            f"{side}: {count(each.kernels, 'kernel')}{f' in {printable(each.phase)}' if each.phase else ''}"
            f" ({_WHY_LEFT_OUT[each.why]})"
            for side, each in found.not_compared
        ]
        result.append(Fact(label="left out", text=listing(left_out, limit=4)))
    if found.repair is not None and found.repair.logits_equal and found.repair.minimal:
        kinds = listing(map(printable, found.repair.minimal), limit=_named_repairs(len(found.repair.minimal)))
        result.append(Fact(label="repair", text=f"{kinds} row by row → logits bit-identical"))
    if found.settle:
        result.append(Fact(label="to settle", text=printable(found.settle)))
    return tuple(result)


def _named_repairs(kinds: int) -> int:
    """All where they are few; of more, as many as one line holds."""
    return _NAMED_REPAIRS if kinds <= _NAMED_REPAIRS else _NAMED_OF_MORE_REPAIRS


def controls_line(controls: Sequence[ControlAnswer]) -> str:
    """Return what the controls found, in one line: `run to run, profiler: equal; neighbours: different (…)`."""
    # What is said of several controls alike is said once.
    alike: dict[tuple[ControlResult, str], list[ControlAnswer]] = {}
    for control in controls:
        alike.setdefault((control.result, control.detail), []).append(control)
    words = []
    for (result, detail), members in alike.items():
        names = ", ".join(printable(member.name) for member in members)
        words.append(f"{names}: {_RESULTS[result]}" + (f" ({printable(detail)})" if detail else ""))
    return "; ".join(words)


def section_words(section: Section) -> tuple[str, str]:
    """Return a section's name and its numbers: kernels, split-K reductions, GPU time on both sides."""
    name = phase_name(section.name)
    if len(section.phases) > 1:
        name += f" ×{len(section.phases)}"
    a, b = section.kernels
    numbers = [count(a, "kernel") if a == b else f"{a:,} → {b:,} kernels"]
    before, after = section.splitk_reduce
    if before or after:
        reduces = f"{before:,}" if before == after else f"{before:,} → {after:,}"
        factor = f" (factor changed in {section.factor_changed:,})" if section.factor_changed else ""
        numbers.append(f"split-K reductions {reduces}{factor}")
    times = [duration(time if ran else None) for time, ran in zip(section.duration_ns, section.kernels, strict=True)]
    numbers.append(" → ".join(times))
    return name, "   ".join(numbers)


def _margin(margin: Margin) -> str:
    text = f"largest |Δlogit| {margin.max_abs:.2g} ({printable(margin.max_abs_phase)})"
    if margin.scale:
        text += f", logits up to {margin.scale:.3g}"
    if margin.smallest is not None:
        text += f"; nearest tie {margin.smallest:.2g} ({printable(margin.smallest_phase or '')})"
    return text


def _link(link: Link) -> str:
    if link.differing is None:
        return f"{link.name} not measured"
    words = f"{link.name} {link.differing:,}"
    if link.counted == "phases":
        words += f" of {link.total:,}"
    return words + (f" (+{link.unknown:,} unknown)" if link.unknown else "")
