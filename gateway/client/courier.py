"""The courier: takes commands over a stream, many tasks' on the connection that they share.

Whoever gives errands waits for its own answer, however many others do; what has gathered while a
message was being sent goes out in the next one. When the connection is lost, those whose errands
had left are told so and give them again, under the same numbers, on the next one. Nothing is sent
by the task that gives them: it may be cancelled at any moment, and half a frame helps nobody.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

import msgspec
import trio

from gateway.client.errors import BusyError, PiaohaoError, UnreachableError
from gateway.client.exchange import Came, Errands, Lost
from gateway.client.stream_core import (
    ENVELOPE_BYTES,
    MESSAGE_BYTES,
    MESSAGE_ERRANDS,
    Answer,
    StreamCore,
    WireLostError,
    answer_of,
    errand_text,
    read_message,
)
from gateway.client.terms import Effort, Terms
from gateway.client.wire import Wire

_PASSING: Final = (BusyError, UnreachableError)
"""Troubles of a handshake that time may mend: the errand's own patience says how long."""


class _Parcel:
    """Errands that are sent together, from being given to being answered.

    Attributes:
        left: they were sent, or never will be.
        done: there is a reply.
        wanted: somebody still waits for the reply.
    """

    __slots__ = ("_answers", "_missing", "done", "errands", "left", "reply", "size", "wanted")

    def __init__(self, errands: Errands) -> None:
        self.errands = errands
        self.size = sum(map(len, errands.commands)) + ENVELOPE_BYTES * len(errands.commands)
        self._answers: list[Answer | None] = [None] * len(errands.commands)
        self._missing = len(errands.commands)
        self.left = trio.Event()
        self.done = trio.Event()
        self.wanted = True
        self.reply: Came | Lost = Lost(False, "no connection was to be had")

    def take(self, index: int, answer: Answer) -> None:
        """Note the answer to one of them; the last one makes the reply."""
        self._answers[index] = answer
        self._missing -= 1
        if not self._missing:
            self.end(answer_of(self.errands, [each for each in self._answers if each is not None]))

    def end(self, reply: Came | Lost) -> None:
        self.reply = reply
        self.left.set()
        self.done.set()


class Courier:
    """The commands of one stream.

    Args:
        core: how long tries go on.
        connect: makes a connection, within an effort.
    """

    def __init__(
        self, core: StreamCore, terms: Terms, connect: Callable[[Effort], Awaitable[Wire]]
    ) -> None:
        self._core = core
        self._terms = terms
        self._connect = connect
        self._ids = count(1)
        self._queue: deque[_Parcel] = deque()
        self._unanswered: dict[str, tuple[_Parcel, int]] = {}
        self._given = trio.Event()
        self._closed: Lost | None = None

    async def give(self, errands: Errands) -> Came | Lost:
        """Send errands once; returns the answer to all of them, or that it was lost."""
        if self._closed is not None:
            return self._closed
        parcel = _Parcel(errands)
        self._queue.append(parcel)
        self._given.set()
        try:
            with trio.move_on_after(self._terms.patience_s + self._terms.try_s):
                await parcel.left.wait()
            if parcel.left.is_set():
                with trio.move_on_after(errands.timeout_s):
                    await parcel.done.wait()
        finally:
            parcel.wanted = False
        return parcel.reply

    async def run(self) -> None:
        """Have a connection whenever there is something to send, until cancelled."""
        try:
            while True:
                await self._until_given()
                await self._work(self._core.effort())
        finally:
            closed = UnreachableError("the stream was closed")
            self._closed = Lost(False, "", trouble=closed, final=True)
            self._tell_queued(self._closed)

    async def _work(self, effort: Effort) -> None:
        """Have one connection after another until one has worked, or patience is over."""
        pause_s: float | None = 0.0
        while pause_s is not None:
            await trio.sleep(pause_s)
            try:
                wire = await self._connect(effort)
            except PiaohaoError as error:
                final = not isinstance(error, _PASSING)
                self._tell_queued(Lost(False, str(error), trouble=error, final=final))
                return
            if await self._serve(wire) or not self._queue:
                return
            # It has ended without one answer: the next one must not come at once.
            pause_s = effort.pause_s()

    async def _serve(self, wire: Wire) -> bool:
        """Send and hear until a connection is over; returns whether an answer came."""
        heard = False
        end = WireLostError(1006, "the stream was closed")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, wire)
                while True:
                    try:
                        heard |= self._hear(await wire.receive())
                    except WireLostError as error:
                        end = error
                        break
                nursery.cancel_scope.cancel()
        finally:
            wire.abort()
            lost = Lost(True, str(end), trouble=end.trouble, final=end.final)
            unanswered, self._unanswered = self._unanswered, {}
            for parcel, _ in unanswered.values():
                if not parcel.done.is_set():
                    parcel.end(lost)
        return heard

    def _hear(self, text: str) -> bool:
        try:
            answers = read_message(text).answers
        except msgspec.DecodeError as error:
            raise WireLostError(1006, f"a message cannot be read: {error}") from None
        for answer in answers:
            found = self._unanswered.pop(answer.id, None)
            if found is None:
                raise WireLostError(1006, "an answer came to what was not asked")
            parcel, index = found
            parcel.take(index, answer)
        return bool(answers)

    async def _send(self, wire: Wire) -> None:
        try:
            while True:
                await self._until_given()
                text = self._next_message()
                if text:
                    await wire.send(text)
        except WireLostError:
            return  # who receives hears of it too

    async def _until_given(self) -> None:
        while not self._queue:
            self._given = trio.Event()
            await self._given.wait()

    def _next_message(self) -> str:
        """Return what has gathered, as far as it fits; from now on it may have arrived."""
        texts: list[bytes] = []
        size = 0
        while self._queue:
            parcel = self._queue[0]
            commands = parcel.errands.commands
            too_many = len(texts) + len(commands) > MESSAGE_ERRANDS
            if texts and (too_many or size + parcel.size > MESSAGE_BYTES):
                break
            self._queue.popleft()
            if not parcel.wanted:
                continue
            size += parcel.size
            parcel.reply = Lost(True, "the answer did not come in time")
            parcel.left.set()
            for index, command in enumerate(commands):
                id_ = str(next(self._ids))
                self._unanswered[id_] = parcel, index
                texts.append(errand_text(id_, command))
        if len(texts) == 1:
            return texts[0].decode()
        return f"[{b','.join(texts).decode()}]" if texts else ""

    def _tell_queued(self, reply: Lost) -> None:
        while self._queue:
            self._queue.popleft().end(reply)
