"""Which refusal is given where several apply: one table for each family of commands.

A row names the refusal that is expected, whether it binds the number, and everything that is
wrong at once. The first fault is the one refused; read downwards, it is gone in the next row.
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from actors import commands
from actors.answers import Refused, Replayed
from actors.refusable import REFUSALS
from actors.refusal import Refusal
from actors.registration import LIVE_MAX
from actors.states import MERCHANT as STATUSES
from actors.states import allowed
from tests.actors.driver import (
    DAY,
    MERCHANT,
    PAYER,
    Bank,
    application,
    authorization,
    payment,
    registering,
    shop,
    table,
)

# Payments and authorizations: the merchant, then the payer's account.

NEW_DEBITS = table("""
    MERCHANT_NOT_FOUND      free   no-merchant other-currency no-payer
    NUMBER_USED             free   number-used merchant-closed other-currency no-payer
    MERCHANT_CLOSED         free   merchant-closed other-currency no-payer
    MERCHANT_SUSPENDED      free   merchant-suspended other-currency no-payer
    CURRENCY_MISMATCH       binds  other-currency no-payer
    ACCOUNT_NOT_FOUND       binds  no-payer
    ACCOUNT_CLOSED          binds  payer-closed payer-foreign no-agreement
    ACCOUNT_FROZEN          binds  payer-frozen payer-foreign no-agreement poor
    CURRENCY_MISMATCH       binds  payer-foreign no-agreement poor
    CURRENCY_MISMATCH       binds  payer-internal-foreign no-agreement
    ACCOUNT_INTERNAL        binds  payer-internal no-agreement
    AGREEMENT_NOT_FOUND     binds  no-agreement method-limit poor
    AGREEMENT_CANCELLED     binds  cancelled payment-limit daily-limit method-limit poor
    PAYMENT_LIMIT_EXCEEDED  binds  payment-limit daily-limit method-limit poor
    DAILY_LIMIT_EXCEEDED    binds  daily-limit method-limit poor
    METHOD_LIMIT_EXCEEDED   binds  method-limit poor
    METHOD_LIMIT_EXCEEDED   binds  method-limit-of-the-day poor
    INSUFFICIENT_FUNDS      binds  poor
    INSUFFICIENT_FUNDS      binds  amount-frozen
    -                       binds
