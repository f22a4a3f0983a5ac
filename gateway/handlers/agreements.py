"""Agreements: signed, changed, cancelled and looked up, each under a number of its own."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from actors.agreement import ALLOWANCES
from actors.answers import AgreementChangeView, AgreementView
from actors.commands import CancelAgreement, ChangeAgreement, Command, Number, SignAgreement
from actors.refusal import Refusal
from actors.signing import (
    AGREEMENTS,
    CHANGES,
    Agreement,
    ChangeKind,
    view_agreement,
    view_change,
)
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint, act, read
from gateway.errors import RequestCode
from gateway.lookup import Cursor, Limit, Page, found, record_of, records_page


class AgreementKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which agreement."""

    account_no: Number
    agreement_no: Number


class AgreementList(Struct, frozen=True, forbid_unknown_fields=True):
    """An account's agreements, cancelled and refused ones too, in the order of their numbers."""

    account_no: Number
    limit: Limit = 10
    cursor: Cursor | None = None


class ChangeKey(AgreementKey, frozen=True):
    """Which change."""

    change_no: Number


class CancelKey(AgreementKey, frozen=True):
    """Which cancelling."""

    cancel_no: Number


async def sign_agreement(desk: Desk, caller: Caller, command: SignAgreement) -> Answer:
    """Let a merchant debit the account, within limits."""
    return await desk.execute(caller, command)


async def get_agreement(desk: Desk, caller: Caller, key: AgreementKey) -> Answer:
    """Return an agreement as it stands now, with today's use."""
    address = f"account/{key.account_no}"
    agreement = record_of(desk.node, address, AGREEMENTS, key.agreement_no)
    if agreement is None:
        return found(None, Refusal.NO_SUCH_AGREEMENT)
    allowance = record_of(desk.node, address, ALLOWANCES, agreement.merchant_no)
    today = desk.business_date()
    view = view_agreement(key.account_no, key.agreement_no, agreement, allowance, today)
    return found(view, Refusal.NO_SUCH_AGREEMENT)


async def list_agreements(desk: Desk, caller: Caller, asked: AgreementList) -> Answer:
    """Return one page of an account's agreements, each as it stands now."""
    account_no = asked.account_no
    address, today = f"account/{account_no}", desk.business_date()

    def view(agreement_no: str, agreement: Agreement) -> AgreementView:
        allowance = record_of(desk.node, address, ALLOWANCES, agreement.merchant_no)
        return view_agreement(account_no, agreement_no, agreement, allowance, today)

    return records_page(desk.node, address, AGREEMENTS, view, asked.limit, asked.cursor)


_AGREEMENTS: Final = "/v1/accounts/{account_no}/agreements"
_AGREEMENT: Final = "/v1/accounts/{account_no}/agreements/{agreement_no}"


def _change(
    name: str,
    number: str,
    command_type: type[Command],
    key_type: type[AgreementKey],
    kind: ChangeKind,
) -> Iterator[Endpoint]:
    """Yield the two endpoints of one kind of change: do it, and look it up by its number."""

    async def change(desk: Desk, caller: Caller, command: Command) -> Answer:
        """Change or cancel an agreement."""
        return await desk.execute(caller, command)  # type: ignore[arg-type]

    async def get_change(desk: Desk, caller: Caller, key: AgreementKey) -> Answer:
        """Return a change or a cancelling of this agreement."""
        change_no: str = getattr(key, number)
        record = record_of(desk.node, f"account/{key.account_no}", CHANGES[kind], change_no)
        if record is None or record.agreement_no != key.agreement_no:
            return found(None, RequestCode.NO_SUCH_OPERATION)
        view = view_change(key.account_no, change_no, record)
        return found(view, RequestCode.NO_SUCH_OPERATION)

    yield act(f"{_AGREEMENT}/{name}", command_type, change, "bank", AgreementChangeView)
    yield read(
        f"{_AGREEMENT}/{name}/{{{number}}}",
        key_type,
        get_change,
        "bank",
        AgreementChangeView,
        RequestCode.NO_SUCH_OPERATION,
        called=f"get_agreement_{name[:-1]}",
        about=f"Return an agreement's {name[:-1]} by its number.",
    )


ENDPOINTS: Final = (
    act(_AGREEMENTS, SignAgreement, sign_agreement, "bank", AgreementView),
    read(_AGREEMENTS, AgreementList, list_agreements, "bank", Page[AgreementView]),
    read(
        _AGREEMENT,
        AgreementKey,
        get_agreement,
        "bank",
        AgreementView,
        Refusal.NO_SUCH_AGREEMENT,
    ),
    *_change("changes", "change_no", ChangeAgreement, ChangeKey, "change"),
    *_change("cancellations", "cancel_no", CancelAgreement, CancelKey, "cancel"),
)
