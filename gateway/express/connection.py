"""A connection: one client's socket and one task, which reads, asks and writes in turn.

Requests are served one at a time and answered in the order in which they came (RFC 9112, section
9.3.2); those that came together and are answered without waiting go out together. While a request
is served nothing more is read: TCP slows whoever sends on, and a client that leaves meanwhile
cancels nothing. Whatever is to come in has its time, and so has the client to take an answer.
"""

import logging
import math
import ssl
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Final

import trio
from msgspec import Struct

from engine.fault import NODE_BUSY
from gateway.answer import failed
from gateway.counter import Counter, Place, Request, Response
from gateway.errors import Problem, RequestCode, RequestError, faulted, problem
from gateway.express.request import Incoming
from gateway.express.wire import GONE, Wire
from gateway.listener.answer import CONTINUE, unsigned, written
from gateway.listener.bounds import DISCARDED_BYTES, Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.framing import Framing
from gateway.listener.names import Names
from gateway.listener.places import GATHERED_BYTES
from gateway.listener.upgrade import TakeOver
from gateway.patience import Patience
from gateway.stream.handshake import asks_for_stream

log = logging.getLogger("piaohao.gateway")

_JOINED_BYTES: Final = 1 << 16
"""So many bytes of answers wait for the next one to be sent with; more are not kept."""
_BUSY: Final = unsigned(failed(faulted(NODE_BUSY)))


class House(Struct):
    """What all connections of the listener have in common.

    Attributes:
        place: where a request belongs by its method and path, None for another listener's.
        elsewhere: what is said then.
        take_over: serves connections that become streams; None where none may.
        connections: those that are there.
        taken: requests that are being served.
        active: those that have begun to come in and are not answered down to the last byte.
        closing: connections end with the answer under way.
        quiet: set whenever nothing is active.
    """

    counter: Counter
    place: Callable[[str, str], Place | None]
    elsewhere: RequestError
    bounds: Bounds
    names: Names
    census: Census[Guest]
    tls: ssl.SSLContext | None
    take_over: TakeOver | None
    connections: "set[Connection]"
    quiet: trio.Event
    taken: int = 0
    active: int = 0
    closing: bool = False


