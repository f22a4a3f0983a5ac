"""The life of a merchant: suspended, activated, and closed when nothing can come any more."""

import pytest

from actors import commands
from actors.answers import Replayed
from actors.refund import REFUNDS
from tests.actors.driver import SECOND, Bank, authorization, payment, registering, shop

HOUR = 3_600 * SECOND
CLOSE = commands.CloseMerchant("M1")


def _counts(bank: Bank) -> tuple[int, int]:
    merchant = bank.merchant("M1")
    return merchant.in_flight, merchant.authorizations_open


def test_suspended_merchant_gives_back_and_takes_nothing() -> None:
    bank = shop()
    bank.do(payment("O1"))
    bank.do(payment("O2"))
    bank.do(authorization("H1"))
    assert bank.do(commands.SuspendMerchant("M1")).status == "SUSPENDED"
    assert bank.do(commands.SuspendMerchant("M1")).status == "SUSPENDED"
    for command in (
        payment("O3"),
        authorization("H2"),
        commands.IncrementAuthorization("M1", "H1", "I1", 1),
        commands.CaptureAuthorization("M1", "H1", "C1", 1),
    ):
        assert bank.code(command) == "MERCHANT_SUSPENDED"
    assert bank.do(commands.RefundPayment("M1", "R1", "O1", 1_000)).state == "SUCCEEDED"
    assert bank.do(commands.ReversePayment("M1", "O2", "V1")).state == "SUCCEEDED"
    assert bank.do(commands.VoidAuthorization("M1", "H1", "V1")).state == "SUCCEEDED"
    bank.do(commands.ActivateMerchant("M1"))
    assert bank.do(payment("O3")).state == "SUCCEEDED"  # nothing had been bound


def test_suspension_lets_what_is_under_way_come_to_its_end() -> None:
    bank = shop()
    token = bank.send(payment("O1"))
    bank.send(commands.SuspendMerchant("M1"))
    bank.run()
    assert bank.told(token) == "SUCCEEDED"


def _begin(bank: Bank, what: str) -> None:
    """Begin something that comes to nothing owed in the end."""
    if what == "payment":
        bank.send(payment("O9", 10**9))
    elif what == "hold":
        bank.send(authorization("H9", 10**9))
    elif what == "refund":
        bank.send(commands.RefundPayment("M1", "R1", "O1", 1_000))
    elif what == "reversal":
        bank.send(commands.ReversePayment("M1", "O1", "V1"))
    elif what == "void":
        bank.send(commands.VoidAuthorization("M1", "H1", "V1"))
    elif what in {"certificate", "collision"}:
        bank.send(registering("C1", "ab"))
    else:
        bank.wait(HOUR)
        bank.fire()


WHAT = ["payment", "hold", "refund", "reversal", "void", "expiry", "certificate", "collision"]


def _begun(what: str, deliveries: int) -> Bank:
    """Return a bank in which something is under way, so many of its messages delivered."""
    bank = shop()
    if what in {"refund", "reversal"}:
        bank.do(payment("O1"))
    if what in {"void", "expiry"}:
        bank.do(authorization("H1"))
    if what == "collision":
        bank.do(commands.OpenMerchant("M2", "USD"))
        bank.do(registering("X1", "ab", merchant_no="M2"))
    _begin(bank, what)
    for _ in range(deliveries):
        bank.deliver_at(0)
    return bank


@pytest.mark.parametrize("what", WHAT)
def test_merchant_is_closed_in_the_turn_that_ends_what_is_under_way(what: str) -> None:
    """At whatever moment it was asked for; not a message comes for it afterwards."""
    moments = 0
    while (bank := _begun(what, moments)).queue:
        moments += 1
        assert bank.told(bank.send(CLOSE)) == "CLOSING"
        assert bank.told(bank.send(CLOSE)) == "CLOSING"
        assert bank.told(bank.send(payment("O8"))) == "MERCHANT_CLOSING"
        while bank.merchant("M1").status == "CLOSING":
            assert _counts(bank) != (0, 0)
            bank.deliver_at(0)
        assert bank.merchant("M1").status == "CLOSED"
        assert (_counts(bank), bank.merchant("M1").posted_minor) == ((0, 0), 0)
        assert bank.do(CLOSE).status == "CLOSED"
        assert bank.told(bank.send(payment("O8"))) == "MERCHANT_CLOSED"
        bank.run()
    assert moments


