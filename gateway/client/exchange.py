"""Exchanges: what a script of the client asks its shell to do, and what the shell brings back.

The client's core does no I/O. Its scripts are generators: each yields a `Send` or a `Wait` and is
sent what came of it, so that one script serves the synchronous and the asynchronous shell alike,
and a test drives it with nothing at all.
"""

from collections.abc import Generator, Mapping
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Send(Struct, frozen=True):
    """One request, to be sent once.

    Attributes:
        target: path and query, as they go over the wire.
        headers: all that the core has to say; framing is the shell's.
        timeout_s: how long its answer may take, in seconds.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
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
    """

    sent: bool
    reason: str
    stranger: bool = False


Reply = Came | Lost | None
"""What a script is sent: an answer or its loss for a `Send`, None for a `Wait`."""

Script = Generator[Send | Wait, Reply, T]
"""What ends in a T, or in a `PiaohaoError`."""
