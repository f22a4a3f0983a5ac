"""Refusals: the expected ways in which a command is not carried out, as values.

They stand in descending precedence: of all the refusals that apply where a command is decided,
the first of this list is given. Whoever is asked first decides first: a merchant before the
payer's account, a clearing account before the account that it funds. An operation on a hold is
judged by the hold, then by what it would newly debit.
"""

from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """Stable codes that callers see, by descending precedence.

    ==============================  ===========================================================
    MERCHANT_NOT_FOUND              no merchant has this number
    RESERVED_NUMBER                 customers' accounts may not be named like internal ones
    NUMBER_USED                     the number names a command with other content
    MERCHANT_CLOSED                 the merchant does no business any more
    MERCHANT_NOT_ACTIVE             the merchant has not been activated
    MERCHANT_CLOSING                the merchant comes to its end and takes nothing new
    MERCHANT_SUSPENDED              the merchant may give money back, but not take any
    NO_SUCH_PAYMENT                 the merchant has no payment of this number
    NO_SUCH_HOLD                    the merchant has no authorization of this number
    NO_SUCH_REFUND                  the merchant has no refund of this number
    NO_SUCH_AGREEMENT               the account has no agreement of this number
    NO_SUCH_FREEZE                  no amount was frozen under this number
    WEBHOOK_NOT_FOUND               the merchant has no webhook
    IN_FLIGHT                       the original has an operation under way; ask again
    PAYMENT_NOT_SUCCEEDED           the payment failed, or was reversed
    HOLD_EXPIRED                    the hold's time ran out before anything was captured
    HOLD_ALREADY_VOIDED             the hold was given back
    HOLD_ALREADY_CAPTURED           the hold was captured in full, or its rest was released
    HOLD_PARTLY_CAPTURED            only an untouched hold can be voided or incremented
    STATE_CONFLICT                  any other state in which the command is not legal
    CERTIFICATE_MISSING             a merchant is activated only with a certificate
    CERTIFICATE_NOT_FOUND           the merchant, or the bank, has no certificate of this serial
    CERTIFICATE_REVOKED             the certificate was revoked, and is not renewed
    CERTIFICATE_ENDED               the certificate's time is over, and it is not renewed
    CERTIFICATE_LIMIT               10 certificates of the merchant are valid
    CERTIFICATE_EXISTS              there is a certificate of this serial
    WEBHOOK_BACKLOG                 1,000 events of the merchant are under way to its webhook
    REVERSAL_WINDOW_PASSED          the payment's business date is over
    REFUND_WINDOW_PASSED            more than 365 days since the money was taken
    CAPTURE_LIMIT                   50 captures of this hold are done
    INCREMENT_LIMIT                 10 increments of this hold are done
    REFUND_COUNT_LIMIT              50 refunds of this original are done or under way
    CAPTURE_EXCEEDS_HOLD            more than may be captured under the hold
    REVERSAL_NOT_FULL               something of the payment was, or is being, refunded
    REFUND_EXCEEDS_REMAINING        more than is left to refund
    MERCHANT_BALANCE_INSUFFICIENT   the merchant's receivable does not cover it
    ACCOUNT_NOT_FOUND               no account has this number
    ACCOUNT_CLOSED                  the account was closed
    ACCOUNT_FROZEN                  nothing new may leave the account
    CURRENCY_MISMATCH               the account, or the merchant, is kept in another currency
    ACCOUNT_INTERNAL                internal accounts are not a caller's to use
    SAME_ACCOUNT                    a transfer goes to another account than it comes from
    HOLDS_OPEN                      the account has open holds
    OPEN_LIABILITIES                something of the account is not settled yet
    ACCOUNT_NOT_EMPTY               the account has money in it
    AGREEMENT_IN_FORCE              the payer has an agreement with the merchant already
    AGREEMENT_NOT_FOUND             the payer signed no agreement with the merchant
    AGREEMENT_CANCELLED             the payer's agreement with the merchant was cancelled
    PAYMENT_LIMIT_EXCEEDED          above the agreement's limit for one payment
    DAILY_LIMIT_EXCEEDED            above the agreement's limit for the business date
    METHOD_LIMIT_EXCEEDED           above the account's own limit for this method of paying
    INSUFFICIENT_FUNDS              the account's available funds do not cover it
    BALANCE_LIMIT                   the currency would have more than 10**18 in circulation
    MESSAGE_DISCARDED               the bank's operators gave it up; it came to nothing
    ==============================  ===========================================================
    """

    MERCHANT_NOT_FOUND = "MERCHANT_NOT_FOUND"
    RESERVED_NUMBER = "RESERVED_NUMBER"
    NUMBER_USED = "NUMBER_USED"
    MERCHANT_CLOSED = "MERCHANT_CLOSED"
    MERCHANT_NOT_ACTIVE = "MERCHANT_NOT_ACTIVE"
    MERCHANT_CLOSING = "MERCHANT_CLOSING"
    MERCHANT_SUSPENDED = "MERCHANT_SUSPENDED"
    NO_SUCH_PAYMENT = "NO_SUCH_PAYMENT"
    NO_SUCH_HOLD = "NO_SUCH_HOLD"
    NO_SUCH_REFUND = "NO_SUCH_REFUND"
    NO_SUCH_AGREEMENT = "NO_SUCH_AGREEMENT"
    NO_SUCH_FREEZE = "NO_SUCH_FREEZE"
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    IN_FLIGHT = "IN_FLIGHT"
    PAYMENT_NOT_SUCCEEDED = "PAYMENT_NOT_SUCCEEDED"
    HOLD_EXPIRED = "HOLD_EXPIRED"
    HOLD_ALREADY_VOIDED = "HOLD_ALREADY_VOIDED"
    HOLD_ALREADY_CAPTURED = "HOLD_ALREADY_CAPTURED"
    HOLD_PARTLY_CAPTURED = "HOLD_PARTLY_CAPTURED"
    STATE_CONFLICT = "STATE_CONFLICT"
    CERTIFICATE_MISSING = "CERTIFICATE_MISSING"
    CERTIFICATE_NOT_FOUND = "CERTIFICATE_NOT_FOUND"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    CERTIFICATE_ENDED = "CERTIFICATE_ENDED"
    CERTIFICATE_LIMIT = "CERTIFICATE_LIMIT"
    CERTIFICATE_EXISTS = "CERTIFICATE_EXISTS"
    WEBHOOK_BACKLOG = "WEBHOOK_BACKLOG"
    REVERSAL_WINDOW_PASSED = "REVERSAL_WINDOW_PASSED"
    REFUND_WINDOW_PASSED = "REFUND_WINDOW_PASSED"
    CAPTURE_LIMIT = "CAPTURE_LIMIT"
    INCREMENT_LIMIT = "INCREMENT_LIMIT"
    REFUND_COUNT_LIMIT = "REFUND_COUNT_LIMIT"
    CAPTURE_EXCEEDS_HOLD = "CAPTURE_EXCEEDS_HOLD"
    REVERSAL_NOT_FULL = "REVERSAL_NOT_FULL"
    REFUND_EXCEEDS_REMAINING = "REFUND_EXCEEDS_REMAINING"
    MERCHANT_BALANCE_INSUFFICIENT = "MERCHANT_BALANCE_INSUFFICIENT"
    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    ACCOUNT_INTERNAL = "ACCOUNT_INTERNAL"
    SAME_ACCOUNT = "SAME_ACCOUNT"
    HOLDS_OPEN = "HOLDS_OPEN"
    OPEN_LIABILITIES = "OPEN_LIABILITIES"
    ACCOUNT_NOT_EMPTY = "ACCOUNT_NOT_EMPTY"
    AGREEMENT_IN_FORCE = "AGREEMENT_IN_FORCE"
    AGREEMENT_NOT_FOUND = "AGREEMENT_NOT_FOUND"
    AGREEMENT_CANCELLED = "AGREEMENT_CANCELLED"
    PAYMENT_LIMIT_EXCEEDED = "PAYMENT_LIMIT_EXCEEDED"
    DAILY_LIMIT_EXCEEDED = "DAILY_LIMIT_EXCEEDED"
    METHOD_LIMIT_EXCEEDED = "METHOD_LIMIT_EXCEEDED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    BALANCE_LIMIT = "BALANCE_LIMIT"
    MESSAGE_DISCARDED = "MESSAGE_DISCARDED"


ABOUT_STATE: Final = frozenset(
    {
        Refusal.PAYMENT_NOT_SUCCEEDED,
        Refusal.HOLD_EXPIRED,
        Refusal.HOLD_ALREADY_VOIDED,
        Refusal.HOLD_ALREADY_CAPTURED,
        Refusal.HOLD_PARTLY_CAPTURED,
        Refusal.STATE_CONFLICT,
    }
)
"""Illegal transitions: their answers also name the current state and the states allowed."""
