"""A range around every module's forward of a program that knows nothing of it.

The module that is called while none is open on its thread is a root: its range is a step, named by its class, with the
shape of its first tensor as payload. Modules below it are named by their dotted paths from the root. Only a forward
that Python runs has ranges: what `torch.compile` traces runs later, without calling modules.

`Module.__call__` is replaced by one that opens the range. Global module hooks would do the same by a public way, but
torch takes 2 µs longer per call where any hook is registered, tells hooks no keywords, and leaves their ranges open
where something else than an Exception ends a forward. A program whose pace the CPU sets pays for whatever is done here
in every call, so all that can be is done when a root is first seen.
"""

import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.compiler import is_compiling

#: What wrappers call the module inside: one and the same module to whoever reads the names.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule"})
_FIRST = ("input_ids", "inputs_embeds", "decoder_input_ids", "hidden_states", "pixel_values")
_LARGEST_SIZE = 2**31
#: What is more than one level below a block: `model.layers.5.mlp.down_proj`, not `model.layers.5.mlp`.
_DEEP = re.compile(r"(?:^|\.)\d+\.[^.]+\.")

Open = Callable[[], object]
BeforeStep = Callable[[str, int | None], None]


class Ranges(Protocol):
    """Opens and closes ranges on the calling thread."""

    @property
    def close(self) -> Callable[[], object]:
        """What closes the innermost range."""

    def opener(self, text: str) -> Open:
        """Make what opens a range, once for a text."""

    def open_step(self, text: str, payload: int | None) -> None:
        """Open a range with a payload."""


class NoRanges:
    """Opens none: modules are followed for the sake of the steps alone."""

    @staticmethod
    def close() -> None:
        """Close nothing."""

    def opener(self, _text: str) -> Open:
        """Return what opens nothing."""
        return self.close

    def open_step(self, _text: str, _payload: int | None) -> None:
        """Open nothing."""


class _Known(NamedTuple):
    """A module that has been seen.

    Attributes:
        alive: Refers to it, and forgets it when it ends: its id may then become another's.
        name: The text of its range.
        prefix: Of the names below it; none for a root.
    """

    alive: "weakref.ref[nn.Module]"
    name: str
    prefix: str


class _Thread(threading.local):
    """The modules that are being called on this thread, outermost first."""

    def __init__(self) -> None:
        self.open: list[nn.Module] = []


_thread = _Thread()
_known: dict[int, _Known] = {}
#: What opens the range of each module below a root, by the module's id.
_openers: dict[int, Open] = {}
_ranges: Ranges
_before_step: BeforeStep
_blocks_alone: bool
_call = nn.Module.__call__


def follow_modules(ranges: Ranges, before_step: BeforeStep, blocks_alone: bool = False) -> None:
    """Open a range around every module's forward from now on, in this process and in those that it forks.

    Args:
        ranges: Opens and closes ranges.
        before_step: Called before each step with the root's name and the step's shape.
        blocks_alone: Whether modules more than one level below a block have none: `layers.5.mlp`, and nothing in it.
    """
    global _ranges, _before_step, _blocks_alone
    _ranges, _before_step, _blocks_alone = ranges, before_step, blocks_alone
    os.register_at_fork(after_in_child=_forget_all)
    nn.Module.__call__ = _call_in_range


def _call_in_range(self: nn.Module, *arguments: Any, **keywords: Any) -> Any:
    """Call a module as torch does, hooks and all, inside its range."""
    if is_compiling() or self._compiled_call_impl is not None:
        return _call(self, *arguments, **keywords)
    opened = _thread.open
    opener = _openers.get(id(self))
    if opener is not None:
        opener()
    elif not _open_unlabelled(self, opened, arguments, keywords):
        return _call(self, *arguments, **keywords)
    opened.append(self)
    try:
        return self._call_impl(*arguments, **keywords)
    finally:
        opened.pop()
        _ranges.close()


def _open_unlabelled(
    module: nn.Module, opened: list[nn.Module], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> bool:
    """Open the range of a root, or of a module seen for the first time; return whether it has one."""
    known = _known.get(id(module))
    if opened:
        if known is None:
            _learn_below(module, opened[-1])
        # What a wrapper wraps, at the root, is the step itself: no range within its own.
        opener = None if known is not None else _openers.get(id(module))
        if opener is not None:
            opener()
        return opener is not None
    known = known or _learn_root(module)
    name = known.name
    if known.prefix:  # a part of a root, called by itself
        _ranges.opener(name)()
        return True
    payload = step_payload(arguments, keywords)
    _before_step(name, payload)
    _ranges.open_step(name, payload)
    return True


def _learn_root(root: nn.Module) -> _Known:
    """Name a root by its class, and everything below it by its path."""
    inner = root
    while type(inner).__name__ in _WRAPPERS and len(inner._modules) == 1:
        inner = next(iter(inner.children()))
    for path, module in inner.named_modules():
        if path:
            _remember(module, path, f"{path}.")
    _remember(inner, type(inner).__name__, "")
    return _remember(root, type(inner).__name__, "")


def _learn_below(module: nn.Module, parent: nn.Module) -> None:
    """Name a module that came below its parent after the root was seen, or that it never registered."""
    path = next((path for path, each in parent.named_modules() if each is module), type(module).__name__)
    around = _known.get(id(parent))
    path = f"{around.prefix if around is not None else ''}{path}"
    _remember(module, path, f"{path}.")


def _remember(module: nn.Module, path: str, prefix: str) -> _Known:
    key = id(module)
    name = ".".join(part for part in path.split(".") if part not in _WRAPPED)
    known = _known[key] = _Known(weakref.ref(module, partial(_forget, key)), name, prefix)
    if prefix and not (_blocks_alone and _DEEP.search(name)):
        _openers[key] = _ranges.opener(name)
    else:
        _openers.pop(key, None)
    return known


def _forget(key: int, ended: "weakref.ref[nn.Module]") -> None:
    known = _known.get(key)
    if known is not None and known.alive is ended:
        del _known[key]
        _openers.pop(key, None)


def _forget_all() -> None:
    _known.clear()
    _openers.clear()


def step_payload(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> int | None:
    """Return the shape of a forward's first tensor as one number: batch × 2³² + tokens.

    `tracediff.trace.shape.Shape` reads it. It is not imported here: this runs in a foreign program, into which the
    readers of traces (numpy, msgspec) must not come.

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
