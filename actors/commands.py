"""What callers may ask for: external commands, as typed values.

A command names itself by the caller's own number. Its content (the digest that tells a
repetition from a reused number) is the whole typed command. The first actor it goes to is the
one that owns that number: `first_actor`.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace

from actors.note import Description, Line, Metadata, Text, with_note
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

Serial = Annotated[
    str, Meta(pattern="^[0-9a-f]{1,40}$" + _END, description="a certificate's, in lower-case hex")
]
URL_CHARACTERS_MAX: Final = 2_048
Sequence = Annotated[int, Meta(ge=1, le=2**63 - 1)]
RequestDigest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$" + _END, description="SHA-256, hex")]
Algorithm = Literal["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512"]
RevocationReason = Literal[
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
]
"""Those of RFC 5280, section 5.3.1, that end a certificate of a holder's for good."""


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
    """Move money from one customer's account, or from suspense, to another customer's; the account
    that is debited names it."""

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


class ApplyMerchant(Command, frozen=True, tag="apply_merchant"):
    """Note who would like to be a merchant, on which terms; it does no business before ACTIVE."""

    merchant_no: Number
    currency: Currency
    legal_name: Line
    contact: Line
    fee_bps: FeeBps = 0
    over_capture: bool = False


class AmendMerchant(Command, frozen=True, tag="amend_merchant"):
    """Set everything that was applied for anew, before it is submitted."""

    merchant_no: Number
    currency: Currency
    legal_name: Line
    contact: Line
    fee_bps: FeeBps = 0
    over_capture: bool = False


class SubmitMerchant(Command, frozen=True, tag="submit_merchant"):
    """Hand an application over to be audited; `operator` says who does, for the record."""

    merchant_no: Number
    operator: Text = ""


class ApproveMerchant(Command, frozen=True, tag="approve_merchant"):
    """Find nothing against a merchant; now the contract is to be signed."""

    merchant_no: Number
    operator: Text = ""


class RejectMerchant(Command, frozen=True, tag="reject_merchant"):
    """Turn an application down for ever."""

    merchant_no: Number
    reason: Line
    operator: Text = ""


class SignMerchant(Command, frozen=True, tag="sign_merchant"):
    """The contract is signed: the merchant may have a certificate and be activated with it."""

    merchant_no: Number
    contract_no: Number
    operator: Text = ""


class SuspendMerchant(Command, frozen=True, tag="suspend_merchant"):
    """Let a merchant take nothing new; refunds, reversals, voids and releases go on."""

    merchant_no: Number


class ActivateMerchant(Command, frozen=True, tag="activate_merchant"):
    """Let a merchant that has a certificate begin, or take a suspension back."""

    merchant_no: Number


class CloseMerchant(Command, frozen=True, tag="close_merchant"):
    """End a merchant: it takes nothing new, and is closed for ever once nothing is open with it."""

    merchant_no: Number


class RevokeCertificate(Command, frozen=True, tag="revoke_certificate"):
    """End a merchant's certificate at once and for ever."""

    merchant_no: Number
    serial: Serial
    reason: RevocationReason = "unspecified"


class Issued(Struct, frozen=True):
    """What the bank's CA has made of a request: a certificate, and what the domain needs of it.

    Attributes:
        spki: the public key as DER of its SubjectPublicKeyInfo, at most 600 bytes.
        not_before_ns, not_after_ns: nanoseconds since 1970-01-01 UTC.
        certificate: all of it as DER, at most 4 KiB.
    """

    serial: str
    alg: Algorithm
    spki: bytes
    not_before_ns: int
    not_after_ns: int
    certificate: bytes


class RegisterCertificate(Command, frozen=True, tag="register_certificate"):
    """Make a certificate that the CA has signed known as a merchant's.

    Never a caller's: only the gateway makes it, after the CA has signed. `request` is the SHA-256
    of what was to be signed (the CSR), `renews` the serial of the certificate that it replaces.
    """

    merchant_no: Number
    certificate_no: Number
    request: RequestDigest
    issued: Issued
    renews: Serial | None = None


class RegisterBankCertificate(Command, frozen=True, tag="register_bank_certificate"):
    """Make a certificate that the CA has signed known as the bank's own; never a caller's."""

    certificate_no: Number
    request: RequestDigest
    issued: Issued
    renews: Serial | None = None


class RevokeBankCertificate(Command, frozen=True, tag="revoke_bank_certificate"):
    """End a certificate of the bank's own at once and for ever; never a caller's."""

    serial: Serial
    reason: RevocationReason = "unspecified"


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


class SetWebhook(Command, frozen=True, tag="set_webhook"):
    """Send a merchant's events to a URL; never a caller's: the gateway has looked at the URL.

    `after` is the event behind which a first webhook begins.
    """

    merchant_no: Number
    url: Annotated[str, Meta(min_length=1, max_length=URL_CHARACTERS_MAX)]
    after: Annotated[int, Meta(ge=0)]


