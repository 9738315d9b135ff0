"""Ranges that libraries push around their own calls: annotations, neither phases nor modules.

NCCL, CCCL, cuBLAS, cuDNN and others push NVTX ranges in domains of their own, and torch's profiler writes collective
calls as `nccl:all_reduce`. They say what one call is, not which part of the program it belongs to; taken as phases they
would hide the program's own ranges. A user can ask for them by `--range` or `--phase-range`.
"""

from __future__ import annotations

import re
from itertools import takewhile

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracediff.text import count
from tracediff.trace.naming import Naming, asked_for
from tracediff.trace.nvtx import Events, domains_of, is_range

_LIBRARY_DOMAIN = re.compile(
    r"(?:lib)?(?:nccl|cccl|cub|thrust|cudf|rmm|nvshmem|nvcomp|nvjpeg|npp|ucx|ucc|mpi|"
    r"cu(?:blas|dnn|solver|sparse|fft|rand|tensor)(?:lt|dx|mp|mg|xt|w|net|device)?)(?:[ _-]?v?[\d.]+)?",
    re.IGNORECASE,
)
# The beginning of a text that can be typed as a pattern: `cub::DeviceScan`, `nccl:all_reduce`.
_TYPED = re.compile(r"\w+(?:::?\w+)?")
_SHORTEST, _LONGEST = 3, 40
_LIBRARY_TEXT = re.compile(r"(?:nccl|gloo|ucc|mpi):\w+|(?:cub|thrust)::.+", re.DOTALL)


class Separated(Struct, frozen=True, kw_only=True):
    """Events of a trace.

    Attributes:
        events: All but the ranges of libraries.
        libraries: The ranges of libraries.
        notes: That there are some.
    """

    events: Events
    libraries: Events
    notes: tuple[str, ...] = ()


def separate_annotations(events: Events, naming: Naming) -> Separated:
    """Separate the ranges of libraries from all other events.

    Args:
        events: Every event of the trace.
        naming: What the user says of its ranges; those that a pattern matches stay.
    """
    domains = domains_of(events)
    libraries = {code: name for code, name in enumerate(domains.names) if _LIBRARY_DOMAIN.fullmatch(name)}
    in_domain: npt.NDArray[np.bool_] = np.isin(domains.domain, list(libraries))
    by_text = np.array([_LIBRARY_TEXT.fullmatch(text) is not None for text in events.texts] + [False], dtype=np.bool_)
    patterns = naming.range is not None or naming.phase is not None
    wanted = np.array([*(patterns and asked_for(text, naming) for text in events.texts), False], dtype=np.bool_)
    drop = is_range(events) & (in_domain | by_text[events.text]) & ~wanted[events.text]
    libraries_ranges = events.take(np.flatnonzero(drop))
    if not drop.any():
        return Separated(events=events, libraries=libraries_ranges)
    names = {libraries[code] for code in np.unique(domains.domain[drop & in_domain]).tolist()}
    texts = np.unique(events.text[drop & ~in_domain]).tolist()
    names |= {re.split("::?", events.texts[code])[0] for code in texts}
    ranges, whose = count(int(drop.sum()), "range"), ", ".join(sorted(names, key=str.casefold))
    note = f"{ranges} of libraries ({whose}) not read as phases or modules; {_how_to_include(libraries_ranges)}"
    return Separated(events=events.take(np.flatnonzero(~drop)), libraries=libraries_ranges, notes=(note,))


def _how_to_include(ranges: Events) -> str:
    """Return the --range that matches all of some ranges, else the commonest of them."""
    codes, counts = np.unique(ranges.text[ranges.text >= 0], return_counts=True)
    if not codes.size:
        return "they have no texts"
    texts = [ranges.texts[code] for code in codes.tolist()]
    both = zip(min(texts), max(texts), strict=False)  # what these two begin with, all do
    shared = _typed("".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], both)))
    if shared is not None:
        return f"--range {shared} includes them"
    commonest = _typed(texts[int(counts.argmax())])
    return "--range includes what it matches" if commonest is None else f"--range {commonest} includes some of them"


def _typed(text: str) -> str | None:
    found = _TYPED.search(text)
    return found[0][:_LONGEST] if found is not None and len(found[0]) >= _SHORTEST else None
