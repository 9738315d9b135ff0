"""How a map's file begins, which `tracediff diff` asks of whatever it is given."""

from pathlib import Path

KIND = "map"


def is_map(path: Path) -> bool:
    """Whether a file is a map: JSON whose first keys say so. Never raises; what cannot be read is none."""
    try:
        if not path.is_file():  # a pipe would wait, and could not be read again
            return False
        with path.open(encoding="utf-8") as file:
            head = file.read(4096).lstrip()
    except (OSError, ValueError):
        return False
    return head.startswith("{") and f'"kind":"{KIND}"' in head.replace(" ", "").replace("\n", "")[:200]
