"""Settings of a process that reads traces, prints and ends; a library leaves them to its host."""

from __future__ import annotations

import atexit
import gc
import os

#: New objects between two searches for garbage in cycles. A diff makes some ten thousand objects and no cycles, and
#: Python's own 700 cost a tenth of its time.
_OBJECTS_BETWEEN_COLLECTIONS = 1_000_000
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def start_quickly() -> None:
    """Import numpy without threads and collect garbage seldom. For commands that read traces."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    atexit.register(gc.freeze)  # Python searches everything once more at its end, when all memory goes back anyway
    _import_numpy_without_threads()


def _import_numpy_without_threads() -> None:
    """Import numpy with one thread for products of matrices, of which readers make none.

    Starting a thread per core takes as long as the rest of the import. What is started later (a program that is
    recorded) must not see the setting.
    """
    before = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        if before is None:
            del os.environ[_BLAS_THREADS]
        else:
            os.environ[_BLAS_THREADS] = before
