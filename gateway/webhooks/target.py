"""Targets: the URLs that webhooks may have, read in one strict way.

What two parsers may read differently is refused, so that what was checked is what is connected to:
user information, fragments, backslashes, dot segments, names that end in a number (0x7f.1,
2130706433, 0177.0.0.1: WHATWG's IPv4 parser takes them for addresses), IPv6 in other than its one
form (RFC 5952). A name has two labels or more, letters, figures and hyphens.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final

from httpx2 import URL
from msgspec import Meta, Struct

from actors.commands import URL_CHARACTERS_MAX

Ip = IPv4Address | IPv6Address

Url = Annotated[str, Meta(min_length=1, max_length=URL_CHARACTERS_MAX)]

_FORM: Final = re.compile(
    r"(https?)://([^/?#@\\]+)"
    r"((?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"
    r"(?:\?((?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*))?",
    re.IGNORECASE,
)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS: Final = {"http": 80, "https": 443}


class TargetError(ValueError):
    """The text is not a URL to which webhooks are sent; the message says why."""


class Target(Struct, frozen=True):
    """A URL, taken apart.

    Attributes:
        host: in lower case; an IPv6 address without its brackets.
        ip: the address that the host is, None for a name.
        authority: host and port as in the Host header.
        path: as it is sent, `/` where there is none.
        query: as it is sent, without the question mark.
    """

    scheme: str
    host: str
    port: int
    ip: Ip | None
    authority: str
    path: str
    query: str

    @property
    def url(self) -> str:
        """The URL in its one form."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}{self.path}{query}"


def read_target(text: str) -> Target:
    """Take a URL apart.

    Raises:
        TargetError: it does not have the form.
    """
    if len(text) > URL_CHARACTERS_MAX:
        raise TargetError(f"the URL is longer than {URL_CHARACTERS_MAX} characters")
    if not text.isascii():
        # Some letters are others without regard to case: the Kelvin sign a k, the long s an s.
        raise TargetError("it has characters that are not ASCII")
    found = _FORM.fullmatch(text)
    if found is None:
        raise TargetError("it is no https URL of a host, a path and a query, and nothing else")
    scheme, authority, path, query = found[1].lower(), found[2].lower(), found[3], found[4]
    if {".", ".."} & set(path.replace("%2e", ".").replace("%2E", ".").split("/")):
        raise TargetError("the path has segments of dots")
    host, port = _host_and_port(authority, scheme)
    ip = _ip(host)
    shown = f"[{host}]" if isinstance(ip, IPv6Address) else host
    target = Target(
        scheme,
        host,
        port,
        ip,
        shown if port == _PORTS[scheme] else f"{shown}:{port}",
        path or "/",
        query or "",
    )
    # What is signed is what is sent, so both have to read it alike.
    sent = URL(target.url)
    raw = target.path + (f"?{target.query}" if target.query else "")
    if sent.raw_path != raw.encode() or sent.netloc != target.authority.encode():
        raise TargetError("the URL is not in its one form")
    return target


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise TargetError("the host is neither a name nor an address")
    port = int(found[2]) if found[2] else _PORTS[scheme]
    if port > 65_535:
        raise TargetError("there is no such port")
    return found[1].strip("[]"), port


def _ip(host: str) -> Ip | None:
    """Return the address that a host is; None for a name that no parser takes for one."""
    if ":" in host:
        try:
            six = IPv6Address(host)
        except ValueError:
            raise TargetError("the host is not an IPv6 address") from None
        if str(six) != host:
            raise TargetError("the IPv6 address is not in its one form")
        return six
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1] or labels[-2] if len(labels) > 1 else labels[0]):
        try:
            return IPv4Address(host)
        except ValueError:
            raise TargetError("the host ends in a number, and is not four of them") from None
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise TargetError("the host is not a name")
    return None
