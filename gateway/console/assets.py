"""Assets: the console's style sheets and scripts, each at an address that its content makes.

    /console/assets/console-3f9c0a51d2e7.css

Whoever has one may keep it for ever: other content has another address. What others have made is in
the package as they published it, beside its licence; nothing is fetched from anywhere else.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

STATIC: Final = Path(__file__).parent / "static"
_PREFIX: Final = "/console/assets/"
_FOREVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

VENDORED: Final[Mapping[str, str]] = {
    "htmx": "htmx.org 2.0.11",
    "pico": "@picocss/pico 2.1.1",
    "uplot": "uPlot 1.6.32",
}
"""Folder → package of npm's registry and its version."""


class Asset(Struct, frozen=True):
    """One file."""

    content: bytes
    headers: dict[str, str]


def _read() -> tuple[dict[str, Asset], dict[str, str]]:
    """Return assets by their addresses, and addresses by their files' names."""
    found, addresses = {}, {}
    for file in sorted(STATIC.rglob("*")):
        if file.suffix not in _TYPES:
            continue
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        address = f"{_PREFIX}{file.stem}-{digest}{file.suffix}"
        headers = {"content-type": _TYPES[file.suffix], "cache-control": _FOREVER}
        found[address] = Asset(content, headers)
        addresses[str(file.relative_to(STATIC))] = address
    return found, addresses


_ASSETS, _ADDRESSES = _read()


def asset_at(path: str) -> Asset | None:
    """Return what is at a path, None where that is nothing, or what was there before."""
    return _ASSETS.get(path)


def address_of(name: str) -> str:
    """Return the address of a file, for example of `pico/pico.min.css`."""
    return _ADDRESSES[name]
