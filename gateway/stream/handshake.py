"""The handshake: whether a request may become a WebSocket (RFC 6455, section 4.2).

No extension is agreed on, whatever the client offers, and the one subprotocol there is has to be
among those that it offers: a client that does not know it would not understand a word.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from gateway.errors import RequestCode, RequestError

PATH: Final = "/v1/stream"
SUBPROTOCOL: Final = "piaohao.v1.json"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_KEY_BYTES: Final = 16


def asks_for_stream(
    method: str, path: str, version: bytes, headers: Mapping[str, str], at: str = PATH
) -> bool:
    """Return whether a request asks for a WebSocket here, well or badly.

    Any other upgrade is not heard, nor is one by HTTP/1.0 (RFC 9110, section 7.8).

    Args:
        version: as it stands in the request's first line.
        headers: names in lower case.
        at: the path that is one.
    """
    return (
        method == "GET"
        and path == at
        and version == b"HTTP/1.1"
        and "websocket" in _tokens(headers.get("upgrade", ""))
    )


def accepted(headers: Mapping[str, str], subprotocol: str = SUBPROTOCOL) -> dict[str, str]:
    """Return the headers of the answer that makes the connection a WebSocket.

    Args:
        headers: of the request, names in lower case, joined by commas where one came twice.
        subprotocol: that it has to offer; empty for none.

    Raises:
        RequestError: UPGRADE_REQUIRED, no WebSocket of version 13 is asked for; HANDSHAKE_REFUSED.
    """
    if (
        "websocket" not in _tokens(headers.get("upgrade", ""))
        or "upgrade" not in _tokens(headers.get("connection", ""))
        or headers.get("sec-websocket-version") != "13"
    ):
        raise RequestError(RequestCode.UPGRADE_REQUIRED)
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise RequestError(
            RequestCode.HANDSHAKE_REFUSED, "Sec-WebSocket-Key is 16 bytes in base64, once"
        )
    offered = headers.get("sec-websocket-protocol", "").split(",")
    if subprotocol and subprotocol not in (each.strip(" \t") for each in offered):
        raise RequestError(
            RequestCode.HANDSHAKE_REFUSED, f"Sec-WebSocket-Protocol has to offer {subprotocol}"
        )
    proof = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    own = {"sec-websocket-protocol": subprotocol} if subprotocol else {}
    return {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": proof.decode(),
        **own,
    }


def _tokens(value: str) -> set[str]:
    return {each.strip(" \t").lower() for each in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("ascii"), validate=True)) == _KEY_BYTES
    except (UnicodeEncodeError, binascii.Error):
        return False