""")


def _debit_world(faults: list[str], *, hold: bool) -> tuple[Bank, commands.Command]:
    bank = Bank()
    bank.audited = False  # some states are forced that no command leads to
    payer = "A1"
    if "payer-internal" in faults:
        payer = "clearing-USD"
    if "payer-internal-foreign" in faults:
        payer = "clearing-EUR"
        bank.do(commands.OpenAccount("B2", "EUR"))
        bank.do(commands.FundAccount("B2", "F0", 1, "EUR"))
    if "no-payer" not in faults:
        currency = "EUR" if "payer-foreign" in faults else "USD"
        bank.do(commands.OpenAccount("A1", currency))
        if "poor" not in faults and "payer-closed" not in faults:
            bank.do(commands.FundAccount("A1", "F1", 1_000, currency))
        if "no-agreement" not in faults:
            bank.do(
                commands.SignAgreement(
                    "A1",
                    "M1",
                    "M1",
                    999 if "payment-limit" in faults else 1_000,
                    999 if "daily-limit" in faults else 1_000,
                )
            )
        if "cancelled" in faults:
            bank.do(commands.CancelAgreement("A1", "M1", "E1"))
        method: commands.Method = "authorization" if hold else "agreement"
        if "method-limit" in faults:
            bank.do(commands.SetAccountLimits("A1", "L1", method, 999, None))
        if "method-limit-of-the-day" in faults:
            bank.do(commands.SetAccountLimits("A1", "L1", method, None, 999))
        if "amount-frozen" in faults:
            bank.do(commands.FreezeAmount("A1", "Z1", 1))
        if "payer-closed" in faults:
            bank.do(commands.CloseAccount("A1"))
        if "payer-frozen" in faults:
            bank.do(commands.FreezeAccount("A1"))
    if "no-merchant" not in faults:
        bank.do(commands.OpenMerchant("M1", "USD"))
        if "number-used" in faults:
            bank.ask(authorization("X1", 77) if hold else payment("X1", 77))
        if "merchant-closed" in faults:
            bank.force(MERCHANT, status="CLOSED")
        if "merchant-suspended" in faults:
            bank.force(MERCHANT, status="SUSPENDED")
    currency = "EUR" if "other-currency" in faults else "USD"
    if hold:
        return bank, commands.CreateAuthorization("M1", "X1", payer, 1_000, currency)
    return bank, commands.CreatePayment("M1", "X1", payer, 1_000, currency)


@pytest.mark.parametrize("hold", [False, True], ids=["payment", "authorization"])
@pytest.mark.parametrize("row", NEW_DEBITS, ids="+".join)
def test_new_debit_with_faults_is_refused_in_order(row: list[str], hold: bool) -> None:
    expected, binds, *faults = row
    bank, command = _debit_world(faults, hold=hold)
    done = "HELD" if hold else "SUCCEEDED"
    _expect(bank, command, expected, done, binds=binds == "binds")


# Withdrawals and fundings.

TRANSFERS = table("""
    withdrawal  NUMBER_USED         free   number-used closed other-currency
    withdrawal  ACCOUNT_NOT_FOUND   free   no-account other-currency
    withdrawal  ACCOUNT_CLOSED      free   closed other-currency
    withdrawal  ACCOUNT_FROZEN      free   frozen other-currency poor
    withdrawal  CURRENCY_MISMATCH   binds  other-currency internal
    withdrawal  ACCOUNT_INTERNAL    binds  internal
    withdrawal  METHOD_LIMIT_EXCEEDED  binds  method-limit poor
    withdrawal  METHOD_LIMIT_EXCEEDED  binds  method-limit-of-the-day poor
    withdrawal  INSUFFICIENT_FUNDS  binds  poor
    withdrawal  INSUFFICIENT_FUNDS  binds  amount-frozen
    withdrawal  -                   binds
    transfer    NUMBER_USED         free   number-used closed other-currency
    transfer    ACCOUNT_NOT_FOUND   free   no-account other-currency to-internal
    transfer    ACCOUNT_CLOSED      free   closed other-currency
    transfer    ACCOUNT_FROZEN      free   frozen other-currency poor
    transfer    CURRENCY_MISMATCH   binds  other-currency internal
    transfer    ACCOUNT_INTERNAL    binds  internal to-nobody
    transfer    ACCOUNT_INTERNAL    binds  to-internal poor
    transfer    SAME_ACCOUNT        binds  to-itself method-limit poor
    transfer    METHOD_LIMIT_EXCEEDED  binds  method-limit poor to-nobody
    transfer    METHOD_LIMIT_EXCEEDED  binds  method-limit-of-the-day poor to-nobody
    transfer    INSUFFICIENT_FUNDS  binds  poor to-nobody
    transfer    INSUFFICIENT_FUNDS  binds  amount-frozen to-nobody
    transfer    -                   binds
    arrival     ACCOUNT_NOT_FOUND   binds  to-nobody
    arrival     ACCOUNT_CLOSED      binds  to-closed to-foreign
    arrival     CURRENCY_MISMATCH   binds  to-foreign
    arrival     -                   binds  to-frozen
    funding     NUMBER_USED         free   number-used
    funding     ACCOUNT_INTERNAL    binds  internal full
    funding     BALANCE_LIMIT       binds  full no-account
    funding     ACCOUNT_NOT_FOUND   binds  no-account
    funding     ACCOUNT_CLOSED      binds  closed other-currency
    funding     CURRENCY_MISMATCH   binds  other-currency
    funding     -                   binds  frozen
    funding     -                   binds
""")


@pytest.mark.parametrize("row", TRANSFERS, ids="+".join)
def test_transfer_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = Bank()
    bank.audited = False
    bank.do(commands.OpenAccount("B1", "USD"))
    bank.do(commands.FundAccount("B1", "F0", 1, "USD"))
    if "no-account" not in faults:
        bank.do(commands.OpenAccount("A1", "USD"))
        if not {"poor", "closed"} & set(faults):
            bank.do(commands.FundAccount("A1", "F1", 1_000, "USD"))
        if "number-used" in faults:
            bank.ask(commands.WithdrawFunds("A1", "X1", 77, "USD"))
            bank.ask(commands.FundAccount("A1", "X1", 77, "USD"))
            bank.ask(commands.CreateTransfer("A1", "X1", "other", 77, "USD"))
            bank.force(PAYER, posted_minor=0)
        if "method-limit" in faults:
            bank.do(commands.SetAccountLimits("A1", "L1", "withdrawal", 999, None))
            bank.do(commands.SetAccountLimits("A1", "L2", "transfer", 999, None))
        if "method-limit-of-the-day" in faults:
            bank.do(commands.SetAccountLimits("A1", "L1", "withdrawal", None, 999))
            bank.do(commands.SetAccountLimits("A1", "L2", "transfer", None, 999))
        if "amount-frozen" in faults:
            bank.do(commands.FreezeAmount("A1", "Z1", 1))
        if "closed" in faults:
            bank.do(commands.CloseAccount("A1"))
        if "frozen" in faults:
            bank.do(commands.FreezeAccount("A1"))
    if "full" in faults:
        bank.force("account/clearing-USD", posted_minor=-(10**18) + 999)
    account_no = "clearing-USD" if "internal" in faults else "A1"
    currency = "EUR" if "other-currency" in faults else "USD"
    type_ = commands.WithdrawFunds if family == "withdrawal" else commands.FundAccount
    command: commands.Command = type_(account_no, "X1", 1_000, currency)
    if family in {"transfer", "arrival"}:
        to = _receiver(bank, faults)
        command = commands.CreateTransfer(account_no, "X1", to, 1_000, currency)
    _expect(bank, command, expected, "SUCCEEDED", binds=binds == "binds")


def _receiver(bank: Bank, faults: list[str]) -> str:
    """Return the number of an account to send money to, with what is wrong with it."""
    if "to-foreign" in faults:
        bank.do(commands.OpenAccount("A2", "EUR"))
    elif "to-nobody" not in faults:
        bank.do(commands.OpenAccount("A2", "USD"))
    if "to-closed" in faults:
        bank.do(commands.CloseAccount("A2"))
    if "to-frozen" in faults:
        bank.do(commands.FreezeAccount("A2"))
    return "A1" if "to-itself" in faults else "clearing-USD" if "to-internal" in faults else "A2"


# The life of an account.

LIVES = table("""
    open      RESERVED_NUMBER    internal other-content
    open      NUMBER_USED        other-content
    freeze    STATE_CONFLICT     closed
    freeze    ACCOUNT_NOT_FOUND  no-account
    freeze    ACCOUNT_INTERNAL   internal
    unfreeze  STATE_CONFLICT     closed
    unfreeze  ACCOUNT_NOT_FOUND  no-account
    unfreeze  ACCOUNT_INTERNAL   internal
    close     ACCOUNT_NOT_FOUND  no-account
    close     ACCOUNT_INTERNAL   internal
    close     HOLDS_OPEN         hold sending money
    close     HOLDS_OPEN         hold amount-frozen money
    close     OPEN_LIABILITIES   sending money
    close     OPEN_LIABILITIES   amount-frozen money
    close     ACCOUNT_NOT_EMPTY  money
