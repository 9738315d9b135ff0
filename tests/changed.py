"""Copies of results with other fields, whether they are dataclasses or msgspec's structs."""

import dataclasses

import msgspec


def replace(value, **fields):
    """Return a copy of a dataclass or a struct with these fields changed."""
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **fields)
    return msgspec.structs.replace(value, **fields)
