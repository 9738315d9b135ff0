"""What printed logits or logprobs tell: the dtype they came from, and how many ULP lie between them.

Between two powers of two a float format holds numbers one ULP apart. Numbers that came out of a bfloat16 GEMM lie on
bfloat16's lattice even after a cast to float32 and a print, so numbers pasted into an issue still tell their dtype.
`log_softmax` subtracts the same number from every logit of a step: the logprobs leave the lattice, and their
differences stay on it (up to one float32 rounding each). So logprobs are judged by differences.

A decimal print rounds: `lattice_fit` says which numbers a print allows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracediff.dtypes import FORMATS, FloatFormat, Floats, dtype_named
from tracediff.errors import TracediffError
from tracediff.findings.lattice_fit import Fit, believed, common_spacing, fit, print_errors

LOGITS, LOGPROBS, PROBABILITIES = KINDS = ("logits", "logprobs", "probabilities")
#: What people call the dtypes, in sentences.
SHORT_NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64"}
# The largest logit of a language model's step lies in this range in practice; it tells which dtype a spacing is of.
_USUAL_TOP_LOGITS = (4.0, 64.0)
# Values that servers write for masked tokens. Only where they lie far below all others are they taken for such.
_LARGEST_SENTINEL, _FAR_BELOW = -999.0, 500.0
_LARGEST_LOGIT = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number as it was printed.

    Attributes:
        label: The token it belongs to, or its place.
        text: The number's digits as found.
    """

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The step from one value down to the next.

    Attributes:
        label, next_label: The two tokens.
        value: The upper value.
        gap: Upper minus lower; 0.0 is an exact tie (as far as the print shows).
        ulp: The gap in ULP of the most probable dtype: of logits at the larger magnitude, of logprobs at the top logit;
            None where no dtype is probable.
    """

    label: str
    next_label: str
    value: float
    gap: float
    ulp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginInUlp:
    """The margin of the top two for one dtype that the values may have come from.

    Attributes:
        dtype: The logits' dtype.
        ulp: The margin in ULP.
        low, high: Holds for top logits between these magnitudes.
    """

    dtype: str
    ulp: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """What one step's logits or logprobs say about their dtype.

    Attributes:
        kind: `logits` or `logprobs` (probabilities become logprobs).
        count: How many values.
        fits: Every format, narrow ones first.
        dtypes: Formats to believe: all values fit and chance does not explain it. Wider formats that merely contain
            one of these are left out. Empty: cannot tell.
        probable: The most probable dtype of the logits: the given one; else of `dtypes` the narrowest; for logprobs the
            one that has this spacing at a usual top logit. None: cannot tell.
        spacing: The largest power of two that divides all differences; None where chance explains it.
        spacing_chance_log10: As in `Fit`, corrected for the number of powers tried; None without differences.
        implied: For logprobs, what the spacing means: (dtype, low, high) reads "logits of dtype between low and high".
        margin: Largest minus second largest value, as printed, whatever else was pasted.
        margins: The margin in ULP for each dtype that is possible, the most probable first.
        gaps: From the largest value down.
        notes: What to keep in mind, one sentence each.
    """

    kind: str
    count: int
    fits: tuple[Fit, ...]
    dtypes: tuple[str, ...]
    probable: str | None
    spacing: float | None
    spacing_chance_log10: float | None
    implied: tuple[tuple[str, float, float], ...]
    margin: float
    margins: tuple[MarginInUlp, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        dtype = (
            "the dtype cannot be told from these values"
            if self.probable is None
            else f"logits were probably {SHORT_NAMES[self.probable]}"
        )
        if self.margin == 0:
            return f"{dtype}; the top two are exactly equal"
        if not self.margins:
            return f"{dtype}; the top two are {self.margin:.6g} apart"
        return f"{dtype}; the top two are {self.margins[0].ulp:g} ULP apart ({self.margin:.6g})"


def analyse(readings: Sequence[Reading], kind: str | None = None, dtype: str | None = None) -> Lattice:
    """Tell the lattice of one step's values.

    Args:
        readings: The values of one step, in any order. Values of masked tokens (−inf, −9999, −1e9) are left out.
        kind: One of `KINDS`. None: probabilities where all lie in 0…1 and sum to about 1, logprobs where no value is
            positive and the probabilities sum to at most 1, else logits.
        dtype: The logits' dtype where it is known; None finds it.

    Raises:
        TracediffError: Fewer than two values, a text that is not a number, an unknown kind or dtype, numbers that no
            logit, logprob or probability can have.
    """
    if kind is not None and kind not in KINDS:
        raise TracediffError(f"unknown kind {kind}", f"choose one of {', '.join(KINDS)}")
    dtype = None if dtype is None else dtype_named(dtype)
    finite, notes = _without_masked(readings)
    # A zero has no relative precision, and whatever a number overflows to fits no lattice.
    with np.errstate(all="ignore"):
        return _analyse(finite, kind, dtype, notes)


def _analyse(finite: list[Reading], kind: str | None, dtype: str | None, notes: list[str]) -> Lattice:
    values = np.array([_number(reading.text) for reading in finite])
    errors = print_errors([reading.text for reading in finite])
    if kind is None:
        kind = _kind_of(values)
        notes.append(f"read as {kind}: {_WHY_KIND[kind]} (--kind says otherwise)")
    texts: list[str] | None = [reading.text for reading in finite]
    if kind == PROBABILITIES:
        finite, values, errors = _logarithms(finite, values, errors)
        texts = None
        notes.append("the values are probabilities: their logarithms were taken")
        kind = LOGPROBS
    elif kind == LOGPROBS and values[0] > 0:
        raise TracediffError(f"{values[0]:g} is not a logprob", "they are never positive; give --kind logits")
    fits = tuple(fit(values, texts, errors, format_) for format_ in FORMATS.values())
    likely = believed(fits, values)
    spacing, chance = common_spacing(values, errors + (FORMATS["float32"].spacing(values) if kind == LOGPROBS else 0.0))
    if kind == LOGITS:
        margins = _margins_of_logits(values, (dtype,) if dtype else likely)
    else:
        margins = _margins_of_logprobs(values, errors, spacing, dtype)
    probable = dtype or (margins[0].dtype if margins else likely[0] if likely and kind == LOGITS else None)
    if spacing is None and chance is not None and (kind == LOGPROBS or not likely):
        notes.append("any spacing that the differences have in common may be chance")
    elif kind == LOGPROBS and spacing is not None and len(finite) < 5:
        notes.append("few values: the dtype's own spacing may be a fraction of the common spacing")
    if kind == LOGITS and dtype is None and len(likely) > 1:
        notes.append(f"{' and '.join(likely)} both fit; name the dtype with --dtype, or paste more values")
    if kind == LOGITS and values.min() >= 0 and values.sum() <= 1.01:
        notes.append("all values lie between 0 and 1: where they are probabilities, say --kind probabilities")
    if kind == LOGITS and values[0] <= 0:
        notes.append("no value is positive: logprobs of several steps look so too, and their gaps mean nothing")
    if len(set(values.tolist())) < len(values):
        notes.append("exact ties: greedy decoding takes the lowest token id there (torch.argmax)")
    return Lattice(
        kind=kind,
        count=len(finite),
        fits=fits,
        dtypes=likely,
        probable=probable,
        spacing=spacing,
        spacing_chance_log10=chance,
        implied=_implied(spacing, dtype) if kind == LOGPROBS and spacing is not None else (),
        margin=float(values[0] - values[1]),
        margins=margins,
        gaps=_gaps(finite, values, _steps(values, kind, probable, margins)),
        notes=tuple(notes),
    )


_WHY_KIND = {
    PROBABILITIES: "all values lie between 0 and 1 and sum to about 1",
    LOGPROBS: "no value is positive and the probabilities sum to at most 1",
    LOGITS: "the values are not log-probabilities",
}


def _without_masked(readings: Sequence[Reading]) -> tuple[list[Reading], list[str]]:
    """Return the values largest first, without those of masked tokens, and a note on what was left out."""
    finite = [reading for reading in readings if math.isfinite(_number(reading.text))]
    finite.sort(key=lambda reading: -_number(reading.text))
    top = _number(finite[0].text) if finite else 0.0
    kept = [
        reading
        for reading in finite
        if not (_number(reading.text) <= _LARGEST_SENTINEL and top - _number(reading.text) > _FAR_BELOW)
    ]
    if len(kept) < 2:
        raise TracediffError("fewer than two finite values", "give at least the two largest logits or logprobs")
    if top > _LARGEST_LOGIT:
        raise TracediffError(f"{top:g} is too large for a logit", "paste logits, logprobs or probabilities")
    if len(kept) == len(readings):
        return kept, []
    masked = sorted({reading.text for reading in readings if reading not in kept})
    return kept, [f"left out, masked tokens: {len(readings) - len(kept)} ({', '.join(masked[:3])})"]


def _kind_of(values: Floats) -> str:
    total = float(values.sum())
    if values.min() >= 0 and values.max() <= 1 and 0.98 <= total <= 1.01:
        return PROBABILITIES
    return LOGPROBS if _could_be_logprobs(values) else LOGITS


def _logarithms(finite: list[Reading], values: Floats, errors: Floats) -> tuple[list[Reading], Floats, Floats]:
    """Return the positive probabilities as logprobs, with the print's error carried over."""
    if values.min() < 0 or values.max() > 1 or values.sum() > 1.01:
        raise TracediffError("these are not probabilities", "they lie between 0 and 1 and sum to at most 1")
    positive = values > 0
    if positive.sum() < 2:
        raise TracediffError("fewer than two probabilities above zero", "give more digits")
    kept = [reading for reading, keep in zip(finite, positive, strict=True) if keep]
    values, errors = values[positive], errors[positive]
    return kept, np.log(values), errors / values


