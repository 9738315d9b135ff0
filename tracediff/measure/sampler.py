"""Is a sampler exact at temperature 0: does it return the argmax of the raw logits, whatever the logits are?

A sampler is any Python callable `sampler(logits, temperature)` with logits (rows, vocabulary) that returns one token id
per row. Historical faults are found by what they choose: dividing by a temperature of zero or of a tiny epsilon makes
infinities and NaN out of ordinary logits, so many tokens tie and the first one wins; casting to a narrower dtype before
the argmax does the same to near ties; drawing from a sharp softmax is random. Only tensor samplers need torch.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracediff.dtypes import FORMATS
from tracediff.errors import TracediffError
from tracediff.findings.sampler import CaseResult, SamplerReport

Sampler = Callable[[Any, float], Any]
INPUTS = ("torch", "numpy")
_REPEATS = 3
_ROWS, _VOCABULARY = 8, 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerCase:
    """One set of logits.

    Attributes:
        name: What is special about them.
        dtype: In which dtype the sampler gets them.
        logits: Array (rows, vocabulary), float32, exact in `dtype`.
    """

    name: str
    dtype: str
    logits: NDArray[np.float32]


def check_sampler(sampler: Sampler, name: str, takes: str = "torch") -> SamplerReport:
    """Give a sampler the cases at temperature 0 and compare with the argmax of the raw logits.

    Args:
        sampler: The callable.
        name: For the report.
        takes: Whether logits are handed over as `torch` tensors or `numpy` arrays.

    Raises:
        TracediffError: `takes` is neither, or torch is not installed.
    """
    if takes not in INPUTS:
        raise TracediffError(f"unknown sampler input {takes}", f"choose one of {', '.join(INPUTS)}")
    return SamplerReport(sampler=name, results=tuple(_check(sampler, case, takes) for case in sampler_cases(takes)))


def sampler_cases(takes: str = "torch") -> Iterator[SamplerCase]:
    """Yield the cases; bfloat16 only where the sampler takes tensors, since numpy has no such type."""
    for dtype in ("float32", "float16", "bfloat16")[: 3 if takes == "torch" else 2]:
        for name, logits in _logits(dtype).items():
            yield SamplerCase(name=name, dtype=dtype, logits=logits)


def load_sampler(path: str) -> Sampler:
    """Import `module:function`, looking in the working directory too.

    Raises:
        TracediffError: No such module or function, or the module raises when it is imported.
    """
    module_name, colon, function_name = path.partition(":")
    if not colon or not module_name or not function_name:
        raise TracediffError(f"{path} names no sampler", "give --sampler module:function")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever a foreign module raises when it is imported
        reason = next(iter(str(error).splitlines()), "")
        raise TracediffError(f"cannot import {path}", f"{type(error).__name__}: {reason}") from error
    finally:
        sys.path.remove(here)
    if not callable(function):
        raise TracediffError(f"{path} is not callable", "give a function of (logits, temperature)")
    sampler: Sampler = function
    return sampler


def _logits(dtype: str) -> dict[str, NDArray[np.float32]]:
    """Return the cases of one dtype; the runner-up always has the lower id, so that a false tie chooses it."""
    generator = np.random.default_rng(0)
    plain = generator.normal(0, 4, (_ROWS, _VOCABULARY))
    near = plain.copy()
    near[:, 7] = 20.0
    near[:, 300] = 20.0 + FORMATS[dtype].spacing(20.0)
    small = generator.uniform(-0.1, 0.1, (_ROWS, _VOCABULARY))
    small[:, 7] = 0.125
    small[:, 300] = 0.125 + FORMATS[dtype].spacing(0.125)
    negative = generator.uniform(-100, -50, (_ROWS, _VOCABULARY))
    negative[:, 300] = -40.0
    zeros = np.zeros((_ROWS, _VOCABULARY))
    zeros[:, 300] = 1.0
    large = plain.copy()
    large[:, 7] = 0.5 * FORMATS[dtype].largest
    large[:, 300] = 0.75 * FORMATS[dtype].largest
    masked = np.where(generator.random((_ROWS, _VOCABULARY)) < 0.9, -np.inf, plain)
    masked[:, 300] = 30.0
    tied = plain.copy()
    tied[:, [40, 300, 301]] = 20.0
    cases = {
        "ordinary logits": plain,
        "the two largest one ULP apart": near,
        "small logits, the two largest one ULP apart": small,
        "all logits negative": negative,
        "all logits but one are zero": zeros,
        "logits near the dtype's largest number": large,
        "masked tokens (minus infinity)": masked,
        "three-way exact tie": tied,
    }
    return {name: FORMATS[dtype].nearest(values).astype(np.float32) for name, values in cases.items()}


def _check(sampler: Sampler, case: SamplerCase, takes: str) -> CaseResult:
    notes: list[str] = []
    problem = _problem(sampler, case, takes, notes)
    return CaseResult(name=case.name, dtype=case.dtype, problem=problem, note="; ".join(dict.fromkeys(notes)) or None)


def _problem(sampler: Sampler, case: SamplerCase, takes: str, notes: list[str]) -> str | None:
    answers = []
    for _ in range(_REPEATS):
        tokens, complaint = _call(sampler, case, case.logits, takes, notes)
        if tokens is None:
            return complaint
        answers.append(tokens)
    if any((answer != answers[0]).any() for answer in answers[1:]):
        return "the same logits gave other tokens when asked again"
    for row, (logits, token) in enumerate(zip(case.logits, answers[0], strict=True)):
        best = int(logits.argmax())
        if logits[token] != logits[best]:
            return f"row {row}: chose token {token} ({logits[token]:g}), the argmax is {best} ({logits[best]:g})"
        if token != best:
            notes.append("breaks exact ties differently from torch.argmax, which takes the lowest id")
        alone, complaint = _call(sampler, case, case.logits[row : row + 1], takes, notes)
        if alone is None:
            return complaint
        if alone[0] != token:
            return f"row {row}: chose token {token} among {_ROWS} rows and {alone[0]} alone"
    return None


def _call(
    sampler: Sampler, case: SamplerCase, logits: NDArray[np.float32], takes: str, notes: list[str]
) -> tuple[NDArray[np.int64] | None, str | None]:
    """Return the tokens, or what went wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = sampler(_handed_over(logits, case.dtype, takes), 0.0)
        except TracediffError:
            raise
        except Exception as error:  # whatever a foreign sampler raises is its answer
            return None, f"raised {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    notes += [f"warned: {next(iter(str(warning.message).splitlines()), '')}" for warning in caught]
    try:
        tokens = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer).reshape(-1).astype(np.int64)
    except (TypeError, ValueError) as error:
        return None, f"did not return token ids ({error})"
    if len(tokens) != len(logits) or (tokens < 0).any() or (tokens >= logits.shape[1]).any():
        return None, f"did not return one token id for each of {len(logits)} rows"
    return tokens, None


def _handed_over(logits: NDArray[np.float32], dtype: str, takes: str) -> Any:
    if takes == "numpy":
        return logits.astype(dtype)
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise TracediffError("torch is not installed", "add --sampler-input numpy, or install torch") from error
    return torch.from_numpy(logits.copy()).to(getattr(torch, dtype))
