"""A session: what one stream decides, without its I/O.

Bytes are fed in and taken out; in between it reads messages, starts their commands and reads events
once the client may have more. What it holds is bounded, in commands and in bytes: answers by the
window and by what all streams of the merchant hold (`backlog`), events by a page. A command that
has begun goes on whatever becomes of the stream, and its answer is then nobody's.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from engine.fault import FaultCode
from gateway.answer import Item, encode
from gateway.counter import Opened
from gateway.errors import Problem, RequestCode, RequestError
from gateway.feed import event_list
from gateway.handlers.commands import own
from gateway.series import Series
from gateway.stream.backlog import Backlog
from gateway.stream.bounds import ANSWER_BYTES, StreamBounds
from gateway.stream.closing import Close, CloseCode, CloseError, Flush
from gateway.stream.frames import Frames, Left, Ping, Text, text_frame
from gateway.stream.messages import (
    Errands,
    Reply,
    Resume,
    answers_message,
    encoded_events,
    read_message,
)
from storage.errors import StorageError

log = logging.getLogger("piaohao.gateway")

_BUSY = frozenset({FaultCode.NODE_BUSY, FaultCode.ACTOR_BUSY, RequestCode.RATE_LIMITED})
_DEAF_S_MAX = 32.0


class Session:
    """One stream.

    Args:
        opened: who has it, and what it may.
        bounds: of its messages and its window.
        backlog: of its merchant's streams.

    Attributes:
        wake: called when there may be something to take.
        closing: how it ends, once that is certain.
        closed: the close frame was taken: nothing follows it.
        left: the client has said that it leaves.
        deaf_until: when the next message may be heard, on Trio's clock.
    """

    __slots__ = (
        "_after",
        "_answers",
        "_bounds",
        "_bytes_held",
        "_bytes_in_hand",
        "_changed",
        "_frames",
        "_held_up",
        "_in_hand",
        "_lost",
        "_opened",
        "_pinging",
        "_pong",
        "_starting",
        "_turned_away",
        "_turned_s",
        "_unanswered",
        "backlog",
        "closed",
        "closing",
        "deaf_until",
        "left",
        "wake",
    )

    def __init__(self, opened: Opened, bounds: StreamBounds, backlog: Backlog) -> None:
        self._opened = opened
        self._bounds = bounds
        self._frames = Frames(bounds, trio.current_time)
        self.backlog = backlog
        self._answers: list[bytes] = []
        self._in_hand = 0  # answers that are on their way to the client
        self._bytes_in_hand = 0  # the same in bytes, and events with them
        self._bytes_held = 0  # commands that have begun, answers and events that are not taken
        self._unanswered = 0  # commands whose answers the client has not taken
        self._after = -1  # the last event that was taken; before `resume` none is wanted
        self._changed = False  # there may be events behind it
        self._pinging = False
        self._pong: bytes | None = None
        self._starting = False
        self._held_up: Series | None = None  # what came before the next message has not begun
        self._turned_away = 0
        self._turned_s = 0
        self._lost = False
        self.wake: Callable[[], None] = _nobody
        self.closing: Close | None = None
        self.closed = False
        self.left = False
        self.deaf_until = 0.0

    # What comes in.

    @property
    def hears(self) -> bool:
        """Whether the next message may be read; what comes after a close frame is nobody's."""
        if self.closing is not None:
            return self.closed
        if self._held_up is not None:
            if self._held_up.held_up:
                return False
            self._held_up = None
        return (
            self._unanswered < self._bounds.window
            and self._bytes_held < self._bounds.window_bytes
            and self.backlog.has_room
            and trio.current_time() >= self.deaf_until
        )

    @property
    def begun_at(self) -> float | None:
        """When a message began whose end has not come; None where none has."""
        return self._frames.begun_at

    def excuse(self, seconds: float) -> None:
        """Let a message that has begun take so much longer: nobody heard it meanwhile."""
        if self._frames.begun_at is not None:
            self._frames.begun_at += seconds

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be answered, or to be told that was."""
        return not self._unanswered

    def feed(self, data: bytes) -> None:
        """Take what has come in; `step` then does it."""
        self._frames.feed(data)

    def step(self) -> bool:
        """Do the next thing that the client has sent; returns whether there was one."""
        try:
            frame = self._frames.next()
            if frame is None:
                return False
            if isinstance(frame, Left):
                self.left = True
                self.shut(Close(CloseCode.NORMAL))
            elif self.closing is not None:
                pass
            elif isinstance(frame, Text):
                self._hear(frame.body)
            else:
                # A client that sends these is never asked, so this is where its standing is seen.
                self._check_standing()
                if isinstance(frame, Ping):
                    self._pong = frame.payload  # one answer to the last of several is enough
                    self.wake()
        except CloseError as error:
            self.shut(error.close)
            return False
        except StorageError as error:
            self._fail(error)
            return False
        return True

    def _hear(self, body: bytes) -> None:
        try:
            message = read_message(body)
        except RequestError as error:
            found = error.problem
            raise CloseError(CloseCode.BAD_FRAME, f"{found.code}: {found.detail}") from None
        self._check_standing()
        if isinstance(message, Resume):
            self._resume(message.resume)
        else:
            self._start(message, len(body))

    def _start(self, errands: Errands, size: int) -> None:
        opened = self._opened
        entries = errands.entries
        self._unanswered += len(entries)
        # Each is taken for as long as any other of its message, until there is an answer.
        each_bytes = size // len(entries) + ANSWER_BYTES
        self._hold(each_bytes * len(entries))
        limited = opened.counted()
        if limited is not None:
            entries = [limited] * len(entries)
        elif opened.merchant_no:
            entries = [own(entry, opened.merchant_no) for entry in entries]
        self._starting = True
        self._turned_away = self._turned_s = 0
        desk = opened.desk
        series = Series(
            desk.node,
            entries,
            trio.current_time() + opened.timeout_s,
            movable=desk.clock_kind == "domain",
            lane=self,
            party=f"merchant/{opened.merchant_no}" if opened.merchant_no else "",
            hear=partial(self._answer, errands.ids, each_bytes),
        )
        series.start()
        self._starting = False
        if series.held_up:
            self._held_up = series
        if self._turned_away * 2 > len(entries):
            self._be_deaf()

    def _answer(self, ids: Any, held: int, index: int, item: Item) -> None:
        """Note an answer that may leave; the shard calls this from its commit.

        It is encoded here: how much waits for a client is known in bytes at any time.
        """
        if self._lost:
            return
        body = item.body
        answer = encode(Reply(ids[index], item.status, body, item.replayed))
        self._answers.append(answer)
        self._hold(len(answer) - held)
        if self._starting and type(body) is Problem and body.code in _BUSY:
            self._turned_away += 1
            self._turned_s = max(self._turned_s, body.retry_after_s or 0)
        self.wake()

    def _hold(self, bytes_more: int) -> None:
        self._bytes_held += bytes_more
        self.backlog.change(bytes_more)

    def _be_deaf(self) -> None:
        """Hear nothing until the client was told to come again.

        To refuse a command costs a twentieth of carrying it out: whoever goes on all the same
        could keep a node busy with that alone.
        """
        self.deaf_until = trio.current_time() + min(_DEAF_S_MAX, self._turned_s)

    def _resume(self, after: int) -> None:
        """Have events flow, those behind a sequence.

        Raises:
            CloseError: RESUME_CONFLICT; BAD_FRAME, the stream is of no merchant.
        """
        follows = self._opened.follows
        if not follows:
            raise CloseError(CloseCode.BAD_FRAME, "whose events? see ?merchant_no=")
        if self._after >= 0:
            raise CloseError(CloseCode.RESUME_CONFLICT, "a stream resumes once")
        found = event_list(self._opened.desk.node, follows, after, 0)
        newest = 0 if found is None else found.newest
        if after > newest:
            raise CloseError(CloseCode.RESUME_CONFLICT, f"the newest event is {newest}")
        self._after = after
        self._changed = True
        self.wake()

    def changed(self, address: str) -> None:
        """Hear that the merchant whose events are wanted has changed, durably."""
        if self._after >= 0:
            self._changed = True
            self.wake()

    # What goes out.

    def take(self) -> bytes:
        """Return what is to be sent next, empty for nothing; `taken` is called once it has been."""
        if self.closed:
            return b""
        sent = []
        flush = Flush.ALL if self.closing is None else self.closing.flush
        if self._pong is not None:
            sent.append(self._frames.pong(self._pong))
            self._pong = None
        if self._pinging:
            sent.append(self._frames.ping())
            self._pinging = False
        if self._answers and flush is not Flush.NOTHING:
            text, self._in_hand = answers_message(self._answers)
            self._bytes_in_hand = sum(map(len, self._answers[: self._in_hand]))
            del self._answers[: self._in_hand]
            sent.append(text_frame(text))
        if self._changed and self.closing is None and self.backlog.has_room:
            sent += self._page()
        if self.closing is not None and self._may_close(self.closing):
            self.closed = True
            sent.append(self._frames.close(self.closing.code, self.closing.reason))
        return b"".join(sent)

    def taken(self) -> None:
        """Hear that the client, or its side of the network, has all that was taken last."""
        self._unanswered -= self._in_hand
        self._in_hand = 0
        self._hold(-self._bytes_in_hand)
        self._bytes_in_hand = 0

    def _may_close(self, close: Close) -> bool:
        if close.flush is Flush.NOTHING:
            return True
        if self._answers:
            return False
        return close.flush is Flush.READY or self._unanswered == self._in_hand

    def _page(self) -> list[bytes]:
        """Return the next events, as one message at most."""
        try:
            self._check_standing()
            opened = self._opened
            found = event_list(
                opened.desk.node, opened.follows, self._after, self._bounds.events_per_page
            )
        except CloseError as error:
            self.shut(error.close)
            return []
        except StorageError as error:
            self._fail(error)
            return []
        if found is None or not found.items:
            self._changed = False
            return []
        body, count = encoded_events(found.items, found.newest)
        self._after += count
        self._changed = self._after < found.newest
        self._bytes_in_hand += len(body)
        self._hold(len(body))
        return [text_frame(body)]

    # How it ends.

    def ping(self) -> None:
        """Ask the client whether it is there; one that may not be is shut out."""
        try:
            self._check_standing()
        except CloseError as error:
            self.shut(error.close)
        except StorageError as error:
            self._fail(error)
        else:
            self._pinging = True
            self.wake()

    def shut(self, close: Close) -> None:
        """End it; the first reason is the one that counts."""
        if self.closing is None:
            self.closing = close
            self.wake()

    def lose(self) -> None:
        """Hear that nobody is there any more: answers that come yet are dropped."""
        self._lost = True
        self._answers.clear()
        self._in_hand = self._bytes_in_hand = 0
        self._hold(-self._bytes_held)
        self.wake = _nobody

    def _check_standing(self) -> None:
        """Check that the certificate is still good.

        Raises:
            CloseError: NOT_AUTHORIZED.
        """
        barred = self._opened.barred()
        if barred is not None:
            raise CloseError(CloseCode.NOT_AUTHORIZED, f"{barred.code}: {barred.title}")

    def _fail(self, error: StorageError) -> None:
        """End it, and the node: a row that cannot be read stops it wherever it is met."""
        self._opened.desk.fail(error)
        self.shut(Close(CloseCode.INTERNAL))


def _nobody() -> None:
    """Nobody waits for what there is to take."""
