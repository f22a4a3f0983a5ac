"""A connection: one client's socket, and how long anything may take on it.

Stock Hypercorn 0.18 on Trio lets one client end the process: a byte after a WebSocket upgrade
(its issue 225), or an HTTP/2 client that leaves mid-stream. Here whatever goes wrong on a
connection ends it and nothing else. One deadline holds for what is to come in next: the first
byte, a whole header block, the next request; bodies and answers have theirs elsewhere.
"""

import logging
import math
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr
from msgspec import Struct
from msgspec.structs import replace

from gateway.answer import failed
from gateway.counter import Request
from gateway.errors import Problem, RequestCode, RequestError, problem
from gateway.listener.answer import unsigned, written
from gateway.listener.bounds import Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.framing import Framing
from gateway.listener.http1 import Http1
from gateway.listener.names import Names
from gateway.listener.parting import part
from gateway.listener.places import GATHERING
from gateway.listener.tasks import Tasks
from gateway.listener.tcp import is_reset
from gateway.listener.tls import CLIENT_CERTIFICATE, Stream, client_certificate, shake_hands
from gateway.listener.upgrade import TakeOver, upgrade
from gateway.patience import PATIENCE, Patience

log = logging.getLogger("piaohao.gateway")

_RECEIVE_BYTES: Final = 1 << 16
_SEND_BYTES: Final = 1 << 14
"""What TLS is given at a time: of what the client has not taken yet it holds two copies."""
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

Admits = Callable[[bytes | None], bool]
"""Says whether a client is heard that has shown this certificate (DER), or none."""


def everybody(_: bytes | None) -> bool:
    """Admit whoever has a connection."""
    return True


class House(Struct, frozen=True):
    """What all connections of a listener have in common.

    Attributes:
        app: what answers requests.
        config: Hypercorn's.
        context: Hypercorn's; once it is terminated, answered connections close.
        admits: who is heard, where connections are encrypted.
        take_over: serves connections that become streams; None where none may.
        streams_at: the path where they do.
    """

    app: AppWrapper
    config: Config
    context: WorkerContext
    bounds: Bounds
    names: Names
    census: Census[Guest]
    tls: ssl.SSLContext | None
    admits: Admits
    take_over: TakeOver | None
    streams_at: str


