"""Names: by which names clients may address a listener, and what they address by them.

A request says whom it is meant for (RFC 9110, section 7.2). One that is meant for somebody else is
not answered as if it had not said so (421): a page in a browser whose name was rebound to this
address, a signature over another's `@authority`. Names are compared as RFC 9421, section 2.2.3
writes them: in lower case, without the scheme's own port.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from gateway.errors import RequestCode, RequestError
from gateway.listener.address import ListenError

AUTHORITY: Final = "authority"
"""Where a request finds the name that it was addressed by: in its scope's state."""

_HOST: Final = re.compile(
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_PATH: Final = re.compile(rb"/[!-\"$-~]*")
"""A path with or without a query, and no fragment; `gateway.target` reads what is in it."""
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE)


class Names(Struct, frozen=True):
    """The names of one listener.

    Attributes:
        authorities: as they are compared.
        scheme: `http` or `https`.
    """

    authorities: frozenset[str]
    scheme: str

    def addressed(self, target: bytes, host: bytes) -> tuple[str, bytes]:
        """Return `(authority, path with query)` that a request is for.

        A target in absolute form (RFC 9112, section 3.2.2) has to say what Host says.

        Args:
            target: of the request line.
            host: the Host field.

        Raises:
            RequestError: MALFORMED_REQUEST; MISDIRECTED_REQUEST, nobody of this name is here.
        """
        written = host.decode("latin-1")
        # Nearly everybody writes a name as it is compared, and a path alone: 2.5 µs less a request.
        authority = written if written in self.authorities else canonical(written, self.scheme)
        absolute = None if target.startswith(b"/") else _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            scheme, named, target = absolute.groups()
            if canonical(named.decode("latin-1"), self.scheme) != authority:
                raise RequestError(
                    RequestCode.MALFORMED_REQUEST, "the target and Host name different hosts"
                )
            if scheme.decode().lower() != self.scheme:
                raise RequestError(RequestCode.MISDIRECTED_REQUEST)
            target = target if target.startswith(b"/") else b"/" + target
        if authority is None or not _PATH.fullmatch(target):
            wrong = "Host" if authority is None else "the target"
            raise RequestError(RequestCode.MALFORMED_REQUEST, f"{wrong} is malformed")
        if authority not in self.authorities:
            raise RequestError(RequestCode.MISDIRECTED_REQUEST)
        return authority, target


def named(names: Iterable[str], scheme: str) -> Names:
    """Return the names that a listener goes by.

    Args:
        names: HOST or HOST:PORT each.
        scheme: `http` or `https`; its own port may be left out.

    Raises:
        ListenError: one of them is neither.
    """
    authorities = set()
    for name in names:
        authority = canonical(name, scheme)
        if authority is None:
            raise ListenError(f"--name {name!r}: HOST or HOST:PORT is wanted")
        authorities.add(authority)
    return Names(frozenset(authorities), scheme)


def at_port(names: Iterable[str], port: int) -> list[str]:
    """Return the hosts of these names, each with another port.

    Raises:
        ListenError: one of them is no name.
    """
    hosts = []
    for name in names:
        found = _HOST.fullmatch(name.lower())
        if found is None:
            raise ListenError(f"--name {name!r}: HOST or HOST:PORT is wanted")
        hosts.append(f"{found['host']}:{port}")
    return hosts


def canonical(authority: str, scheme: str) -> str | None:
    """Return an authority as it is compared, or None if it is none."""
    found = _HOST.fullmatch(authority.lower())
    if found is None:
        return None
    host, port = found["host"], found["port"]
    if port is None or int(port) == (443 if scheme == "https" else 80):
        return host
    return f"{host}:{int(port)}" if int(port) <= 65_535 else None
