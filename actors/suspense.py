"""Suspense: the account of a currency through which the money of discarded messages goes.

What an operator gives up (`actors.discard`) is posted here first, so that the account's statement
has all of it. Nearly always it goes on at once, in the same turn, to whom it came from; it stays
where nobody can have it back, until the bank transfers it to an account of who it belongs to.
"""

from typing import Any

from actors.account import SUSPENSE, Account, existing, internal_account, post
from actors.messages import GoesOn, TakeSuspense
from engine.turn import Turn


def send_by_suspense(turn: Turn[Any], reference: str, to: str = "", then: Any = None) -> None:
    """Send the money that came with a message to suspense, and on from there.

    Args:
        reference: what it belonged to, for people; the suspense account's postings bear it.
        to, then: the address that gets the money, and the message that takes it there, one of
            `messages.GoesOn`; without them it stays in suspense.
    """
    assert then is None or isinstance(then, GoesOn)
    turn.tell(
        f"account/{SUSPENSE}{turn.currency}",
        TakeSuspense(f"suspense/{reference}", to, then),
        amount_minor=turn.amount_minor,
        currency=turn.currency,
    )


def take_suspense(turn: Turn[Account], message: TakeSuspense) -> None:
    """Take the money of a discarded message, and pass it on if somebody is to have it back.

    The suspense account opens itself on first use.
    """
    amount = turn.amount_minor
    post(turn, internal_account(turn, "suspense"), amount, message.reference)
    if message.then is not None:
        post(turn, existing(turn), -amount, message.reference)
        turn.tell(message.to, message.then, amount_minor=amount, currency=turn.currency)
