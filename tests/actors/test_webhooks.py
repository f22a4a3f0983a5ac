"""Webhooks in the engine: where events go, what came of attempts, and the log that is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import commands
from actors.commands import (
    Attempt,
    DisableWebhook,
    EnableWebhook,
    RecordDeliveries,
    RedeliverEvents,
    Result,
    SetWebhook,
)
from actors.states import WEBHOOK, allowed
from actors.webhook import (
    ATTEMPTS_KEPT,
    DELIVERIES,
    PENDING_MAX,
    REDELIVERED_MAX,
    RETRY_AFTER_S,
    Delivery,
    Webhook,
    attempted,
    delivery_name,
    view_delivery,
)
from tests.actors.driver import MORNING, SECOND, Bank, payment, shop

URL = "https://shop.example/hook"
HOOK = "webhook/M1"
TAKEN = Attempt(MORNING, 20, 200)
FAILED = Attempt(MORNING, 1_000, 500)
LATE = Attempt(MORNING, 10_000, 0, "TIMEOUT")


def _bank(events: int = 5) -> Bank:
    """Return a bank whose merchant has had so many events, with a webhook from the first on."""
    bank = shop()
    for n in range(events):
        bank.do(payment(f"O{n}", 10))
    bank.do(SetWebhook("M1", URL, 0))
    return bank


def _hook(bank: Bank) -> Webhook:
    state = bank.states[HOOK]
    assert isinstance(state, Webhook)
    return state


def _delivery(bank: Bank, sequence: int) -> Delivery:
    return bank.get(HOOK, DELIVERIES, delivery_name(sequence))


def _record(bank: Bank, cursor: int, *results: tuple[int, Attempt], **also: object) -> None:
    told = tuple(Result(sequence, 0, attempt) for sequence, attempt in results)
    bank.do(RecordDeliveries("M1", cursor, results=told, **also))  # type: ignore[arg-type]


STEPS = """
    none      EnableWebhook   WEBHOOK_NOT_FOUND
    none      DisableWebhook  WEBHOOK_NOT_FOUND
    none      SetWebhook      ENABLED
    ENABLED   SetWebhook      ENABLED
    ENABLED   EnableWebhook   ENABLED
    ENABLED   DisableWebhook  DISABLED
    DISABLED  SetWebhook      ENABLED
    DISABLED  EnableWebhook   ENABLED
    DISABLED  DisableWebhook  DISABLED