""")


@pytest.mark.parametrize("row", LIVES, ids="+".join)
def test_account_command_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, *faults = row
    bank = Bank()
    if "internal" in faults:
        bank.do(commands.OpenAccount("B1", "USD"))
        bank.do(commands.FundAccount("B1", "F0", 1, "USD"))
    if "no-account" not in faults:
        bank.do(commands.OpenAccount("A1", "USD"))
        bank.do(commands.OpenMerchant("M1", "USD"))
        if "hold" in faults:
            bank.do(commands.SignAgreement("A1", "M1", "M1", 77_000))
        if "money" in faults:
            bank.do(commands.FundAccount("A1", "F1", 1_000, "USD"))
        if "hold" in faults:
            bank.do(authorization("H1", 999))
        if "amount-frozen" in faults:
            bank.do(commands.FreezeAmount("A1", "Z1", 1))
        if "closed" in faults:
            bank.do(commands.CloseAccount("A1"))
        if "sending" in faults:
            bank.do(commands.FundAccount("A1", "F2", 5, "USD"))
            bank.send(commands.WithdrawFunds("A1", "W1", 5, "USD"))
            bank.queue.clear()
            bank.audited = False
    account_no = "clearing-USD" if "internal" in faults else "A1"
    command: commands.Command = {
        "open": commands.OpenAccount(account_no, "EUR"),
        "freeze": commands.FreezeAccount(account_no),
        "unfreeze": commands.UnfreezeAccount(account_no),
        "close": commands.CloseAccount(account_no),
    }[family]
    _expect(bank, command, expected, "", binds=False)


# What an account decides at once: agreements, limits, frozen amounts.

AT_ONCE = table("""
    sign          NUMBER_USED         free   number-used closed signed
    sign          ACCOUNT_NOT_FOUND   free   no-account
    sign          ACCOUNT_CLOSED      free   closed signed
    sign          ACCOUNT_INTERNAL    binds  internal
    sign          AGREEMENT_IN_FORCE  binds  signed frozen
    sign          -                   binds  frozen
    sign          -                   binds  cancelled
    change        NUMBER_USED         free   number-used closed cancelled
    change        NO_SUCH_AGREEMENT   binds  closed
    change        STATE_CONFLICT      binds  cancelled closed
    change        ACCOUNT_NOT_FOUND   free   no-account
    change        ACCOUNT_CLOSED      free   signed closed
    change        -                   binds  signed frozen
    cancel        NUMBER_USED         free   number-used closed cancelled
    cancel        NO_SUCH_AGREEMENT   binds  closed
    cancel        STATE_CONFLICT      binds  cancelled closed
    cancel        ACCOUNT_NOT_FOUND   free   no-account
    cancel        -                   binds  signed closed
    limits        NUMBER_USED         free   number-used closed
    limits        ACCOUNT_NOT_FOUND   free   no-account
    limits        ACCOUNT_CLOSED      free   closed
    limits        ACCOUNT_INTERNAL    binds  internal
    limits        -                   binds  frozen
    freeze-some   NUMBER_USED         free   number-used closed poor
    freeze-some   ACCOUNT_NOT_FOUND   free   no-account
    freeze-some   ACCOUNT_CLOSED      free   closed poor
    freeze-some   ACCOUNT_INTERNAL    binds  internal poor
    freeze-some   INSUFFICIENT_FUNDS  binds  poor frozen
    freeze-some   -                   binds  frozen
    unfreeze-some NUMBER_USED         free   number-used closed
    unfreeze-some NO_SUCH_FREEZE      binds  closed
    unfreeze-some STATE_CONFLICT      binds  released
    unfreeze-some ACCOUNT_NOT_FOUND   free   no-account
    unfreeze-some -                   binds  amount-frozen frozen