class Connection:
    """One client's connection; whatever goes wrong in it ends it, and nothing else.

    Args:
        house: whose guest it is.
        sock: the connection as it was accepted.

    Attributes:
        until: when the client is late with what it is waited for, on Trio's clock; the listener
            looks at it now and then. A time-out of Trio's own for each time that something is to
            come in costs 15 µs.
    """

    __slots__ = (
        "_active",
        "_answers",
        "_bodiless",
        "_deadline",
        "_ending",
        "_framing",
        "_heads_timed",
        "_house",
        "_incoming",
        "_listening",
        "_patience",
        "_place",
        "_said",
        "_sends_on",
        "_wire",
        "until",
    )

    def __init__(self, house: House, sock: socket) -> None:
        self.until = math.inf
        self._house = house
        self._wire = Wire(sock)
        self._framing = Framing(house.bounds)
        self._patience = Patience(house.bounds.unproven_s_max)
        self._incoming: Incoming | None = None
        self._place: Place | None = None
        self._answers = bytearray()  # that are ready and not sent
        self._active = 0  # requests that have begun to come in and whose answers are not sent
        self._bodiless = False  # what is said now answers HEAD
        self._ending = False
        self._said = False  # anything, which the client may not have read yet
        self._sends_on = False  # what nobody will read, as it ends
        self._heads_timed = -1
        self._deadline = trio.current_time() + house.bounds.hello_s
        self._listening = trio.CancelScope()

    async def run(self, host: str) -> None:
        """Serve the client until either side ends the connection.

        Args:
            host: the address that it comes from.
        """
        house = self._house
        # It may have been accepted in the very turn in which the others were told to end.
        if house.closing or not house.census.admit(self, host):
            self.hang_up()
            return
        house.connections.add(self)
        try:
            await self._serve()
        except* trio.Cancelled:
            raise
        except* GONE:
            pass
        except* Exception as errors:
            log.warning("a connection was ended", exc_info=errors)
        finally:
            house.connections.discard(self)
            house.census.leave(self)
            self._count(-self._active)
            if self._incoming is not None:
                self._incoming.end()
            self.hang_up()

    def hang_up(self) -> None:
        """Close the socket at once; whoever waits for it finds out, and hears nothing more."""
        self._ending = True
        self._wire.hang_up()

    def retire(self) -> None:
        """Close it soon, unless a request is under way."""
        if self._house.tls is not None and not self._wire.encrypted:
            self.hang_up()  # it has not shaken hands
        elif not self._active:
            self._ending = True
            self.give_up()

    def give_up(self) -> None:
        """Wait no longer for what is to come in."""
        if self.until < math.inf:
            self._listening.cancel()

    async def _serve(self) -> None:
        house = self._house
        tls = house.tls
        if tls is not None and not await self._wire.encrypt(tls, house.bounds.hello_s):
            return
        while not self._ending:
            with trio.CancelScope() as self._listening:
                await self._hear()
            self.until = math.inf
            if self._listening.cancel_called and not self._ending:
                await self._late()
        if self._said or tls is not None:
            # Else nothing can be lost, and thousands who say nothing leave together.
            await self._wire.part(house.bounds.linger_s, sends_on=self._sends_on)

    async def _hear(self) -> None:
        """Answer what comes in, until the client has left or is late."""
        while not self._ending:
            self.until = self._deadline
            data = await self._wire.receive()
            if self._listening.cancel_called:
                return  # it came with the last of its time; what follows may not be cancelled
            self.until = math.inf
            if data:
                await self._heard(data)
            else:
                self._ending = True
            del data  # it would be held until the next piece comes

    async def _late(self) -> None:
        """Say that what was to come in has not, or end a connection that says nothing."""
        if self._incoming is not None:
            await self._refuse(problem(RequestCode.BODY_TIMEOUT))
        elif self._framing.in_head:
            await self._refuse(problem(RequestCode.HEADERS_TIMEOUT))
        else:
            self._ending = True

    async def _heard(self, data: bytes) -> None:
        house, framing = self._house, self._framing
        if self._incoming is None:
            await self._patience.wait()
        answered = framing.heads - (self._incoming is not None)
        heads = framing.heads + 1
        framing.take(data)
        try:
            while not self._ending and (sound := framing.sound()):
                if self._incoming is None and self._patience.unheard:
                    await self._send()
                    await self._patience.pause()
                await self._take(sound)
                if framing.heads > heads:
                    # Whoever sends many at once takes turns with the others.
                    heads = framing.heads
                    await trio.lowlevel.checkpoint()
            if framing.fault is not None and not self._ending:
                raise framing.fault
        except RequestError as error:
            await self._refuse(error.problem)
            return
        await self._send()
        if self._ending or self._incoming is not None:
            return
        if not framing.in_head:
            if framing.heads > answered:  # empty lines alone gain nobody time
                self._deadline = trio.current_time() + house.bounds.keep_alive_s
        elif self._heads_timed != framing.heads:
            self._heads_timed = framing.heads
            self._deadline = trio.current_time() + house.bounds.head_s

    async def _take(self, sound: bytes) -> None:
        """Take what was let through of one request, and answer it once it is whole."""
        if self._incoming is None:
            self._bodiless = sound.startswith(b"HEAD ")
            self._incoming = Incoming(self._house.names, self._framing, sound)
            self._count(1)
            await self._begun(self._incoming)
            if self._ending:
                return
        else:
            self._incoming.take(sound)
        incoming = self._incoming
        if incoming.whole or incoming.size > DISCARDED_BYTES:
            self._house.census.work(self)
            await self._answer(incoming)
        elif incoming.size:
            self._house.census.gathering(self, incoming.kept_bytes)

    async def _begun(self, incoming: Incoming) -> None:
        """Find out where a request belongs, and so what is to become of its body."""
        house, line = self._house, incoming.line
        if (
            house.take_over is not None
            and self._framing.upgrade
            and incoming.whole
            and asks_for_stream(line.method, line.path, line.version, incoming.headers)
        ):
            await self._hand_over(house.take_over, incoming)
            return
        self._place = place = house.place(line.method, line.path)
        if incoming.whole:
            # It is there already: nobody need be asked whether to keep it.
            incoming.expect(GATHERED_BYTES if place is None else place.body_bytes_max, kept=True)
            return
        wanted = place is not None and house.counter.wants_body(place, incoming.headers)
        # What strangers send is read to its end like on the other listener, where it is gathered.
        limit = place.body_bytes_max if place is not None and wanted else GATHERED_BYTES
        incoming.expect(limit, kept=wanted)
        self._deadline = trio.current_time() + house.bounds.body_s
        waits = incoming.headers.get("expect", "").lower() == "100-continue"
        if waits and not incoming.size and line.version == b"HTTP/1.1":
            self._answers += CONTINUE
            await self._send()

    async def _answer(self, incoming: Incoming) -> None:
        """Serve a request, and have its answer wait for company if there may be some."""
        incoming.end()
        if self._answers and self._begins_something():
            # They need not wait for a commit, nor may a client that does not take them have a
            # place for that long; who was hung up on would not hear what became of a command.
            await self._send()
            if self._ending:
                return
        answer = await self._served(incoming)
        lasts = incoming.lasts and incoming.whole and not self._house.closing
        self._answers += written(answer, lasts=lasts, bodiless=self._bodiless)
        self._incoming = None
        self._bodiless = False  # a fault in what follows is no answer to HEAD
        if not lasts:
            self._ending = True
            self._sends_on = self._framing.in_body or self._framing.in_head
            await self._send()
        elif len(self._answers) >= _JOINED_BYTES:
            await self._send()

    def _begins_something(self) -> bool:
        endpoint = None if self._place is None else self._place.endpoint
        return endpoint is not None and endpoint.takes_slots

    async def _served(self, incoming: Incoming) -> Response:
        """Return what a request is answered, which nobody has looked at before."""
        house, place = self._house, self._place
        if house.taken >= house.bounds.express_requests_max or self._patience.spent:
            self._patience.refused(NODE_BUSY.retry_after_s or 0)
            return _BUSY
        house.taken += 1
        try:
            if place is None:
                response = house.counter.refuse(house.elsewhere, head=self._bodiless)
            elif incoming.too_large:
                detail = f"at most {place.body_bytes_max} bytes"
                large = RequestError(RequestCode.BODY_TOO_LARGE, detail)
                response = house.counter.refuse(large, head=self._bodiless)
            else:
                request = self._request(incoming)
                response = await house.counter.answer(place, request)
        finally:
            house.taken -= 1
        self._patience.answered(response.busy_s, proven=response.proven)
        return response

    def _request(self, incoming: Incoming) -> Request:
        line = incoming.line
        return Request(
            line.method,
            line.path,
            line.query,
            incoming.headers,
            incoming.body,
            self._house.names.scheme,
        )

    async def _hand_over(self, take_over: TakeOver, incoming: Incoming) -> None:
        """Have the connection spoken on in another way, and end it after that."""
        await self._send()
        self._count(-self._active)
        incoming.end()
        self._ending = self._said = True
        census = self._house.census
        census.rest(self)  # see the other listener: whoever is let in makes no room for a stranger
        let_in = partial(census.work, self)
        await take_over(self._request(incoming), self._wire.stream, self._framing.rest(), let_in)

    async def _refuse(self, found: Problem) -> None:
        """Say what is wrong with what comes in, after what was asked before it, and end."""
        answer = unsigned(failed(found))
        self._answers += written(answer, lasts=False, bodiless=self._bodiless)
        self._ending = self._sends_on = True
        await self._send()

    async def _send(self) -> None:
        """Send what is ready, or hang up on a client that does not take it."""
        if not self._answers:
            return
        self._said = True
        data = bytes(self._answers)
        self._answers.clear()
        self._house.census.sending(self)
        if not await self._wire.send(data, self._house.bounds.send_s):
            self.hang_up()
        self._house.census.sent(self)
        self._count((self._incoming is not None) - self._active)
        if self._incoming is None or not self._incoming.whole:
            # No sooner: who makes room for somebody else loses what is ready and not sent.
            self._house.census.rest(self)

    def _count(self, change: int) -> None:
        """Count requests that are under way, here and in the house."""
        house = self._house
        self._active += change
        house.active += change
        if not house.active:
            house.quiet.set()
