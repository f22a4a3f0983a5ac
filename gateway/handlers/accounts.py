"""Accounts: opened, funded, withdrawn from, frozen and closed.

These are for the accounts' own bank: they show balances, which merchants never see.
"""

from typing import Final

from msgspec import Struct

from actors.account import Account, view_account
from actors.answers import AccountView, TransferView
from actors.commands import (
    CloseAccount,
    Currency,
    FreezeAccount,
    FundAccount,
    Number,
    OpenAccount,
    UnfreezeAccount,
    WithdrawFunds,
    clearing_account,
)
from actors.kinds import ACCOUNT
from actors.refusal import Refusal
from actors.transfer import TRANSFERS, funding_name, view_transfer, withdrawal_name
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.lookup import Cursor, Limit, Page, actors_page, found, record_of, state_of
from gateway.statement import BusinessDate, PostingView, statement


class AccountKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account."""

    account_no: Number


class AccountList(Struct, frozen=True, forbid_unknown_fields=True):
    """All accounts, in the order of their row keys: by slot, then by number."""

    limit: Limit = 10
    cursor: Cursor | None = None


class StatementOf(AccountKey, frozen=True):
    """Postings of an account between two business dates, both included."""

    limit: Limit = 10
    cursor: Cursor | None = None
    from_date: BusinessDate | None = None
    to_date: BusinessDate | None = None


class FundingKey(AccountKey, frozen=True):
    """Which funding; `currency` only where it was not in the account's own."""

    funding_no: Number
    currency: Currency | None = None


class WithdrawalKey(AccountKey, frozen=True):
    """Which withdrawal."""

    withdrawal_no: Number


AccountCommand = (
    OpenAccount | FreezeAccount | UnfreezeAccount | CloseAccount | FundAccount | WithdrawFunds
)


async def command_account(desk: Desk, caller: Caller, command: AccountCommand) -> Answer:
    """Open, freeze, unfreeze or close an account; move money into it or out of it."""
    return await desk.execute(caller, command)


async def get_account(desk: Desk, caller: Caller, key: AccountKey) -> Answer:
    """Return an account as it stands now."""
    account: Account | None = state_of(desk.node, ACCOUNT, key.account_no)
    view = None if account is None else view_account(key.account_no, account)
    return found(view, Refusal.ACCOUNT_NOT_FOUND)


async def list_accounts(desk: Desk, caller: Caller, asked: AccountList) -> Answer:
    """Return one page of all accounts, internal ones included."""
    return await actors_page(desk.node, ACCOUNT, view_account, asked.limit, asked.cursor)


async def list_postings(desk: Desk, caller: Caller, asked: StatementOf) -> Answer:
    """Return one page of an account's postings, newest first."""
    return statement(
        desk.node, asked.account_no, asked.from_date, asked.to_date, asked.limit, asked.cursor
    )


async def get_funding(desk: Desk, caller: Caller, key: FundingKey) -> Answer:
    """Return a funding; its record lies with the currency's clearing account."""
    currency = key.currency
    if currency is None:
        account: Account | None = state_of(desk.node, ACCOUNT, key.account_no)
        if account is None:
            return found(None, RequestCode.NO_SUCH_TRANSFER)
        currency = account.currency
    clearing = clearing_account(currency)
    name = funding_name(key.account_no, key.funding_no)
    transfer = record_of(desk.node, f"account/{clearing}", TRANSFERS, name)
    view = None if transfer is None else view_transfer(clearing, name, transfer)
    return found(view, RequestCode.NO_SUCH_TRANSFER)


async def get_withdrawal(desk: Desk, caller: Caller, key: WithdrawalKey) -> Answer:
    """Return a withdrawal."""
    name = withdrawal_name(key.withdrawal_no)
    transfer = record_of(desk.node, f"account/{key.account_no}", TRANSFERS, name)
    view = None if transfer is None else view_transfer(key.account_no, name, transfer)
    return found(view, RequestCode.NO_SUCH_TRANSFER)


_ACCOUNTS: Final = "/v1/accounts"
_ACCOUNT: Final = "/v1/accounts/{account_no}"

ENDPOINTS: Final = (
    act(_ACCOUNTS, OpenAccount, command_account, "bank", AccountView),
    read(_ACCOUNTS, AccountList, list_accounts, "bank", Page[AccountView]),
    read(_ACCOUNT, AccountKey, get_account, "bank", AccountView, Refusal.ACCOUNT_NOT_FOUND),
    read(
        f"{_ACCOUNT}/postings",
        StatementOf,
        list_postings,
        "bank",
        Page[PostingView],
        Refusal.ACCOUNT_NOT_FOUND,
    ),
    act(f"{_ACCOUNT}/fundings", FundAccount, command_account, "bank", TransferView),
    read(
        f"{_ACCOUNT}/fundings/{{funding_no}}",
        FundingKey,
        get_funding,
        "bank",
        TransferView,
        RequestCode.NO_SUCH_TRANSFER,
    ),
    act(f"{_ACCOUNT}/withdrawals", WithdrawFunds, command_account, "bank", TransferView),
    read(
        f"{_ACCOUNT}/withdrawals/{{withdrawal_no}}",
        WithdrawalKey,
        get_withdrawal,
        "bank",
        TransferView,
        RequestCode.NO_SUCH_TRANSFER,
    ),
    act(f"{_ACCOUNT}/freeze", FreezeAccount, command_account, "bank", AccountView),
    act(f"{_ACCOUNT}/unfreeze", UnfreezeAccount, command_account, "bank", AccountView),
    act(f"{_ACCOUNT}/close", CloseAccount, command_account, "bank", AccountView),
)
