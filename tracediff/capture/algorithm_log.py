"""What cuBLASLt and cuBLAS say they chose, as NVTX marks inside the module's range, right before the launch.

cuBLASLt calls back for every launch at log level 2 ("trace") with the problem and the algorithm: tile, stages,
`numSplitsK`, reduction scheme, cluster. A kernel's name does not say the split. cuBLAS's own log names the call
(`cublasGemmEx m=… n=… k=…`) for what does not go through cuBLASLt; it has no algorithm in it.

The callbacks only pass text on. They never raise into the model, and addresses are taken out of the text, so that equal
calls give equal marks. Sources: cuBLAS documentation, "cublasLtLoggerSetCallback", "cublasSetLoggerCallback".
"""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracediff.model.ranges import DOMAIN

_TRACE_LEVEL = 2
_LT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_CUBLAS_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_char_p)

# `A=0X7FE210000000 ` and the like; what is shorter than an address is a value, except for the two that may be null.
_ADDRESS = re.compile(r"(?:\b(?:workSpace|stream)=0[xX][0-9a-fA-F]+|\b\w+=0[xX][0-9a-fA-F]{9,}) ?")
_CUBLAS_FUNCTION = re.compile(r"function \w+ (cublas\w+)\(")
_CUBLAS_VALUE = re.compile(r"(\w+): type=[^;]*; val=(\S+)")
_PRODUCT = re.compile("gem[mv]", re.IGNORECASE)
# cuBLAS prints this line last but one, after all arguments.
_CUBLAS_LAST = "Process="


def without_addresses(text: str) -> str:
    """Return a line of cuBLASLt's log without pointers, on one line."""
    return " ".join(_ADDRESS.sub("", text).split())


class CublasCall:
    """Collects what cuBLAS's log says of one call: it may come whole or line by line."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> str | None:
        """Return the call in one line (`cublasGemmEx transa=OP_T m=4096 …`) when its last argument has come."""
        if _CUBLAS_FUNCTION.search(text):
            self._text = ""
        self._text += text + "\n"
        if _CUBLAS_LAST not in self._text:
            return None
        whole, self._text = self._text, ""
        function = _CUBLAS_FUNCTION.search(whole)
        # Only products choose among kernels; handles and streams are noise.
        if function is None or not _PRODUCT.search(function[1]):
            return None
        values = (f"{name}={value.removeprefix('CUBLAS_')}" for name, value in _CUBLAS_VALUE.findall(whole))
        return " ".join([function[1], *(pair for pair in values if not pair.endswith("POINTER"))])


class AlgorithmLog:
    """The two logs of one process, switched on and off.

    Args:
        mark: Takes each line.
        libraries: The loaded cuBLASLt and cuBLAS, as `loaded_libraries` gives them.
    """

    def __init__(self, mark: Callable[[str], None], libraries: dict[str, Any]) -> None:
        self._mark = mark
        self._lt: Any = libraries.get("cublasLt")
        self._cublas: Any = libraries.get("cublas")
        self._call = CublasCall()
        # ctypes frees a callback that nobody holds, and the library would jump into freed memory.
        self._lt_callback = _LT_CALLBACK(self._on_lt)
        self._cublas_callback = _CUBLAS_CALLBACK(self._on_cublas)

    @property
    def available(self) -> bool:
        """Whether cuBLASLt is loaded and has a logger (since CUDA 11.4)."""
        return self._lt is not None and hasattr(self._lt, "cublasLtLoggerSetCallback")

    def start(self) -> None:
        """Switch the logs on."""
        if self.available:
            # Without a file of its own the log is also printed on stdout, one long line per launch (measured, 13.1).
            self._lt.cublasLtLoggerOpenFile(b"/dev/null")
            self._lt.cublasLtLoggerSetCallback(self._lt_callback)
        if self._cublas_has_logger:
            self._cublas.cublasSetLoggerCallback(self._cublas_callback)
        self.resume()

    def stop(self) -> None:
        """Switch the logs off."""
        self.pause()
        if self.available:
            self._lt.cublasLtLoggerSetCallback(_LT_CALLBACK())
        if self._cublas_has_logger:
            self._cublas.cublasSetLoggerCallback(_CUBLAS_CALLBACK())

    def pause(self) -> None:
        """Log nothing until `resume`: a logged launch takes its caller 0.25 ms (H100, cuBLAS 13.1)."""
        if self.available:
            self._lt.cublasLtLoggerSetLevel(0)
        if self._cublas_has_logger:
            self._cublas.cublasLoggerConfigure(0, 0, 0, None)

    def resume(self) -> None:
        """Log again after `pause`."""
        if self.available:
            self._lt.cublasLtLoggerSetLevel(_TRACE_LEVEL)
        if self._cublas_has_logger:
            self._cublas.cublasLoggerConfigure(1, 0, 0, None)

    @property
    def _cublas_has_logger(self) -> bool:
        return self._cublas is not None and hasattr(self._cublas, "cublasSetLoggerCallback")

    def _on_lt(self, level: int, function: bytes | None, message: bytes | None) -> None:
        # Nothing may be raised here, the caller is C: a line that cannot be marked is missed, and the model goes on.
        try:
            if level == _TRACE_LEVEL and message:
                text = without_addresses(message.decode(errors="replace"))
                name = (function or b"").decode(errors="replace")
                self._mark(text if text.startswith("cublasLt") else f"{name} {text}")
        except Exception:
            pass

    def _on_cublas(self, message: bytes | None) -> None:
        try:
            line = self._call.add((message or b"").decode(errors="replace"))
            if line:
                self._mark(line)
        except Exception:
            pass


def loaded_libraries() -> dict[str, Any]:
    """Return the cuBLASLt and cuBLAS that this process has loaded, by name; empty where there are none.

    The path comes from the process's own memory map: opening another copy would log nothing.
    """
    found: dict[str, Any] = {}
    maps = Path("/proc/self/maps")
    if not maps.exists():  # not Linux, so no NVIDIA GPU that CUDA runs on
        return found
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.split(maxsplit=5)[-1]
        match = re.fullmatch(r"lib(cublasLt|cublas)\.so(?:\.\d+)*", path.rpartition("/")[2])
        if match and match[1] not in found:
            found[match[1]] = ctypes.CDLL(path)
    return found


@contextmanager
def algorithm_log(wanted: bool) -> Iterator[str]:
    """Mark every chosen algorithm while the block runs.

    Args:
        wanted: False does nothing.

    Yields:
        `on`, `off`, or `unavailable` where no cuBLASLt with a logger is loaded.
    """
    if not wanted:
        yield "off"
        return
    import nvtx  # noqa: PLC0415

    def mark(line: str) -> None:
        nvtx.mark(line, domain=DOMAIN)

    log = AlgorithmLog(mark, loaded_libraries())
    log.start()
    try:
        yield "on" if log.available else "unavailable"
    finally:
        log.stop()
