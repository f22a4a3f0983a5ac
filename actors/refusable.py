"""Which refusals a command may be given: the list that a caller of it has to be ready for.

`actors.refusal` says in which order refusals are given; this says by which command. Every refusal
that the domain's tests meet must stand here (`tests/actors/driver.py`), and the API's description
is made from it, so it promises no less than what can happen.
"""

from collections.abc import Mapping
from typing import Final

from actors import commands
from actors.commands import Command
from actors.refusal import Refusal

_NUMBERED: Final = (Refusal.NUMBER_USED, Refusal.IN_FLIGHT, Refusal.MESSAGE_DISCARDED)
"""Whatever takes more than one turn; so many repetitions may join it, and no more. The message that
it waits for may be discarded, should its turn fail."""

_MERCHANT: Final = (
    Refusal.MERCHANT_NOT_FOUND,
    *_NUMBERED,
    Refusal.MERCHANT_CLOSED,
    Refusal.MERCHANT_NOT_ACTIVE,
)
"""Whatever a merchant does under a number of its own."""

_ACCOUNT: Final = (Refusal.ACCOUNT_NOT_FOUND, Refusal.ACCOUNT_CLOSED, Refusal.ACCOUNT_INTERNAL)

_USE: Final = (
    Refusal.ACCOUNT_FROZEN,
    Refusal.AGREEMENT_CANCELLED,
    Refusal.PAYMENT_LIMIT_EXCEEDED,
    Refusal.DAILY_LIMIT_EXCEEDED,
    Refusal.METHOD_LIMIT_EXCEEDED,
    Refusal.INSUFFICIENT_FUNDS,
)
"""A debit under an agreement that the payer did sign once."""

_NEW_DEBIT: Final = (
    *_MERCHANT,
    Refusal.MERCHANT_CLOSING,
    Refusal.MERCHANT_SUSPENDED,
    *_ACCOUNT,
    Refusal.CURRENCY_MISMATCH,
    Refusal.AGREEMENT_NOT_FOUND,
    *_USE,
)

_OPERATION: Final = (
    *_MERCHANT,
    Refusal.NO_SUCH_HOLD,
    Refusal.HOLD_EXPIRED,
    Refusal.HOLD_ALREADY_VOIDED,
    Refusal.HOLD_ALREADY_CAPTURED,
    Refusal.STATE_CONFLICT,
)

_REFUND: Final = (
    *_MERCHANT,
    Refusal.REFUND_WINDOW_PASSED,
    Refusal.REFUND_COUNT_LIMIT,
    Refusal.REFUND_EXCEEDS_REMAINING,
    Refusal.MERCHANT_BALANCE_INSUFFICIENT,
    Refusal.ACCOUNT_NOT_FOUND,
    Refusal.CURRENCY_MISMATCH,
)
"""The account's answers are listed as it may give them, though it was the payer's once."""

_REMEDY: Final = (
    *_MERCHANT,
    Refusal.NO_SUCH_REFUND,
    Refusal.STATE_CONFLICT,
)

_SPENDING: Final = (
    *_NUMBERED,
    *_ACCOUNT,
    Refusal.ACCOUNT_FROZEN,
    Refusal.CURRENCY_MISMATCH,
    Refusal.METHOD_LIMIT_EXCEEDED,
    Refusal.INSUFFICIENT_FUNDS,
)

_STATUS: Final = (Refusal.ACCOUNT_NOT_FOUND, Refusal.ACCOUNT_INTERNAL, Refusal.STATE_CONFLICT)

_AMENDMENT: Final = (
    Refusal.NUMBER_USED,
    Refusal.NO_SUCH_AGREEMENT,
    Refusal.STATE_CONFLICT,
    Refusal.ACCOUNT_NOT_FOUND,
)

_STEP: Final = (Refusal.MERCHANT_NOT_FOUND, Refusal.STATE_CONFLICT)
"""What brings a merchant to a status."""

_REGISTRATION: Final = (
    *_NUMBERED,
    Refusal.CERTIFICATE_NOT_FOUND,
    Refusal.CERTIFICATE_REVOKED,
    Refusal.CERTIFICATE_ENDED,
    Refusal.CERTIFICATE_LIMIT,
    Refusal.CERTIFICATE_EXISTS,
)

