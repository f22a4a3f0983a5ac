"""Event streams: a feed as server-sent events (WHATWG HTML, section 9.2).

Each thing that is told is an event whose data is one line of JSON; after a while without any a
comment is sent, by which the reader's side, and the node, see that there still is somebody. A piece
is made only when the one before it was taken: what a reader does not read is not kept for it.
"""

from typing import Final

from gateway.answer import encode
from gateway.ops.feed import EVENTS, Feed

MEDIA_TYPE: Final = "text/event-stream"
_KEEP_ALIVE: Final = b":\n\n"
_NAMES: Final = {type_: name.encode() for type_, name in EVENTS.items()}


class EventStream:
    """The body of an answer that goes on for as long as a feed does.

    Args:
        feed: what it tells.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> bytes:
        if self._feed.over:
            raise StopAsyncIteration
        told = await self._feed.next()
        events = [b"event: %b\ndata: %b\n\n" % (_NAMES[type(each)], encode(each)) for each in told]
        return b"".join(events) or _KEEP_ALIVE

    async def aclose(self) -> None:
        """Hear that nothing more of it is wanted."""
        self._feed.leave()