class Connection:
    """One client's connection; whatever goes wrong in it ends it, and nothing else.

    Args:
        house: whose guest it is.
        stream: the connection as it was accepted.
    """

    __slots__ = (
        "_busy",
        "_client",
        "_deadline",
        "_ending",
        "_framing",
        "_heads_timed",
        "_house",
        "_listening",
        "_parting",
        "_patience",
        "_protocol",
        "_said",
        "_send_lock",
        "_sends_on",
        "_socket",
        "_stream",
        "_tasks",
        "_upgrade",
    )

    def __init__(self, house: House, stream: trio.SocketStream) -> None:
        self._house = house
        self._stream: Stream = stream
        self._socket = stream
        self._framing = Framing(house.bounds)
        self._patience = Patience(house.bounds.unproven_s_max)
        self._client: tuple[str, int] | None = None
        self._protocol: Http1 | None = None
        self._tasks: Tasks | None = None
        self._send_lock = trio.Lock()
        self._busy: trio.Event | None = None
        self._upgrade: Request | None = None
        self._ending = False
        self._said = False  # anything, which the client may not have read yet
        self._sends_on = False  # what nobody will read, as it ends
        self._parting = trio.CancelScope()
        self._heads_timed = -1
        self._deadline = trio.current_time() + house.bounds.hello_s
        self._listening: trio.CancelScope | None = None

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        try:
            await self._serve()
        except* trio.Cancelled:
            raise
        except* (OSError, *_GONE):
            pass
        except* Exception as errors:
            log.warning("a connection was ended", exc_info=errors)
        finally:
            self._house.census.leave(self)
            self.hang_up()
            # They refer to this; only the garbage collector would free them.
            self._protocol = self._tasks = None

    def hang_up(self) -> None:
        """Close the socket at once; whoever waits for it finds out."""
        self._socket.socket.close()
        self._parting.cancel()

    def retire(self) -> None:
        """Close it soon, unless a request is under way."""
        if self._house.tls is not None and self._stream is self._socket:
            self.hang_up()  # it has not shaken hands
        elif self._busy is None and self._listening is not None:
            self._give_up()

    def admitted(self) -> bool:
        """Return whether its client is heard; of one that has not shaken hands that is not said."""
        if self._house.tls is None or self._stream is self._socket:
            return True
        return self._house.admits(client_certificate(self._stream))

    async def _serve(self) -> None:
        house = self._house
        if house.context.terminated.is_set():
            return  # it was accepted in the very turn in which the others were told to end
        sock = self._socket.socket
        self._client = parse_socket_addr(sock.family, sock.getpeername())
        if self._client is None or not house.census.admit(self, self._client[0]):
            return
        if house.tls is not None:
            encrypted = await shake_hands(self._socket, house.tls, house.bounds.hello_s)
            if encrypted is None:
                return
            self._stream = encrypted
            if not self.admitted():
                return
        self._tasks = Tasks()
        async with self._tasks:
            await self._hear()
            await self._say_gone()
        if self._upgrade is not None and house.take_over is not None:
            # A stream is in the census as one that is at work: its client is known, and does not
            # make room for somebody who is not. Who is turned away is nobody, for five seconds.
            self._protocol = None
            self._said = True
            house.census.rest(self)
            asked = replace(self._upgrade, certificate=client_certificate(self._stream))
            let_in = partial(house.census.work, self)
            await house.take_over(asked, self._stream, self._framing.rest(), let_in)
        await self._close()

    def _http(self) -> Http1:
        """Return the connection's protocol.

        It is made once something has come in for it: a flood of connections that say nothing costs
        a fifth as much without.
        """
        if self._protocol is None:
            assert self._tasks is not None
            house, sock = self._house, self._socket.socket
            state = {
                PATIENCE: self._patience,
                CLIENT_CERTIFICATE: client_certificate(self._stream),
                GATHERING: partial(house.census.gathering, self),
            }
            self._protocol = Http1(
                house.names,
                house.app,
                house.config,
                house.context,
                self._tasks,
                ConnectionState(state),
                house.tls is not None,
                self._client,
                parse_socket_addr(sock.family, sock.getsockname()),
                self._take,
            )
        return self._protocol

    async def _say_gone(self) -> None:
        """Have whoever is at work on a request hear that its client has left."""
        if self._protocol is not None:
            await self._protocol.handle(Closed())

    async def _hear(self) -> None:
        """Hand on what comes in until the client sends nothing more or its time is over."""
        while not self._ending:
            data = b""  # it would be held until the next piece comes
            with trio.CancelScope(deadline=self._deadline) as self._listening, suppress(*_GONE):
                data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
            late = self._listening.cancelled_caught
            self._listening = None
            if self._ending:
                return
            if late:
                if not self._framing.in_head:
                    if self._busy is None:
                        return
                    # What had begun was an empty line: nothing is to come in until the answer.
                    self._deadline = math.inf
                    continue
                await self._refuse(problem(RequestCode.HEADERS_TIMEOUT))
            elif not data:
                # It may have closed its side alone, and wait for an answer (RFC 9112, 9.6).
                if not self._framing.in_body:
                    await self._answered()
                return
            else:
                await self._heard(data)
                if self._upgrade is not None:
                    return

    async def _heard(self, data: bytes) -> None:
        framing = self._framing
        if not framing.in_body:
            await self._patience.wait()
        framing.take(data)
        in_body = framing.in_body
        while sound := framing.sound():
            # One request at a time; see `http1`.
            if not in_body:
                await self._answered()
                await self._patience.pause()
                if is_reset(self._socket.socket):
                    self._give_up()  # a request takes this stack 2 ms, and nobody waits for it
            if self._ending or await self._upgraded(sound, whole=not in_body):
                return
            await self._http().handle(RawData(sound))
            in_body = framing.in_body
            if not in_body and self._busy is not None:
                self._house.census.work(self)
        if framing.fault is not None:
            await self._refuse(framing.fault.problem)
        elif framing.in_head and self._heads_timed != framing.heads:
            self._heads_timed = framing.heads
            self._hear_until(trio.current_time() + self._house.bounds.head_s)

    async def _upgraded(self, sound: bytes, *, whole: bool) -> bool:
        """Return whether a request is for a stream, and the connection no longer HTTP's.

        Args:
            whole: what was let through begins with a header block.
        """
        house, framing = self._house, self._framing
        if house.take_over is None or not whole or not framing.upgrade or framing.in_body:
            return False
        try:
            self._upgrade = upgrade(sound, house.names, framing.host, house.streams_at)
        except RequestError as error:
            await self._refuse(error.problem)
            return True
        return self._upgrade is not None

    async def _answered(self) -> None:
        """Wait until no request is under way."""
        while self._busy is not None:
            await self._busy.wait()

    async def _refuse(self, found: Problem) -> None:
        """Say what is wrong with the request that comes in, after what was asked before it."""
        if not self._framing.in_body:
            await self._answered()
        if self._ending:
            return
        if self._protocol is None:
            # Thousands who stall are late together, and that protocol takes 2 ms for each of them.
            self._ending = self._sends_on = True
            answer = unsigned(failed(found))
            await self._send(written(answer, lasts=False, bodiless=False))
        else:
            await self._protocol.refuse(found)

    def _hear_until(self, deadline: float) -> None:
        self._deadline = deadline
        if self._listening is not None:
            self._listening.deadline = deadline

    async def _take(self, event: Event) -> None:
        """Do what the protocol asks for: send, end the connection, note that it is idle or not."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated):
            self._note(idle=event.idle)
        else:
            # Quart cancels what it sends as soon as it has heard that the request is over, and so
            # would cancel the closing of the connection: the client would wait for ever.
            with trio.CancelScope(shield=True):
                await self._end()

    def _note(self, *, idle: bool) -> None:
        if self._busy is not None:
            self._busy.set()
        if not idle:
            # To the census it is at work once all of the request is there: see `_heard`.
            self._busy = trio.Event()
            self._hear_until(math.inf)
            return
        self._busy = None
        self._house.census.rest(self)
        if not self._framing.in_head:
            self._hear_until(trio.current_time() + self._house.bounds.keep_alive_s)

    async def _send(self, data: bytes) -> None:
        """Send all of it, or hang up on a client that does not read."""
        self._said = True
        scope = trio.CancelScope(shield=True, relative_deadline=self._house.bounds.send_s)
        async with self._send_lock:
            self._house.census.sending(self)
            try:
                with scope:
                    view = memoryview(data)
                    for begin in range(0, len(view), _SEND_BYTES):
                        await self._stream.send_all(view[begin : begin + _SEND_BYTES])
            except _GONE:
                self._give_up()
                await self._say_gone()
            finally:
                self._house.census.sent(self)
            if scope.cancelled_caught:
                self._give_up()
                self.hang_up()

    def _give_up(self) -> None:
        """Answer nothing any more, and hear nothing."""
        self._ending = True
        self._hear_until(-math.inf)
        if self._busy is not None:
            self._busy.set()
            self._busy = None

    async def _end(self) -> None:
        """Have the connection closed after what is being sent."""
        framing = self._framing
        self._sends_on |= self._http().unread or framing.in_head or framing.in_body
        self._give_up()
        await self._say_gone()

    async def _close(self) -> None:
        if not self._said and self._stream is self._socket:
            return  # nothing can be lost, and thousands who say nothing leave together
        async with self._send_lock:
            with self._parting:
                within_s = self._house.bounds.linger_s
                await part(self._stream, self._socket, within_s, sends_on=self._sends_on)
