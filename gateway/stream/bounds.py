"""Bounds: how large, how many and how slow a stream's messages may be.

The defaults are what a node serves with; tests set smaller ones instead of waiting.
"""

from typing import Final

from msgspec import Struct

MESSAGE_BYTES: Final = 1 << 20
"""Of one message, in either direction."""
COMMANDS_MAX: Final = 1_000
"""Commands in one message."""
WINDOW: Final = 1_024
"""Commands of one stream whose answers it has not taken; past that nothing is read."""
ANSWER_BYTES: Final = 640
"""What a command's answer comes to beside what the command itself says, as a rule."""


class StreamBounds(Struct, frozen=True, kw_only=True):
    """What a node takes from those who have a stream; times in seconds.

    Attributes:
        streams_max: streams at a time, of all.
        streams_per_merchant: of one merchant.
        window: as many commands may be unanswered, their answers not taken, before the next
            message is read; so with the last one they may be a thousand more.
        window_bytes: the same in bytes of commands that are under way, of answers and of events
            that are not taken; so with the last message they may be as many more.
        merchant_bytes: the same, of all streams of a merchant together.
        fragments_max: of one message.
        controls_at_once: pings and pongs that may come in a row.
        controls_per_s: how many more as time goes by.
        events_per_page: events in one message.
        message_s: from a message's first byte to its last.
        send_s: for the client to take a piece of what it is sent.
        ping_s: after so long without a byte the client is asked whether it is there.
        pong_s: for it to say something then.
        linger_s: from the decision that a stream ends to its connection's end; meanwhile what is
            left to be sent is, and the client closes its side.
        tick_s: how often all this is looked at.
    """

    streams_max: int = 3_072
    streams_per_merchant: int = 64
    window: int = WINDOW
    window_bytes: int = 1 << 20
    merchant_bytes: int = 16 << 20
    fragments_max: int = 1_024
    controls_at_once: int = 20
    controls_per_s: float = 1.0
    events_per_page: int = 256
    message_s: float = 10.0
    send_s: float = 30.0
    ping_s: float = 25.0
    pong_s: float = 20.0
    linger_s: float = 5.0
    tick_s: float = 1.0
