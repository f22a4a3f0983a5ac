"""The domain as the runtime sees it: which actor handles which command and message, and how."""

from typing import Final

from actors import (
    account,
    agreement,
    authorization,
    commands,
    event,
    hold,
    merchant,
    messages,
    operation,
    payment,
    redirect,
    refund,
    remedy,
    transfer,
)
from engine.kind import ActorKind, Kinds

ACCOUNT: Final = ActorKind(
    "account",
    account.Account,
    (agreement.AGREEMENTS, hold.HOLDS, transfer.TRANSFERS),
    commands={
        commands.OpenAccount: account.open_account,
        commands.FreezeAccount: account.freeze_account,
        commands.UnfreezeAccount: account.unfreeze_account,
        commands.CloseAccount: account.close_account,
        commands.SignAgreement: agreement.sign_agreement,
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
        messages.TakeSuspense: transfer.take_suspense,
    },
    newest_postings=lambda state: (state.posted_last,),
)

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
    ),
    commands={
        commands.OpenMerchant: merchant.open_merchant,
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
        # What brings money to the merchant has refunds that wait for it gone on with.
        messages.PaymentDebited: refund.then_resume(payment.payment_debited),
        messages.PaymentDeclined: payment.payment_declined,
        messages.ReversalCredited: payment.reversal_credited,
        messages.ReversalReturned: refund.then_resume(payment.reversal_returned),
        messages.RefundCredited: refund.refund_credited,
        messages.RefundReturned: refund.then_resume(refund.refund_returned),
        messages.ResumeRefunds: refund.resume_refunds,
        messages.ExpireRefund: refund.expire_refund,
        messages.HoldPlaced: authorization.hold_placed,
        messages.HoldDeclined: authorization.hold_declined,
        messages.OperationApplied: refund.then_resume(authorization.operation_applied),
        messages.OperationRefused: authorization.operation_refused,
        messages.HoldEnded: authorization.hold_ended,
    },
    hub=True,
    newest_postings=lambda state: (state.posted_last, state.fees_last),
)

KINDS: Final = Kinds((ACCOUNT, MERCHANT), transfer.suspend)
