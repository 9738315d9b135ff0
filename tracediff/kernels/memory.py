"""Memory copies and fills as profilers name them: `Memcpy DtoH (Device -> Pinned)`, `Memset (Device)`, `[CUDA memcpy
Device-to-Host]`.

Spellings of torch's profiler, of `nsys stats` and of nvprof. Verified. Both have role `copy`.

Details: `direction`.
"""

import re

from tracediff.kernels.model import KernelName
from tracediff.kernels.spelling import Spelling

_COPY = re.compile(r"\[?(?:CUDA )?mem(cpy|set)\s*\(?([^)\](]*)", re.IGNORECASE)
_DIRECTIONS = {"Device-to-Host": "DtoH", "Host-to-Device": "HtoD", "Device-to-Device": "DtoD", "Peer-to-Peer": "PtoP"}


def read(name: str, spelling: Spelling) -> KernelName | None:
    """Read the name of a memory copy or fill; None where it is not one."""
    found = _COPY.match(name)
    if found is None:
        return None
    direction = found.group(2).strip()
    direction = _DIRECTIONS.get(direction, direction)
    return KernelName(
        name=name,
        family="memory",
        role="copy",
        kind=f"mem{found.group(1).lower()}",
        details=(("direction", direction),) if direction else (),
    )
