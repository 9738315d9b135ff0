"""Ranges: run → phase → every module's forward by its dotted path.

For nsys they are NVTX push/pop ranges in the domain `tracediff`, for torch's profiler annotations with that prefix.
Both nest as the calls do, and each is closed when its call ends, by an exception too.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

DOMAIN = "tracediff"
#: torch's profiler knows no domains; what other libraries annotate lacks this.
ANNOTATION_PREFIX = f"{DOMAIN}/"
RUN = "run"
PREFILL = "prefill"

OpenRange = Callable[[str], AbstractContextManager[None]]


def decode_phase(step: int) -> str:
    """Return the phase of a decode step, counted from 0."""
    return f"decode[{step}]"


@contextmanager
def open_range(text: str) -> Iterator[None]:
    """Hold an NVTX range open on this thread."""
    import nvtx  # noqa: PLC0415 -- only the recorded process needs it

    nvtx.push_range(text, domain=DOMAIN)
    try:
        yield
    finally:
        nvtx.pop_range(domain=DOMAIN)


@contextmanager
def open_annotation(text: str) -> Iterator[None]:
    """Hold an annotation of torch's profiler open on this thread."""
    from torch.profiler import record_function  # noqa: PLC0415

    with record_function(f"{ANNOTATION_PREFIX}{text}"):
        yield


@contextmanager
def ranges_around_modules(model: Any, open_one: OpenRange = open_range) -> Iterator[None]:
    """Put a range around every submodule's forward, named by its dotted path; taken off again at the end.

    Only attributes of the instances are set, so what is computed, and in which order, stays as it was. The model itself
    gets no range: what it launches outside its submodules belongs to the phase.

    Args:
        model: A `torch.nn.Module`.
        open_one: `open_range` or `open_annotation`.
    """
    replaced: list[tuple[Any, Any]] = []
    try:
        for path, module in model.named_modules():
            if path:
                replaced.append((module, vars(module).get("forward")))
                module.forward = _inside_range(path, module.forward, open_one)
        yield
    finally:
        for module, own_forward in replaced:
            if own_forward is None:
                del module.forward  # the class's forward shows again
            else:
                module.forward = own_forward


def _inside_range(path: str, forward: Callable[..., Any], open_one: OpenRange) -> Callable[..., Any]:
    # transformers looks at the signature of forward, which functools.wraps keeps.
    @functools.wraps(forward)
    def forward_inside_range(*arguments: Any, **options: Any) -> Any:
        with open_one(path):
            return forward(*arguments, **options)

    return forward_inside_range