""")


@pytest.mark.parametrize("row", AT_ONCE, ids="+".join)
def test_command_decided_at_once_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = Bank()
    bank.do(commands.OpenAccount("B1", "USD"))
    bank.do(commands.FundAccount("B1", "F0", 1, "USD"))
    if "no-account" not in faults:
        bank.do(commands.OpenAccount("A1", "USD"))
        if not {"poor", "closed"} & set(faults):
            bank.do(commands.FundAccount("A1", "F1", 1_000, "USD"))
        if "signed" in faults or "cancelled" in faults:
            bank.do(commands.SignAgreement("A1", "G1", "M1"))
        if "cancelled" in faults:
            bank.do(commands.CancelAgreement("A1", "G1", "E1"))
        if "amount-frozen" in faults or "released" in faults:
            bank.do(commands.FreezeAmount("A1", "Z1", 1_000))
        if "released" in faults:
            bank.do(commands.UnfreezeAmount("A1", "Z1", "U1"))
        if "number-used" in faults:
            bank.ask(commands.SignAgreement("A1", "X1", "M9"))
            bank.ask(commands.ChangeAgreement("A1", "other", "X1"))
            bank.ask(commands.CancelAgreement("A1", "other", "X1"))
            bank.ask(commands.SetAccountLimits("A1", "X1", "transfer", 77))
            bank.ask(commands.FreezeAmount("A1", "X1", 10**12))
            bank.ask(commands.UnfreezeAmount("A1", "other", "X1"))
        if "closed" in faults:
            bank.do(commands.CloseAccount("A1"))
        if "frozen" in faults:
            bank.do(commands.FreezeAccount("A1"))
    account_no = "clearing-USD" if "internal" in faults else "A1"
    command: commands.Command = {
        "sign": commands.SignAgreement(account_no, "X1", "M1"),
        "change": commands.ChangeAgreement(account_no, "G1", "X1", 5, 6),
        "cancel": commands.CancelAgreement(account_no, "G1", "X1"),
        "limits": commands.SetAccountLimits(account_no, "X1", "withdrawal", 5, 6),
        "freeze-some": commands.FreezeAmount(account_no, "X1", 1_000),
        "unfreeze-some": commands.UnfreezeAmount(account_no, "Z1", "X1"),
    }[family]
    done = {"sign": "SIGNED", "freeze-some": "FROZEN"}.get(family, "SUCCEEDED")
    _expect(bank, command, expected, done, binds=binds == "binds")


# The life of a merchant.

MERCHANTS = table("""
    suspend   MERCHANT_NOT_FOUND     no-merchant
    suspend   STATE_CONFLICT         closed
    activate  MERCHANT_NOT_FOUND     no-merchant
    activate  STATE_CONFLICT         closed
    activate  CERTIFICATE_MISSING    signed
    apply     NUMBER_USED            closed
    amend     MERCHANT_NOT_FOUND     no-merchant
    amend     STATE_CONFLICT         signed
    submit    MERCHANT_NOT_FOUND     no-merchant
    submit    STATE_CONFLICT         signed
    approve   MERCHANT_NOT_FOUND     no-merchant
    approve   STATE_CONFLICT         signed
    reject    MERCHANT_NOT_FOUND     no-merchant
    reject    STATE_CONFLICT         signed
    sign      MERCHANT_NOT_FOUND     no-merchant
    sign      STATE_CONFLICT         closed
    shut      MERCHANT_NOT_FOUND     no-merchant
    revoke    MERCHANT_NOT_FOUND     no-merchant
    revoke    CERTIFICATE_NOT_FOUND  closed
    pay       MERCHANT_NOT_FOUND     no-merchant
    pay       MERCHANT_CLOSED        closed
    pay       MERCHANT_NOT_ACTIVE    signed
    pay       MERCHANT_CLOSING       closing
    pay       MERCHANT_SUSPENDED     suspended