_REFUSALS: Final[Mapping[type[Command], tuple[Refusal, ...]]] = {
    commands.OpenAccount: (Refusal.RESERVED_NUMBER, Refusal.NUMBER_USED),
    commands.FundAccount: (
        *_NUMBERED,
        *_ACCOUNT,
        Refusal.CURRENCY_MISMATCH,
        Refusal.BALANCE_LIMIT,
    ),
    commands.WithdrawFunds: _SPENDING,
    commands.CreateTransfer: (*_SPENDING, Refusal.SAME_ACCOUNT),
    commands.FreezeAccount: _STATUS,
    commands.UnfreezeAccount: _STATUS,
    commands.CloseAccount: (
        Refusal.ACCOUNT_NOT_FOUND,
        Refusal.ACCOUNT_INTERNAL,
        Refusal.HOLDS_OPEN,
        Refusal.OPEN_LIABILITIES,
        Refusal.ACCOUNT_NOT_EMPTY,
    ),
    commands.SignAgreement: (Refusal.NUMBER_USED, *_ACCOUNT, Refusal.AGREEMENT_IN_FORCE),
    commands.ChangeAgreement: (*_AMENDMENT, Refusal.ACCOUNT_CLOSED),
    commands.CancelAgreement: _AMENDMENT,
    commands.SetAccountLimits: (Refusal.NUMBER_USED, *_ACCOUNT),
    commands.FreezeAmount: (Refusal.NUMBER_USED, *_ACCOUNT, Refusal.INSUFFICIENT_FUNDS),
    commands.UnfreezeAmount: (
        Refusal.NUMBER_USED,
        Refusal.NO_SUCH_FREEZE,
        Refusal.STATE_CONFLICT,
        Refusal.ACCOUNT_NOT_FOUND,
    ),
    commands.OpenMerchant: (Refusal.NUMBER_USED,),
    commands.ApplyMerchant: (Refusal.NUMBER_USED,),
    commands.AmendMerchant: _STEP,
    commands.SubmitMerchant: _STEP,
    commands.ApproveMerchant: _STEP,
    commands.RejectMerchant: _STEP,
    commands.SignMerchant: _STEP,
    commands.SuspendMerchant: _STEP,
    commands.ActivateMerchant: (*_STEP, Refusal.CERTIFICATE_MISSING),
    commands.CloseMerchant: _STEP,
    commands.RegisterCertificate: (*_STEP, *_REGISTRATION),
    commands.RegisterBankCertificate: _REGISTRATION,
    commands.RevokeCertificate: (Refusal.MERCHANT_NOT_FOUND, Refusal.CERTIFICATE_NOT_FOUND),
    commands.RevokeBankCertificate: (Refusal.CERTIFICATE_NOT_FOUND,),
    commands.SetWebhook: (),
    commands.EnableWebhook: (Refusal.WEBHOOK_NOT_FOUND,),
    commands.DisableWebhook: (Refusal.WEBHOOK_NOT_FOUND,),
    commands.RedeliverEvents: (Refusal.WEBHOOK_NOT_FOUND, Refusal.WEBHOOK_BACKLOG),
    commands.RecordDeliveries: (),
    commands.CreatePayment: _NEW_DEBIT,
    commands.ReversePayment: (
        *_MERCHANT,
        Refusal.NO_SUCH_PAYMENT,
        Refusal.PAYMENT_NOT_SUCCEEDED,
        Refusal.REVERSAL_WINDOW_PASSED,
        Refusal.REVERSAL_NOT_FULL,
        Refusal.MERCHANT_BALANCE_INSUFFICIENT,
        Refusal.ACCOUNT_CLOSED,
    ),
    commands.CreateAuthorization: _NEW_DEBIT,
    commands.IncrementAuthorization: (
        *_OPERATION,
        Refusal.MERCHANT_CLOSING,
        Refusal.MERCHANT_SUSPENDED,
        Refusal.MERCHANT_CLOSING,
        Refusal.HOLD_PARTLY_CAPTURED,
        Refusal.INCREMENT_LIMIT,
        *_USE,
    ),
    commands.CaptureAuthorization: (
        *_OPERATION,
        Refusal.MERCHANT_SUSPENDED,
        Refusal.MERCHANT_CLOSING,
        Refusal.CAPTURE_LIMIT,
        Refusal.CAPTURE_EXCEEDS_HOLD,
        *_USE,
    ),
    commands.VoidAuthorization: (*_OPERATION, Refusal.HOLD_PARTLY_CAPTURED),
    commands.ReleaseAuthorization: _OPERATION,
    commands.RefundPayment: (
        *_REFUND,
        Refusal.NO_SUCH_PAYMENT,
        Refusal.PAYMENT_NOT_SUCCEEDED,
    ),
    commands.RefundAuthorization: (*_REFUND, Refusal.NO_SUCH_HOLD, Refusal.STATE_CONFLICT),
    commands.RedirectRefund: (
        *_REMEDY,
        Refusal.MERCHANT_BALANCE_INSUFFICIENT,
        *_ACCOUNT,
        Refusal.CURRENCY_MISMATCH,
    ),
    commands.CloseRefund: _REMEDY,
}

REFUSALS: Final[Mapping[type[Command], tuple[Refusal, ...]]] = {
    command: tuple(code for code in Refusal if code in codes)
    for command, codes in _REFUSALS.items()
}
"""Type of a command → its refusals, by descending precedence."""
