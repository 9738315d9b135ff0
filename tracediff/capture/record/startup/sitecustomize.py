"""Runs when Python starts, in every process of a recorded program, and waits for torch to be imported.

Its folder is the first entry of PYTHONPATH, so Python finds this file under the name it looks for. It hides another
`sitecustomize` that the program may have, so it runs that one. Where torch is never imported, nothing else happens.

The recorded program may run on an older Python than tracediff does: plain syntax, nothing but the standard library.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

SETTINGS = "TRACEDIFF_RECORD"


class AfterImport:
    """A finder that finds nothing itself: it calls back when one module has been executed."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any | None:
        """Return what the other finders find, with a call back behind the module's execution."""
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            spec = (
                None if finder is self or not hasattr(finder, "find_spec") else finder.find_spec(fullname, path, target)
            )
            if spec is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: Any) -> None:
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: Any) -> None:
            if "exec_module" in vars(loader):
                del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._then()

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader that cannot be followed: the module loads, without ranges
            return


def run_hidden(folder: str) -> None:
    """Take this folder off the path, and run the `sitecustomize` behind it."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def install(settings: dict[str, Any]) -> None:
    """Open ranges in this process from now on; torch has been imported."""
    sys.path.insert(0, settings["package"])
    try:
        from tracediff.capture.record.inside import install as install_in_this_process
    finally:
        sys.path.remove(settings["package"])
    install_in_this_process(settings)


def install_quietly(settings: dict[str, Any]) -> None:
    """The same; whatever goes wrong is reported to tracediff and never reaches the program."""
    try:
        install(settings)
    except Exception as error:  # the program must run as it does without us
        with open(settings["reports"], "a") as reports:
            reports.write(json.dumps({"event": "failed", "process": os.getpid(), "message": repr(error)}) + "\n")


def start() -> None:
    """Wait for torch, then hand over to the `sitecustomize` that this one hides."""
    settings = json.loads(os.environ.get(SETTINGS, "null"))
    if settings is not None:
        sys.meta_path.insert(0, AfterImport("torch", lambda: install_quietly(settings)))
    run_hidden(os.path.dirname(os.path.abspath(__file__)))


start()
