"""Streams: the row of the table that is a WebSocket.

What a stream carries is not HTTP (`gateway.stream`, docs/STREAM.md). Here is who may have one, and
what is said to those who ask for the path without asking for a WebSocket.
"""

from msgspec import Struct

from actors.commands import Number
from engine.fault import FaultCode
from gateway.answer import Answer, failed
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint, read
from gateway.errors import RequestCode, problem
from gateway.stream.handshake import PATH


class StreamKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose events the stream is to have; a merchant's own stream has its own."""

    merchant_no: Number | None = None


async def open_stream(desk: Desk, caller: Caller, key: StreamKey) -> Answer:
    """Become a WebSocket of the subprotocol `piaohao.v1.json`: commands out, answers and events in.

    It is a handshake as RFC 6455 has it, signed like any GET; Request-Timeout-S is the deadline of
    each command that follows. docs/STREAM.md says what is sent then.
    """
    return failed(problem(RequestCode.UPGRADE_REQUIRED))


ENDPOINTS: tuple[Endpoint, ...] = (
    read(
        PATH,
        StreamKey,
        open_stream,
        "merchant",
        None,
        RequestCode.UPGRADE_REQUIRED,
        RequestCode.HANDSHAKE_REFUSED,
        RequestCode.TOO_MANY_STREAMS,
        FaultCode.STOPPING,
        status=101,
    ),
)
