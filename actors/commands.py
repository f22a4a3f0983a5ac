"""What callers may ask for: external commands, as typed values.

A command names itself by the caller's own number. Its content (the digest that tells a
repetition from a reused number) is the whole typed command. The first actor it goes to is the
one that owns that number: `first_actor`.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct

from actors.note import Description, Metadata, with_note
from engine import address

# Python's `$` also matches before a newline at the end; this shuts that door.
_END = r"(?!\n)"

Number = Annotated[
    str, Meta(pattern=address.NUMBER_PATTERN + _END, description="1 to 64 ASCII characters")
]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$" + _END, description="ISO 4217")]
AmountMinor = Annotated[int, Meta(ge=1, le=10**13, description="minor units")]
FeeBps = Annotated[int, Meta(ge=0, le=10_000)]
Method = Literal["agreement", "authorization", "transfer", "withdrawal"]
ValidityS = Annotated[int, Meta(ge=1, le=30 * 86_400, description="seconds, at most 30 days")]


class Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    """Base of all external commands; `tag_field` names the kind in an array of commands."""


class OpenAccount(Command, frozen=True, tag="open_account"):
    """Open a customer's account."""

    account_no: Number
    currency: Currency


class FundAccount(Command, frozen=True, tag="fund_account"):
    """Move money into an account from the currency's clearing account."""

    account_no: Number
    funding_no: Number
    amount_minor: AmountMinor
    currency: Currency
    description: Description = UNSET
    metadata: Metadata = UNSET


class WithdrawFunds(Command, frozen=True, tag="withdraw_funds"):
    """Move money from an account to the currency's clearing account."""

    account_no: Number
    withdrawal_no: Number
    amount_minor: AmountMinor
    currency: Currency
    description: Description = UNSET
    metadata: Metadata = UNSET


class CreateTransfer(Command, frozen=True, tag="create_transfer"):
    """Move money from one customer's account to another; the one that is debited names it."""

    account_no: Number
    transfer_no: Number
    to: Number
    amount_minor: AmountMinor
    currency: Currency
    description: Description = UNSET
    metadata: Metadata = UNSET


class FreezeAccount(Command, frozen=True, tag="freeze_account"):
    """Let nothing new leave the account, transfers included; open holds and credits go on."""

    account_no: Number


class UnfreezeAccount(Command, frozen=True, tag="unfreeze_account"):
    """Take a freeze back."""

    account_no: Number


class CloseAccount(Command, frozen=True, tag="close_account"):
    """Close an account with no balance, open hold or outgoing transfer under way, for ever."""

    account_no: Number


class SignAgreement(Command, frozen=True, tag="sign_agreement"):
    """The payer lets a merchant debit the account, within limits; absent means no limit."""

    account_no: Number
    agreement_no: Number
    merchant_no: Number
    payment_limit_minor: AmountMinor | None = None
    daily_limit_minor: AmountMinor | None = None


class ChangeAgreement(Command, frozen=True, tag="change_agreement"):
    """Set both limits of a signed agreement anew; absent means no limit."""

    account_no: Number
    agreement_no: Number
    change_no: Number
    payment_limit_minor: AmountMinor | None = None
    daily_limit_minor: AmountMinor | None = None


class CancelAgreement(Command, frozen=True, tag="cancel_agreement"):
    """End a signed agreement for ever; holds that are open and refunds go on."""

    account_no: Number
    agreement_no: Number
    cancel_no: Number


class SetAccountLimits(Command, frozen=True, tag="set_account_limits"):
    """Set both of the account's own limits for one method of paying; absent means no limit."""

    account_no: Number
    limits_no: Number
    method: Method
    payment_limit_minor: AmountMinor | None = None
    daily_limit_minor: AmountMinor | None = None


class FreezeAmount(Command, frozen=True, tag="freeze_amount"):
    """Set some of an account's available money aside, until it is unfrozen."""

    account_no: Number
    freeze_no: Number
    amount_minor: AmountMinor


class UnfreezeAmount(Command, frozen=True, tag="unfreeze_amount"):
    """Make a frozen amount available again."""

    account_no: Number
    freeze_no: Number
    unfreeze_no: Number


class OpenMerchant(Command, frozen=True, tag="open_merchant"):
    """Open a merchant with a fee in basis points; `over_capture` allows captures up to 115 %."""

    merchant_no: Number
    currency: Currency
    fee_bps: FeeBps = 0
    over_capture: bool = False


class SuspendMerchant(Command, frozen=True, tag="suspend_merchant"):
    """Let a merchant take nothing new; refunds, reversals, voids and releases go on."""

    merchant_no: Number


class ActivateMerchant(Command, frozen=True, tag="activate_merchant"):
    """Take a suspension back."""

    merchant_no: Number