@pytest.mark.parametrize("what", WHAT)
def test_merchant_is_closed_at_once_when_what_was_under_way_has_ended(what: str) -> None:
    bank = _begun(what, 0)
    bank.run()
    assert _counts(bank) == (0, 0)
    assert bank.do(CLOSE).status == "CLOSED"


def test_closing_merchant_gives_back_and_takes_only_what_is_reserved() -> None:
    bank = shop()
    bank.do(payment("O1"))
    bank.do(payment("O2"))
    for hold_no in ("H1", "H2", "H3"):
        bank.do(authorization(hold_no))
    paid = bank.ask(payment("O3"))
    assert bank.do(CLOSE).status == "CLOSING"
    for command in (
        payment("O4"),
        authorization("H4"),
        commands.IncrementAuthorization("M1", "H1", "I1", 1),
    ):
        assert bank.code(command) == "MERCHANT_CLOSING"
    assert bank.ask(payment("O3")) == Replayed(paid)  # type: ignore[arg-type]
    assert bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 400)).state == "SUCCEEDED"
    assert bank.do(commands.ReleaseAuthorization("M1", "H1", "L1")).state == "SUCCEEDED"
    assert bank.do(commands.VoidAuthorization("M1", "H2", "V1")).state == "SUCCEEDED"
    assert bank.do(commands.ReversePayment("M1", "O2", "V2")).state == "SUCCEEDED"
    assert bank.do(commands.RefundPayment("M1", "R1", "O1", 1_000)).state == "SUCCEEDED"
    assert bank.do(commands.RefundAuthorization("M1", "R2", "H1", 400)).state == "SUCCEEDED"
    assert bank.do(commands.RefundPayment("M1", "R3", "O3", 1_000)).state == "SUCCEEDED"
    assert bank.code(commands.SuspendMerchant("M1")) == "STATE_CONFLICT"
    assert bank.code(commands.ActivateMerchant("M1")) == "STATE_CONFLICT"
    assert bank.merchant("M1").status == "CLOSING"
    bank.wait(HOUR)
    bank.fire()  # the last hold expires
    bank.run()
    assert bank.merchant("M1").status == "CLOSED"


def test_payment_that_is_all_fee_ends_the_closing() -> None:
    """Money that comes may be the last thing, too: nothing of it is owed."""
    bank = shop(fee_bps=10_000)
    bank.send(payment("O1"))
    assert bank.told(bank.send(CLOSE)) == "CLOSING"
    bank.run()
    assert (bank.merchant("M1").status, bank.merchant("M1").fees_minor) == ("CLOSED", 1_000)


@pytest.mark.parametrize("end", ["capture", "release", "partly-expired", "over-capture"])
def test_authorization_that_ended_is_not_counted_any_more(end: str) -> None:
    bank = shop(over_capture=True)
    bank.do(authorization("H1"))
    assert _counts(bank) == (0, 1)
    if end in {"release", "partly-expired"}:
        bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 400))
        assert _counts(bank) == (0, 1)
    if end == "capture":
        bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 400, final=True))
    elif end == "over-capture":
        bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 1_100))
    elif end == "release":
        bank.do(commands.ReleaseAuthorization("M1", "H1", "L1"))
    else:
        bank.wait(HOUR)
        # The merchant asks before the timer has come: refused, and the hold is over.
        assert bank.code(commands.CaptureAuthorization("M1", "H1", "C2", 1)) != "SUCCEEDED"
        bank.fire()
        bank.run()
    assert _counts(bank) == (0, 0)


def _refund(number: str, *, waits: bool = False) -> commands.RefundPayment:
    return commands.RefundPayment("M1", number, "O1", 900, wait_for_funds=waits)


def test_refund_that_waits_for_funds_is_counted_until_it_has_arrived() -> None:
    bank = shop(fee_bps=1_000)
    bank.do(payment("O1", 1_000))
    bank.do(payment("O2", 1_000))
    bank.do(commands.ReversePayment("M1", "O2", "V2"))
    bank.do(commands.RefundPayment("M1", "R1", "O1", 800))
    assert (
        bank.do(commands.RefundPayment("M1", "R2", "O1", 200, wait_for_funds=True)).state
        == "PENDING_FUNDS"
    )
    assert _counts(bank) == (1, 0)
    bank.send(payment("O3", 1_000))
    while bank.queue:
        assert _counts(bank)[0] >= 1
        bank.deliver_at(0)
    assert bank.get("merchant/M1", REFUNDS, "R2").state == "SUCCEEDED"
    assert _counts(bank) == (0, 0)


