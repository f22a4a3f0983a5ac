"""A lean client of HTTP/1.1: one request at a time on a connection, made and read by hand.

It knows what the node's answers look like (a Content-Length, no chunks) and ends loudly where one
looks otherwise. It is for measuring; whoever pays uses `gateway.client`.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

_JSON: Final = "content-type: application/json\r\n"
_LENGTH: Final = b"\ncontent-length: "


class Answer(Struct, frozen=True):
    """An answer; its headers are looked at where somebody asks for them.

    Attributes:
        head: its lines, as they came.
    """

    status: int
    head: bytes
    body: bytes

    def headers(self) -> dict[str, str]:
        """Return the headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in pairs}


def encode_request(
    method: str, path: str, authority: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    """Return a request's bytes; one with a body says that it is JSON, and how long."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    length = f"{_JSON}content-length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: {authority}\r\n{length}{lines}\r\n"
    return head.encode("ascii") + body


class AnswerReader:
    """Puts answers together from what comes in."""

    def __init__(self) -> None:
        self._buffered = b""
        self._head = b""
        self._wanted = -1

    def feed(self, data: bytes) -> Answer | None:
        """Take what has come in; returns the answer once it is whole.

        Raises:
            ValueError: this is no answer of a node's.
        """
        self._buffered = self._buffered + data if self._buffered else data
        if self._wanted < 0:
            head, end, rest = self._buffered.partition(b"\r\n\r\n")
            if not end:
                return None
            self._head, self._buffered = head, rest
            self._wanted = _length(head)
        if len(self._buffered) < self._wanted:
            return None
        body = self._buffered[: self._wanted]
        self._buffered, self._wanted = self._buffered[self._wanted :], -1
        return Answer(_status(self._head), self._head, body)

    def rest(self) -> bytes:
        """Return what came after an answer that has changed the protocol."""
        return self._buffered


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(_LENGTH)
    if at < 0:
        if _status(head) == 101:
            return 0
        raise ValueError("an answer without a Content-Length")
    end = lower.find(b"\r", at)
    return int(lower[at + len(_LENGTH) : end if end >= 0 else None])


def _status(head: bytes) -> int:
    if head[:9] != b"HTTP/1.1 ":
        raise ValueError(f"an answer that begins with {head[:9]!r}")
    return int(head[9:12])
