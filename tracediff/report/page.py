"""What every HTML page of ours is made of: templates, files of the package, and hashes that admit inline scripts."""

from __future__ import annotations

import base64
import hashlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> Environment:
    """Return a template environment that escapes everything and refuses unknown names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def resource(package: str, path: str) -> str:
    """Return a text file of a package."""
    data = pkgutil.get_data(package, path)
    assert data is not None, path
    return data.decode("utf-8")


def script_hash(script: str) -> str:
    """Return the hash by which the page's content security policy admits an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
