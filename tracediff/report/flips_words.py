"""A flip search in sentences: what it found, and where a common claim does not hold on the machine at hand."""

from __future__ import annotations

from tracediff.evidence.flips_result import Choice, Flip, FlipsResult
from tracediff.evidence.flips_summary import Summary, summarise
from tracediff.text import printable


def setting_words(result: FlipsResult) -> str:
    """Return one line that says what was searched and on what."""
    settings, machine = result.settings, result.machine
    weights = "random weights" if settings.random_weights else "its own weights"
    layers = "" if settings.layers is None else f", {settings.layers} layers"
    steps = (
        "every position of one forward"
        if settings.mode == "prefill"
        else f"prefill and {settings.decode} decode steps with a cache"
    )
    batches = ", ".join(map(str, settings.batches[1:]))
    where = machine.get("gpu") or machine.get("device") or "unknown device"
    return (
        f"{settings.model} ({weights}{layers}), {settings.prompts} prompts, {steps}; "
        f"batch {settings.batches[0]} against {batches}, fed the same tokens; {where}, torch {machine.get('torch')}"
    )


def findings(result: FlipsResult) -> list[str]:
    """Return what the numbers say, one sentence each, the most important first."""
    summaries = summarise(result)
    sentences = [*_about_flips(summaries), *_about_controls(result, summaries), *_about_precision(summaries)]
    return [*sentences, *_about_reference(summaries), *result.notes]


def percent(share: float) -> str:
    """Write a share in percent with two digits that count."""
    return f"{share:.2%}" if share >= 0.001 or share == 0 else f"{share:.1e}"


def number(value: float) -> str:
    """Write a logit or a margin with up to six digits."""
    return f"{value:.6g}"


def tie_words(choice: Choice) -> str:
    """Say that the largest logit is shared, and what decides then; empty without a tie."""
    if choice.tied < 2:
        return ""
    return f"exact {choice.tied}-way tie: the lowest id is taken"


def flip_title(flip: Flip, base: int, precision: str) -> str:
    """Return one line that names a flip."""
    margin = "an exact tie" if flip.margin == 0 else f"margin {number(flip.margin)} = {number(flip.margin_ulp)} ULP"
    return (
        f"{precision}, prompt {flip.prompt}, step {flip.step}: token {flip.base.token} at batch {base}, "
        f"{flip.other.token} at batch {flip.batch}; {margin}"
    )


def token_words(token: int, text: str | None) -> str:
    """Return a token's id, with its text where a tokenizer knows it."""
    return str(token) if text is None else f"{token} {printable(text)!r}"


def _about_flips(summaries: tuple[Summary, ...]) -> list[str]:
    sentences = []
    for summary in summaries:
        pair = f"{summary.precision}, batch {summary.base} against {summary.batch}"
        low, high = summary.interval
        if not summary.steps:
            sentences.append(f"{pair}: nothing was compared")
        elif summary.equal_steps == summary.steps:
            sentences.append(
                f"{pair}: every logit has the same bits in all {summary.steps:,} steps, so no token can flip"
            )
        elif summary.flips == 0:
            sentences.append(
                f"{pair}: no flip in {summary.steps:,} steps (rate below {percent(high)} with 95 % confidence), though "
                f"{summary.steps - summary.equal_steps:,} steps have other logits"
            )
        else:
            sentences.append(
                f"{pair}: {summary.flips} of {summary.steps:,} steps flip ({percent(summary.rate or 0)}, 95 % interval "
                f"{percent(low)} to {percent(high)}), every one with a margin of at most "
                f"{number(summary.largest_flip_margin or 0)} = {number(summary.largest_flip_margin_ulp or 0)} ULP; the "
                f"largest change of any logit is {number(summary.largest_change)}"
            )
    return sentences


def _about_controls(result: FlipsResult, summaries: tuple[Summary, ...]) -> list[str]:
    sentences = [
        f"{search.label}: the same run twice gave other bits; flips between batch sizes mean little until that is found"
        for search in result.searches
        if not search.repeatable
    ]
    for summary in summaries:
        if not summary.rows_agree:
            sentences.append(
                f"{summary.precision}, batch {summary.batch}: rows that hold the same prompt differ in bits, so a "
                "row's place in the batch matters here"
            )
    return sentences


def _about_precision(summaries: tuple[Summary, ...]) -> list[str]:
    """Compare float32 with the 16-bit precisions, batch size by batch size: does it remove flips?"""
    sentences = []
    for exact in summaries:
        if exact.precision != "float32":
            continue
        for coarse in summaries:
            if coarse.batch != exact.batch or coarse.precision not in {"float16", "bfloat16"} or not coarse.flips:
                continue
            what = f"batch {exact.batch}: {coarse.flips} flips in {coarse.precision}, {exact.flips} in float32"
            if exact.equal_steps == exact.steps:
                sentences.append(f"{what}, whose logits are equal in bits")
            elif exact.flips == 0:
                sentences.append(
                    f"{what}; float32 changes logits too (by up to {number(exact.largest_change)}), so a nearer tie "
                    "would flip there: fewer flips, not none by construction"
                )
            elif exact.flips < coarse.flips:
                sentences.append(f"{what}: float32 reduces flips and does not remove them")
            else:
                sentences.append(f"{what}: float32 does not reduce flips here")
    return sentences


def _about_reference(summaries: tuple[Summary, ...]) -> list[str]:
    sentences = []
    for summary in summaries:
        if summary.nearer_base is None or summary.nearer_other is None:
            continue
        if summary.equal_steps == summary.steps:
            continue
        sentences.append(
            f"{summary.precision}: batch {summary.base} is nearer to a float32 run of the same weights in "
            f"{summary.nearer_base:,} steps, batch {summary.batch} in {summary.nearer_other:,} "
            f"(mean distance {number(summary.error_base or 0)} and {number(summary.error_other or 0)})"
        )
    if sentences:
        sentences.append(
            "being nearer at one step makes neither batch size the right one: both are roundings of one sum"
        )
    return sentences
