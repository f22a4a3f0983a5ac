"""The cookie of a session: how a browser says whose it is, where a tool sends a bearer token.

It cannot be read by scripts, and goes with requests from the same site alone (RFC 6265bis, section
5.6.7). A site is a host without its port, and on loopback others have pages too: so a token in a
cookie counts only where the browser says that a page of this very listener, or the operator by
hand, has had the request sent (Fetch Metadata; Origin, RFC 6454, section 7).
"""

import re
from functools import cache
from typing import Final

from gateway.counter import Request
from gateway.ops.sessions import LONGEST_NS

NAME: Final = "piaohao_session"
HOSTS_NAME: Final = f"__Host-{NAME}"
"""Over TLS: such a cookie no other host can have set (RFC 6265bis, section 4.1.3.2)."""
_READS: Final = frozenset({"GET", "HEAD"})


def begun(token: str, scheme: str) -> str:
    """Return the Set-Cookie field that lets a browser keep a session's token."""
    return _field(scheme, token, LONGEST_NS // 1_000_000_000)


def ended(scheme: str) -> str:
    """Return the Set-Cookie field that has a browser forget it."""
    return _field(scheme, "", 0)


def token_of(request: Request) -> str | None:
    """Return the token in a request's cookie, None where there is none that counts."""
    held = _held(_name(request.scheme)).search(request.headers.get("cookie", ""))
    return held[1] if held is not None and is_own(request) else None


def is_own(request: Request) -> bool:
    """Return whether no page of anybody else's has had a browser send a request.

    What changes something has to show it: by one of the two fields, which browsers send by
    themselves and no script can write.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.scheme}://{request.headers.get('host', '')}":
        return False
    site = request.headers.get("sec-fetch-site")
    reads = request.method in _READS
    if site is None:
        return reads or origin is not None
    return site == "same-origin" or (site == "none" and reads)


def _name(scheme: str) -> str:
    # On loopback there is no TLS, and not every browser takes a Secure cookie there all the same.
    return HOSTS_NAME if scheme == "https" else NAME


@cache
def _held(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;[ \t]*){name}=([A-Za-z0-9_-]{{43}})(?=$|[ \t]*;)")


def _field(scheme: str, token: str, longest_s: int) -> str:
    secure = "; Secure" if scheme == "https" else ""
    attributes = f"Path=/; Max-Age={longest_s}; HttpOnly; SameSite=Strict{secure}"
    return f"{_name(scheme)}={token}; {attributes}"
