"""Answers: what callers get back, and what they get when they look something up.

The gateway turns these Structs into JSON as they are, so field names are the API's names. Times
are RFC 3339 in UTC with milliseconds. Nothing that a merchant may see holds a payer's balance;
`AccountView` is for the account's own bank.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from actors.refusal import Refusal


class View(Struct, frozen=True, tag_field="object", gc=False):
    """Base of all answers; `object` names the kind of thing."""


class Refused(View, frozen=True, tag="refused"):
    """The command was not carried out, and nothing changed.

    `number` is the command's own number. `current` and `allowed` are given for an illegal
    transition: the state that the original was in, and those in which the command is legal.
    """

    code: Refusal
    number: str
    current: str | None = None
    allowed: tuple[str, ...] = ()


class AccountView(View, frozen=True, tag="account"):
    """An account; `available_minor` is what is posted and neither held nor frozen."""

    account_no: str
    kind: str
    status: str
    currency: str
    posted_minor: int
    held_minor: int
    frozen_minor: int
    available_minor: int
    opened_at: str


class AgreementView(View, frozen=True, tag="agreement"):
    """What a payer lets a merchant take; a limit that is None does not exist.

    `used_minor` is what counts against the daily limit on the current business date; it is for
    queries of an agreement in force that has, or had, such a limit, and None otherwise.
    """

    account_no: str
    agreement_no: str
    merchant_no: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    used_minor: int | None
    state: str
    code: Refusal | None
    business_date: str
    signed_at: str | None
    changed_at: str | None
    cancelled_at: str | None


class AgreementChangeView(View, frozen=True, tag="agreement_change"):
    """A change of an agreement's limits, or its cancelling."""

    change: Literal["change", "cancel"]
    account_no: str
    number: str
    agreement_no: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    state: str
    code: Refusal | None
    business_date: str
    created_at: str


class LimitsChangeView(View, frozen=True, tag="limits_change"):
    """What an account's own limits for a method were set to."""

    account_no: str
    limits_no: str
    method: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    state: str
    code: Refusal | None
    business_date: str
    created_at: str


class MethodLimitView(Struct, frozen=True):
    """An account's own limits for one method, and what is used today, limited or not."""

    method: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    used_minor: int


class AccountLimitsView(View, frozen=True, tag="account_limits"):
    """An account's own limits, method by method, with the use of a business date."""

    account_no: str
    business_date: str
    methods: tuple[MethodLimitView, ...]


class FreezeView(View, frozen=True, tag="freeze"):
    """An amount that the bank has set aside, or had."""

    account_no: str
    freeze_no: str
    amount_minor: int
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    released_at: str | None


class UnfreezeView(View, frozen=True, tag="unfreeze"):
    """The end of a freeze; `amount_minor` is the whole of it."""

    account_no: str
    unfreeze_no: str
    freeze_no: str
    amount_minor: int
    state: str
    code: Refusal | None
    business_date: str
    created_at: str


class TransferView(View, frozen=True, tag="transfer"):
    """Money on its way from account to account, or into or out of one through clearing.

    `account_no` is the account that is debited, for a funding the one that is credited; `to` is
    the receiving account of a transfer between customers, None for the other two.
    """

    direction: Literal["funding", "withdrawal", "transfer"]
    account_no: str
    number: str
    to: str | None
    amount_minor: int
    currency: str
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    settled_at: str | None
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class MerchantView(View, frozen=True, tag="merchant"):
    """A merchant; `posted_minor` is its receivable after fees.

    `opened_at` is when it was opened, or applied.
    """

    merchant_no: str
    status: str
    currency: str
    fee_bps: int
    over_capture: bool
    posted_minor: int
    fees_minor: int
    opened_at: str


class ProfileView(View, frozen=True, tag="merchant_profile"):
    """How a merchant that has applied was taken on; for the bank, as it names its operators."""

    merchant_no: str
    status: str
    legal_name: str
    contact: str
    reason: str | None
    contract_no: str | None
    applied_at: str
    submitted_at: str | None
    submitted_by: str | None
    decided_at: str | None
    decided_by: str | None
    signed_at: str | None
    signed_by: str | None


class CertificateView(View, frozen=True, tag="certificate"):
    """A certificate; `merchant_no` is None for one of the bank's own.

    One that is ACTIVE is valid from `not_before` to `ends_at`, which comes earlier once it has been
    renewed. `pem` is the certificate itself, where it was asked for.
    """

    merchant_no: str | None
    certificate_no: str
    serial: str
    alg: str
    state: str
    code: Refusal | None
    not_before: str
    ends_at: str
    revoked_at: str | None
    reason: str | None
    pem: str | UnsetType = UNSET


