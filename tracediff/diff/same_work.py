"""Whether two traces are of the same work, so that a difference between them can be put down to the batch size.

The manifests say what was recorded. Where there are none, the products tell: a module's k is a width of the model, and
its operands have the model's type, whatever the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from tracediff.diff.result import Kernel, Row, TraceDiff
from tracediff.diff.rules.facts import problem_k
from tracediff.text import shorten
from tracediff.trace.table import TraceInfo

#: They read, profile or run the program, and choose no kernel.
_CHOOSE_NO_KERNEL = frozenset({"nsys", "python", "nvtx", "tracediff", "accelerate"})
_LONGEST = 60
#: What a model's numbers are stored in, whatever they are rounded to before they are multiplied.
_STORED = {"tf32": "f32"}
_LOGGED_TYPES = {"R_16F": "f16", "R_16BF": "bf16", "R_32F": "f32", "R_64F": "f64"}


class Difference(Struct, frozen=True, kw_only=True):
    """Something that two traces do not have in common.

    Attributes:
        what: What it is: `model`, `prompt`, `GPU`, `cublas`, …
        detail: Its value in either trace, in words.
    """

    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})" if self.detail else self.what


def other_work(diff: TraceDiff) -> tuple[Difference, ...]:
    """Return what makes it different work: a different model, element type, weights or prompt."""
    a, b = diff.a.info, diff.b.info
    model = _between("model", a.model, b.model) or _layers(a, b) or _of_products("model", problem_k, diff.rows, "k ")
    element_type = _between("element type", a.dtype, b.dtype)
    if a.dtype is None or b.dtype is None:
        element_type = _of_products("element type", _type, diff.rows)
    return tuple(each for each in (model, element_type, _weights(a, b), _prompt(a, b)) if each is not None)


def other_machine(diff: TraceDiff) -> tuple[Difference, ...]:
    """Return what may choose different kernels for the same work: GPU, attention, versions of libraries."""
    a, b = diff.a.info, diff.b.info
    versions = sorted((a.versions.keys() & b.versions.keys()) - _CHOOSE_NO_KERNEL)
    found = (
        _between("GPU", _without_maker(a.gpu), _without_maker(b.gpu)),
        _between("attention", a.attention, b.attention),
        *(_between(name, a.versions[name], b.versions[name]) for name in versions),
    )
    return tuple(each for each in found if each is not None)


def _between(what: str, a: object, b: object) -> Difference | None:
    if a is None or b is None or a == b:
        return None
    return Difference(what=what, detail=" and ".join(shorten(str(value), _LONGEST) for value in (a, b)))


def _without_maker(gpu: str | None) -> str | None:
    return None if gpu is None else gpu.removeprefix("NVIDIA ")


def _layers(a: TraceInfo, b: TraceInfo) -> Difference | None:
    found = _between("model", a.layers, b.layers)
    return None if found is None else Difference(what="model", detail=f"{found.detail} layers")


def _weights(a: TraceInfo, b: TraceInfo) -> Difference | None:
    if a.weights == b.weights == "random" and a.model == b.model:
        seeds = _between("weights", a.seed, b.seed)
        return None if seeds is None else Difference(what="weights", detail=f"random, seeds {seeds.detail}")
    return _between("weights", a.weights, b.weights)


def _prompt(a: TraceInfo, b: TraceInfo) -> Difference | None:
    if a.shape is not None and b.shape is not None:
        # The user chose which steps are compared, and their numbers of tokens with them.
        return None
    lengths = _between("prompt", a.tokens, b.tokens)
    if lengths is not None:
        return Difference(what="prompt", detail=f"{lengths.detail} tokens")
    other = a.prompt is not None and b.prompt is not None and a.prompt != b.prompt
    return Difference(what="prompt", detail="") if other else None


# -- what the products say --------------------------------------------------------------------------------------------


def _of_products(
    what: str, fact: Callable[[Kernel], object], rows: Sequence[Row], symbol: str = ""
) -> Difference | None:
    """Return a fact that differs in most of the products that have a counterpart, with the commonest change.

    Products of attention, whose k may be a number of keys, and a module that moved are the fewer.
    """
    facts = [
        (fact(pair.a), fact(pair.b))
        for row in rows
        for pair in row.pairs
        if pair.a is not None and pair.b is not None and pair.a.parsed.role == pair.b.parsed.role == "gemm"
    ]
    known = [(a, b) for a, b in facts if a is not None and b is not None]
    changes = Counter((a, b) for a, b in known if a != b)
    if 2 * changes.total() <= len(known):
        return None
    (a, b), _ = changes.most_common(1)[0]
    return Difference(what=what, detail=f"{symbol}{a} and {b}")


def _type(kernel: Kernel) -> str | None:
    """Return the element type of a product's first operand: from cuBLASLt's log, else from the name."""
    logged = None if kernel.algorithm is None else _LOGGED_TYPES.get(kernel.algorithm.type_a or "")
    named = None if kernel.parsed.types is None else kernel.parsed.types.a
    return logged or _STORED.get(named or "", named)
