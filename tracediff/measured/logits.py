"""Read `logits.safetensors` without torch: row 0's logits of each phase's last position, by `batch/phase`.

The format: eight bytes of header length, a JSON header with dtype, shape and byte range of each tensor, then the bytes.
numpy has no bfloat16; its bits are the upper half of a float32's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tracediff.dtypes import Floats
from tracediff.errors import TracediffError

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


def read_logits(path: Path) -> dict[str, tuple[str, Floats]]:
    """Return (dtype, logits) by name.

    Raises:
        TracediffError: The file cannot be read or is not what it should be.
    """
    try:
        data = memoryview(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(bytes(data[8:start]))
        header.pop("__metadata__", None)
        return {name: _tensor(entry, data[start:]) for name, entry in header.items()}
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TracediffError(f"{path} is damaged", f"{type(error).__name__}: {error}") from error


def _tensor(entry: dict[str, Any], data: memoryview) -> tuple[str, Floats]:
    dtype = _DTYPES[entry["dtype"]]
    begin, end = entry["data_offsets"]
    raw = data[begin:end]
    if dtype == "bfloat16":
        values = (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, dtype={"float16": "<f2", "float32": "<f4"}[dtype])
    return dtype, values.astype(np.float64)
