"""One setting on a loaded model: row 0's bits at every batch, and which modules change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from tracediff.findings.remedies import Bits, SettingBits, equal_classes
from tracediff.findings.remedies_catalog import Setting, setting_named
from tracediff.measure.cached_keys import CachedKeys, decode_step, prefill, step_tokens
from tracediff.measure.remedies_apply import applied
from tracediff.measure.replay import record, replay
from tracediff.measure.timed_steps import first_line
from tracediff.model.logits_hashes import hash_of

_REPLAYED_CLASSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsRequest:
    """What to compare.

    Attributes:
        keys: Numbers of cached keys.
        batches: Batch sizes of decode steps.
        prefill_batches: Batch sizes of the prompt.
        prompt: Its tokens.
        seed: Of tokens and cached keys.
    """

    keys: tuple[int, ...]
    batches: tuple[int, ...]
    prefill_batches: tuple[int, ...]
    prompt: int
    seed: int = 0


@dataclass(slots=True)
class _Run:
    """One setting's measurement: what has been seen so far."""

    model: Any
    setting: Setting
    request: BitsRequest
    left_out: list[str] = field(default_factory=list)


def measure_bits(model: Any, name: str, request: BitsRequest, reference: torch.Tensor | None = None) -> SettingBits:
    """Compare row 0 over all batches, each run twice.

    Args:
        model: What `load_model` returned.
        name: The setting.
        request: What to compare.
        reference: float32 logits of the step after the prompt, (vocabulary,).

    Raises:
        TracediffError: The setting cannot be carried out here.
    """
    run = _Run(model, setting_named(name), request)
    device = next(model.parameters()).device
    with applied(run.setting, model):
        decode = {keys: _decode_bits(run, keys) for keys in request.keys}
        prompts = step_tokens(model, run.setting.rows(max(request.prefill_batches)), request.prompt, request.seed)
        prefilled = _bits_over(
            run,
            request.prefill_batches,
            f"a prompt of {request.prompt} tokens",
            lambda rows: prefill(model, prompts[:rows])[0],
        )
        same, logits = _decode_against_prefill(run)
        left = _differing_kinds(run, decode)
        memory = _step_memory(run, device)
    error = None
    if reference is not None and logits is not None:
        wide = reference.to(logits.device, torch.float64)
        error = float((logits.double() - wide).norm() / wide.norm())
    return SettingBits(
        setting=run.setting.name,
        decode=decode,
        prefill=prefilled,
        prompt=request.prompt,
        decode_is_prefill=same,
        left=left,
        error=error,
        memory_bytes=memory,
        left_out=tuple(run.left_out),
    )


def reference_logits(model: Any, prompt: int, seed: int) -> torch.Tensor:
    """Return float32 logits of the step after the prompt; the model must be in float32 already."""
    tokens = step_tokens(model, 1, prompt + 1, seed)
    return prefill(model, tokens)[0, -1].cpu()


def _decode_bits(run: _Run, keys: int) -> Bits:
    largest = run.setting.rows(max(run.request.batches))
    try:
        cached = CachedKeys.random(run.model, largest, keys, run.request.seed)
    except torch.OutOfMemoryError:
        run.left_out.append(f"{keys} cached keys at {largest} rows: out of memory")
        return ()
    tokens = step_tokens(run.model, largest, seed=run.request.seed)
    return _bits_over(
        run,
        run.request.batches,
        f"{keys} cached keys",
        lambda rows: decode_step(run.model, tokens[:rows], cached, keys)[0],
    )


def _bits_over(run: _Run, batches: Sequence[int], what: str, logits: Callable[[int], torch.Tensor]) -> Bits:
    """Return the hash at each batch, None where a second run differs; a batch that does not fit is left out."""
    found: list[tuple[int, str | None]] = []
    known: dict[int, str | None] = {}
    for batch in batches:
        rows = run.setting.rows(batch)
        if rows not in known:
            try:
                first = hash_of(logits(rows))
                known[rows] = first if hash_of(logits(rows)) == first else None
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                run.left_out.append(f"batch {batch}, {what}: out of memory")
                continue
            except RuntimeError as error:
                run.left_out.append(f"batch {batch}, {what}: {first_line(error)}")
                continue
        found.append((batch, known[rows]))
    return tuple(found)


def _decode_against_prefill(run: _Run) -> tuple[bool | None, torch.Tensor | None]:
    """Return whether a step gives the last token the logits that a longer prompt gives it, and the step's logits."""
    request, rows = run.request, run.setting.rows(1)
    tokens = step_tokens(run.model, rows, request.prompt + 1, request.seed)
    try:
        whole = prefill(run.model, tokens)[0, -1]
        cached = CachedKeys.random(run.model, rows, request.prompt, request.seed)
        # Layers that share keys would overwrite each other's.
        stores = tuple(tuple(torch.empty_like(each) for each in store) for store in cached.stores)
        own = CachedKeys(stores=stores)
        prefill(run.model, tokens[:, :-1], own)
        stepped = decode_step(run.model, tokens[:, -1:], own, request.prompt)[0]
    except RuntimeError as error:
        run.left_out.append(f"decode against prefill: {first_line(error)}")
        return None, None
    return torch.equal(whole, stepped), stepped


def _differing_kinds(run: _Run, decode: dict[int, Bits]) -> tuple[str, ...]:
    """Return the kinds of modules that make different bits of equal inputs, at one batch of each class."""
    kinds: dict[str, None] = {}
    for keys, row in decode.items():
        others = [members[0] for members in equal_classes(row)[1 : 1 + _REPLAYED_CLASSES]]
        # What runs padded never runs at the batches that are compared.
        if others and row[0][0] == 1 and run.setting.padded_batch is None:
            kinds |= dict.fromkeys(_differing_at(run, keys, others))
    return tuple(kinds)


def _differing_at(run: _Run, keys: int, others: Sequence[int]) -> list[str]:
    tokens = step_tokens(run.model, max(others), seed=run.request.seed)
    kinds: list[str] = []
    try:
        cached = CachedKeys.random(run.model, max(others), keys, run.request.seed)

        def step(batch: int) -> torch.Tensor:
            return decode_step(run.model, tokens[:batch], cached, keys)

        recording = record(run.model, lambda: step(1), rows=1)
        for batch in others:
            places = replay(run.model, partial(step, batch), recording)
            kinds += [name.rpartition(".")[2] for (_, name), bits in places.items() if not bits.equal]
    except RuntimeError as error:
        run.left_out.append(f"modules at {keys} cached keys: {first_line(error)}")
    return kinds


def _step_memory(run: _Run, device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    keys, rows = run.request.keys[0], run.setting.rows(max(run.request.batches))
    tokens = step_tokens(run.model, rows)
    try:
        cached = CachedKeys.random(run.model, rows, keys)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        decode_step(run.model, tokens, cached, keys)
    except torch.OutOfMemoryError:
        return None
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)
