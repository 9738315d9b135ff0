"""Words that every format of the remedies shares."""

from __future__ import annotations

from tracediff.findings.remedies import GOAL, Price, RemediesResult, SettingBits, cheapest_invariant, equal_classes
from tracediff.findings.remedies_catalog import DEFAULT, setting_named
from tracediff.report.measured_on import machine_words, model_words


def what_ran(result: RemediesResult) -> str:
    """Name model, precision and card in one line."""
    return f"{model_words(result.model, result.dtype, result.layers)} on {machine_words(result.machine)}"


def decode_words(bits: SettingBits) -> str:
    """Say of every number of keys how many classes its batches fall into."""
    if not bits.decode:
        return "–"
    return ", ".join(f"{_count(row)} at {keys}" for keys, row in bits.decode.items())


def prefill_words(bits: SettingBits) -> str:
    """The same for the prompt."""
    return _count(bits.prefill)


def _count(row: tuple[tuple[int, str | None], ...]) -> str:
    if not row:
        return "not measured"
    classes = len(equal_classes(row))
    varying = sum(bits is None for _, bits in row)
    words = "equal" if classes == 1 and not varying else str(classes)
    return f"{words} ({varying} vary)" if varying else words


def yes_no(value: bool | None) -> str:
    """Write what may be unknown."""
    return "–" if value is None else "yes" if value else "no"


def ratio(value: float | None) -> str:
    """Write a ratio of times."""
    return "–" if value is None else f"{value:.2f}"


def findings(result: RemediesResult, priced: tuple[Price, ...]) -> list[str]:
    """Return what the measurements say, one sentence each."""
    sentences = []
    best = cheapest_invariant(result)
    invariant = [price.setting for price in priced if price.invariant]
    measured = f"batch {result.batches[0]}–{result.batches[-1]}" if result.batches else "no batch"
    if best is None:
        sentences.append(f"no setting that was measured and timed is bit-equal over {measured} and the prompts")
        left = sorted({kind for bits in result.bits for kind in bits.left})
        if left:
            sentences.append(f"what is left: {', '.join(left)}")
    else:
        cost = f"at most {ratio(best.worst_ratio)} × the fastest setting's GPU time at any point"
        met = f" (the goal is {GOAL})" if best.reaches_goal else f" (above the goal of {GOAL})"
        sentences.append(f"bit-equal over {measured} and prefill, cheapest: {best.setting}, {cost}{met}")
        sentences.append(f"{setting_named(best.setting).words}")
    others = [name for name in invariant if best is None or name != best.setting]
    if others:
        sentences.append(f"also bit-equal: {', '.join(others)}")
    varying = [bits.setting for bits in result.bits if not bits.repeats]
    if varying:
        sentences.append(f"gives other bits when run again: {', '.join(varying)}")
    if any(price.setting == DEFAULT for price in priced) and not any(point.replayed for point in result.times):
        sentences.append("times are of the CPU, without CUDA graphs")
    sentences += [f"{name} was not measured: {why}" for name, why in result.failed.items()]
    return [*sentences, *result.notes]
