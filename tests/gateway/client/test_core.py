"""The core by itself: scripts driven by hand, on a clock that only they move."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from actors.answers import PaymentView
from actors.commands import CreatePayment
from gateway.ca.csr import new_key
from gateway.client import (
    BusyError,
    FailedError,
    NotAcceptedError,
    OutcomeUnknownError,
    PiaohaoError,
    RefusedError,
    Terms,
    UnreachableError,
    UnreadableAnswerError,
)
from gateway.client.bank_calls import BankCalls
from gateway.client.call import Call
from gateway.client.core import Core
from gateway.client.exchange import Came, Lost, Reply, Script, Send, Wait
from gateway.client.merchant_calls import MerchantCalls
from gateway.client.seal import Seal
from gateway.client.trust import Trust
from tests.gateway.client.bank import Bank

pytestmark = pytest.mark.one_shard

T = TypeVar("T")
Way = Callable[[Send], Came | Lost]

TERMS = Terms(patience_s=30, pause_s=0.1, pause_max_s=5)
CALLS = MerchantCalls("M1")
PAY = CALLS.pay("O1", payer="A1", amount_minor=100, currency="USD")
LOOK = CALLS.get_payment("O1")
CUT = Lost(sent=True, reason="cut")
NOT_SENT = Lost(sent=False, reason="refused")


def answer(status: int, code: str = "", **members: Any) -> Came:
    """Return an answer: a problem document if it has a code."""
    body = {"code": code, "title": "…"} if code else {}
    return Came(status, {}, msgspec.json.encode(body | members))


PAID = Came(
    201,
    {},
    msgspec.json.encode(
        PaymentView(
            merchant_no="M1",
            order_no="O1",
            payer="A1",
            amount_minor=100,
            currency="USD",
            fee_minor=0,
            refunded_minor=0,
            state="SUCCEEDED",
            code=None,
            business_date="2026-01-05",
            created_at="2026-01-05T08:00:00.000Z",
            settled_at=None,
        )
    ),
)
UNKNOWN = answer(504, "OUTCOME_UNKNOWN")


class Driver:
    """Runs scripts against a bank that is a function.

    Attributes:
        sent: what the script sent, as method and target.
        pauses: what it waited, in seconds.
    """

    def __init__(self, bank: Way, seal: Seal | None = None, draw: float = 1.0) -> None:
        self.core = Core(
            seal, TERMS, now=lambda: self.time, wall=lambda: 1.8e9, random=lambda: draw
        )
        self.time = 0.0
        self.sent: list[str] = []
        self.pauses: list[float] = []
        self._bank = bank

    def run(self, script: Script[T]) -> T:
        reply: Reply = None
        while True:
            try:
                step = script.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                self.pauses.append(step.seconds)
                self.time += step.seconds
                reply = None
            else:
                assert isinstance(step, Send)
                self.sent.append(f"{step.method} {step.target}")
                reply = self._bank(step)


def scripted(*replies: Came | Lost) -> Way:
    """Return a bank that gives these answers, the last one for ever."""
    rest = list(replies)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def outcome(call: Call[Any], *replies: Came | Lost) -> tuple[Any, Driver]:
    """Return what a call comes to, an error as a value."""
    driver = Driver(scripted(*replies))
    try:
        return driver.run(driver.core.ask(call)), driver
    except PiaohaoError as error:
        return error, driver


@pytest.mark.parametrize(
    ("call", "replies", "becomes"),
    [
        # What the bank says at once.
        (PAY, [answer(422, "INSUFFICIENT_FUNDS")], RefusedError),
        (PAY, [answer(401, "SIGNATURE_WRONG")], NotAcceptedError),
        (PAY, [answer(500, "INTERNAL")], FailedError),
        (PAY, [Came(201, {}, b"<html>")], UnreadableAnswerError),
        (PAY, [answer(201, state="SUCCEEDED")], UnreadableAnswerError),
        # The end of patience: where nothing can have happened, that is said.
        (PAY, [NOT_SENT], UnreachableError),
        (PAY, [answer(503, "NODE_BUSY")], BusyError),
        (PAY, [answer(504, "TIMEOUT")], BusyError),
        (PAY, [answer(409, "IN_FLIGHT")], RefusedError),
        # Where something can have happened, nothing else is said.
        (PAY, [CUT], OutcomeUnknownError),
        (PAY, [CUT, NOT_SENT], OutcomeUnknownError),
        (PAY, [CUT, answer(503, "NODE_BUSY")], OutcomeUnknownError),
        (PAY, [CUT, answer(401, "CERTIFICATE_REVOKED")], OutcomeUnknownError),
        (PAY, [CUT, answer(500, "INTERNAL")], OutcomeUnknownError),
        (PAY, [UNKNOWN], OutcomeUnknownError),
        (PAY, [UNKNOWN, NOT_SENT], OutcomeUnknownError),
        # A refusal that is tied to the request is the outcome, whatever was before it.
        (PAY, [CUT, answer(422, "INSUFFICIENT_FUNDS")], RefusedError),
        (PAY, [CUT, answer(409, "NUMBER_USED")], RefusedError),
        # Looking something up does nothing.
        (LOOK, [CUT], UnreachableError),
        (LOOK, [CUT, answer(503, "NODE_BUSY")], BusyError),
    ],
)
def test_call_ends_as(call: Call[Any], replies: list[Came | Lost], becomes: type) -> None:
    ended, _ = outcome(call, *replies)
    assert type(ended) is becomes


@pytest.mark.parametrize(
    "trouble",
    [CUT, NOT_SENT]
    + [
        answer(status, code)
        for status, code in [
            (429, "ACTOR_BUSY"),
            (503, "NODE_BUSY"),
            (503, ""),
            (504, "TIMEOUT"),
            (409, "IN_FLIGHT"),
            (401, "SIGNED_BEFORE_START"),
        ]
    ],
)
def test_trouble_that_passes_is_got_over_with_the_same_command(trouble: Came | Lost) -> None:
    bodies: list[bytes] = []
    bank = scripted(trouble, trouble, PAID)
    driver = Driver(lambda send: bodies.append(send.body) or bank(send))  # type: ignore[func-returns-value]
    assert driver.run(driver.core.ask(PAY)).state == "SUCCEEDED"
    assert driver.sent == ["POST /v1/payments"] * 3
    assert set(bodies) == {PAY.body}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_answer_that_will_not_change_is_not_asked_for_twice(status: int) -> None:
    _, driver = outcome(PAY, answer(status, "WHATEVER"))
    assert len(driver.sent) == 1


def test_unknown_outcome_is_looked_up_before_the_command_is_sent_again() -> None:
    """While it is under way it is only looked at; then the same command gets its outcome."""
    under_way = answer(200, state="PROCESSING")
    busy = answer(503, "NODE_BUSY")
    started = answer(401, "SIGNED_BEFORE_START")
    paid, driver = outcome(PAY, UNKNOWN, under_way, CUT, busy, started, under_way, PAID, PAID)
    assert paid.order_no == "O1"
    look = "GET /v1/payments/M1/O1"
    assert driver.sent == ["POST /v1/payments", *[look] * 6, "POST /v1/payments"]
    _, driver = outcome(PAY, UNKNOWN, answer(404, "NO_SUCH_PAYMENT"), PAID)
    assert driver.sent == ["POST /v1/payments", look, "POST /v1/payments"]


def test_command_without_a_number_is_sent_again_without_a_look() -> None:
    """Freezing an account has none; repeating it changes nothing."""
    freeze = BankCalls().freeze_account("A1")
    _, driver = outcome(freeze, UNKNOWN, answer(409, "ACCOUNT_CLOSED"))
    assert driver.sent == ["POST /v1/accounts/A1/freeze"] * 2


def test_pauses_double_up_to_a_limit_and_end_with_patience() -> None:
    _, driver = outcome(PAY, CUT)
    assert driver.pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert set(driver.pauses[6:]) == {5.0}
    assert driver.time < TERMS.patience_s < driver.time + 5.0


def test_pauses_are_drawn_between_half_and_all() -> None:
    driver = Driver(scripted(CUT, CUT, PAID), draw=0.0)
    driver.run(driver.core.ask(PAY))
    assert driver.pauses == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize(
    "busy",
    [
        answer(503, "NODE_BUSY", retry_after_s=7),
        Came(503, {"retry-after": "7"}, b'{"code":"NODE_BUSY"}'),
        Came(503, {"retry-after": "7"}, b"<html>"),
    ],
)
def test_retry_after_is_heeded_and_nobody_comes_at_the_same_moment(busy: Came) -> None:
    driver = Driver(scripted(busy, PAID), draw=0.5)
    driver.run(driver.core.ask(PAY))
    assert driver.pauses == pytest.approx([7.075])


def test_retry_after_beyond_patience_ends_the_call_at_once() -> None:
    ended, driver = outcome(PAY, answer(503, "DISK_NEARLY_FULL", retry_after_s=60))
    assert isinstance(ended, BusyError)
    assert (ended.retry_after_s, driver.pauses) == (60, [])
    never = Came(503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"")
    assert outcome(PAY, never, PAID)[0].state == "SUCCEEDED"


def test_each_try_is_signed_anew() -> None:
    """Its nonce is its own, so that the bank does not take a second try for a replay."""
    bank = Bank()
    seal = Seal(bank.certify("M1"), Trust(bank.root_pem), "https", "bank.example")
    inputs: list[str] = []

    def cut(send: Send) -> Lost:
        inputs.append(send.headers["signature-input"])
        return CUT

    driver = Driver(cut, seal)
    with pytest.raises(OutcomeUnknownError):
        driver.run(driver.core.ask(PAY))
    nonces = {each.partition('nonce="')[2].partition('"')[0] for each in inputs}
    assert len(nonces) == len(inputs) > 5
    assert all(len(each) == 24 for each in nonces)


def test_renewal_keeps_its_key_across_tries_and_returns_what_was_made() -> None:
    """The request is one content, however often it is sent; the key never leaves."""
    now = Bank()
    old = now.certify("M1")
    seal = Seal(old, Trust(now.root_pem), "https", "bank.example")
    bodies: list[dict[str, str]] = []

    def making(send: Send) -> Came | Lost:
        bodies.append(msgspec.json.decode(send.body))
        return CUT

    driver = Driver(making, seal)
    with pytest.raises(OutcomeUnknownError):
        driver.run(driver.core.renew(CALLS, "CERT2", None))
    assert len(bodies) > 5
    assert all(each == bodies[0] for each in bodies)
    assert bodies[0]["renews"] == old.keyid
    assert "PRIVATE" not in bodies[0]["csr"]

    def made(send: Send) -> Came:
        pem = now.certify_csr("M1", msgspec.json.decode(send.body)["csr"])
        return answer(201, object="certificate", pem=pem.decode())

    unsigned = Core(None, TERMS, now=lambda: 0.0, wall=lambda: 0.0, random=lambda: 0.0)
    with pytest.raises(ValueError, match="nothing to renew"):
        driver.run(unsigned.renew(CALLS, "CERT2", None))
    key = new_key("ecdsa-p256-sha256")
    believing = Driver(made)
    believing.core._seal = _Believing(seal)  # type: ignore[assignment]
    renewed = believing.run(believing.core.renew(CALLS, "CERT2", key))
    assert renewed.merchant_no == "M1"
    assert renewed.key.alg == "ecdsa-p256-sha256"
    assert renewed.keyid != old.keyid


class _Believing:
    """A seal that believes everything: for what comes after."""

    def __init__(self, seal: Seal) -> None:
        self.identity = seal.identity
        self.sign = seal.sign
        self.trust = self

    def key(self, keyid: str, now: float) -> str:
        return keyid

    def read(self, answer: Came) -> Any:
        return self

    keyid = ""
    bound = True

    def verify(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_batch_that_gets_nowhere_gives_each_command_its_error() -> None:
    commands = [CreatePayment("M1", f"O{number}", "A1", 1, "USD") for number in range(2_001)]
    driver = Driver(scripted(answer(413, "BODY_TOO_LARGE")))
    outcomes = driver.run(driver.core.batch(commands))
    assert len(driver.sent) == 1
    assert [type(each) for each in outcomes[998:1_002]] == [RefusedError] * 2 + [
        UnreachableError
    ] * 2
    assert len(outcomes) == 2_001


def test_batch_answered_with_too_few_is_not_read() -> None:
    driver = Driver(scripted(Came(200, {}, b"[]")))
    outcomes = driver.run(driver.core.batch([CreatePayment("M1", "O1", "A1", 1, "USD")]))
    assert [type(each) for each in outcomes] == [UnreadableAnswerError]


def test_batch_is_of_commands() -> None:
    driver = Driver(scripted(PAID))
    with pytest.raises(ValueError, match="a batch is of commands"):
        driver.run(driver.core.batch([LOOK]))
