"""A flip search in sentences: what it found, and where a common claim does not hold on the machine at hand."""

from __future__ import annotations

from tracediff.findings.flips import STATIC, TORCH_CHOOSES, Flip, FlipsResult, Search, StepChoice
from tracediff.findings.flips_summary import MARGIN_BINS, RATIO_RANGE, Summary, summarise
from tracediff.findings.remedies_catalog import DEFAULT as NO_REMEDY
from tracediff.text import count, printable


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
    cache = ", static cache" if settings.cache == STATIC else ""
    attention = "" if settings.attention == TORCH_CHOOSES else f", {settings.attention} attention"
    remedy = "" if settings.remedy == NO_REMEDY else f", with {settings.remedy}"
    where = machine.get("gpu") or machine.get("device") or "unknown device"
    return (
        f"{settings.model} ({weights}{layers}), {_prompts(result)}, {steps}; "
        f"batch {settings.batches[0]} against {batches}, fed the same tokens{cache}{attention}{remedy}; "
        f"{where}, torch {machine.get('torch')}"
    )


def _prompts(result: FlipsResult) -> str:
    """Say how many prompts there are results of, beside how many were asked for."""
    held = {prompt.prompt for search in result.searches for prompt in search.prompts}
    asked = count(result.settings.prompts, "prompt")
    return asked if len(held) == result.settings.prompts else f"{len(held):,} of {asked}"


def warnings(result: FlipsResult) -> list[str]:
    """Return why the numbers may mislead, one sentence each: what the controls found, and the result's own notes.

    No output leaves one of these out.
    """
    return [*_about_controls(result, summarise(result)), *result.notes]


def findings(result: FlipsResult) -> list[str]:
    """Return what the numbers say, one sentence each, the most important first."""
    summaries = summarise(result)
    sentences = [*_about_flips(summaries), *_about_precision(summaries), *_about_distributions(summaries)]
    if any(summary.precision == "tf32" for summary in summaries):
        sentences.append("tf32: margins are in ULP of TF32, which keeps 10 fraction bits as float16 does")
    return [*sentences, *_about_reference(summaries)]


def percent(share: float) -> str:
    """Write a share in percent with two digits that count: `1.47%`, `0.068%`."""
    return f"{share:.2%}" if share >= 0.001 or share == 0 else f"{share * 100:.2g}%"


def bin_name(up_to_ulp: float | None) -> str:
    """Name a margin bin by its upper end."""
    if up_to_ulp is None:
        return f"> {MARGIN_BINS[-2]:g}"
    return f"≤ {up_to_ulp:g}" if up_to_ulp else "exact tie"


def number(value: float) -> str:
    """Write a logit or a margin with up to six digits."""
    return f"{value:.6g}"


def tie_words(choice: StepChoice) -> str:
    """Say that the largest logit is shared, and what decides then; empty without a tie."""
    if choice.tied < 2:
        return ""
    return f"exact {choice.tied}-way tie: the lowest id is taken"


def flip_title(flip: Flip, base: int, precision: str) -> str:
    """Return one line that names a flip, with its margin beside what moved."""
    margin = "an exact tie" if flip.margin == 0 else f"margin {number(flip.margin)} ({number(flip.margin_ulp)} ULP)"
    moved = "" if flip.moved is None else f", the two logits moved by {' and '.join(map(number, flip.moved))}"
    before, after = (token_words(choice.token, choice.top[0].text) for choice in (flip.base, flip.other))
    return (
        f"{precision}, prompt {flip.prompt}, step {flip.step}: token {before} at batch {base}, "
        f"{after} at batch {flip.batch}; {margin}{moved}"
    )


def token_words(token: int, text: str | None) -> str:
    """Return a token's id, with its text in quotes where a tokenizer knows it: `198 '\\n'`."""
    return str(token) if text is None else f"{token} {printable(repr(text))}"


def _about_flips(summaries: tuple[Summary, ...]) -> list[str]:
    sentences = []
    equal: dict[str, list[Summary]] = {}
    for summary in summaries:
        if not summary.steps:
            sentences.append(f"{_pair(summary)}: nothing was compared")
        elif summary.equal_steps == summary.steps:
            equal.setdefault(summary.precision, []).append(summary)
        elif summary.flips == 0:
            sentences.append(
                f"{_pair(summary)}: no flip in {summary.steps:,} steps (rate below {percent(summary.interval[1])} with "
                f"95 % confidence), though {summary.steps - summary.equal_steps:,} steps have other logits"
            )
        else:
            sentences.append(
                f"{_pair(summary)}: {summary.flips:,} of {summary.steps:,} steps {_flip_margins(summary)}; no "
                f"logit moved by more than {number(summary.largest_change)}, nor by more than "
                f"{number(summary.largest_change_ulp)} ULP of its step's top logit"
            )
    for precision, same in equal.items():
        batches = ", ".join(str(summary.batch) for summary in same)
        sentences.append(
            f"{precision}, batch {same[0].base} against {batches}: every logit has the same bits in all "
            f"{same[0].steps:,} steps, so no token can flip"
        )
    return sentences