def _margins_of_logits(values: Floats, dtypes: Sequence[str]) -> tuple[MarginInUlp, ...]:
    magnitude = float(max(abs(values[0]), abs(values[1])))
    margins = []
    for dtype in dtypes:
        on_lattice = FORMATS[dtype].nearest(values[:2])
        ulp = float((on_lattice[0] - on_lattice[1]) / FORMATS[dtype].spacing(magnitude))
        if math.isfinite(ulp):
            margins.append(MarginInUlp(dtype=dtype, ulp=ulp, low=magnitude, high=magnitude))
    return tuple(margins)


def _margins_of_logprobs(
    values: Floats, errors: Floats, spacing: float | None, dtype: str | None
) -> tuple[MarginInUlp, ...]:
    """Return the margin for each dtype that explains the spacing with a usual top logit."""
    if spacing is None:
        return ()
    allowed = errors + errors[0] + 2 * FORMATS["float32"].spacing(values)
    margins = []
    for name in (dtype,) if dtype else ("bfloat16", "float16"):
        if name not in _SCANNED:
            continue
        exponent = _top_exponent(values[0] - values, allowed, FORMATS[name])
        if exponent is None:
            continue
        low = math.ldexp(1.0, exponent)
        unit = math.ldexp(low, -FORMATS[name].fraction_bits)
        if dtype or _USUAL_TOP_LOGITS[0] <= low < _USUAL_TOP_LOGITS[1]:
            ulp = float(np.rint((values[0] - values[1]) / unit))
            margins.append(MarginInUlp(dtype=name, ulp=ulp, low=low, high=2 * low))
    # Of two that explain it, the one whose top logit lies nearer to 16…32.
    return tuple(sorted(margins, key=lambda one: abs(math.log2(one.low) - 4)))