"""


@pytest.mark.parametrize("row", [line.split() for line in STEPS.strip().splitlines()], ids="+".join)
def test_webhook_comes_from_one_status_to_another(row: list[str]) -> None:
    begun, step, expected = row
    bank = shop()
    if begun != "none":
        bank.do(SetWebhook("M1", URL, 0))
    if begun == "DISABLED":
        bank.do(DisableWebhook("M1"))
    command: commands.Command = SetWebhook("M1", URL, 0)
    if step != "SetWebhook":
        command = getattr(commands, step)("M1")
    assert bank.code(command) == expected


def test_redelivery_without_a_webhook_is_refused() -> None:
    assert shop().code(RedeliverEvents("M1", 1, 1)) == "WEBHOOK_NOT_FOUND"


def test_only_an_enabled_webhook_is_disabled_by_what_it_answers() -> None:
    assert allowed(WEBHOOK, "record_deliveries") == ("ENABLED",)
    bank = _bank()
    _record(bank, 1, (1, Attempt(MORNING, 5, 410)), gone=URL)
    assert (_hook(bank).status, _hook(bank).reason) == ("DISABLED", "gone")
    assert _delivery(bank, 1).state == "PENDING"
    bank.do(DisableWebhook("M1"))
    _record(bank, 2, (2, Attempt(MORNING, 5, 410)), gone=URL)
    assert _hook(bank).reason == "gone"
    bank.do(EnableWebhook("M1"))
    assert (_hook(bank).status, _hook(bank).reason) == ("ENABLED", "")
    _record(bank, 2, gone="https://elsewhere.example/")  # what it had been set to before
    assert _hook(bank).status == "ENABLED"


def test_webhook_that_is_set_anew_goes_on_where_it_was() -> None:
    bank = _bank()
    _record(bank, 3, (1, TAKEN), (2, TAKEN), (3, FAILED))
    before = _hook(bank)
    view = bank.do(SetWebhook("M1", "https://other.example/", 5))
    assert (view.url, view.cursor, view.pending) == ("https://other.example/", 3, 1)
    assert _hook(bank).version == before.version + 1
    bank.do(SetWebhook("M1", "https://other.example/", 5))
    assert _hook(bank).version == before.version + 1


def test_payments_write_nothing_for_a_webhook() -> None:
    bank = _bank()
    before = dict(bank.rows), _hook(bank)
    bank.do(payment("O9", 10))
    webhooks = {key for key in bank.rows if b"webhook/" in key}
    assert webhooks == {key for key in before[0] if b"webhook/" in key}
    assert _hook(bank) == before[1]


def test_event_is_tried_after_each_interval_and_then_given_up() -> None:
    """The schedule, word for word, and not one attempt more."""
    assert RETRY_AFTER_S == (
        15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600,
        10_800, 10_800, 10_800, 21_600, 21_600,
    )  # fmt: skip
    bank = _bank()
    at_ns = MORNING
    for wait_s in RETRY_AFTER_S:
        _record(bank, 1, (1, Attempt(at_ns, 1_000, 503)))
        delivery = _delivery(bank, 1)
        assert delivery.state == "PENDING"
        assert delivery.due_ns == at_ns + SECOND + wait_s * SECOND
        at_ns = delivery.due_ns
    _record(bank, 1, (1, LATE))
    delivery = _delivery(bank, 1)
    assert (delivery.state, delivery.attempts, delivery.due_ns) == ("FAILED", 16, 0)
    assert (_hook(bank).pending, _hook(bank).failed) == (0, 1)
    view = view_delivery("M1", 1, delivery)
    assert (view.event_id, view.state, view.attempts, view.due_at) == ("M1/1", "FAILED", 16, None)
    assert (view.log[0].status, view.log[0].error) == (503, None)
    assert (view.log[-1].status, view.log[-1].error) == (None, "TIMEOUT")


@pytest.mark.parametrize(
    ("status", "taken"),
    [(200, True), (202, True), (204, True), (299, True), (199, False), (300, False), (301, False),
     (308, False), (400, False), (410, False), (500, False), (0, False)],
)  # fmt: skip
def test_event_is_delivered_by_an_answer_of_2xx(status: int, taken: bool) -> None:
    bank = _bank()
    _record(bank, 1, (1, Attempt(MORNING, 1, status)))
    assert _delivery(bank, 1).state == ("DELIVERED" if taken else "PENDING")


def test_event_that_is_delivered_is_ordered_again() -> None:
    bank = _bank()
    _record(bank, 3, (1, TAKEN), (2, FAILED), taken=(3,))
    view = bank.do(RedeliverEvents("M1", 1, 5))
    assert (view.pending, view.delivered) == (3, 0)
    first, second = _delivery(bank, 1), _delivery(bank, 2)
    assert (first.state, first.tried, first.attempts, first.rounds) == ("PENDING", 0, 1, 1)
    assert (second.state, second.due_ns) == ("PENDING", 0)
    # 4 and 5 are beyond the cursor: they come anyhow.
    assert {key[-1:] for key in bank.rows if b"webhook/" in key} == {b"1", b"2", b"3"}


def test_attempt_that_began_before_a_redelivery_does_not_fulfil_it() -> None:
    bank = _bank()
    _record(bank, 1, (1, FAILED))
    bank.do(RedeliverEvents("M1", 1, 1))
    _record(bank, 1, (1, TAKEN))
    delivery = _delivery(bank, 1)
    assert (delivery.state, delivery.attempts, delivery.tried) == ("PENDING", 2, 0)
    bank.do(RecordDeliveries("M1", 1, results=(Result(1, 1, TAKEN),)))
    assert _delivery(bank, 1).state == "DELIVERED"


def test_event_from_before_the_webhook_can_be_ordered() -> None:
    bank = shop()
    for n in range(3):
        bank.do(payment(f"O{n}", 10))
    bank.do(SetWebhook("M1", URL, 3))
    assert bank.do(RedeliverEvents("M1", 2, 3)).pending == 2


def test_redelivery_beyond_what_may_be_under_way_is_refused() -> None:
    bank = shop()
    bank.audited = False
    bank.do(SetWebhook("M1", URL, 10 * PENDING_MAX))
    for first in range(1, PENDING_MAX, REDELIVERED_MAX):
        bank.do(RedeliverEvents("M1", first, first + REDELIVERED_MAX - 1))
    before = dict(bank.rows)
    assert bank.code(RedeliverEvents("M1", PENDING_MAX + 1, PENDING_MAX + 1)) == "WEBHOOK_BACKLOG"
    assert bank.rows == before
    assert bank.code(RedeliverEvents("M1", 1, 5)) == "ENABLED"


def test_log_forgets_what_it_is_told_to_but_nothing_that_is_under_way() -> None:
    bank = _bank()
    _record(bank, 2, (1, TAKEN), (2, FAILED), (4, TAKEN))
    _record(bank, 2, dropped=(1, 2, 3, 4))
    assert {key[-1:] for key in bank.rows if b"webhook/" in key} == {b"2", b"4"}
    assert (_hook(bank).pending, _hook(bank).delivered) == (1, 1)


def test_what_was_reported_twice_is_noted_and_counted_once() -> None:
    bank = _bank()
    for _ in range(2):
        _record(bank, 2, (1, TAKEN), taken=(2,))
    assert (_hook(bank).pending, _hook(bank).delivered) == (1, 1)
    assert _delivery(bank, 1).attempts == 2


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_delivery_agrees_with_a_count(tried: list[tuple[bool, bool]]) -> None:
    """Each step is a redelivery, or an attempt that the merchant takes or does not."""
    delivery: Delivery | None = None
    state, left, attempts, rounds = "", ATTEMPTS_KEPT, 0, 0
    for good, again in tried:
        if again and delivery is not None:
            rounds += 1
            state, left = "PENDING", ATTEMPTS_KEPT
            delivery = Delivery("PENDING", 0, 0, delivery.attempts, rounds, delivery.log)
            continue
        delivery = attempted(delivery, Result(1, rounds, TAKEN if good else FAILED))
        attempts += 1
        if state in ("", "PENDING"):
            left -= 1
            state = "DELIVERED" if good else "PENDING" if left else "FAILED"
        assert (delivery.state, delivery.attempts) == (state, attempts)
        assert len(delivery.log) == min(attempts, ATTEMPTS_KEPT)
