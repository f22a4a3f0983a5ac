"""How the bench's clients reach a node that may be slow, busy, stopping or gone for a while.

They use the bank's own client, so that a command is tried again under its number for as long as
patience lasts. What the node refuses as a whole, or does not answer, ends the command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from actors.commands import Command
from bench.sandbox import credentials
from gateway.client import BankClient, PiaohaoError, Terms
from gateway.client.core import ARRAY_MAX
from gateway.exits import UNREACHABLE, CommandError

__all__ = ["ARRAY_MAX", "PATIENT", "AdvanceClock", "encode", "node_at"]

PATIENT: Final = Terms(patience_s=30.0, try_s=30.0, pause_s=0.2, pause_max_s=1.0)
"""A node that does other work as well may take its time for a thousand commands."""

encode: Final = msgspec.json.Encoder().encode


class AdvanceClock(Command, frozen=True, tag="advance_clock"):
    """Move the node's domain clock, for the items after it."""

    to: str


@contextmanager
def node_at(address: str, sandbox: Path | None, terms: Terms = PATIENT) -> Iterator[BankClient]:
    """Have a client of a node's that acts for the bank.

    Args:
        address: the node's, for example `https://127.0.0.1:8443`.
        sandbox: the folder with the client's key (`bench.sandbox`); None for a node that takes
            unsigned requests.

    Raises:
        CommandError: UNREACHABLE: the node stayed away, or refused what was asked.
    """
    identity, root = (None, None) if sandbox is None else credentials(sandbox)
    with BankClient(address, identity, root, terms=terms) as node:
        try:
            yield node
        except PiaohaoError as error:
            raise CommandError(UNREACHABLE, f"the node does not do it: {error}") from error
