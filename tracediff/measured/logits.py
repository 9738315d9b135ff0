"""Read `logits.safetensors` without torch: row 0's logits of each phase's last position, by `batch/phase`.

The format: eight bytes of header length, a JSON header with dtype, shape and byte range of each tensor, then the bytes.
numpy has no bfloat16; its bits are the upper half of a float32's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tracediff.dtypes import Floats
from tracediff.errors import TracediffError
from tracediff.json_input import LONGEST_MESSAGE, parse_json

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
_Place = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Tensor(msgspec.Struct):
    """What is used of a tensor's entry in the header."""

    dtype: Literal["F16", "BF16", "F32"]
    data_offsets: tuple[_Place, _Place]


def read_logits(path: Path) -> dict[str, tuple[str, Floats]]:
    """Return (dtype, logits) by name.

    Raises:
        TracediffError: The file cannot be read or is not what it should be.
    """
    try:
        data = memoryview(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header = parse_json(bytes(data[8:start]), dict[str, Any])
        header.pop("__metadata__", None)
        return {name: _tensor(msgspec.convert(entry, _Tensor), data[start:]) for name, entry in header.items()}
    except OSError as error:
        raise TracediffError(f"cannot read {path}", error.strerror or str(error)) from error
    except (msgspec.ValidationError, ValueError) as error:
        raise TracediffError(f"{path} is damaged", str(error)[:LONGEST_MESSAGE]) from error


def _tensor(entry: _Tensor, data: memoryview) -> tuple[str, Floats]:
    dtype = _DTYPES[entry.dtype]
    begin, end = entry.data_offsets
    if not begin <= end <= len(data):
        raise ValueError(f"a tensor ends at byte {end} of {len(data)}")
    raw = data[begin:end]
    if dtype == "bfloat16":
        values = (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, dtype={"float16": "<f2", "float32": "<f4"}[dtype])
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return dtype, values.astype(np.float64)