class EnableWebhook(Command, frozen=True, tag="enable_webhook"):
    """Send events again to a webhook that was disabled, those that have waited first."""

    merchant_no: Number


class DisableWebhook(Command, frozen=True, tag="disable_webhook"):
    """Send nothing to a webhook until it is enabled; events wait, and none is lost."""

    merchant_no: Number


class RedeliverEvents(Command, frozen=True, tag="redeliver_events"):
    """Send the events from `first` to `last` once more; at most 200."""

    merchant_no: Number
    first: Sequence
    last: Sequence


class Attempt(Struct, frozen=True, array_like=True, gc=False):
    """One attempt to deliver an event.

    Attributes:
        at_ns: when it began, by the machine's clock.
        duration_ms: how long it took.
        status: of the HTTP answer, 0 where none came.
        error: what went wrong before there was one, empty for nothing.
    """

    at_ns: int
    duration_ms: int
    status: int = 0
    error: Literal[
        "", "UNRESOLVED", "ADDRESS_REFUSED", "UNREACHABLE", "TLS", "TIMEOUT", "PROTOCOL"
    ] = ""


class Result(Struct, frozen=True):
    """What came of an attempt; `rounds` is how often the event had been ordered again by then."""

    sequence: int
    rounds: int
    attempt: Attempt


class RecordDeliveries(Command, frozen=True, tag="record_deliveries"):
    """Note what the gateway has delivered; never a caller's.

    Attributes:
        taken: events that are under way and have not been tried.
        cursor: each event up to here has its delivery now.
        dropped: deliveries that the log forgets.
        gone: the URL that has said that it is gone for good, empty for none.
    """

    merchant_no: Number
    cursor: int
    taken: tuple[int, ...] = ()
    results: tuple[Result, ...] = ()
    dropped: tuple[int, ...] = ()
    gone: str = ""


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
    | ApplyMerchant
    | AmendMerchant
    | SubmitMerchant
    | ApproveMerchant
    | RejectMerchant
    | SignMerchant
    | SuspendMerchant
    | ActivateMerchant
    | CloseMerchant
    | RevokeCertificate
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

Registration = RegisterCertificate | RegisterBankCertificate
BankCommand = Registration | RevokeBankCertificate
"""What only the gateway itself makes, on the CA's word: none of `AnyCommand`, so that no caller
can say it, alone or in an array."""

WebhookCommand = SetWebhook | EnableWebhook | DisableWebhook | RedeliverEvents | RecordDeliveries
"""What is said to a merchant's webhook: no array holds one of these either, and two of them only
the gateway makes."""
GatewayCommand = BankCommand | WebhookCommand

BANK: Final = "bank/main"
"""Address of the actor that owns the bank's own certificates and their numbers."""

# Metadata in whatever order is the same metadata.
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_sha256 = hashlib.sha256


def digest(command: Command) -> bytes:
    """Return the SHA-256 of the command's canonical typed form (32 bytes), and its note."""
    return with_note(_sha256(_encode(command)).digest(), command)


_NOTHING: Final = Issued("", "ed25519", b"", 0, 0, b"")


def request_digest(command: Registration) -> bytes:
    """Return the digest of what was asked for, without what the CA has made of it.

    Somebody who asks again has brought about another certificate meanwhile; it is the same
    command all the same, and gets the first one.
    """
    return digest(replace(command, issued=_NOTHING))


def content(command: Command) -> bytes:
    """Return what a number is bound to, of any command; slower than `digest`."""
    return request_digest(command) if isinstance(command, Registration) else digest(command)


def clearing_account(currency: str) -> str:
    """Return the number of the account through which a currency enters and leaves the bank."""
    return f"clearing-{currency}"


# By type: asking for each union in turn cost 2.1 µs a payment, where this takes 0.2.
_OTHERS: Final[Mapping[type[Struct], Callable[[Any], str]]] = {
    FundAccount: lambda command: f"account/{clearing_account(command.currency)}",
    **dict.fromkeys(AccountCommand.__args__, lambda command: f"account/{command.account_no}"),
    **dict.fromkeys((RegisterBankCertificate, RevokeBankCertificate), lambda command: BANK),
    **dict.fromkeys(WebhookCommand.__args__, lambda command: f"webhook/{command.merchant_no}"),
}
"""Types of the commands that no merchant decides first, and who does."""


def first_actor(command: Command) -> str:
    """Return the address of the actor that owns the command's number and decides first."""
    other = _OTHERS.get(type(command))
    if other is not None:
        return other(command)
    return f"merchant/{command.merchant_no}"  # type: ignore[attr-defined]
