"""Commands: what a row, and what it needs to have been opened, is to the gateway.

A row's reference is the caller's own number of whatever it asks for, so sending any of it again
changes nothing. A capture never is `final`: what is left of a hold goes with its last capture, a
release, or its time.
"""

from typing import Final

from actors.commands import (
    CaptureAuthorization,
    Command,
    CreateAuthorization,
    CreatePayment,
    CreateTransfer,
    FundAccount,
    OpenAccount,
    OpenMerchant,
    RefundAuthorization,
    RefundPayment,
    ReleaseAuthorization,
    ReversePayment,
    SignAgreement,
    VoidAuthorization,
)
from bench.replay.row import Row

FUNDING_NO: Final = "opening"
VALID_S: Final = 7 * 86_400
"""How long a hold is valid, seconds: what the API gives a hold that asks for nothing else."""


def command_of(row: Row, original: str) -> Command:
    """Return the command of a row.

    Args:
        original: `hold` where the row's original is one, else `payment`; it tells refunds apart.
    """
    number, payer, merchant, amount = row.reference, row.payer, row.merchant, row.amount_minor
    match row.kind:
        case "payment":
            return CreatePayment(merchant, number, payer, amount, row.currency)
        case "hold":
            return CreateAuthorization(merchant, number, payer, amount, row.currency, VALID_S)
        case "capture":
            return CaptureAuthorization(merchant, row.original, number, amount)
        case "void":
            return VoidAuthorization(merchant, row.original, number)
        case "release":
            return ReleaseAuthorization(merchant, row.original, number)
        case "reversal":
            return ReversePayment(merchant, row.original, number)
        case "refund" if original == "hold":
            return RefundAuthorization(merchant, number, row.original, amount)
        case "refund":
            return RefundPayment(merchant, number, row.original, amount)
        case _:
            return CreateTransfer(payer, number, merchant, amount, row.currency)


def open_account(account_no: str, currency: str) -> Command:
    """Return what opens an account."""
    return OpenAccount(account_no, currency)


def fund_account(account_no: str, currency: str, amount_minor: int) -> Command:
    """Return what gives an account its opening balance."""
    return FundAccount(account_no, FUNDING_NO, amount_minor, currency)


def open_merchant(merchant_no: str, currency: str, fee_bps: int) -> Command:
    """Return what opens a merchant."""
    return OpenMerchant(merchant_no, currency, fee_bps)


def sign_agreement(account_no: str, merchant_no: str) -> Command:
    """Return what lets a merchant debit an account without limit."""
    return SignAgreement(account_no, merchant_no, merchant_no)
