"""State machines: which states there are, and what leads from one to another.

The one table that code, tests and docs/STATES.md (generated: `just states`) share. Whatever
changes a state goes through `move`, and which states permit a command is asked of the table, not
written down again. A transition is a line: (from, cause, to). Causes are commands by their names
in the API where a command is the reason, else messages or timers by the names of their types.

A thing that does not exist yet is in START. A transition to the state that it leaves is
something that may be done there: an increment, a part of a capture, a refund, a repeated freeze.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

START: Final = ""

S = TypeVar("S", bound=str)


class Transition(NamedTuple):
    """What leads from one state to another."""

    source: str
    cause: str
    target: str


class Machine:
    """One state machine.

    Attributes:
        name: of what has these states.
        about: a sentence for people.
        states: all of them, in the order in which answers list them.
        transitions: all that may happen.
    """

    __slots__ = ("about", "legal", "name", "states", "transitions")

    def __init__(
        self,
        name: str,
        about: str,
        states: tuple[str, ...],
        transitions: Iterable[tuple[str, str, str]],
    ) -> None:
        self.name = name
        self.about = about
        self.states = states
        self.transitions = tuple(Transition(*each) for each in transitions)
        self.legal = frozenset(self.transitions)

    @property
    def initial(self) -> tuple[str, ...]:
        """The states in which it may begin."""
        begun = {each.target for each in self.transitions if each.source == START}
        return tuple(state for state in self.states if state in begun)

    @property
    def final(self) -> tuple[str, ...]:
        """The states that nothing leaves."""
        left = {each.source for each in self.transitions if each.source != each.target}
        return tuple(state for state in self.states if state not in left)


def move(machine: Machine, source: str, cause: str, target: S) -> S:
    """Return the state that something comes to; that it may come there is our own business.

    It costs 0.15 µs: a payment changes its state once.
    """
    assert (source, cause, target) in machine.legal, (
        f"{machine.name}: {cause} does not lead from {source or 'nothing'} to {target}"
    )
    return target


def allowed(machine: Machine, cause: str) -> tuple[str, ...]:
    """Return the states that permit what a cause stands for."""
    sources = {each.source for each in machine.transitions if each.cause == cause}
    return tuple(state for state in machine.states if state in sources)


PAYMENT: Final = Machine(
    "payment",
    "A refund leaves a payment SUCCEEDED: what was refunded is an amount, not a state.",
    ("PROCESSING", "SUCCEEDED", "FAILED", "REVERSED"),
    (
        (START, "create_payment", "PROCESSING"),
        (START, "create_payment", "FAILED"),
        ("PROCESSING", "PaymentDebited", "SUCCEEDED"),
        ("PROCESSING", "PaymentDeclined", "FAILED"),
        ("SUCCEEDED", "refund_payment", "SUCCEEDED"),
        ("SUCCEEDED", "reverse_payment", "REVERSED"),
    ),
)

_HOLD: Final = (
    ("HELD", "increment_authorization", "HELD"),
    ("HELD", "capture_authorization", "PARTIALLY_CAPTURED"),
    ("HELD", "capture_authorization", "CAPTURED"),
    ("HELD", "void_authorization", "VOIDED"),
    ("HELD", "ExpireHold", "EXPIRED"),
    ("PARTIALLY_CAPTURED", "capture_authorization", "PARTIALLY_CAPTURED"),
    ("PARTIALLY_CAPTURED", "capture_authorization", "CAPTURED"),
    ("PARTIALLY_CAPTURED", "release_authorization", "CAPTURED"),
    ("PARTIALLY_CAPTURED", "ExpireHold", "CAPTURED"),
)

HOLD: Final = Machine(
    "hold",
    "The account's side of an authorization: money that is reserved. One whose merchant never heard"
    " of it, because that message was discarded, is there no more.",
    ("HELD", "PARTIALLY_CAPTURED", "CAPTURED", "VOIDED", "EXPIRED"),
    (
        (START, "PlaceHold", "HELD"),
        *_HOLD,
        ("PARTIALLY_CAPTURED", "UndoCapture", "HELD"),
        ("PARTIALLY_CAPTURED", "UndoCapture", "PARTIALLY_CAPTURED"),
        ("CAPTURED", "UndoCapture", "CAPTURED"),
        ("CAPTURED", "UndoCapture", "VOIDED"),
    ),
)

AUTHORIZATION: Final = Machine(
    "authorization",
    "The merchant's projection of a hold: it follows the account's answers.",
    ("PROCESSING", "HELD", "PARTIALLY_CAPTURED", "CAPTURED", "VOIDED", "EXPIRED", "FAILED"),
    (
        (START, "create_authorization", "PROCESSING"),
        (START, "create_authorization", "FAILED"),
        ("PROCESSING", "HoldPlaced", "HELD"),
        ("PROCESSING", "HoldDeclined", "FAILED"),
        *_HOLD,
        ("HELD", "UndoCapture", "VOIDED"),
        ("PARTIALLY_CAPTURED", "refund_authorization", "PARTIALLY_CAPTURED"),
        ("CAPTURED", "refund_authorization", "CAPTURED"),
    ),
)

OPERATION: Final = Machine(
    "operation",
    "An increment, capture, void or release of an authorization, or a payment's reversal.",
    ("PROCESSING", "SUCCEEDED", "FAILED"),
    (
        (START, "increment_authorization", "PROCESSING"),
        (START, "increment_authorization", "FAILED"),
        (START, "capture_authorization", "PROCESSING"),
        (START, "capture_authorization", "FAILED"),
        (START, "void_authorization", "PROCESSING"),
        (START, "void_authorization", "FAILED"),
        (START, "release_authorization", "PROCESSING"),
        (START, "release_authorization", "FAILED"),
        (START, "reverse_payment", "PROCESSING"),
        (START, "reverse_payment", "FAILED"),
        ("PROCESSING", "OperationApplied", "SUCCEEDED"),
        ("PROCESSING", "OperationRefused", "FAILED"),
        ("PROCESSING", "ReversalCredited", "SUCCEEDED"),
        ("PROCESSING", "ReversalReturned", "FAILED"),
    ),
)

REFUND: Final = Machine(
    "refund",
    "Money back to a payer, of a payment or of what was captured. One that waits goes on in the"
    " turn that brings the money, whatever that is; `ResumeRefunds` stands for all of these.",
    ("PENDING_FUNDS", "PROCESSING", "ABNORMAL", "SUCCEEDED", "FAILED", "CLOSED"),
    (
        (START, "refund_payment", "PENDING_FUNDS"),
        (START, "refund_payment", "PROCESSING"),
        (START, "refund_payment", "FAILED"),
        (START, "refund_authorization", "PENDING_FUNDS"),
        (START, "refund_authorization", "PROCESSING"),
        (START, "refund_authorization", "FAILED"),
        ("PENDING_FUNDS", "ResumeRefunds", "PROCESSING"),
        ("PENDING_FUNDS", "ExpireRefund", "CLOSED"),
        ("PENDING_FUNDS", "close_refund", "CLOSED"),
        ("PROCESSING", "RefundCredited", "SUCCEEDED"),
        ("PROCESSING", "RefundReturned", "FAILED"),
        ("PROCESSING", "RefundReturned", "ABNORMAL"),
        ("ABNORMAL", "redirect_refund", "PROCESSING"),
        ("ABNORMAL", "close_refund", "CLOSED"),
    ),
)

REMEDY: Final = Machine(
    "remedy",
    "A redirect or a closing of a refund; a closing is done at once.",
    ("PROCESSING", "SUCCEEDED", "FAILED"),
    (
        (START, "redirect_refund", "PROCESSING"),
        (START, "redirect_refund", "FAILED"),
        (START, "close_refund", "SUCCEEDED"),
        (START, "close_refund", "FAILED"),
        ("PROCESSING", "RefundCredited", "SUCCEEDED"),
        ("PROCESSING", "RefundReturned", "FAILED"),
    ),
)

TRANSFER: Final = Machine(
    "transfer",
    "Money from account to account: fundings, withdrawals and transfers between customers.",
    ("PROCESSING", "SUCCEEDED", "FAILED"),
    (
        (START, "fund_account", "PROCESSING"),
        (START, "fund_account", "FAILED"),
        (START, "withdraw_funds", "PROCESSING"),
        (START, "withdraw_funds", "FAILED"),
        (START, "create_transfer", "PROCESSING"),
        (START, "create_transfer", "FAILED"),
        ("PROCESSING", "TransferCredited", "SUCCEEDED"),
        ("PROCESSING", "TransferReturned", "FAILED"),
    ),
)

AGREEMENT: Final = Machine(
    "agreement",
    "What a payer lets a merchant take; one that was FAILED never came into force.",
    ("SIGNED", "CANCELLED", "FAILED"),
    (
        (START, "sign_agreement", "SIGNED"),
        (START, "sign_agreement", "FAILED"),
        ("SIGNED", "change_agreement", "SIGNED"),
        ("SIGNED", "cancel_agreement", "CANCELLED"),
    ),
)

FREEZE: Final = Machine(
    "frozen amount",
    "An amount of an account that the bank froze; one that was FAILED never was.",
    ("FROZEN", "RELEASED", "FAILED"),
    (
        (START, "freeze_amount", "FROZEN"),
        (START, "freeze_amount", "FAILED"),
        ("FROZEN", "unfreeze_amount", "RELEASED"),
    ),
)

CHANGE: Final = Machine(
    "change",
    "A change or cancellation of an agreement, a setting of limits, an unfreezing: done at once.",
    ("SUCCEEDED", "FAILED"),
    (
        (START, "change_agreement", "SUCCEEDED"),
        (START, "change_agreement", "FAILED"),
        (START, "cancel_agreement", "SUCCEEDED"),
        (START, "cancel_agreement", "FAILED"),
        (START, "set_account_limits", "SUCCEEDED"),
        (START, "set_account_limits", "FAILED"),
        (START, "unfreeze_amount", "SUCCEEDED"),
        (START, "unfreeze_amount", "FAILED"),
    ),
)

ACCOUNT: Final = Machine(
    "account",
    "An account's status; internal accounts open themselves and stay OPEN.",
    ("OPEN", "FROZEN", "CLOSED"),
    (
        (START, "open_account", "OPEN"),
        ("OPEN", "freeze_account", "FROZEN"),
        ("FROZEN", "freeze_account", "FROZEN"),
        ("OPEN", "unfreeze_account", "OPEN"),
        ("FROZEN", "unfreeze_account", "OPEN"),
        ("OPEN", "close_account", "CLOSED"),
        ("FROZEN", "close_account", "CLOSED"),
        ("CLOSED", "close_account", "CLOSED"),
    ),
)

_CLOSABLE: Final = ("DRAFT", "AUDITING", "TO_BE_SIGNED", "PROVISIONING", "ACTIVE", "SUSPENDED")
_WITH_LIABILITIES: Final = ("PROVISIONING", "ACTIVE", "SUSPENDED", "CLOSING")

MERCHANT: Final = Machine(
    "merchant",
    "A merchant's status. One that is CLOSING comes to CLOSED in the turn in which the last thing"
    " ends that was open with it, whatever that is; `close_merchant` stands for all of these.",
    (
        "DRAFT",
        "AUDITING",
        "REJECTED",
        "TO_BE_SIGNED",
        "PROVISIONING",
        "ACTIVE",
        "SUSPENDED",
        "CLOSING",
        "CLOSED",
    ),
    (
        (START, "open_merchant", "ACTIVE"),
        (START, "apply_merchant", "DRAFT"),
        ("DRAFT", "amend_merchant", "DRAFT"),
        ("DRAFT", "submit_merchant", "AUDITING"),
        ("AUDITING", "submit_merchant", "AUDITING"),
        ("AUDITING", "approve_merchant", "TO_BE_SIGNED"),
        ("TO_BE_SIGNED", "approve_merchant", "TO_BE_SIGNED"),
        ("AUDITING", "reject_merchant", "REJECTED"),
        ("TO_BE_SIGNED", "sign_merchant", "PROVISIONING"),
        ("PROVISIONING", "register_certificate", "PROVISIONING"),
        ("ACTIVE", "register_certificate", "ACTIVE"),
        ("SUSPENDED", "register_certificate", "SUSPENDED"),
        ("PROVISIONING", "activate_merchant", "ACTIVE"),
        ("ACTIVE", "activate_merchant", "ACTIVE"),
        ("SUSPENDED", "activate_merchant", "ACTIVE"),
        ("ACTIVE", "suspend_merchant", "SUSPENDED"),
        ("SUSPENDED", "suspend_merchant", "SUSPENDED"),
        *((each, "close_merchant", "CLOSING") for each in _WITH_LIABILITIES),
        *((each, "close_merchant", "CLOSED") for each in (*_CLOSABLE, "CLOSING", "CLOSED")),
    ),
)

REGISTRATION: Final = Machine(
    "registration",
    "A certificate under its holder's own number; it may have ended without being revoked.",
    ("PROCESSING", "ACTIVE", "REVOKED", "FAILED"),
    (
        (START, "register_certificate", "PROCESSING"),
        (START, "register_certificate", "FAILED"),
        (START, "register_bank_certificate", "PROCESSING"),
        (START, "register_bank_certificate", "FAILED"),
        ("PROCESSING", "CertificateAdded", "ACTIVE"),
        ("PROCESSING", "CertificateRefused", "FAILED"),
        ("ACTIVE", "revoke_certificate", "REVOKED"),
        ("REVOKED", "revoke_certificate", "REVOKED"),
        ("ACTIVE", "revoke_bank_certificate", "REVOKED"),
        ("REVOKED", "revoke_bank_certificate", "REVOKED"),
    ),
)

CERTIFICATE: Final = Machine(
    "certificate",
    "What requests are verified against, under the certificate's serial.",
    ("ACTIVE", "REVOKED"),
    (
        (START, "AddCertificate", "ACTIVE"),
        ("ACTIVE", "EndCertificate", "ACTIVE"),
        ("REVOKED", "EndCertificate", "REVOKED"),
        ("ACTIVE", "WithdrawCertificate", "REVOKED"),
        ("REVOKED", "WithdrawCertificate", "REVOKED"),
    ),
)

WEBHOOK: Final = Machine(
    "webhook",
    "Where a merchant's events are sent. `record_deliveries` disables one that answers 410 Gone.",
    ("ENABLED", "DISABLED"),
    (
        (START, "set_webhook", "ENABLED"),
        ("ENABLED", "set_webhook", "ENABLED"),
        ("DISABLED", "set_webhook", "ENABLED"),
        ("ENABLED", "enable_webhook", "ENABLED"),
        ("DISABLED", "enable_webhook", "ENABLED"),
        ("ENABLED", "disable_webhook", "DISABLED"),
        ("DISABLED", "disable_webhook", "DISABLED"),
        ("ENABLED", "record_deliveries", "DISABLED"),
    ),
)

DELIVERY: Final = Machine(
    "delivery",
    "An event on its way to a webhook. `record_deliveries` says what came of attempts.",
    ("PENDING", "DELIVERED", "FAILED"),
    (
        (START, "record_deliveries", "PENDING"),
        (START, "record_deliveries", "DELIVERED"),
        ("PENDING", "record_deliveries", "PENDING"),
        ("PENDING", "record_deliveries", "DELIVERED"),
        ("PENDING", "record_deliveries", "FAILED"),
        (START, "redeliver_events", "PENDING"),
        ("PENDING", "redeliver_events", "PENDING"),
        ("DELIVERED", "redeliver_events", "PENDING"),
        ("FAILED", "redeliver_events", "PENDING"),
    ),
)

BUSINESS_DATE: Final = Machine(
    "business date",
    "Kept by the runtime (`engine/dates.py`): a date is closed once nothing of it is under way.",
    ("OPEN", "CLOSING", "CLOSED"),
    (
        (START, "CutDay", "OPEN"),
        ("OPEN", "CutDay", "CLOSING"),
        ("CLOSING", "the last message's turn", "CLOSED"),
    ),
)

MACHINES: Final = (
    PAYMENT,
    AUTHORIZATION,
    HOLD,
    OPERATION,
    REFUND,
    REMEDY,
    TRANSFER,
    AGREEMENT,
    CHANGE,
    FREEZE,
    ACCOUNT,
    MERCHANT,
    REGISTRATION,
    CERTIFICATE,
    WEBHOOK,
    DELIVERY,
    BUSINESS_DATE,
)
