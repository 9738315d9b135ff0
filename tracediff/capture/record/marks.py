"""NVTX marks, from within the recorded program: by the package nvtx where there is one, else by torch.

Runs in the program's own Python.
"""

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tracediff.model.ranges import DOMAIN


class DomainMarks:
    """The package nvtx: marks in the domain `tracediff`.

    Its public functions hold on to domains and registered texts for good. nsys begins anew in a forked child, where
    they mean nothing, or another text (seen with nsys 2023.4); so here a child gets a new domain.

    Raises:
        ImportError: Another release of nvtx, without what this uses, or no profiler around this process.
    """

    name = "nvtx"

    def __init__(self, nvtx: Any) -> None:
        library = importlib.import_module(f"{nvtx.__name__}._lib")
        try:
            self._make, self._mark = library.Domain, library.mark
            self._renew()
        except AttributeError as error:
            raise ImportError(f"nvtx cannot be used: {error}") from error
        os.register_at_fork(after_in_child=self._renew)

    def prepare(self, text: str) -> Callable[[], object]:
        """Make what leaves a mark."""
        attributes = self._domain.get_event_attributes(text, None, None, None)
        return partial(self._mark, attributes, self._domain.handle)  # a domain no profiler listens to has no handle

    def mark(self, text: str) -> None:
        """Leave a mark."""
        self.prepare(text)()

    def _renew(self) -> None:
        self._domain = self._make(DOMAIN)


class TorchMarks:
    """torch's own function, which knows no domains."""

    name = "torch.cuda.nvtx"

    def __init__(self, nvtx: Any) -> None:
        self.mark: Callable[[str], None] = nvtx.mark

    def prepare(self, text: str) -> Callable[[], object]:
        """Make what leaves a mark."""
        return partial(self.mark, text)


def find_marks(folder: str | None, torch: Any) -> DomainMarks | TorchMarks | None:
    """Return the program's own nvtx, else tracediff's where this Python loads it, else torch's."""
    for path in (None, folder):
        try:
            if path is not None:
                sys.path.append(path)
            return DomainMarks(importlib.import_module("nvtx"))
        except ImportError:
            continue
        finally:
            if path is not None:
                sys.path.remove(path)
    return TorchMarks(torch.cuda.nvtx) if torch.version.cuda else None