# The dtypes whose top logits are tried one by one.
_SCANNED = ("bfloat16", "float16")


def _top_exponent(differences: Floats, allowed: Floats, format_: FloatFormat) -> int | None:
    """Return the e for which top logits in [2^e, 2^(e+1)) explain the differences best; None where none does.

    A logit below the top's binade lies on a finer lattice, so the top's own spacing need not divide all differences:
    the top two are measured by the spacing at the top, however many smaller values were pasted with them. Every top
    logit of a binade is tried; one that puts all values on the lattice counts with the likelihood of these differences,
    the product of the spacings (a coarse lattice meets a given value by chance more seldom than a fine one).

    Args:
        differences: Top value minus each value, shape (values,), the top first.
        allowed: How far each difference can be wrong, shape (values,).
        format_: The format.
    """
    scores = {}
    for exponent in range(int(math.log2(_USUAL_TOP_LOGITS[1])) + 4, -12, -1):
        unit = math.ldexp(1.0, exponent - format_.fraction_bits)
        tops = math.ldexp(1.0, exponent) + unit * np.arange(2**format_.fraction_bits)
        logits = tops[:, None] - differences[None, 1:]
        consistent = (np.abs(logits - format_.nearest(logits)) <= allowed[1:]).all(axis=1)
        if consistent.any():
            likelihoods = np.log2(format_.spacing(logits[consistent])).sum(axis=1)
            largest = likelihoods.max()
            scores[exponent] = largest + math.log2(float(np.exp2(likelihoods - largest).sum()))
    return max(scores, key=lambda exponent: scores[exponent], default=None)


def _steps(values: Floats, kind: str, probable: str | None, margins: Sequence[MarginInUlp]) -> Floats:
    """Return each gap to the next value in ULP; NaN where no dtype is probable."""
    if kind == LOGITS and probable is not None:
        on_lattice = FORMATS[probable].nearest(values)
        magnitudes = np.maximum(abs(values[:-1]), abs(values[1:]))
        return np.asarray((on_lattice[:-1] - on_lattice[1:]) / FORMATS[probable].spacing(magnitudes))
    if kind == LOGPROBS and margins:
        unit = math.ldexp(margins[0].low, -FORMATS[margins[0].dtype].fraction_bits)
        # A value below the top's binade may lie half a step off.
        return np.asarray(np.round((values[:-1] - values[1:]) / unit * 4) / 4)
    return np.full(len(values) - 1, np.nan)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TracediffError(f"{text[:40]!r} is not a number") from None


def _could_be_logprobs(values: Floats) -> bool:
    # 0.01: prints of two decimals may round each of ten probabilities up.
    return bool(values.max() <= 0) and float(np.exp(values).sum()) <= 1.01


def _implied(spacing: float, dtype: str | None) -> tuple[tuple[str, float, float], ...]:
    names = (dtype,) if dtype else ("bfloat16", "float16", "float32")
    ranges = ((name, math.ldexp(spacing, FORMATS[name].fraction_bits)) for name in names)
    return tuple((name, low, 2 * low) for name, low in ranges if low <= FORMATS[name].largest)


def _gaps(readings: Sequence[Reading], values: Floats, steps: Floats) -> tuple[Gap, ...]:
    return tuple(
        Gap(
            label=readings[place].label,
            next_label=readings[place + 1].label,
            value=float(values[place]),
            gap=float(values[place] - values[place + 1]),
            ulp=float(steps[place]) if math.isfinite(steps[place]) else None,
        )
        for place in range(len(steps))
    )
