"""Exchanges: what a script of the client asks its shell to do, and what the shell brings back.

The client's core does no I/O. Its scripts are generators: each yields a `Send` or a `Wait` and is
sent what came of it, so that one script serves the synchronous and the asynchronous shell alike,
and a test drives it with nothing at all.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from gateway.client.errors import PiaohaoError

T = TypeVar("T")


class Send(Struct, frozen=True):
    """One request, to be sent once.

    Attributes:
        target: path and query, as they go over the wire.
        headers: all that the core has to say; framing is the shell's.
        timeout_s: how long its answer may take, in seconds.
        express: to the bank's express listener.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float
    express: bool = False


class Errands(Struct, frozen=True):
    """Commands for the stream, to be sent once and together.

    Attributes:
        commands: each encoded as an item of POST /v1/commands.
        as_array: the answer wanted is what that POST would have had; otherwise the only command's.
        timeout_s: how long the answers may take once the commands have left, in seconds.
    """

    commands: Sequence[bytes]
    as_array: bool
    timeout_s: float


class Wait(Struct, frozen=True):
    """Nothing is to be done for some seconds."""

    seconds: float


class Came(Struct, frozen=True):
    """An answer came, whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(Struct, frozen=True):
    """No answer came, or no whole one.

    Attributes:
        sent: whether the request may have arrived.
        reason: for people.
        stranger: whoever is there cannot show, by its TLS certificate, that it is the bank.
        trouble: the error that says it better, if there is one.
        final: to come again is of no use.
    """

    sent: bool
    reason: str
    stranger: bool = False
    trouble: PiaohaoError | None = None
    final: bool = False


Reply = Came | Lost | None
"""What a script is sent: an answer or its loss for a `Send` or an `Errands`, None for a `Wait`."""

Step = Send | Errands | Wait

Script = Generator[Step, Reply, T]
"""What ends in a T, or in a `PiaohaoError`. Only a stream's scripts have an `Errands`."""


async def carry_out(script: Script[T], perform: Callable[[Step], Awaitable[Reply]]) -> T:
    """Do what a script asks for, step by step, and return what it ends in."""
    reply: Reply = None
    while True:
        try:
            step = script.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        reply = await perform(step)
