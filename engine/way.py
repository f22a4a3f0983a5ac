"""The way between shards, as a shard sees it: what it hands over, and nothing of how it gets there.

Within one process it is a call (`engine.exchange`); in the simulator it loses, doubles and delays.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from engine.message import Envelope, Token


class Way(Protocol):
    """How shards reach each other. What is handed over rests on durable batches only.

    Nothing is promised of it but that it does not change what it carries: messages may be lost,
    doubled or late, as links number them and send again.
    """

    def carry(self, source: int, to: int, first: int, messages: Sequence[Envelope]) -> None:
        """Take messages of a link, numbered from `first`, to their shard."""

    def acknowledge(self, source: int, to: int, cursor: int) -> None:
        """Tell the shard `to` that `source` has made its messages up to `cursor` durable."""

    def tell(self, token: Token, outcome: Any) -> None:
        """Tell the caller of another shard its outcome."""

    def moved(self, token: Token, messages: int) -> None:
        """Count more (or less) messages in a chain that began on another shard."""

    def rested(self) -> None:
        """Hear that a shard that is to stop has come to rest, for now."""

    def committed(self) -> None:
        """Hear that a shard has made something durable, and told who waited for it."""