""")


@pytest.mark.parametrize("row", MERCHANTS, ids="+".join)
def test_merchant_command_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, *faults = row
    bank = shop()
    if "signed" in faults:
        bank = Bank()
        bank.do(application())
        bank.do(commands.SubmitMerchant("M1"))
        bank.do(commands.ApproveMerchant("M1"))
        bank.do(commands.SignMerchant("M1", "K1"))
    if "closing" in faults:
        bank.do(payment("O1"))
    if "closed" in faults or "closing" in faults:
        bank.do(commands.CloseMerchant("M1"))
    if "suspended" in faults:
        bank.do(commands.SuspendMerchant("M1"))
    merchant_no = "M2" if "no-merchant" in faults else "M1"
    command: commands.Command = {
        "suspend": commands.SuspendMerchant(merchant_no),
        "activate": commands.ActivateMerchant(merchant_no),
        "apply": application(merchant_no),
        "amend": commands.AmendMerchant(merchant_no, "USD", "Name", "Contact"),
        "submit": commands.SubmitMerchant(merchant_no),
        "approve": commands.ApproveMerchant(merchant_no),
        "reject": commands.RejectMerchant(merchant_no, "reason"),
        "sign": commands.SignMerchant(merchant_no, "K1"),
        "shut": commands.CloseMerchant(merchant_no),
        "revoke": commands.RevokeCertificate(merchant_no, "ab"),
        "pay": commands.CreatePayment(merchant_no, "X1", "A1", 1, "EUR"),
    }[family]
    before = (dict(bank.states), dict(bank.rows))
    answer = bank.answer(bank.send(command))
    assert isinstance(answer, Refused)
    assert answer.code == expected
    assert before == (bank.states, bank.rows)
    if expected == "STATE_CONFLICT":
        cause = str(type(command).__struct_config__.tag)
        assert answer.current == bank.merchant("M1").status
        assert answer.allowed == allowed(STATUSES, cause)


# Certificates.

REGISTRATIONS = table("""
    register  MERCHANT_NOT_FOUND     free   no-merchant unknown full exists
    register  NUMBER_USED            free   number-used closed unknown full exists
    register  STATE_CONFLICT         free   closed unknown full exists
    register  CERTIFICATE_NOT_FOUND  binds  unknown full exists
    register  CERTIFICATE_REVOKED    binds  revoked ended full exists
    register  CERTIFICATE_ENDED      binds  ended full exists
    register  CERTIFICATE_LIMIT      binds  full exists
    register  CERTIFICATE_EXISTS     binds  exists
    register  -                      binds
    bank      NUMBER_USED            free   number-used unknown full exists
    bank      CERTIFICATE_NOT_FOUND  binds  unknown full exists
    bank      CERTIFICATE_REVOKED    binds  revoked ended full exists
    bank      CERTIFICATE_ENDED      binds  ended full exists
    bank      CERTIFICATE_LIMIT      binds  full exists
    bank      CERTIFICATE_EXISTS     binds  exists
    bank      -                      binds
""")


@pytest.mark.parametrize("row", REGISTRATIONS, ids="+".join)
def test_registration_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD"))
    bank.do(commands.OpenMerchant("M2", "USD"))

    def register(number: str, serial: str, days: int = 365, renews: str | None = None) -> Any:
        made = registering(number, serial, days, renews=renews)
        if family == "bank":
            return commands.RegisterBankCertificate(number, made.request, made.issued, renews)
        return replace(made, merchant_no="M3" if "no-merchant" in faults else "M1")

    revoke: commands.Command = commands.RevokeCertificate("M1", "01")
    if family == "bank":
        revoke = commands.RevokeBankCertificate("01")
    bank.do(registering("Y1", "ee", merchant_no="M2"))
    if "no-merchant" not in faults:
        bank.do(register("C1", "01", days=1))
        if "number-used" in faults:
            bank.do(register("X1", "02"))
        if "revoked" in faults:
            bank.do(revoke)
        if {"ended", "revoked"} & set(faults):
            bank.wait(DAY)
        if "full" in faults:
            most = LIVE_MAX["bank" if family == "bank" else "merchant"]
            for n in range(most):
                bank.ask(register(f"F{n}", f"f{n:03d}"))
        if "closed" in faults:
            bank.do(commands.CloseMerchant("M1"))
    renews = "99" if "unknown" in faults else "01" if {"ended", "revoked"} & set(faults) else None
    command = register("X1", "ee" if "exists" in faults else "77", renews=renews)
    _expect(bank, command, expected, "ACTIVE", binds=binds == "binds")


# What is done to a payment or to an authorization afterwards.

AFTERWARDS = table("""
    refund     MERCHANT_NOT_FOUND             free   no-merchant
    refund     NUMBER_USED                    free   number-used merchant-closed
    refund     MERCHANT_CLOSED                free   merchant-closed none
    refund     NO_SUCH_PAYMENT                binds  merchant-suspended none
    refund     IN_FLIGHT                      free   reversing too-late too-much broke
    refund     PAYMENT_NOT_SUCCEEDED          binds  reversed too-late too-many too-much broke
    refund     REFUND_WINDOW_PASSED           binds  too-late too-many too-much broke
    refund     REFUND_COUNT_LIMIT             binds  too-many too-much broke
    refund     REFUND_EXCEEDS_REMAINING       binds  too-much broke
    refund     MERCHANT_BALANCE_INSUFFICIENT  binds  broke payer-closed
    refund     -                              binds  merchant-suspended
    refund     -                              binds
    reversal   MERCHANT_NOT_FOUND             free   no-merchant
    reversal   NUMBER_USED                    free   number-used merchant-closed
    reversal   MERCHANT_CLOSED                free   merchant-closed none
    reversal   NO_SUCH_PAYMENT                binds  merchant-suspended none
    reversal   IN_FLIGHT                      free   reversing next-date broke
    reversal   PAYMENT_NOT_SUCCEEDED          binds  reversed next-date broke
    reversal   REVERSAL_WINDOW_PASSED         binds  next-date refunded broke
    reversal   REVERSAL_NOT_FULL              binds  refunded broke
    reversal   MERCHANT_BALANCE_INSUFFICIENT  binds  broke payer-closed
    reversal   ACCOUNT_CLOSED                 binds  payer-closed
    reversal   -                              binds  merchant-suspended
    reversal   -                              binds
