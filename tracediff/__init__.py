"""tracediff: why the same prompt gives another text at another batch size.

Kernel → reduction order → bits of one module → logits → token, each link shown and measured.

    import tracediff

    result = tracediff.diff("b1.sqlite", "b2.sqlite")
    print(result.answer.sentence)
    result.rows          # a DataFrame: one line per (phase, module)
"""

from typing import TYPE_CHECKING, Any

from tracediff.version import __version__

if TYPE_CHECKING:
    from tracediff.api import Diff, diff, open, parse_kernel

__all__ = ["Diff", "__version__", "diff", "open", "parse_kernel"]


def __getattr__(name: str) -> Any:
    # The readers take a tenth of a second to import; `import tracediff` and `--help` must not.
    if name in __all__:
        from tracediff import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'tracediff' has no attribute {name!r}")
