"""The desk: what every handler works with.

It is the gateway's side of the engine: commands go in with a deadline, looks at what is durable
come out, and nothing of HTTP is known here. One per node.
"""

from importlib import metadata
from typing import Final, Literal

import trio
from msgspec import Struct

from actors.commands import AnyCommand, GatewayCommand, first_actor
from engine.clock import DomainClock
from engine.marks import Mark
from engine.node import Node
from gateway.answer import Answer, concluded
from gateway.ca.bank_keys import BankKeys
from gateway.rate import Rates
from gateway.revocation_list import RevocationList
from gateway.webhooks.dispatcher import Dispatcher

ClockKind = Literal["wall", "domain"]

TIMEOUT_S_MAX = 60.0
"""The longest that a caller may have the node try, in seconds."""
CERTIFICATIONS_AT_ONCE: Final = 20
"""How many certificates a merchant may have made one after the other, on one node."""
CERTIFICATIONS_PER_S: Final = 1 / 3_600
"""And how many more as time goes by. Those that it has revoked stay on the revocation list for two
years, and who may make that list as long as they like hold up everybody who reads it."""
CHALLENGES_AT_ONCE: Final = 10
"""How many URLs a merchant may have challenged for its webhook one after the other, on one node."""
CHALLENGES_PER_S: Final = 1 / 30
"""And how many more as time goes by: each may go to somebody who has never asked for it."""


class Caller(Struct, frozen=True):
    """Who asks.

    Attributes:
        timeout_s: how long they wait for the outcome, in seconds.
        mark: of their request, None where it is not signed; it goes with every command.
        merchant_no: the merchant that asks, empty for the bank itself.
    """

    timeout_s: float
    mark: Mark | None = None
    merchant_no: str = ""


class Desk:
    """The engine as handlers see it.

    Attributes:
        node: the engine.
        clock_kind: whether commands may move the clock.
        timeout_s: what a caller waits who says nothing about it, seconds.
        keys: the bank's, None where the node was started without.
        certifications: how often merchants have certificates made.
        challenges: how often merchants have servers challenged for their webhooks.
        webhooks: what sends them, None where nothing does.
        crl: the revocation list; None where there are no keys.
        version: of this program.
    """

    def __init__(
        self,
        node: Node,
        timeout_s: float = 10.0,
        keys: BankKeys | None = None,
        webhooks: Dispatcher | None = None,
    ) -> None:
        self.node = node
        self.keys = keys
        self.webhooks = webhooks
        self.certifications = Rates(CERTIFICATIONS_PER_S, trio.current_time, CERTIFICATIONS_AT_ONCE)
        self.challenges = Rates(CHALLENGES_PER_S, trio.current_time, CHALLENGES_AT_ONCE)
        self.crl = None if keys is None else RevocationList(node, keys.issuing)
        self.timeout_s = timeout_s
        self.clock_kind: ClockKind = "domain" if isinstance(node.clock, DomainClock) else "wall"
        self.version = metadata.version("piaohao")

    async def execute(self, caller: Caller, command: AnyCommand | GatewayCommand) -> Answer:
        """Have one command carried out and return its outcome.

        The engine has the command before the first checkpoint: a caller that leaves cancels the
        wait, never the command.
        """
        outcome = await self.node.ask(
            first_actor(command), command, timeout_s=caller.timeout_s, mark=caller.mark
        )
        return Answer(*concluded(type(command), outcome))

    def business_date(self) -> str:
        """Return the durable business date, ISO 8601: what has been acknowledged, no more."""
        return self.node.business_date()

    def fail(self, error: Exception) -> None:
        """Stop the node for good: a row that was read is not what was written."""
        self.node.fail(error)

    def deadline(self, caller: Caller) -> float:
        """Return the caller's deadline on Trio's clock, for `Node.submit`."""
        return trio.current_time() + caller.timeout_s
