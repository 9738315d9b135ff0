"""The result of a flip search: what was compared, step by step, and every flip. No torch.

A *step* is one chosen token: step 0 comes from the prefill, step i from the i-th decode (mode `generate`); in mode
`prefill` every position of the prompt is a step of one forward. A *flip* is a step where the greedy choice at another
batch size is another token than at the base batch size, both having been fed the same tokens.

`findings/flips_file.py` reads and writes it: the annotations below are what every field of a file is checked against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from tracediff.dtypes import FORMATS, TF32, FloatFormat
from tracediff.findings.remedies_catalog import DEFAULT
from tracediff.text import count, printable

GENERATE, PREFILL = MODES = ("generate", "prefill")
#: The key-value cache of decode steps: it grows by one token a step, or has its final size from the start.
DYNAMIC, STATIC = CACHES = ("dynamic", "static")
#: The attention where torch chooses a backend by itself.
TORCH_CHOOSES = "sdpa"

_LARGEST = 2**53
Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Distance = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e300)]
Logit = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]


class TopLogit(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One of the largest logits of a step; in files `[token, logit]` or `[token, logit, text]`.

    Attributes:
        token: Its id.
        logit: Its value, exactly.
        text: What the tokenizer decodes it to; None without a tokenizer.
    """

    token: Count
    logit: Logit
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChoice:
    """What one batch size chose at one step.

    Attributes:
        token: The greedy choice: the largest raw logit, of equal ones the lowest id.
        tied: How many tokens share the largest logit; 1 without a tie.
        margin_ulp: Largest minus second largest logit in ULP (see `margin_unit`); 0.0 for a tie.
        top: The largest logits, largest first, of equal ones the lowest id first; the chosen token leads.
    """

    token: Count
    tied: BatchSize
    margin_ulp: Distance
    top: Annotated[tuple[TopLogit, ...], msgspec.Meta(min_length=2)]

    def __post_init__(self) -> None:
        if self.top[0].token != self.token:
            raise ValueError("the chosen token does not lead the largest logits")

    def logit_of(self, token: int) -> float | None:
        """Return the token's logit; None where it is not among the largest."""
        return next((one.logit for one in self.top if one.token == token), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One step where the choice differs.

    Attributes:
        prompt: Index of the prompt.
        step: Index of the step in its prompt.
        batch: The batch size that chose another token.
        base, other: The choice at the base batch size and at `batch`.
        margin, margin_ulp: Largest minus second largest logit at the base batch size, and the same in ULP.
        reference: What the float32 reference chose; None without a reference.
        moved: By how much the logits of the base's token and of the other one differ between the batch sizes; None in
            files of schema 1 where one of the tokens is not among the largest logits.
    """

    prompt: Count
    step: Count
    batch: BatchSize
    base: StepChoice
    other: StepChoice
    margin: Distance
    margin_ulp: Distance
    reference: Count | None = None
    moved: tuple[Distance, Distance] | None = None

    @property
    def gap(self) -> float | None:
        """The base's logit of its own token minus that of the other; the margin, unless a third token was second."""
        second = self.base.logit_of(self.other.token)
        return None if second is None else self.base.top[0].logit - second

    @property
    def least_gap(self) -> float:
        """The gap, or where the other token is not among the base's largest logits, what it is at least."""
        return self.base.top[0].logit - self.base.top[-1].logit if self.gap is None else self.gap

    @property
    def covered(self) -> bool | None:
        """Whether the two logits' changes together cover the gap; None where unknown.

        Of the largest of two logits they always do: a flip that is not covered chose a token that was not the largest.
        """
        if self.gap is None or self.moved is None:
            return None
        # The changes are stored rounded to a few digits.
        return self.gap <= sum(self.moved) * (1 + 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSteps:
    """One prompt at one batch size against the base; every list has one entry per step, rounded to a few digits.

    Attributes:
        batch: The batch size.
        largest_change: Largest absolute difference of a logit to the base.
        changed_share: Share of the vocabulary whose logit differs in bits.
        to_reference: Root mean square distance of the logits to the float32 reference; empty without one.
        rows_agree: Whether all rows of a batch of copies had the same bits at every step.
        divergence: Kullback-Leibler divergence of the base's distribution from this one, in nats; empty in schema 1.
        ratio: Probability of the base's token here ÷ at the base; empty in schema 1.
        noise: Steps at which a second run of this batch size, fed the same tokens, chose another token; None where its
            bits repeat, so that it was run once.
    """

    batch: BatchSize
    largest_change: tuple[Distance, ...]
    changed_share: tuple[Share, ...]
    to_reference: tuple[Distance, ...]
    rows_agree: bool
    divergence: tuple[Distance, ...] = ()
    ratio: tuple[Distance, ...] = ()
    noise: tuple[Count, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSteps:
    """One prompt at the base batch size, and the others compared with it; every list has one entry per step.

    Attributes:
        prompt: Index of the prompt.
        length: Its tokens.
        chosen: The greedy choices at the base batch size, which are what every batch size was fed.
        top: The largest logit.
        margin: Largest minus second largest logit.
        ulp: The margin's unit (see `margin_unit`).
        to_reference: As in `BatchSteps`, of the base.
        batches: The other batch sizes.
        flips: The steps where one of them chose another token, those of noise left out.
        noise: As in `BatchSteps`, of the base.
        kind: What kind of prompt it is, where the prompt file says so.
    """

    prompt: Count
    length: Count
    chosen: tuple[Count, ...]
    top: tuple[Logit, ...]
    margin: tuple[Distance, ...]
    ulp: tuple[Positive, ...]
    to_reference: tuple[Distance, ...]
    batches: tuple[BatchSteps, ...]
    flips: tuple[Flip, ...]
    noise: tuple[Count, ...] | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        steps = len(self.chosen)
        lists = [self.top, self.margin, self.ulp]
        optional = [self.to_reference]
        for batch in self.batches:
            lists += [batch.largest_change, batch.changed_share]
            optional += [batch.divergence, batch.ratio]
            if len(batch.to_reference) != len(self.to_reference):
                raise ValueError("only one of two batch sizes has distances to the reference")
        if any(len(each) != steps for each in lists) or any(len(each) not in (0, steps) for each in optional):
            raise ValueError(f"a list has another length than the {steps} steps")
        batches = {batch.batch for batch in self.batches}
        if any(flip.step >= steps or flip.batch not in batches or flip.prompt != self.prompt for flip in self.flips):
            raise ValueError("a flip is of a step, batch size or prompt that was not compared")
        noise = {batch.batch: {*(batch.noise or ()), *(self.noise or ())} for batch in self.batches}
        if any(step >= steps for of_batch in noise.values() for step in of_batch):
            raise ValueError("noise is of a step that was not compared")
        if any(flip.step in noise[flip.batch] for flip in self.flips):
            raise ValueError("a step is both noise and a flip")

    @property
    def margin_ulp(self) -> tuple[float, ...]:
        """The margins in ULP."""
        return tuple(margin / ulp for margin, ulp in zip(self.margin, self.ulp, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One precision searched.

    Attributes:
        dtype: Of weights, activations and logits.
        tf32: Whether float32 products were rounded to TF32 (NVIDIA GPUs only).
        repeatable: Whether the base batch size, run twice, gave the same bits.
        stopped_early: Whether the search ended because it had found as many flips as were asked for.
        prompts: What was compared.
        mixed: Batch sizes whose rows held different prompts, because a control had shown that a row's bits depend
            neither on its neighbours nor on its place; elsewhere every row of a batch held the same prompt.
        noisy: Batch sizes at which the same run twice gave different bits, so that each prompt was run twice.
    """

    dtype: str
    tf32: bool
    repeatable: bool
    stopped_early: bool
    prompts: tuple[PromptSteps, ...]
    mixed: tuple[BatchSize, ...] = ()
    noisy: tuple[BatchSize, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in FORMATS:
            raise ValueError(f"unknown dtype {self.dtype[:20]}")

    @property
    def label(self) -> str:
        """The precision as shown: the dtype, or `tf32` for float32 with TF32 products."""
        return "tf32" if self.tf32 else self.dtype

    @property
    def format(self) -> FloatFormat:
        """The format in whose ULP margins are given: what rounds, so TF32 and not float32 where products are TF32."""
        return TF32 if self.tf32 else FORMATS[self.dtype]

    @property
    def flips(self) -> tuple[Flip, ...]:
        """All flips, in order of prompts."""
        return tuple(flip for prompt in self.prompts for flip in prompt.flips)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipSettings:
    """What was asked for; two searches with equal settings can continue each other.

    Attributes:
        model: The model's label.
        random_weights: Whether the model is a preset.
        layers: Blocks kept; None all.
        attention: The attention implementation.
        seed: Of random weights and prompts.
        batches: Batch sizes; the first is the base.
        mode: `generate` or `prefill`.
        prompts: How many prompts.
        prompts_sha256: Of their token ids, so that a changed prompt file is noticed. The prompts are not stored.
        decode: Decode steps after the prefill; 0 in mode `prefill`.
        precisions: (dtype, tf32) of each search, in order.
        reference: Whether 16-bit logits were compared with a float32 reference.
        find: Stop a search after so many flips; None searches all prompts.
        cache: `dynamic` or `static`.
        chat: Whether the prompts were put into the model's chat template.
        remedy: Which setting of `tracediff remedies` was in force.
    """

    model: str
    random_weights: bool
    layers: Count | None
    attention: str
    seed: int
    batches: Annotated[tuple[BatchSize, ...], msgspec.Meta(min_length=2)]
    mode: str
    prompts: Count
    prompts_sha256: str
    decode: Count
    precisions: tuple[tuple[str, bool], ...]
    reference: bool
    find: Count | None
    cache: str = DYNAMIC
    chat: bool = False
    remedy: str = DEFAULT

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.cache not in CACHES:
            raise ValueError("unknown mode or cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipsResult:
    """A finished flip search.

    Attributes:
        settings: What was asked for.
        machine: What it ran on: `device`, `gpu`, versions, and the `workspace` that cuBLAS was given by a variable.
        searches: One per precision.
        notes: Why the numbers may mislead, one sentence each.
    """

    settings: FlipSettings
    machine: dict[str, str | None]
    searches: tuple[Search, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if [(search.dtype, search.tf32) for search in self.searches] != list(self.settings.precisions):
            raise ValueError("the searches are not those of the settings' precisions")
        others = list(self.settings.batches[1:])
        for search in self.searches:
            if any([batch.batch for batch in prompt.batches] != others for prompt in search.prompts):
                raise ValueError("a prompt was compared at other batch sizes than the settings'")

    def __repr__(self) -> str:
        """Return one line: the searches hold every step."""
        found = count(sum(len(search.flips) for search in self.searches), "flip")
        return printable(
            f"<FlipsResult {self.settings.model}, {', '.join(search.dtype for search in self.searches)}: {found}>"
        )

    def flips(self) -> Iterator[tuple[Search, Flip]]:
        """Yield every flip with its search."""
        for search in self.searches:
            for flip in search.flips:
                yield search, flip


def margin_unit(format_: FloatFormat, first: float, second: float) -> float:
    """Return the ULP that a margin is given in: that of the larger magnitude of the two logits.

    A top logit near zero has a tiny ULP of its own, in which any margin to a larger negative logit would look huge.
    """
    return float(format_.spacing(max(abs(first), abs(second))))


def margin_in_ulp(format_: FloatFormat, top: Sequence[TopLogit]) -> float:
    """Return the margin of a step's two largest logits in ULP."""
    first, second = top[0].logit, top[1].logit
    return (first - second) / margin_unit(format_, first, second) if math.isfinite(first - second) else math.inf