def _flip_margins(summary: Summary) -> str:
    """Say that steps flip and how near their ties were: `flip, with margins of at most 0.0117 and at most 3 ULP`.

    The two maxima can be of two flips: a ULP is as large as its step's top logit makes it.
    """
    one = summary.flips == 1
    if not summary.largest_flip_margin:
        return "flips, at an exact tie" if one else "flip, every one at an exact tie"
    margin, ulp = number(summary.largest_flip_margin), number(summary.largest_flip_margin_ulp or 0)
    if one:
        return f"flips, with a margin of {margin} ({ulp} ULP)"
    return f"flip, with margins of at most {margin} and at most {ulp} ULP"


def _pair(summary: Summary) -> str:
    return f"{summary.precision}, batch {summary.base} against {summary.batch}"


def _about_distributions(summaries: tuple[Summary, ...]) -> list[str]:
    sentences = []
    for summary in summaries:
        if summary.divergence is None or summary.ratio_outside is None or summary.equal_steps == summary.steps:
            continue
        low, high = RATIO_RANGE
        sentences.append(
            f"{_pair(summary)}: mean KL divergence {summary.divergence:.2g} nats per step; in "
            f"{summary.ratio_outside:,} of {summary.steps:,} steps the chosen token's probability changes by a ratio "
            f"outside {low}–{high}"
        )
    return sentences


def _about_controls(result: FlipsResult, summaries: tuple[Summary, ...]) -> list[str]:
    sentences = [
        f"{search.label}: the same run twice gave different bits; until that is found, a flip means little"
        for search in result.searches
        if not search.repeatable
    ]
    sentences += [_about_noise(search, summaries) for search in result.searches if search.noisy]
    for summary in summaries:
        if summary.unexplained:
            sentences.append(
                f"{_pair(summary)}: in {count(summary.unexplained, 'flip')} the gap is larger than what the two logits "
                "moved, so the chosen token was not the largest logit at one of the batch sizes"
            )
        if summary.far:
            sentences.append(
                f"{_pair(summary)}: {count(summary.far, 'flip')} with a margin of more than twice what logits "
                "typically move where no token flips: no near tie, so look for a fault"
            )
        if not summary.rows_agree:
            sentences.append(
                f"{summary.precision}, batch {summary.batch}: rows that hold the same prompt differ in bits, so a "
                "row's place in the batch matters here"
            )
    return sentences


def _about_noise(search: Search, summaries: tuple[Summary, ...]) -> str:
    """Say where bits do not repeat, and what that does to the tokens there."""
    counts = [
        f"{summary.noise:,} of {summary.steps:,} at batch {summary.batch}"
        for summary in summaries
        if summary.precision == search.label and summary.noise is not None
    ]
    noisy = ", ".join(map(str, search.noisy))
    return (
        f"{search.label}, batch {noisy}: the same run twice gives different bits, so each prompt was run twice there; "
        f"steps whose two runs choose different tokens are noise and not counted as flips ({', '.join(counts)}); "
        "another --attention may repeat itself"
    )


def _about_precision(summaries: tuple[Summary, ...]) -> list[str]:
    """Compare float32 with the 16-bit precisions, batch size by batch size: does it remove flips?"""
    sentences = []
    for exact in summaries:
        coarse = [one for one in summaries if one.batch == exact.batch and one.precision != "float32"]
        if exact.precision != "float32" or not any(one.flips for one in coarse):
            continue
        counts = ", ".join(f"{one.flips} flips in {one.precision}" for one in coarse)
        what = f"batch {exact.batch}: {counts}, {exact.flips} in float32"
        if exact.equal_steps == exact.steps:
            sentences.append(f"{what}, whose logits are equal in bits")
        elif exact.flips == 0:
            sentences.append(
                f"{what}, whose logits change too (by up to {number(exact.largest_change)}): a nearer tie would flip "
                "there, so float32 makes flips rarer and does not rule them out"
            )
        elif exact.flips < min(one.flips for one in coarse):
            sentences.append(f"{what}: float32 reduces flips and does not remove them")
        else:
            sentences.append(f"{what}: float32 does not reduce flips here")
    return sentences


def _about_reference(summaries: tuple[Summary, ...]) -> list[str]:
    sentences = []
    for summary in summaries:
        if summary.error_base is None or summary.error_other is None or summary.equal_steps == summary.steps:
            continue
        sentences.append(
            f"{_pair(summary)}: nearer to a float32 run of the same weights is batch {summary.base} in "
            f"{summary.nearer_base:,} steps, batch {summary.batch} in {summary.nearer_other:,} "
            f"(mean distance {number(summary.error_base)} and {number(summary.error_other)})"
            + (
                f"; of the {summary.flips} flips it chooses the token of batch {summary.base} in "
                f"{summary.reference_base}, of batch {summary.batch} in {summary.reference_other}"
                if summary.flips
                else ""
            )
        )
    if sentences:
        sentences.append("being nearer makes neither batch size the right one: both are roundings of the same sums")
    return sentences
