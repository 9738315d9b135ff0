"""Parts of files in memory, without a descriptor of their own.

Python's `mmap` keeps one (before 3.13) and closes it in the end. By then a program that closed every descriptor, as a
daemon does, may have opened a file of its own under that number.

Runs in the program's own Python: the standard library and nothing else.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import partial

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def mapped(file: int, length: int, offset: int = 0) -> tuple[memoryview, Callable[[], object]]:
    """Return a part of an open file as memory that is shared, and what ends that; the file may be closed.

    Args:
        file: Its descriptor.
        length: In bytes.
        offset: Where in the file it begins: a multiple of the size of a page.

    Raises:
        OSError: There is no room for it.
    """
    address = _libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file, offset)
    if address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    memory = memoryview((ctypes.c_char * length).from_address(address)).cast("B")
    return memory, partial(_libc.munmap, address, length)
