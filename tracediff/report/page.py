"""What every HTML page of ours is made of: templates, files of the package, and hashes that admit inline scripts."""

from __future__ import annotations

import base64
import hashlib
import pkgutil
from typing import TYPE_CHECKING

from tracediff.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> Environment:
    """Return a template environment that escapes everything, control characters too, and refuses unknown names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _without_controls(value: object) -> object:
    return printable(value) if type(value) is str else value  # markup is our own


def resource(package: str, path: str) -> str:
    """Return a text file of a package."""
    data = pkgutil.get_data(package, path)
    assert data is not None, path
    return data.decode("utf-8")


def script_hash(script: str) -> str:
    """Return the hash by which the page's content security policy admits an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
