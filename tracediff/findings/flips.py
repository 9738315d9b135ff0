"""The result of a flip search: what was compared, step by step, and every flip. Reads and writes flips.json; no torch.

A *step* is one chosen token: step 0 comes from the prefill, step i from the i-th decode (mode `generate`); in mode
`prefill` every position of the prompt is a step of one forward. A *flip* is a step where the greedy choice at another
batch size is another token than at the base batch size, both having been fed the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracediff.errors import TracediffError

SCHEMA = 1
KIND = "flips"
MODES = ("generate", "prefill")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLogit:
    """One of the largest logits of a step.

    Attributes:
        token: Its id.
        logit: Its value, exactly.
        text: What the tokenizer decodes it to; None without a tokenizer.
    """

    token: int
    logit: float
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one batch size chose at one step.

    Attributes:
        token: The greedy choice: the largest raw logit, of equal ones the lowest id.
        tied: How many tokens share the largest logit; 1 without a tie.
        margin_ulp: Largest minus second largest logit, in ULP of the logits' dtype at the largest one; 0.0 for a tie.
        top: The largest logits, largest first, of equal ones the lowest id first; the chosen token leads.
    """

    token: int
    tied: int
    margin_ulp: float
    top: tuple[TopLogit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One step where the choice differs.

    Attributes:
        prompt: Index of the prompt.
        step: Index of the step in its prompt.
        batch: The batch size that chose another token.
        base, other: The choice at the base batch size and at `batch`.
        margin, margin_ulp: At the base batch size.
        reference: What the float32 reference chose; None without a reference.
    """

    prompt: int
    step: int
    batch: int
    base: Choice
    other: Choice
    margin: float
    margin_ulp: float
    reference: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSteps:
    """One prompt at one batch size against the base; every list has one entry per step, rounded to a few digits.

    Attributes:
        batch: The batch size.
        largest_change: Largest absolute difference of a logit to the base.
        changed_share: Share of the vocabulary whose logit differs in bits.
        to_reference: Root mean square distance of the logits to the float32 reference; empty without one.
        rows_agree: Whether all rows (copies of one prompt) had the same bits at every step.
    """

    batch: int
    largest_change: tuple[float, ...]
    changed_share: tuple[float, ...]
    to_reference: tuple[float, ...]
    rows_agree: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSteps:
    """One prompt at the base batch size, and the others compared with it; every list has one entry per step.

    Attributes:
        prompt: Index of the prompt.
        length: Its tokens.
        chosen: The greedy choices at the base batch size, which are what every batch size was fed.
        top: The largest logit.
        margin: Largest minus second largest logit.
        ulp: One ULP of the logits' dtype at the largest logit.
        to_reference: As in `BatchSteps`, of the base.
        batches: The other batch sizes.
        flips: The steps where one of them chose another token.
    """

    prompt: int
    length: int
    chosen: tuple[int, ...]
    top: tuple[float, ...]
    margin: tuple[float, ...]
    ulp: tuple[float, ...]
    to_reference: tuple[float, ...]
    batches: tuple[BatchSteps, ...]
    flips: tuple[Flip, ...]

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
        repeatable: Whether the first prompt at the base batch size, run twice, gave the same bits.
        stopped_early: Whether the search ended because it had found as many flips as were asked for.
        prompts: What was compared.
    """

    dtype: str
    tf32: bool
    repeatable: bool
    stopped_early: bool
    prompts: tuple[PromptSteps, ...]

    @property
    def label(self) -> str:
        """The precision as shown: the dtype, or `tf32` for float32 with TF32 products."""
        return "tf32" if self.tf32 else self.dtype

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
    """

    model: str
    random_weights: bool
    layers: int | None
    attention: str
    seed: int
    batches: tuple[int, ...]
    mode: str
    prompts: int
    prompts_sha256: str
    decode: int
    precisions: tuple[tuple[str, bool], ...]
    reference: bool
    find: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipsResult:
    """A finished flip search.

    Attributes:
        settings: What was asked for.
        machine: What it ran on: `device`, `gpu`, `torch`, `cuda` and `transformers`.
        searches: One per precision.
        notes: Why the numbers may mislead, one sentence each.
    """

    settings: FlipSettings
    machine: dict[str, str | None]
    searches: tuple[Search, ...]
    notes: tuple[str, ...] = ()

    def flips(self) -> Iterator[tuple[Search, Flip]]:
        """Yield every flip with its search."""
        for search in self.searches:
            for flip in search.flips:
                yield search, flip

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, its summary included."""
        from tracediff.findings.flips_summary import summarise  # noqa: PLC0415 -- it stands on this module

        return {
            "schema": SCHEMA,
            "kind": KIND,
            "settings": asdict(self.settings),
            "machine": self.machine,
            "summary": [asdict(summary) for summary in summarise(self)],
            "notes": list(self.notes),
            "searches": [
                {**asdict(search), "prompts": [prompt_to_json(prompt) for prompt in search.prompts]}
                for search in self.searches
            ],
        }


def read_flips(path: Path) -> FlipsResult:
    """Read a result file.

    Raises:
        TracediffError: No such file, or not a flip search's result.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except ValueError as error:
        raise TracediffError(f"{path} is not JSON", "give the file that `tracediff flips --out` wrote") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise TracediffError(f"{path} holds no flip search", "give the file that `tracediff flips --out` wrote")
    if data.get("schema") != SCHEMA:
        raise TracediffError(
            f"{path} has schema {data.get('schema')}, this tracediff reads {SCHEMA}", "update tracediff"
        )
    try:
        return FlipsResult(
            settings=settings_from(data["settings"]),
            machine=data["machine"],
            searches=tuple(_search_from(search) for search in data["searches"]),
            notes=tuple(data["notes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TracediffError(f"{path} is damaged", f"{type(error).__name__}: {error}") from error


def settings_from(data: dict[str, Any]) -> FlipSettings:
    """Return settings from their JSON form."""
    lists = {"batches": tuple(data["batches"]), "precisions": tuple((name, tf32) for name, tf32 in data["precisions"])}
    return FlipSettings(**{**data, **lists})


def prompt_to_json(prompt: PromptSteps) -> dict[str, Any]:
    """Return the JSON form of one prompt's steps; a top logit is written as [token, logit] or [token, logit, text]."""
    data = asdict(prompt)
    for flip in data["flips"]:
        for choice in (flip["base"], flip["other"]):
            choice["top"] = [[part for part in top.values() if part is not None] for top in choice["top"]]
    return data


def prompt_from(data: dict[str, Any]) -> PromptSteps:
    """Return one prompt's steps from their JSON form."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    fields["batches"] = tuple(_batch_from(batch) for batch in data["batches"])
    fields["flips"] = tuple(
        Flip(**{**flip, "base": _choice_from(flip["base"]), "other": _choice_from(flip["other"])})
        for flip in data["flips"]
    )
    return PromptSteps(**fields)


def _batch_from(data: dict[str, Any]) -> BatchSteps:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return BatchSteps(**fields)


def _choice_from(data: dict[str, Any]) -> Choice:
    return Choice(**{**data, "top": tuple(_top_from(*top) for top in data["top"])})


def _top_from(token: int, logit: float, text: str | None = None) -> TopLogit:
    return TopLogit(token=token, logit=logit, text=text)


def _search_from(data: dict[str, Any]) -> Search:
    return Search(**{**data, "prompts": tuple(prompt_from(prompt) for prompt in data["prompts"])})
