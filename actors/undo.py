"""Undoings: an account takes back what it did for a merchant that never heard of it.

When an operator discards the account's answer (`actors.discard`), its money, if there is any, comes
back by way of suspense, and the account undoes what it had done: a debit, a hold, an increment or a
capture. Then it answers the merchant's question anew, and says no: MESSAGE_DISCARDED. So the
merchant's record comes to its end by the same messages as ever, and both sides agree.
"""

from typing import Final

from msgspec.structs import replace

from actors.account import Account, existing, post, refuse_credit
from actors.agreement import take_back
from actors.hold import HOLDS, OPEN_STATES, Hold, HoldState, end_hold, figures, rest_minor
from actors.messages import (
    HoldDeclined,
    OperationRefused,
    PaymentDeclined,
    UndoCapture,
    UndoHold,
    UndoIncrement,
    UndoPayment,
)
from actors.refusal import Refusal
from actors.states import HOLD, move
from actors.suspense import send_by_suspense
from engine.turn import Turn

_CODE: Final = Refusal.MESSAGE_DISCARDED


def undo_payment(turn: Turn[Account], message: UndoPayment) -> None:
    """Take the payment's money back; where the account is closed, the bank keeps it for the payer.

    Its use of the business date is given back, as by a reversal.
    """
    what = f"{message.merchant_no}/{message.order_no}"
    account = turn.state
    if refuse_credit(account, turn.currency) is None:
        assert account is not None
        take_back(turn, account, message.merchant_no, f"unpaid/{what}")
    else:
        send_by_suspense(turn, f"unpaid/{what}")
    merchant = f"merchant/{message.merchant_no}"
    turn.tell(merchant, PaymentDeclined(message.order_no, _CODE))


def undo_hold(turn: Turn[Account], message: UndoHold) -> None:
    """Let there be no such hold; it may have expired by now. As by a void, no use is given back."""
    name = f"{message.merchant_no}/{message.hold_no}"
    hold = turn.get(HOLDS, name)
    assert hold is not None, f"{turn.address} has no hold {name}"
    if hold.state in OPEN_STATES:
        end_hold(turn, hold, "VOIDED", rest_minor(hold))
    turn.drop(HOLDS, name)
    turn.tell(turn.sender, HoldDeclined(message.hold_no, _CODE))


def undo_increment(turn: Turn[Account], message: UndoIncrement) -> None:
    """Reserve so much less again."""
    hold = _hold(turn, message)
    if hold.state in OPEN_STATES:
        account = existing(turn)
        turn.become(replace(account, held_minor=account.held_minor - message.amount_minor))
    less = hold.amount_minor - message.amount_minor
    _undone(turn, message, replace(hold, amount_minor=less, increments=hold.increments - 1))


def undo_capture(turn: Turn[Account], message: UndoCapture) -> None:
    """Take the capture's money back: reserved again, as long as the hold is open.

    One that has ended since has ended without the capture: what of it was given back, or may have
    been spent, is not reserved anew.
    """
    hold, amount = _hold(turn, message), turn.amount_minor
    captured, captures = hold.captured_minor - amount, hold.captures - 1
    state: HoldState = "CAPTURED" if captures else "VOIDED"
    reserved = 0
    if hold.state in OPEN_STATES:
        state = "PARTIALLY_CAPTURED" if captures else "HELD"
        reserved = amount
    account = turn.state
    reference = f"uncaptured/{message.merchant_no}/{message.hold_no}/{message.capture_no}"
    if refuse_credit(account, turn.currency) is None:
        assert account is not None
        post(turn, account, amount, reference, held_minor=account.held_minor + reserved)
    else:
        send_by_suspense(turn, reference)
    state = move(HOLD, hold.state, "UndoCapture", state)
    _undone(turn, message, replace(hold, captured_minor=captured, captures=captures, state=state))


def _hold(turn: Turn[Account], message: UndoIncrement | UndoCapture) -> Hold:
    name = f"{message.merchant_no}/{message.hold_no}"
    hold = turn.get(HOLDS, name)
    assert hold is not None, f"{turn.address} has no hold {name}"
    return hold


def _undone(turn: Turn[Account], message: UndoIncrement | UndoCapture, hold: Hold) -> None:
    """Write the hold and tell the merchant that the operation has not been done."""
    turn.put(HOLDS, f"{message.merchant_no}/{message.hold_no}", hold)
    merchant = f"merchant/{message.merchant_no}"
    turn.tell(merchant, OperationRefused(message.hold_no, _CODE, figures(hold)))