""")


@pytest.mark.parametrize("row", AFTERWARDS, ids="+".join)
def test_refund_or_reversal_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = shop(funds_minor=1_000)
    bank.audited = False
    order_no = "none" if "none" in faults else "O1"
    bank.do(payment("O1"))
    if "reversed" in faults:
        bank.do(commands.ReversePayment("M1", "O1", "V0"))
    if "number-used" in faults:
        bank.ask(commands.RefundPayment("M1", "X1", "other", 77))
        bank.ask(commands.ReversePayment("M1", "other", "X1"))
    if "too-many" in faults and "reversed" not in faults:
        for n in range(50):
            bank.do(commands.RefundPayment("M1", f"R{n}", "O1", 1))
    if "refunded" in faults:
        bank.do(commands.RefundPayment("M1", "R0", "O1", 1))
    if "reversing" in faults:
        bank.send(commands.ReversePayment("M1", "O1", "V0"))
        bank.queue.clear()
    if "broke" in faults:
        bank.force(MERCHANT, posted_minor=499)
    if "payer-closed" in faults:
        bank.do(commands.CloseAccount("A1"))
    if "too-late" in faults:
        bank.wait(365 * DAY + 1)
    if "next-date" in faults:
        bank.business_date = "2026-01-06"
    if "merchant-suspended" in faults:
        bank.force(MERCHANT, status="SUSPENDED")
    if "merchant-closed" in faults:
        bank.force(MERCHANT, status="CLOSED")
    merchant_no = "M2" if "no-merchant" in faults else "M1"
    command: commands.Command = commands.ReversePayment(merchant_no, order_no, "X1")
    if family == "refund":
        amount = 1_001 if "too-much" in faults else 500
        command = commands.RefundPayment(merchant_no, "X1", order_no, amount)
    _expect(bank, command, expected, "SUCCEEDED", binds=binds == "binds")


# What is done about a refund that waits or went astray.

REMEDIES = table("""
    redirect   MERCHANT_NOT_FOUND             free   no-merchant
    redirect   NUMBER_USED                    free   number-used merchant-closed
    redirect   MERCHANT_CLOSED                free   merchant-closed none
    redirect   NO_SUCH_REFUND                 binds  merchant-suspended none to-internal
    redirect   IN_FLIGHT                      free   under-way broke to-internal
    redirect   STATE_CONFLICT                 binds  waiting to-internal
    redirect   MERCHANT_BALANCE_INSUFFICIENT  binds  broke to-internal
    redirect   MERCHANT_BALANCE_INSUFFICIENT  binds  broke to-nobody
    redirect   ACCOUNT_INTERNAL               binds  to-internal
    redirect   -                              binds  merchant-suspended to-frozen
    redirect   -                              binds
    arrival    ACCOUNT_NOT_FOUND              binds  to-nobody
    arrival    ACCOUNT_CLOSED                 binds  to-closed to-foreign
    arrival    CURRENCY_MISMATCH              binds  to-foreign
    closing    MERCHANT_NOT_FOUND             free   no-merchant
    closing    NUMBER_USED                    free   number-used merchant-closed
    closing    MERCHANT_CLOSED                free   merchant-closed none
    closing    NO_SUCH_REFUND                 binds  merchant-suspended none
    closing    IN_FLIGHT                      free   under-way
    closing    STATE_CONFLICT                 binds  refunded
    closing    -                              binds  merchant-suspended waiting
    closing    -                              binds  broke
