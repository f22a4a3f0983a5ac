"""Transfers: money from account to account, and in and out of the bank through clearing.

The account that is debited owns the transfer and binds its number: clearing owns a funding, the
customer's account a withdrawal or a transfer to another customer. All run alike: debit and send,
credit or send back, settle. While one is under way its owner counts it and cannot be closed, for
the money may come back.
"""

from typing import Final, Literal

from msgspec.structs import replace

from actors import states
from actors.account import (
    Account,
    existing,
    internal_account,
    is_internal,
    post,
    refuse_credit,
    refuse_status,
)
from actors.answers import Outcome, Refused, TransferView, instant, instant_if
from actors.commands import (
    CreateTransfer,
    FundAccount,
    WithdrawFunds,
    clearing_account,
    digest,
)
from actors.limits import spend
from actors.messages import CreditTransfer, TransferCredited, TransferReturned
from actors.method import TRANSFER, WITHDRAWAL, give_back_method
from actors.money import BALANCE_MAX
from actors.note import description_of, metadata_of
from actors.outcome import Bound, bind, repeat, settle
from actors.refusal import Refusal
from actors.states import move
from engine.kind import RecordKind
from engine.turn import Turn


class Transfer(Bound, frozen=True, array_like=True):
    """A record under the debited account: `funding/ACCOUNT/NO`, `withdrawal/NO`, `transfer/NO`.

    Attributes:
        counterparty: number of the account to be credited.
    """

    state: Literal["PROCESSING", "SUCCEEDED", "FAILED"]
    counterparty: str
    amount_minor: int
    currency: str


TRANSFERS: Final = RecordKind("t", Transfer)

_METHODS: Final = {"transfer": TRANSFER, "withdrawal": WITHDRAWAL}
"""How a transfer's name begins → the method that it counts as; a funding counts as none."""


def funding_name(account_no: str, funding_no: str) -> str:
    """Return the name of a funding's record, which is under the clearing account."""
    return f"funding/{account_no}/{funding_no}"


def withdrawal_name(withdrawal_no: str) -> str:
    """Return the name of a withdrawal's record, which is under the withdrawing account."""
    return f"withdrawal/{withdrawal_no}"


def transfer_name(transfer_no: str) -> str:
    """Return the name of a transfer's record, which is under the debited account."""
    return f"transfer/{transfer_no}"


def fund_account(turn: Turn[Account], command: FundAccount) -> None:
    """Issue money to a customer's account; the turn is the clearing account's.

    Refusals, all but the first bound: NUMBER_USED, ACCOUNT_INTERNAL, BALANCE_LIMIT, then those
    of `account.refuse_credit`.
    """
    content = digest(command)
    name = funding_name(command.account_no, command.funding_no)
    first = turn.get(TRANSFERS, name)
    if first is not None:
        repeat(turn, TRANSFERS, name, command.funding_no, content, first, first_transfer)
        return
    clearing = internal_account(turn, "clearing")
    assert turn.number == clearing_account(command.currency)
    code = None
    if is_internal(command.account_no):
        code = Refusal.ACCOUNT_INTERNAL
    elif clearing.posted_minor - command.amount_minor < -BALANCE_MAX:
        code = Refusal.BALANCE_LIMIT
    turn.become(clearing)
    _begin(turn, command, name, name, command.account_no, content, code)


def withdraw_funds(turn: Turn[Account], command: WithdrawFunds) -> None:
    """Send money from a customer's account out through clearing.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED, ACCOUNT_CLOSED, ACCOUNT_FROZEN; these, bound:
    CURRENCY_MISMATCH, ACCOUNT_INTERNAL, METHOD_LIMIT_EXCEEDED, INSUFFICIENT_FUNDS.
    """
    number = command.withdrawal_no
    name = withdrawal_name(number)
    admitted = _admit(turn, command, name, number)
    if admitted is None:
        return
    account, content = admitted
    code = None
    if account.currency != command.currency:
        code = Refusal.CURRENCY_MISMATCH
    elif account.kind != "customer":
        code = Refusal.ACCOUNT_INTERNAL
    else:
        code = spend(turn, account, WITHDRAWAL, command.amount_minor)
    reference = f"withdrawal/{turn.number}/{number}"
    _begin(turn, command, name, reference, clearing_account(command.currency), content, code)


def create_transfer(turn: Turn[Account], command: CreateTransfer) -> None:
    """Send money from an account to a customer's; the turn is the debited one's.

    It may be a suspense account: so the bank gives what is left there to whom it belongs.

    Refusals: those of `_admit`; these, bound: CURRENCY_MISMATCH, ACCOUNT_INTERNAL (clearing, or to
    any of the bank's own), SAME_ACCOUNT, METHOD_LIMIT_EXCEEDED, INSUFFICIENT_FUNDS, then those of
    `account.refuse_credit`.
    """
    number = command.transfer_no
    name = transfer_name(number)
    admitted = _admit(turn, command, name, number)
    if admitted is None:
        return
    account, content = admitted
    code = None
    if account.currency != command.currency:
        code = Refusal.CURRENCY_MISMATCH
    elif account.kind == "clearing" or is_internal(command.to):
        code = Refusal.ACCOUNT_INTERNAL
    elif command.to == turn.number:
        code = Refusal.SAME_ACCOUNT
    else:
        code = spend(turn, account, TRANSFER, command.amount_minor)
    reference = f"transfer/{turn.number}/{number}"
    _begin(turn, command, name, reference, command.to, content, code)