class CloseMerchant(Command, frozen=True, tag="close_merchant"):
    """Close a merchant with which nothing is open any more, for ever."""

    merchant_no: Number


class CreatePayment(Command, frozen=True, tag="create_payment"):
    """Pay a merchant from an account under a signed agreement."""

    merchant_no: Number
    order_no: Number
    payer: Number
    amount_minor: AmountMinor
    currency: Currency
    description: Description = UNSET
    metadata: Metadata = UNSET


class ReversePayment(Command, frozen=True, tag="reverse_payment"):
    """Undo a payment in full, fee included, on its own business date."""

    merchant_no: Number
    order_no: Number
    reversal_no: Number


class CreateAuthorization(Command, frozen=True, tag="create_authorization"):
    """Reserve money on a payer's account for later capture (pre-authorization)."""

    merchant_no: Number
    hold_no: Number
    payer: Number
    amount_minor: AmountMinor
    currency: Currency
    valid_s: ValidityS = 7 * 86_400
    description: Description = UNSET
    metadata: Metadata = UNSET


class IncrementAuthorization(Command, frozen=True, tag="increment_authorization"):
    """Reserve more under an authorization that is still whole."""

    merchant_no: Number
    hold_no: Number
    increment_no: Number
    amount_minor: AmountMinor


class CaptureAuthorization(Command, frozen=True, tag="capture_authorization"):
    """Take reserved money; `final` releases what is left."""

    merchant_no: Number
    hold_no: Number
    capture_no: Number
    amount_minor: AmountMinor
    final: bool = False
    description: Description = UNSET
    metadata: Metadata = UNSET


class VoidAuthorization(Command, frozen=True, tag="void_authorization"):
    """Give an uncaptured reservation back."""

    merchant_no: Number
    hold_no: Number
    void_no: Number


class ReleaseAuthorization(Command, frozen=True, tag="release_authorization"):
    """Give the uncaptured rest of a partly captured reservation back."""

    merchant_no: Number
    hold_no: Number
    release_no: Number


class RefundPayment(Command, frozen=True, tag="refund_payment"):
    """Return some or all of a payment to its payer, at once or when the money is there."""

    merchant_no: Number
    refund_no: Number
    order_no: Number
    amount_minor: AmountMinor
    wait_for_funds: bool = False
    description: Description = UNSET
    metadata: Metadata = UNSET


class RefundAuthorization(Command, frozen=True, tag="refund_authorization"):
    """Return some or all of what was captured, at once or when the money is there."""

    merchant_no: Number
    refund_no: Number
    hold_no: Number
    amount_minor: AmountMinor
    wait_for_funds: bool = False
    description: Description = UNSET
    metadata: Metadata = UNSET


class RedirectRefund(Command, frozen=True, tag="redirect_refund"):
    """Send a refund whose payer's account is closed to another account."""

    merchant_no: Number
    refund_no: Number
    redirect_no: Number
    account_no: Number


class CloseRefund(Command, frozen=True, tag="close_refund"):
    """Give up a refund that waits for funds, or whose payer's account is closed."""

    merchant_no: Number
    refund_no: Number
    close_no: Number


AccountCommand = (
    OpenAccount
    | WithdrawFunds
    | CreateTransfer
    | FreezeAccount
    | UnfreezeAccount
    | CloseAccount
    | SignAgreement
    | ChangeAgreement
    | CancelAgreement
    | SetAccountLimits
    | FreezeAmount
    | UnfreezeAmount
)
MerchantCommand = (
    OpenMerchant
    | SuspendMerchant
    | ActivateMerchant
    | CloseMerchant
    | CreatePayment
    | ReversePayment
    | CreateAuthorization
    | IncrementAuthorization
    | CaptureAuthorization
    | VoidAuthorization
    | ReleaseAuthorization
    | RefundPayment
    | RefundAuthorization
    | RedirectRefund
    | CloseRefund
)
AnyCommand = AccountCommand | FundAccount | MerchantCommand

# Metadata in whatever order is the same metadata.
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_sha256 = hashlib.sha256


def digest(command: Command) -> bytes:
    """Return the SHA-256 of the command's canonical typed form (32 bytes), and its note."""
    return with_note(_sha256(_encode(command)).digest(), command)


def clearing_account(currency: str) -> str:
    """Return the number of the account through which a currency enters and leaves the bank."""
    return f"clearing-{currency}"


def first_actor(command: Command) -> str:
    """Return the address of the actor that owns the command's number and decides first."""
    if isinstance(command, FundAccount):
        return f"account/{clearing_account(command.currency)}"
    if isinstance(command, AccountCommand):
        return f"account/{command.account_no}"
    return f"merchant/{command.merchant_no}"  # type: ignore[attr-defined]
