"""The audit of what is on its way: for whose sake, and that nothing waits for what cannot come.

Part of `actors.audit`; all messages are told before the first row, since rows are judged by
them.
"""

from collections.abc import Iterator
from typing import Any

from actors.messages import (
    CreditTransfer,
    ExpireHold,
    ExpireRefund,
    ResumeRefunds,
    TakeSuspense,
    UndoCapture,
    UndoPayment,
)
from actors.tally import Violation
from engine.message import Envelope


class FlightAudit:
    """Knows what messages are on their way or parked.

    Attributes:
        things: (address, name) of everything for whose sake a message is on its way.
        addressed: addresses to which, or from which, one is.
        expiring: keys of timers whose message is parked: what was to expire waits with it.
    """

    def __init__(self) -> None:
        self.things: set[tuple[str, str]] = set()
        self.addressed: set[str] = set()
        self.expiring: set[str] = set()

    def message(self, message: Envelope) -> None:
        """Take a message."""
        if isinstance(message.body, ExpireHold):
            self.expiring.add(f"{message.to} {message.body.merchant_no}/{message.body.hold_no}")
        elif isinstance(message.body, ExpireRefund):
            self.expiring.add(f"{message.to} pending/{message.body.refund_no}")
        self.things.update(_concerns(message.sender, message.to, message.body))
        # What a holder says to its certificate is not a thing of the holder's that is under way.
        certificate = message.to.startswith("certificate/")
        self.addressed.update((message.to,) if certificate else (message.sender, message.to))

    def waits(self, address: str, name: str, key: str) -> Iterator[Violation]:
        """Take something that waits for an answer."""
        if (address, name) not in self.things:
            yield Violation("at-rest", "records", key, "waits, and no message is on its way")


def _concerns(sender: str, to: str, body: Any) -> Iterator[tuple[str, str]]:
    """Yield (address, name) of the thing for whose sake a message is on its way."""
    ends: tuple[str, ...] = (sender, to)
    if isinstance(body, UndoPayment | UndoCapture):
        # It comes to the payer by way of suspense, and the merchant waits for what follows.
        ends = (f"merchant/{body.merchant_no}",)
    elif isinstance(body, TakeSuspense) and body.then is not None:
        yield from _concerns(sender, body.to, body.then)
    for field in ("order_no", "hold_no", "refund_no", "certificate_no"):
        name = getattr(body, field, None)
        if name is not None:
            yield from ((end, name) for end in ends if end.startswith(("merchant/", "bank/")))
    yield from ((end, "") for end in ends if end.startswith("certificate/"))
    if isinstance(body, ResumeRefunds):
        yield to, ""
    name = getattr(body, "name", None)
    if name is not None:
        yield sender if isinstance(body, CreditTransfer) else to, name
