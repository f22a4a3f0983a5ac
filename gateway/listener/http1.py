"""HTTP/1.1 on one connection: Hypercorn's protocol, without what it could be upgraded to.

It gets bytes that `framing` has let through. Requests to upgrade are served as if they had not
asked (RFC 9110, section 7.8); one that is addressed to somebody else is refused. Whatever ends a
connection is said in a problem document, as long as an answer has not begun.
"""

from typing import Final

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent

from gateway.answer import encode, failed
from gateway.errors import Problem, RequestCode, RequestError, problem
from gateway.listener.names import AUTHORITY, Names

_READ: Final = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.IDLE})
_TO_BE_ANSWERED: Final = frozenset({h11.IDLE, h11.SEND_RESPONSE})


class _PausedError(Exception):
    """A request has come in whole, and nothing is to be read until it is answered."""


class _Pause:
    """In place of the event that Hypercorn waits for until a request is answered.

    It does so where it should read on, and for ever if the client has gone. As it is handed one
    request at a time, nothing has to be waited for.
    """

    async def wait(self) -> None:
        raise _PausedError

    async def set(self) -> None:
        """Nobody waits."""

    async def clear(self) -> None:
        """There is nothing to clear."""

    def is_set(self) -> bool:
        return False


class Http1(H11Protocol):
    """One connection's HTTP.

    Args:
        names: those of the listener.
        details: as for Hypercorn's own.

    Attributes:
        refused: the connection ends for something that the client has sent.
    """

    connection: h11.Connection

    def __init__(self, names: Names, *details: object) -> None:
        super().__init__(*details)  # type: ignore[arg-type]
        self.can_read = _Pause()
        self.refused = False
        self._names = names
        self._head_only = False

    @property
    def unread(self) -> bool:
        """Whether the client may be sending still what nobody will read."""
        return self.refused or self.connection.their_state not in _READ

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except _PausedError:
            pass
        except RequestError as error:
            await self.refuse(error.problem)

    async def refuse(self, found: Problem) -> None:
        """Say what is wrong, unless an answer has begun, and end the connection."""
        await self._say(found)
        await self.send(Closed())

    async def _say(self, found: Problem) -> None:
        answer = failed(found)
        if not self.refused and self.connection.our_state in _TO_BE_ANSWERED:
            body = encode(answer.body)
            headers = {**answer.headers(), "content-length": str(len(body)), "connection": "close"}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            raw += self.config.response_headers("h11")
            # What HEAD asked for may be answered already, and the fault be in what follows it.
            bodiless = self._head_only and self.connection.our_state is h11.SEND_RESPONSE
            events = [
                h11.Response(status_code=answer.status, headers=raw),
                h11.Data(data=b"" if bodiless else body),
                h11.EndOfMessage(),
            ]
            data = b"".join(self.connection.send(each) or b"" for each in events)
            self.refused = True
            await self.send(RawData(data=data))
        self.refused = True

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        # Whoever was at work on what was refused is told, and may be about to answer it.
        if not self.refused:
            await super()._send_h11_event(event)

    async def _send_error_response(self, status_code: int) -> None:
        """Say what h11 has found wrong; `framing` has let nothing through that we know of."""
        await self._say(problem(RequestCode.MALFORMED_REQUEST))

    async def _check_protocol(self, event: h11.Request) -> None:
        self._head_only = event.method == b"HEAD"

    async def _create_stream(self, request: h11.Request) -> None:
        host = next(value for name, value in request.headers if name == b"host")
        authority, target = self._names.addressed(request.target, host)
        self.connection_state[AUTHORITY] = authority
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=target,
                headers=headers,
                http_version=request.http_version,
            )
        )
