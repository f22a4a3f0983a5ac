"""Events of a stream: each once, in their sequence, over as many connections as it takes.

A connection is resumed after the last event that was handed out. The sequence is checked: what is
missing or comes twice is an error, never passed over. There is no more in memory than a page and
the message behind it, so who is slow slows the bank, and loses nothing if the bank hangs up on it.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

import msgspec
import trio

from actors.answers import EventView
from gateway.client.errors import BrokenSequenceError, PiaohaoError, UnreadableAnswerError
from gateway.client.stream_core import StreamCore, WireLostError, read_message, resume_text
from gateway.client.terms import Effort, Terms
from gateway.client.wire import Wire


class Events:
    """A merchant's events from some sequence on, those to come too; for `async for`.

    It has a connection of its own, made when the first event is asked for.

    Attributes:
        after: the sequence of the last event that was handed out: keep it, and you miss nothing.
        newest: the last one that the bank was known to have; 0 before anything came.
    """

    def __init__(
        self,
        core: StreamCore,
        terms: Terms,
        connect: Callable[[Effort], Awaitable[Wire]],
        after: int,
    ) -> None:
        self.after = after
        self.newest = 0
        self._core = core
        self._connect = connect
        self._page: deque[EventView] = deque()
        self._wire: Wire | None = None
        self._effort: Effort | None = None
        self._terms = terms
        self._since = 0.0  # when the connection was made

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventView:
        """Return the next event, once there is one.

        Raises:
            BrokenSequenceError: it is not the one that follows.
            StreamEndedError: the bank has ended the stream for good.
            PiaohaoError: no connection was to be had for as long as the client is patient, or
                whoever is there is not the bank.
        """
        while not self._page:
            try:
                await self._receive()
            except WireLostError as lost:
                self._wire = None
                if lost.final:
                    raise lost.trouble from None
                await self._pause(lost)
            except msgspec.DecodeError as error:
                await self.aclose()
                raise UnreadableAnswerError(f"a message with events: {error}") from None
            except BrokenSequenceError:
                await self.aclose()
                raise
        event = self._page.popleft()
        self.after = event.sequence
        return event

    async def aclose(self) -> None:
        """Hang up. Who goes on afterwards is connected anew."""
        if self._wire is not None:
            self._wire.abort()
            self._wire = None

    async def _receive(self) -> None:
        """Take the next message."""
        if self._wire is None:
            self._effort = self._effort or self._core.effort()
            try:
                wire = await self._connect(self._effort)
            except PiaohaoError:
                self._effort = None  # who asks again is as patient again
                raise
            self._since = trio.current_time()
            await wire.send(resume_text(self.after))
            self._wire = wire
        message = read_message(await self._wire.receive())
        expected = self.after
        for event in message.events:
            expected += 1
            if event.sequence != expected:
                raise BrokenSequenceError(expected, event.sequence)
        if message.events:
            self._page.extend(message.events)
            self.newest = message.newest
            self._effort = None

    async def _pause(self, lost: WireLostError) -> None:
        """Wait before the next connection: one that brings nothing must not follow at once.

        One that has held for longer than any pause was good, though nothing may have happened.
        """
        if trio.current_time() - self._since >= self._terms.pause_max_s:
            self._effort = None
        self._effort = self._effort or self._core.effort()
        pause_s = self._effort.pause_s()
        if pause_s is None:
            self._effort = None
            raise lost.trouble from None
        await trio.sleep(pause_s)
