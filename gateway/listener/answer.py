"""An answer on its way out: status line, fields and body as RFC 9112 writes them, in one piece.

The reason phrase is empty, as on the other listener (section 4: a client ignores it). `Date` is
made once a second. What the fields say comes from the counter, which lets no line end through.
"""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from gateway.answer import Answer, encode
from gateway.counter import Response

CONTINUE: Final = b"HTTP/1.1 100 \r\n\r\n"

_UNMEASURED: Final = frozenset({HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NOT_MODIFIED})
"""No body, and no length, which would be another's (RFC 9110, section 8.6)."""
_LINES: Final = {status.value: f"HTTP/1.1 {status.value} \r\n" for status in HTTPStatus}


class _Date:
    """The Date field, made anew with each second."""

    def __init__(self) -> None:
        self._second = 0
        self._field = ""

    def field(self) -> str:
        """Return it with its line's end."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._field = f"date: {formatdate(second, usegmt=True)}\r\n"
        return self._field


_date: Final = _Date()


def written(response: Response, *, lasts: bool, bodiless: bool) -> bytes:
    """Return an answer as it is sent.

    Args:
        lasts: whether the connection goes on after it.
        bodiless: it answers HEAD: with the length of a body, and without the body.
    """
    lines = [_LINES[response.status]]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    if response.status in _UNMEASURED:
        bodiless = True
    else:
        lines.append(f"content-length: {len(response.body)}\r\n")
    lines.append(_date.field())
    lines.append("\r\n" if lasts else "connection: close\r\n\r\n")
    head = "".join(lines).encode("latin-1")
    return head if bodiless else head + response.body


def unsigned(answer: Answer) -> Response:
    """Return what a listener itself says of what is hardly a request."""
    return Response(answer.status, answer.headers(), encode(answer.body))