class PaymentView(View, frozen=True, tag="payment"):
    """A payment; `refunded_minor` counts refunds that succeeded."""

    merchant_no: str
    order_no: str
    payer: str
    amount_minor: int
    currency: str
    fee_minor: int
    refunded_minor: int
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    settled_at: str | None
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class AuthorizationView(View, frozen=True, tag="authorization"):
    """An authorization as the merchant knows it: the projection of the payer's hold."""

    merchant_no: str
    hold_no: str
    payer: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    currency: str
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    settled_at: str | None
    expires_at: str | None
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class OperationView(View, frozen=True, tag="operation"):
    """An increment, capture, void or release of an authorization, or a payment's reversal.

    `original` is the hold_no or order_no that it belongs to. The hold's figures are those right
    after it; they are None for a reversal and where the account was never asked.
    """

    operation: str
    merchant_no: str
    number: str
    original: str
    amount_minor: int
    final: bool
    fee_minor: int
    state: str
    code: Refusal | None
    hold_amount_minor: int | None
    hold_captured_minor: int | None
    hold_state: str | None
    business_date: str
    created_at: str
    settled_at: str | None
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class EventView(View, frozen=True, tag="event"):
    """What happened at a merchant, the `sequence`-th of its events.

    `number` is the caller's number that got its outcome (of an expiry the hold_no); `original`
    the order_no, hold_no or refund_no that it belongs to. `state` is the payment's,
    authorization's or refund's afterwards, None where there is none. The hold's figures are those
    right afterwards.
    """

    sequence: int
    type: str
    number: str
    original_kind: str | None
    original: str | None
    amount_minor: int
    currency: str
    fee_minor: int
    state: str | None
    code: Refusal | None
    hold_amount_minor: int | None
    hold_captured_minor: int | None
    expires_at: str | None
    business_date: str
    occurred_at: str


class RefundView(View, frozen=True, tag="refund"):
    """A refund of a payment, or of what was captured under an authorization.

    `redirected_to` is the account that gets the money in place of the payer's, which is closed.
    """

    merchant_no: str
    refund_no: str
    original_kind: str
    original: str
    payer: str
    redirected_to: str | None
    amount_minor: int
    currency: str
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    settled_at: str | None
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class RemedyView(View, frozen=True, tag="remedy"):
    """What was done about a refund that waits or went astray: it was redirected, or closed.

    `account_no` is where it was redirected to, None for a closing.
    """

    remedy: str
    merchant_no: str
    number: str
    refund_no: str
    account_no: str | None
    amount_minor: int
    state: str
    code: Refusal | None
    business_date: str
    created_at: str
    settled_at: str | None


class WebhookView(View, frozen=True, tag="webhook"):
    """Where a merchant's events are sent, and how far that has come.

    Each event up to `cursor` is in the log or was; `pending`, `delivered` and `failed` say how many
    there are in it. `reason` says why it is DISABLED: `asked`, or `gone` where it has answered 410.
    """

    merchant_no: str
    url: str
    status: str
    reason: str | None
    cursor: int
    pending: int
    delivered: int
    failed: int
    created_at: str
    changed_at: str


class WebhookEvent(View, frozen=True, tag="webhook_event"):
    """What a webhook is sent: one event of a merchant's.

    `event_id` is the same however often it is sent, and no other event has it.
    """

    event_id: str
    merchant_no: str
    event: "EventView"


class WebhookChallenge(View, frozen=True, tag="webhook_challenge"):
    """What a server is sent before it is sent a merchant's events: it answers with the text.

    Handlers for others' webhooks echo what is called `challenge` without a look at the rest, and
    would agree to events that nobody there has asked for.
    """

    merchant_no: str
    challenge: str = field(name="piaohao_challenge")


class AttemptView(Struct, frozen=True):
    """One attempt to deliver an event: the HTTP status of its answer, or why there is none."""

    at: str
    duration_ms: int
    status: int | None
    error: str | None


class DeliveryView(View, frozen=True, tag="delivery"):
    """What has become of an event of a merchant's with a webhook.

    `attempts` is how many there have been, `log` the newest 16 of them, oldest first; `due_at` is
    before when there is no other, None where there is none or nothing to wait for.
    """

    merchant_no: str
    sequence: int
    event_id: str
    state: str
    attempts: int
    due_at: str | None
    log: tuple[AttemptView, ...]


Outcome = (
    Refused
    | AccountView
    | AgreementView
    | AgreementChangeView
    | LimitsChangeView
    | FreezeView
    | UnfreezeView
    | TransferView
    | MerchantView
    | CertificateView
    | PaymentView
    | AuthorizationView
    | OperationView
    | RefundView
    | RemedyView
    | WebhookView
)


class Replayed(Struct, frozen=True):
    """The first outcome again, for a repetition; the caller sees the very same body."""

    outcome: Outcome


def instant(ns: int) -> str:
    """Return nanoseconds since 1970-01-01 UTC as RFC 3339, cut to milliseconds."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1_000_000:03d}Z"


def instant_if(ns: int) -> str | None:
    """Return the instant, or None for 0: it has not come yet."""
    return instant(ns) if ns else None


# Payments of one second share its text: 0.2 µs instead of 0.9 for each instant.
@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