""")


@pytest.mark.parametrize("row", REMEDIES, ids="+".join)
def test_remedy_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    if not {"refunded", "waiting"} & set(faults):
        bank.do(commands.CloseAccount("A1"))
    bank.audited = False
    if "waiting" in faults:
        bank.force(MERCHANT, posted_minor=0)
    bank.ask(commands.RefundPayment("M1", "R1", "O1", 500, wait_for_funds=True))
    to = _receiver(bank, faults)
    if "number-used" in faults:
        bank.ask(commands.RedirectRefund("M1", "other", "X1", to))
        bank.ask(commands.CloseRefund("M1", "other", "X1"))
    if "under-way" in faults:
        bank.send(commands.RedirectRefund("M1", "R1", "D0", "A2"))
        bank.queue.clear()
    if "broke" in faults:
        bank.force(MERCHANT, posted_minor=499)
    if "merchant-suspended" in faults:
        bank.force(MERCHANT, status="SUSPENDED")
    if "merchant-closed" in faults:
        bank.force(MERCHANT, status="CLOSED")
    merchant_no = "M2" if "no-merchant" in faults else "M1"
    refund_no = "none" if "none" in faults else "R1"
    command: commands.Command = commands.CloseRefund(merchant_no, refund_no, "X1")
    if family != "closing":
        command = commands.RedirectRefund(merchant_no, refund_no, "X1", to)
    _expect(bank, command, expected, "SUCCEEDED", binds=binds == "binds")


OPERATIONS = table("""
    capture    MERCHANT_NOT_FOUND      free   no-merchant
    capture    NUMBER_USED             free   number-used merchant-closed
    capture    MERCHANT_CLOSED         free   merchant-closed none
    capture    MERCHANT_SUSPENDED      free   merchant-suspended none
    capture    NO_SUCH_HOLD            binds  none
    capture    IN_FLIGHT               free   busy overdue too-much
    capture    HOLD_EXPIRED            binds  overdue too-much
    capture    CAPTURE_LIMIT           binds  many-captures too-much frozen
    capture    CAPTURE_EXCEEDS_HOLD    binds  too-much frozen payment-limit daily-limit poor
    capture    ACCOUNT_FROZEN          binds  excess frozen cancelled payment-limit daily-limit poor
    capture    AGREEMENT_CANCELLED     binds  excess cancelled payment-limit daily-limit poor
    capture    PAYMENT_LIMIT_EXCEEDED  binds  excess payment-limit daily-limit method-limit poor
    capture    DAILY_LIMIT_EXCEEDED    binds  excess daily-limit method-limit poor
    capture    METHOD_LIMIT_EXCEEDED   binds  excess method-limit poor
    capture    INSUFFICIENT_FUNDS      binds  excess poor
    capture    -                       binds  excess
    capture    -                       binds  frozen cancelled method-limit poor
    increment  MERCHANT_NOT_FOUND      free   no-merchant
    increment  NUMBER_USED             free   number-used merchant-closed
    increment  MERCHANT_CLOSED         free   merchant-closed none
    increment  MERCHANT_SUSPENDED      free   merchant-suspended none
    increment  NO_SUCH_HOLD            binds  none
    increment  IN_FLIGHT               free   busy overdue frozen
    increment  HOLD_EXPIRED            binds  overdue many-increments frozen
    increment  INCREMENT_LIMIT         binds  many-increments frozen
    increment  ACCOUNT_FROZEN          binds  frozen cancelled payment-limit daily-limit poor
    increment  AGREEMENT_CANCELLED     binds  cancelled payment-limit daily-limit poor
    increment  PAYMENT_LIMIT_EXCEEDED  binds  payment-limit daily-limit method-limit poor
    increment  DAILY_LIMIT_EXCEEDED    binds  daily-limit method-limit poor
    increment  METHOD_LIMIT_EXCEEDED   binds  method-limit poor
    increment  INSUFFICIENT_FUNDS      binds  poor
    increment  -                       binds
    void       MERCHANT_NOT_FOUND      free   no-merchant
    void       NUMBER_USED             free   number-used merchant-closed
    void       MERCHANT_CLOSED         free   merchant-closed none
    void       NO_SUCH_HOLD            binds  merchant-suspended none
    void       IN_FLIGHT               free   busy overdue
    void       HOLD_EXPIRED            binds  overdue
    void       -                       binds  merchant-suspended frozen cancelled
    release    MERCHANT_NOT_FOUND      free   no-merchant
    release    NUMBER_USED             free   number-used merchant-closed
    release    MERCHANT_CLOSED         free   merchant-closed none
    release    NO_SUCH_HOLD            binds  merchant-suspended none
    release    IN_FLIGHT               free   busy overdue
    release    HOLD_EXPIRED            binds  overdue
    release    STATE_CONFLICT          binds  merchant-suspended
    release    -                       binds  merchant-suspended frozen cancelled captured
