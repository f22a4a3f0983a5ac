"""Streams: all that a node has, from the handshake to the end of the node.

Any listener hands over a connection with a request for a stream on it; nothing here knows which.
How many there may be is decided at the handshake: a merchant who has as many as it may is refused
with 429, and past the node's own bound everybody with 503. A stream is never thrown out for
somebody who comes later: it is a merchant's, and whoever comes is not known yet. What the streams
of a merchant hold for it is bounded together; those of the bank, or of nobody, only each by itself.
"""

import math
from collections import Counter as Tally
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import trio

from engine.fault import NODE_BUSY, STOPPING
from gateway.counter import Counter, Opened, Request, Response
from gateway.errors import RequestCode, RequestError
from gateway.stream.backlog import Backlog
from gateway.stream.bounds import StreamBounds
from gateway.stream.closing import Close, CloseCode
from gateway.stream.pump import Pump
from gateway.stream.reception import say, turn_away
from gateway.stream.session import Session

_STOPPING = Close(CloseCode.GOING_AWAY, "the node stops")
_FULL_S = 10
"""When a merchant that has all its streams may look again: they end when it ends them."""


class Streams:
    """The streams of one node.

    Args:
        counter: lets requests become streams.
        bounds: how many, how large and how slow.
    """

    def __init__(self, counter: Counter, bounds: StreamBounds | None = None) -> None:
        self._counter = counter
        self._bounds = StreamBounds() if bounds is None else bounds
        self._pumps: set[Pump] = set()
        self._of: Tally[str] = Tally()
        self._backlogs: dict[str, Backlog] = {}
        self._count = 0
        self._stopping = False
        self._none = trio.Event()

    def __len__(self) -> int:
        return len(self._pumps)

    async def run(self) -> None:
        """Look after the times of all streams, until cancelled."""
        while True:
            await trio.sleep(self._bounds.tick_s)
            now = trio.current_time()
            for pump in list(self._pumps):
                pump.look(now)

    async def serve(
        self,
        request: Request,
        stream: trio.abc.Stream,
        early: bytes,
        let_in: Callable[[], None],
    ) -> None:
        """Make a connection a stream and serve it until it is over, or say why it is none.

        The caller closes the connection, whatever comes of it.

        Args:
            request: see `handshake.asks_for_stream`.
            stream: the connection; nobody else reads from or writes to it.
            early: what came in after the request, if anything. A client that speaks before it is
                answered does not speak WebSocket (RFC 6455, section 4.1), and what it says might
                be taken for another request by somebody on the way: it is refused.
            let_in: called once it is to be a stream.
        """
        places: list[str] = []

        def take_place(merchant_no: str) -> None:
            self._take_place(merchant_no)
            places.append(merchant_no)

        try:
            if early:
                error = RequestError(
                    RequestCode.HANDSHAKE_REFUSED, "nothing is sent before the answer has come"
                )
                await turn_away(stream, self._counter.refuse(error), self._bounds)
                return
            opened = self._counter.open_stream(request, take_place)
            if isinstance(opened, Response):
                await turn_away(stream, opened, self._bounds)
                return
            let_in()
            if await say(stream, opened.response, self._bounds):
                await self._serve(opened, stream)
        finally:
            for merchant_no in places:
                self._leave_place(merchant_no)

    def close(self) -> None:
        """Let nobody in any more, and end all streams once what they have begun is answered.

        What comes in from now on is not read.
        """
        self._stopping = True
        for pump in self._pumps:
            pump.session.shut(_STOPPING)

    async def gone(self) -> None:
        """Wait until there is none."""
        while self._pumps:
            await self._none.wait()

    async def _serve(self, opened: Opened, stream: trio.abc.Stream) -> None:
        session = Session(opened, self._bounds, self._backlog(opened.merchant_no))
        pump = Pump(session, stream, self._bounds)
        self._pumps.add(pump)
        if self._stopping:
            session.shut(_STOPPING)
        try:
            with _watched(opened, session):
                await pump.run()
        finally:
            self._pumps.discard(pump)
            if not self._pumps:
                self._none.set()
                self._none = trio.Event()

    def _take_place(self, merchant_no: str) -> None:
        """Take a place for a stream of a merchant's, or of the bank's (empty).

        Raises:
            RequestError: STOPPING, NODE_BUSY, TOO_MANY_STREAMS.
        """
        if self._stopping:
            raise RequestError(STOPPING.code, retry_after_s=STOPPING.retry_after_s)
        if self._count >= self._bounds.streams_max:
            raise RequestError(NODE_BUSY.code, retry_after_s=NODE_BUSY.retry_after_s)
        if merchant_no and self._of[merchant_no] >= self._bounds.streams_per_merchant:
            raise RequestError(RequestCode.TOO_MANY_STREAMS, retry_after_s=_FULL_S)
        self._of[merchant_no] += 1
        self._count += 1

    def _leave_place(self, merchant_no: str) -> None:
        self._count -= 1
        self._of[merchant_no] -= 1
        if not self._of[merchant_no]:
            del self._of[merchant_no]
            self._backlogs.pop(merchant_no, None)

    def _backlog(self, merchant_no: str) -> Backlog:
        if not merchant_no:
            return Backlog(math.inf)
        if merchant_no not in self._backlogs:
            self._backlogs[merchant_no] = Backlog(self._bounds.merchant_bytes)
        return self._backlogs[merchant_no]


def _watched(opened: Opened, session: Session) -> AbstractContextManager[None]:
    """Have the session hear of changes of the merchant whose events it may have."""
    if not opened.follows:
        return nullcontext()
    return opened.desk.node.hearing(f"merchant/{opened.follows}", session.changed)