def _admit(
    turn: Turn[Account], command: WithdrawFunds | CreateTransfer, name: str, number: str
) -> tuple[Account, bytes] | None:
    """Return the account that is to send money, and the command's digest to be bound with it.

    Where nothing is decided now it is answered here, and None returned: ACCOUNT_NOT_FOUND, a
    repetition or NUMBER_USED, ACCOUNT_CLOSED, ACCOUNT_FROZEN.
    """
    account = turn.state
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return None
    content = digest(command)
    first = turn.get(TRANSFERS, name)
    if first is not None:
        repeat(turn, TRANSFERS, name, number, content, first, first_transfer)
        return None
    code = refuse_status(account)
    if code is not None:
        turn.answer(Refused(code, number))
        return None
    return account, content


def _begin(
    turn: Turn[Account],
    command: FundAccount | WithdrawFunds | CreateTransfer,
    name: str,
    reference: str,
    counterparty: str,
    content: bytes,
    code: Refusal | None,
) -> None:
    """Bind the transfer under its number: refused for good, or on its way with the money."""
    amount = command.amount_minor
    transfer = Transfer(
        *bind(turn, content, code),
        counterparty=counterparty,
        amount_minor=amount,
        currency=command.currency,
    )
    turn.put(TRANSFERS, name, transfer)
    if code is not None:
        turn.answer(first_transfer(turn.number, name, transfer))
        return
    account = existing(turn)
    post(turn, account, -amount, reference, transfers_out=account.transfers_out + 1)
    turn.tell(
        f"account/{counterparty}",
        CreditTransfer(name, reference),
        amount_minor=amount,
        currency=command.currency,
    )


def credit_transfer(turn: Turn[Account], message: CreditTransfer) -> None:
    """Take the money of a transfer, or send it back. A clearing account takes all of its own."""
    account = turn.state
    if turn.number == clearing_account(turn.currency):
        account = internal_account(turn, "clearing")
    code = refuse_credit(account, turn.currency)
    if code is not None:
        answer = TransferReturned(message.name, message.reference, code)
        turn.tell(turn.sender, answer, amount_minor=turn.amount_minor, currency=turn.currency)
        return
    assert account is not None
    post(turn, account, turn.amount_minor, message.reference)
    turn.tell(turn.sender, TransferCredited(message.name))


def transfer_credited(turn: Turn[Account], message: TransferCredited) -> None:
    """The money has arrived."""
    _settle(turn, message.name, None)
    account = existing(turn)
    turn.become(replace(account, transfers_out=account.transfers_out - 1))


def transfer_returned(turn: Turn[Account], message: TransferReturned) -> None:
    """Take the money back into the account it came from: it may be frozen, but is not closed.

    What it had used by its method on its business date is given back.
    """
    transfer = _settle(turn, message.name, message.code)
    assert turn.amount_minor == transfer.amount_minor
    account = existing(turn)
    used = account.used_minor
    method = _METHODS.get(message.name.partition("/")[0])
    if method is not None:
        date, amount = transfer.business_date, transfer.amount_minor
        used = give_back_method(method, date, account.used_date, used, amount)
    out = account.transfers_out - 1
    post(turn, account, turn.amount_minor, message.reference, transfers_out=out, used_minor=used)


def _settle(turn: Turn[Account], name: str, code: Refusal | None) -> Transfer:
    transfer = turn.get(TRANSFERS, name)
    assert transfer is not None, f"{turn.address} has no transfer {name}"
    assert transfer.state == "PROCESSING", f"{name} is {transfer.state}"
    if code is None:
        state = move(states.TRANSFER, transfer.state, "TransferCredited", "SUCCEEDED")
    else:
        state = move(states.TRANSFER, transfer.state, "TransferReturned", "FAILED")
    settle(turn, TRANSFERS, name, transfer, first_transfer, state=state, code=code)
    return transfer


def number_of(name: str) -> str:
    """Return the caller's number in a transfer's name."""
    return name.rpartition("/")[2]


def view_transfer(owner_no: str, name: str, transfer: Transfer) -> TransferView:
    """Return what the bank sees of a transfer; `owner_no` is the debited account's number."""
    direction: Literal["funding", "withdrawal", "transfer"] = "funding"
    if not name.startswith("funding/"):
        direction = "transfer" if name.startswith("transfer/") else "withdrawal"
    return TransferView(
        direction=direction,
        account_no=transfer.counterparty if direction == "funding" else owner_no,
        number=number_of(name),
        to=transfer.counterparty if direction == "transfer" else None,
        amount_minor=transfer.amount_minor,
        currency=transfer.currency,
        state=transfer.state,
        code=transfer.code,
        business_date=transfer.business_date,
        created_at=instant(transfer.created_ns),
        settled_at=instant_if(transfer.settled_ns),
        description=description_of(transfer.digest),
        metadata=metadata_of(transfer.digest),
    )


def first_transfer(owner_no: str, name: str, transfer: Transfer) -> Outcome:
    """Return the outcome that the transfer had, as its first caller was told it."""
    if transfer.code is not None:
        return Refused(transfer.code, number_of(name))
    return view_transfer(owner_no, name, transfer)
