"""A range around every module's forward of a program that knows nothing of it.

The module that is called while none is open on its thread is a root: its range is a step, named by its class, with the
shape of its first tensor as payload. Modules below it are named by their dotted paths from the root. Only a forward
that Python runs has ranges: what `torch.compile` traces runs later, without calling modules.

`Module._call_impl`, through which torch calls every module, is wrapped. Global module hooks would do the same by a
public way, but torch takes 2 µs longer per call where any hook is registered, tells hooks no keywords, and leaves their
ranges open where something else than an Exception ends a forward. What a range opens was made when its root was first
seen.
"""

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.compiler import is_compiling

#: What wrappers call the module inside: one and the same module to whoever reads the names.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule"})
_FIRST = ("input_ids", "inputs_embeds", "decoder_input_ids", "hidden_states", "pixel_values")
_LARGEST_SIZE = 2**31


class Opens(Protocol):
    """Opens ranges on the calling thread."""

    def label(self, text: str) -> Any:
        """Make what `push` takes, once for a text."""

    def push(self, label: Any) -> None:
        """Open a range."""

    def push_step(self, text: str, payload: int | None) -> None:
        """Open a range with a payload."""

    def pop(self) -> None:
        """Close the innermost range."""


BeforeStep = Callable[[str, int | None], None]

# A module that has been seen: itself, its name, the prefix of names below it (none for a root), and the label of its
# range below a root (none for a root).
_Seen = tuple["weakref.ref[nn.Module]", str, str, Any]


class _Thread(threading.local):
    """The modules whose ranges are open on this thread, outermost first."""

    def __init__(self) -> None:
        self.open: list[nn.Module] = []


_thread = _Thread()
# By id of the module. Ids come back after a module's end, so the reference is compared too.
_seen: dict[int, _Seen] = {}
_opens: Opens
_before_step: BeforeStep


def follow_modules(opens: Opens, before_step: BeforeStep) -> None:
    """Open a range around every module's forward from now on, in this process and in those that it forks.

    Args:
        opens: Opens and closes ranges.
        before_step: Called before each step with the root's name and the step's shape.
    """
    global _opens, _before_step
    _opens, _before_step = opens, before_step
    os.register_at_fork(after_in_child=_seen.clear)
    nn.Module._call_impl = _call_in_range


_call_impl = nn.Module._call_impl


def _call_in_range(self: nn.Module, *arguments: Any, **keywords: Any) -> Any:
    """Call a module as torch does, hooks and all, inside its range."""
    if is_compiling():
        return _call_impl(self, *arguments, **keywords)
    opened = _thread.open
    seen = _seen.get(id(self))
    if seen is None or seen[0]() is not self:
        seen = _learn_below(self, opened[-1]) if opened else _learn_root(self)
    if opened:
        if seen[3] is None:
            return _call_impl(self, *arguments, **keywords)
        _opens.push(seen[3])
    else:
        _push_outermost(seen, arguments, keywords)
    opened.append(self)
    try:
        return _call_impl(self, *arguments, **keywords)
    finally:
        opened.pop()
        _opens.pop()


def _push_outermost(seen: _Seen, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Open the range of a step, or of a part of a root that is called by itself (a server's logits)."""
    name, is_root = seen[1], not seen[2]
    if not is_root:
        _opens.push(_opens.label(name))
        return
    payload = step_payload(arguments, keywords)
    _before_step(name, payload)
    _opens.push_step(name, payload)


def _learn_root(root: nn.Module) -> _Seen:
    """Name a root by its class, and everything below it by its path."""
    inner = root
    while type(inner).__name__ in _WRAPPERS and len(inner._modules) == 1:
        inner = next(iter(inner.children()))
    for path, module in inner.named_modules():
        if path:
            _remember(module, path, f"{path}.")
    _remember(inner, type(inner).__name__, "")
    return _remember(root, type(inner).__name__, "")


def _learn_below(module: nn.Module, parent: nn.Module) -> _Seen:
    """Name a module that came below its parent after the root was seen, or that it never registered."""
    path = next((path for path, each in parent.named_modules() if each is module), type(module).__name__)
    around = _seen.get(id(parent))
    path = f"{around[2] if around is not None else ''}{path}"
    return _remember(module, path, f"{path}.")


def _remember(module: nn.Module, path: str, prefix: str) -> _Seen:
    name = ".".join(part for part in path.split(".") if part not in _WRAPPED)
    # What a wrapper wraps, at the root, is the step itself: no range within its own.
    seen = _seen[id(module)] = (weakref.ref(module), name, prefix, _opens.label(name) if prefix else None)
    return seen


def step_payload(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> int | None:
    """Return the shape of a forward's first tensor as one number: batch × 2³² + tokens.

    A tensor of one dimension holds the tokens of all requests: batch 0. None where there is no tensor of known size.

    Args:
        arguments: Positional arguments of the forward.
        keywords: Its keywords, by name.
    """
    candidates = [*arguments, *(keywords.get(name) for name in _FIRST), *keywords.values()]
    tensor = next((each for each in candidates if isinstance(each, torch.Tensor)), None)
    if tensor is None or not tensor.dim():
        return None
    sizes = tuple(tensor.shape[:2])
    # While something is traced with symbolic sizes, reading one would change what is traced.
    if not all(type(size) is int and size < _LARGEST_SIZE for size in sizes):
        return None
    batch, tokens = sizes if len(sizes) == 2 else (0, sizes[0])
    return int(batch) << 32 | int(tokens)
