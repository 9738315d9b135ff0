"""A range around every module's forward of a program that knows nothing of it, through torch's global module hooks.

The module that is called while none is open on its thread is a root: its range is a step, named by its class, with the
shape of its first tensor as payload. Modules below it are named by their dotted paths from the root. Only a forward
that Python runs has ranges: what `torch.compile` traces runs later, without calling modules.
"""

import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

#: What wrappers call the module inside: one and the same module to whoever reads the names.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule"})
_FIRST = ("input_ids", "inputs_embeds", "decoder_input_ids", "hidden_states", "pixel_values")
_LARGEST_SIZE = 2**31

Push = Callable[[str, int | None], None]
Pop = Callable[[], None]


class _Thread(threading.local):
    """The modules whose ranges are open on this thread, outermost first."""

    def __init__(self) -> None:
        self.open: list[nn.Module] = []


class _Names:
    """Names of modules that have been seen below a root; ids come back after a module's end, so each is checked."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[nn.Module], str, str]] = {}

    def get(self, module: nn.Module) -> str | None:
        """Return a module's name, None where it has not been seen."""
        known = self._known.get(id(module))
        return known[1] if known is not None and known[0]() is module else None

    def is_root(self, module: nn.Module) -> bool:
        """Return whether a module that has been seen is a root: part of a root's may be called by itself."""
        return not self._known[id(module)][2]

    def learn(self, root: nn.Module) -> str:
        """Name everything below a root, and return the root's own name."""
        inner = root
        while type(inner).__name__ in _WRAPPERS and len(inner._modules) == 1:
            inner = next(iter(inner.children()))
        name = type(inner).__name__
        for path, module in inner.named_modules():
            if path:
                self._set(module, _without_wrappers(path), f"{path}.")
        for module in (root, inner):
            self._set(module, name, "")
        return name

    def below(self, module: nn.Module, parent: nn.Module) -> str:
        """Name a module that came below its parent after the root was seen, or that it never registered."""
        path = next((path for path, each in parent.named_modules() if each is module), type(module).__name__)
        known = self._known.get(id(parent))
        path = f"{known[2] if known is not None else ''}{path}"
        self._set(module, _without_wrappers(path), f"{path}.")
        return _without_wrappers(path)

    def _set(self, module: nn.Module, name: str, prefix: str) -> None:
        self._known[id(module)] = (weakref.ref(module), name, prefix)


_thread = _Thread()
_names = _Names()
_push: Push
_pop: Pop


def follow_modules(push: Push, pop: Pop) -> None:
    """Open a range around every module's forward from now on, in this process.

    Args:
        push: Opens a range with a text and a payload on the calling thread.
        pop: Closes the innermost one.
    """
    global _push, _pop
    _push, _pop = push, pop
    # What is said of hooks and OptimizedModule: its range is the module's own.
    warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
    nn.modules.module.register_module_forward_pre_hook(_enter)
    nn.modules.module.register_module_forward_hook(_leave, always_call=True)


def _enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    if torch.compiler.is_compiling():
        return
    opened = _thread.open
    name = _names.get(module)
    if opened:
        _push(name or _names.below(module, opened[-1]), None)
    else:
        name = name or _names.learn(module)
        # Global hooks are not told the keywords; they are the caller's, `Module._call_impl`'s.
        keywords = sys._getframe(1).f_locals.get("kwargs")
        _push(name, step_payload(arguments, keywords) if _names.is_root(module) else None)
    opened.append(module)


def _leave(module: nn.Module, _arguments: tuple[Any, ...], _result: Any) -> None:
    if torch.compiler.is_compiling():
        return
    opened = _thread.open
    if opened and opened[-1] is module:
        opened.pop()
        _pop()
    elif any(each is module for each in opened):
        while opened.pop() is not module:  # those inside ended by something that is no Exception
            _pop()
        _pop()


def step_payload(arguments: tuple[Any, ...], keywords: Any) -> int | None:
    """Return the shape of a forward's first tensor as one number: batch × 2³² + tokens.

    A tensor of one dimension holds the tokens of all requests: batch 0. None where there is no tensor of known size.

    Args:
        arguments: Positional arguments of the forward.
        keywords: Its keywords, by name.
    """
    named = keywords if isinstance(keywords, dict) else {}
    candidates = [*arguments, *(named.get(name) for name in _FIRST), *named.values()]
    tensor = next((each for each in candidates if isinstance(each, torch.Tensor)), None)
    if tensor is None or not tensor.dim():
        return None
    sizes = tuple(tensor.shape[:2])
    # While something is traced with symbolic sizes, reading one would change what is traced.
    if not all(type(size) is int and size < _LARGEST_SIZE for size in sizes):
        return None
    batch, tokens = sizes if len(sizes) == 2 else (0, sizes[0])
    return int(batch) << 32 | int(tokens)


def _without_wrappers(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in _WRAPPED)