@pytest.mark.parametrize("end", ["closed", "expired"])
def test_merchant_whose_refund_waits_is_closed_only_once_that_is_given_up(end: str) -> None:
    bank = shop(fee_bps=10_000)
    bank.do(payment("O1", 1_000))
    assert bank.do(_refund("R1", waits=True)).state == "PENDING_FUNDS"
    assert bank.merchant("M1").posted_minor == 0
    assert _counts(bank) == (1, 0)
    assert bank.do(CLOSE).status == "CLOSING"
    if end == "closed":
        bank.do(commands.CloseRefund("M1", "R1", "X1"))
    else:
        bank.wait(7 * 24 * HOUR)
        bank.fire()
    assert _counts(bank) == (0, 0)
    assert bank.merchant("M1").status == "CLOSED"


@pytest.mark.parametrize("end", ["redirected", "closed"])
def test_refund_that_went_astray_is_counted_until_its_end(end: str) -> None:
    bank = shop(funds_minor=10_000)
    bank.do(payment("O1", 10_000))
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.CloseAccount("A1"))
    assert bank.do(commands.RefundPayment("M1", "R1", "O1", 10_000)).state == "ABNORMAL"
    assert _counts(bank) == (1, 0)
    assert bank.code(commands.RedirectRefund("M1", "R1", "D1", "nobody")) == "ACCOUNT_NOT_FOUND"
    assert bank.code(commands.RedirectRefund("M1", "R1", "D2", "clearing-USD")) != "SUCCEEDED"
    assert _counts(bank) == (1, 0)
    if end == "redirected":
        bank.send(commands.RedirectRefund("M1", "R1", "D3", "A2"))
        assert bank.told(bank.send(CLOSE)) == "CLOSING"
        while bank.queue:
            assert bank.merchant("M1").posted_minor in {0, 10_000}
            assert bank.merchant("M1").status == "CLOSING"
            bank.deliver_at(0)
        assert _counts(bank) == (0, 0)
        assert bank.merchant("M1").status == "CLOSED"
    else:
        bank.do(commands.CloseRefund("M1", "R1", "X1"))
        assert _counts(bank) == (0, 0)


def test_refund_that_failed_is_not_counted_any_more() -> None:
    bank = shop()
    bank.do(payment("O1", 1_000))
    bank.force("account/A1", currency="EUR")
    bank.audited = False
    assert bank.code(_refund("R1")) == "CURRENCY_MISMATCH"
    assert _counts(bank) == (0, 0)


def test_repetition_that_joins_is_counted_once() -> None:
    bank = shop()
    first = bank.send(payment("O1", 10**9))
    joined = bank.send(payment("O1", 10**9))
    assert _counts(bank) == (1, 0)
    bank.run()
    assert _counts(bank) == (0, 0)
    assert bank.answer(joined) == Replayed(bank.answer(first))  # type: ignore[arg-type]
    assert bank.do(CLOSE).status == "CLOSED"


def test_closed_merchant_answers_repetitions_and_changes_no_more() -> None:
    bank = shop()
    paid = bank.ask(payment("O1"))
    reversed_ = bank.ask(commands.ReversePayment("M1", "O1", "V1"))
    bank.do(commands.SuspendMerchant("M1"))
    closed = bank.do(CLOSE)
    before = (dict(bank.states), dict(bank.rows))
    assert bank.ask(payment("O1")) == Replayed(paid)  # type: ignore[arg-type]
    again = bank.ask(commands.ReversePayment("M1", "O1", "V1"))
    assert again == Replayed(reversed_)  # type: ignore[arg-type]
    for command in (
        payment("O2"),
        authorization("H1"),
        commands.RefundPayment("M1", "R1", "O1", 1),
        commands.ReversePayment("M1", "O1", "V2"),
        commands.VoidAuthorization("M1", "H1", "V1"),
    ):
        assert bank.code(command) == "MERCHANT_CLOSED"
    assert bank.code(commands.ActivateMerchant("M1")) == "STATE_CONFLICT"
    assert bank.ask(CLOSE) == closed
    assert (bank.states, bank.rows) == before


def test_merchant_that_earned_a_fee_for_the_bank_is_closed_when_it_is_owed_nothing() -> None:
    """The fee account is the bank's income; only the receivable is owed."""
    bank = shop(fee_bps=1_000)
    bank.do(payment("O1", 1_000))
    bank.do(commands.RefundPayment("M1", "R1", "O1", 900))
    assert bank.merchant("M1").fees_minor == 100
    assert bank.do(CLOSE).status == "CLOSED"
