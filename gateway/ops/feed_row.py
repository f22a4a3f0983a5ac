"""The row of feeds: what changes, as it happens, for whoever is there to see it."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway.answer import Answer
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OpsCode
from gateway.ops.event_stream import MEDIA_TYPE
from gateway.ops.feed import Feed, Told
from gateway.ops.masking import Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from gateway.ops.topics import CHARACTERS_MAX, read_topics

PATH: Final = "/ops/feed"


class FollowFeed(Struct, frozen=True, forbid_unknown_fields=True):
    """What to be told of.

    Attributes:
        topics: `vitals`, `quarantines`, `actor:KIND:NUMBER` (64 at most), with commas between.
        reason: why personal data has to be seen; without, it is masked.
    """

    topics: Annotated[str, Meta(min_length=1, max_length=CHARACTERS_MAX)]
    reason: Reason | None = None


async def follow_feed(desk: OpsDesk, visitor: Visitor, asked: FollowFeed) -> Answer:
    """Return what changes, as it happens: vital signs, quarantines, states of actors.

    Server-sent events `vitals` (one a second), `quarantine`, `actor` and, last, `end`; the data of
    each is one of these objects. They are also the text messages of a WebSocket, where a request
    asks for that upgrade. What is so at the beginning is told first; who reads slowly is told the
    latest. The audit log has one entry, as it begins.
    """
    eyes = eyes_of(visitor, asked.reason)
    topics = read_topics(asked.topics, desk.node.kinds)
    assert visitor.session is not None
    desk.feeds.check_room(visitor.session.operator)
    feed = Feed(desk.feeds, desk.node, visitor, topics, eyes)
    return Answer(200, feed, own={"content-type": MEDIA_TYPE})


ROWS: Final = (
    read(
        PATH,
        FollowFeed,
        follow_feed,
        Right.LOOK,
        Told,
        OpsCode.TOO_MANY_FEEDS,
        media_type=MEDIA_TYPE,
    ),
)
