"""What two traces are of, and what tells them apart, in words."""

from __future__ import annotations

from tracediff.diff.result import Side, TraceDiff
from tracediff.text import printable, shorten

_LONGEST = 60


def subject_words(diff: TraceDiff) -> str:
    """Return `llama-3-8b · float16 · 6 tokens · H200 · cuBLAS 13.1.0`, as far as known; both where they differ."""

    def word(name: str, unit: str = "") -> str:
        values = [getattr(side.info, name) for side in (diff.a, diff.b)]
        known = dict.fromkeys(str(value) for value in values if value is not None)
        return " / ".join(printable(shorten(value, _LONGEST)) + unit for value in known)

    cublas = dict.fromkeys(
        side.info.versions["cublas"] for side in (diff.a, diff.b) if side.info.versions.get("cublas")
    )
    parts = (
        word("model"),
        word("dtype"),
        word("tokens", " tokens"),
        word("gpu").replace("NVIDIA ", ""),
        f"cuBLAS {printable(' / '.join(cublas))}" if cublas else "",
    )
    return " · ".join(filter(None, parts))


def side_words(a: Side, b: Side) -> tuple[str, str]:
    """Name the traces by what tells them apart: the batch where it does, else their files."""
    if a.info.batch is not None and b.info.batch is not None and a.info.batch != b.info.batch:
        return f"batch {a.info.batch}", f"batch {b.info.batch}"
    names = [printable(shorten(side.info.path.rsplit("/", 1)[-1], 40)) for side in (a, b)]
    return (names[0], names[1]) if names[0] != names[1] else (f"{names[0]} (a)", f"{names[1]} (b)")
