"""Memory copies and fills, however a profiler names them."""

import pytest

from tracediff.kernels import parse


@pytest.mark.parametrize(
    ("name", "kind", "direction"),
    [
        ("Memcpy DtoH (Device -> Pinned)", "memcpy", "DtoH"),
        ("Memcpy HtoD (Pageable -> Device)", "memcpy", "HtoD"),
        ("Memset (Device)", "memset", "Device"),
        ("[CUDA memcpy Device-to-Host]", "memcpy", "DtoH"),
        ("[CUDA memcpy Host-to-Device]", "memcpy", "HtoD"),
        ("[CUDA memcpy Device-to-Device]", "memcpy", "DtoD"),
        ("[CUDA memcpy Peer-to-Peer]", "memcpy", "PtoP"),
        ("[CUDA memcpy HtoD]", "memcpy", "HtoD"),
        ("[CUDA memset]", "memset", None),
    ],
)
def test_kind_and_direction(name, kind, direction):
    kernel = parse(name)
    assert (kernel.family, kernel.role, kernel.kind, kernel.detail("direction")) == ("memory", "copy", kind, direction)
    assert len(kernel.details) == (direction is not None)
