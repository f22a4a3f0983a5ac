"""The core of a stream: what is said on it, and what a command comes to that goes that way.

A command on a stream is tried, judged and tried again by the scripts of `core`; only the way is
another. The certificate is shown and the bank proved once, in the handshake, which is a signed GET
like any other; what follows is as good as the connection. docs/STREAM.md has the messages.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from actors.answers import EventView
from gateway.client.call import ARRAYS, Call, encode
from gateway.client.core import Core
from gateway.client.errors import PiaohaoError, StreamEndedError, UnreachableError
from gateway.client.exchange import Came, Errands, Lost, Script
from gateway.client.terms import Effort

T = TypeVar("T")

PATH: Final = "/v1/stream"
SUBPROTOCOL: Final = "piaohao.v1.json"
MESSAGE_BYTES: Final = 1 << 20
MESSAGE_ERRANDS: Final = 1_000
"""What the bank takes in one message."""
ENVELOPE_BYTES: Final = 40
"""What an errand has around its command, at most: `{"id":"…","do":…},` with 16 digits."""

_FINAL: Final = frozenset({1002, 1003, 1007, 1009, 4400, 4401, 4409})
"""Close codes after which the same would end the same way."""


class WireLostError(Exception):
    """A connection is over. It stays inside: what is raised in the end is a `PiaohaoError`.

    Attributes:
        code: WebSocket's close code; 1006 where none came.
        final: to come again is of no use.
        trouble: what the caller is told in the end.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.final = code in _FINAL
        self.trouble: PiaohaoError = (
            StreamEndedError(code, reason)
            if self.final
            else UnreachableError(f"the stream broke off: {self}")
        )


class Answer(Struct, omit_defaults=True, gc=False):
    """What one errand was answered."""

    id: str
    status: int
    body: Raw
    replayed: bool = False


class Message(Struct):
    """What the bank says; what is missing stays empty, and what is not known is passed over."""

    answers: Sequence[Answer] = ()
    events: Sequence[EventView] = ()
    newest: int = 0


read_message: Final = msgspec.json.Decoder(Message).decode


class StreamCore(Core):
    """The scripts of one stream."""

    # An array and its envelopes are one message.
    array_bytes = MESSAGE_BYTES - MESSAGE_ERRANDS * ENVELOPE_BYTES

    def open_stream(self, target: str, effort: Effort) -> Script[None]:
        """Shake hands, as often as patience has it; who it was is proved then.

        Raises:
            PiaohaoError: as for `ask`.
        """
        return self._ask(Call("GET", target, _nothing), effort)

    def _carry(self, call: Call[Any], effort: Effort) -> Script[Came | Lost]:
        if not call.acts:
            return (yield from super()._carry(call, effort))
        if call.target == ARRAYS:
            commands: Sequence[bytes] = _split(call.body)
        else:
            assert call.command is not None, "`Stream.do` looks"
            commands = (encode(call.command),)
        reply = yield Errands(commands, call.target == ARRAYS, self._terms.try_s)
        assert reply is not None
        return reply

    def _proven(self, reply: Came) -> bool:
        # An answer on a stream has no signature of its own, and needs none.
        return not reply.headers or super()._proven(reply)


def errand_text(id_: str, command: bytes) -> bytes:
    """Return an errand as it stands in a message."""
    return b'{"id":"%b","do":%b}' % (id_.encode(), command)


def resume_text(after: int) -> str:
    """Return the message after which events flow, those behind a sequence."""
    return f'{{"resume":{after}}}'


def answer_of(errands: Errands, answers: Sequence[Answer]) -> Came:
    """Return what errands would have been answered, had they gone by POST.

    Args:
        answers: one for each command, in their order.
    """
    if errands.as_array:
        return Came(200, {}, encode(answers))
    (answer,) = answers
    return Came(answer.status, {}, bytes(answer.body))


_split: Final = msgspec.json.Decoder(list[Raw]).decode


def _nothing(_: bytes) -> None:
    """A 101 has no body."""
