"""Write every grammar into docs/kernel-names.md, as the docstring of its module in tracediff/kernels states it.

    python scripts/document_names.py

A section belongs to the module whose first line it holds; a module without a section gets one before "Everything else".
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "kernel-names.md"
TITLES = {
    "flashmla": "FlashMLA",
    "bitsandbytes": "bitsandbytes",
    "flash_attention1": "FlashAttention 1",
    "flash_attention": "FlashAttention 2",
    "myelin": "TensorRT's Myelin",
    "triton": "Triton and torch inductor",
    "at_native": "PyTorch's own kernels",
}
_LAST = "## Everything else\n"


def document(text: str) -> str:
    """Return the page with the listed modules' sections up to date."""
    for module, title in TITLES.items():
        stated = inspect.getdoc(importlib.import_module(f"tracediff.kernels.{module}"))
        section = f"## {title}\n\n{stated}\n\n"
        found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
        text = text.replace(found.group(), section) if found else text.replace(_LAST, section + _LAST)
    return text


def main() -> int:
    """Rewrite the page."""
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
