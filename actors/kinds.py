"""The domain as the runtime sees it: which actor handles which command and message, and how."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from actors import (
    account,
    agreement,
    authorization,
    certificate,
    commands,
    discard,
    event,
    freeze,
    hold,
    lifecycle,
    limits,
    merchant,
    messages,
    operation,
    payment,
    redirect,
    refund,
    registration,
    remedy,
    signing,
    suspense,
    transfer,
    undo,
    webhook,
)
from engine.kind import ActorKind, Kinds
from engine.totals import Total

ACCOUNT: Final = ActorKind(
    "account",
    account.Account,
    (
        agreement.ALLOWANCES,
        signing.AGREEMENTS,
        *signing.CHANGES.values(),
        hold.HOLDS,
        transfer.TRANSFERS,
        limits.LIMITS_CHANGES,
        freeze.FREEZES,
        freeze.UNFREEZES,
    ),
    commands={
        commands.OpenAccount: account.open_account,
        commands.FreezeAccount: account.freeze_account,
        commands.UnfreezeAccount: account.unfreeze_account,
        commands.CloseAccount: account.close_account,
        commands.SignAgreement: signing.sign_agreement,
        commands.ChangeAgreement: signing.change_agreement,
        commands.CancelAgreement: signing.cancel_agreement,
        commands.SetAccountLimits: limits.set_account_limits,
        commands.FreezeAmount: freeze.freeze_amount,
        commands.UnfreezeAmount: freeze.unfreeze_amount,
        commands.FundAccount: transfer.fund_account,
        commands.WithdrawFunds: transfer.withdraw_funds,
        commands.CreateTransfer: transfer.create_transfer,
    },
    messages={
        messages.DebitPayment: agreement.debit_payment,
        messages.CreditReversal: agreement.credit_reversal,
        messages.CreditRefund: account.credit_refund,
        messages.PlaceHold: hold.place_hold,
        messages.IncrementHold: hold.increment_hold,
        messages.CaptureHold: hold.capture_hold,
        messages.VoidHold: hold.void_hold,
        messages.ReleaseHold: hold.release_hold,
        messages.ExpireHold: hold.expire_hold,
        messages.CreditTransfer: transfer.credit_transfer,
        messages.TransferCredited: transfer.transfer_credited,
        messages.TransferReturned: transfer.transfer_returned,
        messages.UndoPayment: undo.undo_payment,
        messages.UndoHold: undo.undo_hold,
        messages.UndoIncrement: undo.undo_increment,
        messages.UndoCapture: undo.undo_capture,
        messages.TakeSuspense: suspense.take_suspense,
    },
    discards=discard.ACCOUNT,
    newest_postings=lambda state: (state.posted_last,),
    total=Total(account.HELD, attrgetter("held_minor"), attrgetter("currency")),
)

_REGISTERED: Final = (
    registration.CERTIFICATES,
    registration.SERIALS,
    registration.ROSTERS,
)
"""The records of whoever has certificates."""

_last = merchant.then_end_closing

MERCHANT: Final = ActorKind(
    "merchant",
    merchant.Merchant,
    (
        payment.PAYMENTS,
        authorization.AUTHORIZATIONS,
        *operation.OPERATIONS.values(),
        refund.REFUNDS,
        remedy.REDIRECTS,
        remedy.CLOSINGS,
        event.EVENTS,
        lifecycle.PROFILES,
        *_REGISTERED,
    ),
    commands={
        commands.OpenMerchant: lifecycle.open_merchant,
        commands.ApplyMerchant: lifecycle.apply_merchant,
        commands.AmendMerchant: lifecycle.amend_merchant,
        commands.SubmitMerchant: lifecycle.submit_merchant,
        commands.ApproveMerchant: lifecycle.approve_merchant,
        commands.RejectMerchant: lifecycle.reject_merchant,
        commands.SignMerchant: lifecycle.sign_merchant,
        commands.SuspendMerchant: lifecycle.suspend_merchant,
        commands.ActivateMerchant: lifecycle.activate_merchant,
        commands.CloseMerchant: lifecycle.close_merchant,
        commands.RegisterCertificate: registration.register_certificate,
        commands.RevokeCertificate: registration.revoke_certificate,
        commands.CreatePayment: payment.create_payment,
        commands.ReversePayment: payment.reverse_payment,
        commands.CreateAuthorization: authorization.create_authorization,
        commands.IncrementAuthorization: authorization.increment_authorization,
        commands.CaptureAuthorization: authorization.capture_authorization,
        commands.VoidAuthorization: authorization.void_authorization,
        commands.ReleaseAuthorization: authorization.release_authorization,
        commands.RefundPayment: refund.refund_payment,
        commands.RefundAuthorization: refund.refund_authorization,
        commands.RedirectRefund: redirect.redirect_refund,
        commands.CloseRefund: redirect.close_refund,
    },
    messages={
        # What brings money to the merchant has refunds that wait for it gone on with; that or
        # anything else that ends may be the last that a merchant which is closing waits for.
        messages.PaymentDebited: refund.then_resume(payment.payment_debited),
        messages.PaymentDeclined: _last(payment.payment_declined),
        messages.ReversalCredited: _last(payment.reversal_credited),
        messages.ReversalReturned: refund.then_resume(payment.reversal_returned),
        messages.RefundCredited: _last(refund.refund_credited),
        messages.RefundReturned: refund.then_resume(refund.refund_returned),
        messages.ResumeRefunds: refund.resume_refunds,
        messages.ExpireRefund: _last(refund.expire_refund),
        messages.HoldPlaced: authorization.hold_placed,
        messages.HoldDeclined: _last(authorization.hold_declined),
        messages.OperationApplied: refund.then_resume(authorization.operation_applied),
        messages.OperationRefused: _last(authorization.operation_refused),
        messages.HoldEnded: _last(authorization.hold_ended),
        messages.CertificateAdded: _last(registration.certificate_added),
        messages.CertificateRefused: _last(registration.certificate_refused),
    },
    discards=discard.MERCHANT,
    hub=True,
    unhindered=(commands.RevokeCertificate,),
    newest_postings=lambda state: (state.posted_last, state.fees_last),
)

CERTIFICATE: Final = ActorKind(
    "certificate",
    certificate.Certificate,
    (),
    commands={},
    messages={
        messages.AddCertificate: certificate.add_certificate,
        messages.EndCertificate: certificate.end_certificate,
        messages.WithdrawCertificate: certificate.withdraw_certificate,
    },
    discards=discard.CERTIFICATE,
)

BANK: Final = ActorKind(
    "bank",
    registration.Bank,
    _REGISTERED,
    commands={
        commands.RegisterBankCertificate: registration.register_bank_certificate,
        commands.RevokeBankCertificate: registration.revoke_bank_certificate,
    },
    messages={
        messages.CertificateAdded: registration.certificate_added,
        messages.CertificateRefused: registration.certificate_refused,
    },
    discards=discard.BANK,
    unhindered=(commands.RevokeBankCertificate,),
)

WEBHOOK: Final = ActorKind(
    "webhook",
    webhook.Webhook,
    (webhook.DELIVERIES,),
    commands={
        commands.SetWebhook: webhook.set_webhook,
        commands.EnableWebhook: webhook.enable_webhook,
        commands.DisableWebhook: webhook.disable_webhook,
        commands.RedeliverEvents: webhook.redeliver_events,
        commands.RecordDeliveries: webhook.record_deliveries,
    },
    messages={},
    hub=True,
)

_order, _hold = attrgetter("order_no"), attrgetter("hold_no")

SUBJECTS: Final[Mapping[type[Struct], Callable[[Any], str]]] = {
    commands.CreatePayment: _order,
    commands.ReversePayment: _order,
    commands.RefundPayment: _order,
    commands.CreateAuthorization: _hold,
    commands.IncrementAuthorization: _hold,
    commands.CaptureAuthorization: _hold,
    commands.VoidAuthorization: _hold,
    commands.ReleaseAuthorization: _hold,
    commands.RefundAuthorization: _hold,
}
"""What commands to a merchant are about: the order or authorization whose course they change."""

KINDS: Final = Kinds((ACCOUNT, MERCHANT, CERTIFICATE, BANK, WEBHOOK), SUBJECTS)
