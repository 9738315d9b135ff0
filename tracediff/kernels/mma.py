"""Shapes of matrix instructions, which names print with or without separators: `16x8x16`, `16816`."""

# Every shape that CUTLASS' generator knows, by its concatenated digits: `1688` can only be 16x8x8.
_SHAPES = {
    "884": (8, 8, 4),
    "8816": (8, 8, 16),
    "8832": (8, 8, 32),
    "88128": (8, 8, 128),
    "1684": (16, 8, 4),
    "1688": (16, 8, 8),
    "16816": (16, 8, 16),
    "16832": (16, 8, 32),
    "16864": (16, 8, 64),
    "168128": (16, 8, 128),
    "168256": (16, 8, 256),
    "161616": (16, 16, 16),
    "16168": (16, 16, 8),
    "32816": (32, 8, 16),
    "83216": (8, 32, 16),
}


def mma_shape(text: str) -> tuple[int, ...] | None:
    """Read `16816` or `64x128x16`; None for anything else.

    The digits alone are read through a table, since `16816` could be cut in several ways.
    """
    if "x" in text:
        parts = text.split("x")
        if len(parts) == 3 and all(part.isdigit() and part.isascii() and len(part) <= 4 for part in parts):
            return tuple(int(part) for part in parts)
        return None
    return _SHAPES.get(text)
