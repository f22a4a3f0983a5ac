"""Transfers between customers' accounts; fundings and withdrawals stand with their accounts."""

from typing import Final

from msgspec import Struct

from actors.answers import TransferView
from actors.commands import CreateTransfer, Number
from actors.transfer import TRANSFERS, Transfer, transfer_name, view_transfer
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.lookup import Cursor, Limit, Page, found, record_of, records_page


class TransferKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which transfer, by the account that was debited."""

    account_no: Number
    transfer_no: Number


class TransferList(Struct, frozen=True, forbid_unknown_fields=True):
    """What an account has sent to others, in the order of the transfers' numbers."""

    account_no: Number
    limit: Limit = 10
    cursor: Cursor | None = None


async def create_transfer(desk: Desk, caller: Caller, command: CreateTransfer) -> Answer:
    """Move money from one account to another."""
    return await desk.execute(caller, command)


async def get_transfer(desk: Desk, caller: Caller, key: TransferKey) -> Answer:
    """Return a transfer."""
    name = transfer_name(key.transfer_no)
    transfer = record_of(desk.node, f"account/{key.account_no}", TRANSFERS, name)
    view = None if transfer is None else view_transfer(key.account_no, name, transfer)
    return found(view, RequestCode.NO_SUCH_TRANSFER)


async def list_transfers(desk: Desk, caller: Caller, asked: TransferList) -> Answer:
    """Return one page of the transfers from an account."""

    def view(transfer_no: str, transfer: Transfer) -> TransferView:
        return view_transfer(asked.account_no, transfer_name(transfer_no), transfer)

    return records_page(
        desk.node,
        f"account/{asked.account_no}",
        TRANSFERS,
        view,
        asked.limit,
        asked.cursor,
        under=transfer_name(""),
    )


_TRANSFERS: Final = "/v1/transfers"

ENDPOINTS: Final = (
    act(_TRANSFERS, CreateTransfer, create_transfer, "bank", TransferView),
    read(_TRANSFERS, TransferList, list_transfers, "bank", Page[TransferView]),
    read(
        f"{_TRANSFERS}/{{account_no}}/{{transfer_no}}",
        TransferKey,
        get_transfer,
        "bank",
        TransferView,
        RequestCode.NO_SUCH_TRANSFER,
    ),
)