""")


def _operation(family: str, merchant_no: str, hold_no: str, amount: int) -> commands.Command:
    operations: dict[str, Callable[[], commands.Command]] = {
        "capture": lambda: commands.CaptureAuthorization(merchant_no, hold_no, "X1", amount),
        "increment": lambda: commands.IncrementAuthorization(merchant_no, hold_no, "X1", 50),
        "void": lambda: commands.VoidAuthorization(merchant_no, hold_no, "X1"),
        "release": lambda: commands.ReleaseAuthorization(merchant_no, hold_no, "X1"),
    }
    return operations[family]()


@pytest.mark.parametrize("row", OPERATIONS, ids="+".join)
def test_operation_with_faults_is_refused_in_order(row: list[str]) -> None:
    family, expected, binds, *faults = row
    bank = shop(
        funds_minor=1_000 if "poor" in faults else 2_000,
        over_capture=True,
        payment_limit_minor=1_000 if "payment-limit" in faults else None,
        daily_limit_minor=1_000 if "daily-limit" in faults else None,
    )
    bank.audited = False
    bank.do(authorization("H1"))
    if "captured" in faults:
        bank.do(commands.CaptureAuthorization("M1", "H1", "C0", 1))
    if "number-used" in faults:
        for each in ("capture", "increment", "void", "release"):
            bank.ask(_operation(each, "M1", "other", 77))
    if "many-captures" in faults:
        for n in range(50):
            bank.do(commands.CaptureAuthorization("M1", "H1", f"C{n}", 1))
    if "many-increments" in faults:
        for n in range(10):
            bank.do(commands.IncrementAuthorization("M1", "H1", f"I{n}", 1))
    if "cancelled" in faults:
        bank.do(commands.CancelAgreement("A1", "M1", "E1"))
    if "method-limit" in faults:
        bank.do(commands.SetAccountLimits("A1", "L1", "authorization", None, 1_000))
    if "busy" in faults:
        bank.send(commands.VoidAuthorization("M1", "H1", "V0"))
        bank.queue.clear()
    if "frozen" in faults:
        bank.do(commands.FreezeAccount("A1"))
    if "overdue" in faults:
        bank.wait(3_600 * 1_000_000_000)
    if "merchant-closed" in faults:
        bank.force(MERCHANT, status="CLOSED")
    if "merchant-suspended" in faults:
        bank.force(MERCHANT, status="SUSPENDED")
    amount = 1_151 if "too-much" in faults else 1_150 if "excess" in faults else 900
    command = _operation(
        family,
        "M2" if "no-merchant" in faults else "M1",
        "none" if "none" in faults else "H1",
        amount,
    )
    _expect(bank, command, expected, "SUCCEEDED", binds=binds == "binds")


def _expect(
    bank: Bank, command: commands.Command, expected: str, done: str, *, binds: bool
) -> None:
    """Check the outcome, and that a repetition gets it again exactly if it was bound."""
    balances = {address: repr(state) for address, state in bank.states.items()}
    token = bank.send(command)
    bank.run()
    first = bank.answer(token)
    again = bank.ask(command)
    assert not isinstance(first, Replayed)
    if expected == "-":
        assert getattr(first, "state", None) == done, first
        assert again == Replayed(first)
        return
    assert isinstance(first, Refused), first
    assert first.code == expected
    assert again == (Replayed(first) if binds else first)
    if not binds:
        assert {a: repr(state) for a, state in bank.states.items()} == balances


FAMILIES = (TRANSFERS, LIVES, AT_ONCE, MERCHANTS, REGISTRATIONS, AFTERWARDS, REMEDIES, OPERATIONS)


@pytest.mark.parametrize(
    ("rows", "first_cell"),
    [(NEW_DEBITS, 0), *((rows, 1) for rows in FAMILIES)],
)
def test_tables_follow_the_order_of_the_enumeration(rows: list[list[str]], first_cell: int) -> None:
    """Within each family the codes stand in the enumeration's order, decider by decider."""
    order = list(Refusal)
    # Decided by whoever is asked first, before anything about the second account.
    exempt = {Refusal.CURRENCY_MISMATCH, Refusal.BALANCE_LIMIT, Refusal.ACCOUNT_INTERNAL}
    families: dict[str, list[int]] = {}
    for row in rows:
        if row[first_cell] != "-" and Refusal(row[first_cell]) not in exempt:
            family = row[0] if first_cell else "debit"
            families.setdefault(family, []).append(order.index(Refusal(row[first_cell])))
    for codes in families.values():
        assert codes == sorted(codes)


def test_every_refusal_stands_in_a_table() -> None:
    seen = {cell for rows in (NEW_DEBITS, *FAMILIES) for row in rows for cell in row}
    elsewhere = {  # test_states.py
        Refusal.HOLD_ALREADY_VOIDED,
        Refusal.HOLD_ALREADY_CAPTURED,
        Refusal.HOLD_PARTLY_CAPTURED,
        Refusal.WEBHOOK_NOT_FOUND,  # test_webhooks.py
        Refusal.WEBHOOK_BACKLOG,
        Refusal.MESSAGE_DISCARDED,  # test_discards.py
    }
    assert {str(code) for code in Refusal} - seen == elsewhere


def test_every_refusal_is_explained() -> None:
    for code in Refusal:
        assert f"    {code} " in (Refusal.__doc__ or "")


def test_every_command_has_its_list_of_refusals() -> None:
    """That a list has no gap is held by the driver, whatever test meets a refusal."""
    assert set(REFUSALS) == {*commands.AnyCommand.__args__, *commands.GatewayCommand.__args__}
    assert {code for codes in REFUSALS.values() for code in codes} == set(Refusal)
