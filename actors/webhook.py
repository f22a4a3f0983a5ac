"""Webhooks: where a merchant's events are sent, how far that has come, and the log of it.

`webhook/M1` is an actor of its own beside `merchant/M1`, so that a payment of a merchant writes
nothing for it. Every event up to its cursor has a delivery, a record named by the event's sequence,
or had one: the log keeps the newest. The gateway sends, outside the engine, and reports what came
of it in batches (`record_deliveries`); what it has not reported it sends again after a restart, so
each event arrives at least once. Times of attempts are the gateway's, by the machine's clock: a
domain clock has no say in when somebody's server is asked again.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import AttemptView, DeliveryView, Refused, WebhookView, instant, instant_if
from actors.commands import (
    Attempt,
    DisableWebhook,
    EnableWebhook,
    RecordDeliveries,
    RedeliverEvents,
    Result,
    SetWebhook,
)
from actors.refusal import Refusal
from actors.states import DELIVERY, START, WEBHOOK, move
from engine.kind import RecordKind
from engine.turn import Turn

RETRY_AFTER_S: Final = (
    *(15, 15, 30, 180, 600, 1_200),
    *(1_800, 1_800, 1_800),
    3_600,
    *(10_800, 10_800, 10_800),
    *(21_600, 21_600),
)
"""How long after an attempt that failed the next one comes; after the last there is none."""
PENDING_MAX: Final = 1_000
"""So many events of a merchant may be under way; past that they wait in its sequence."""
REDELIVERED_MAX: Final = 200
"""So many events are ordered again at once: each is a look-up and a row of the turn."""
ATTEMPTS_KEPT: Final = len(RETRY_AFTER_S) + 1
"""A delivery remembers so many of its newest attempts: those of one round."""

_DIGITS: Final = 19
_S: Final = 1_000_000_000
_MS: Final = 1_000_000


class Webhook(Struct, frozen=True, array_like=True, gc=False):
    """The state of a webhook actor, whose number is the merchant's.

    Attributes:
        url: where events go.
        reason: why it is DISABLED: `asked`, or `gone` when the endpoint has said so (410).
        cursor: each event up to here has its delivery, or had.
        version: one more whenever somebody has changed what is to be done; the gateway looks
            then.
        pending, delivered, failed: how many deliveries are in each state.
    """

    url: str
    status: Literal["ENABLED", "DISABLED"]
    reason: Literal["", "asked", "gone"]
    created_ns: int
    changed_ns: int
    cursor: int
    version: int = 1
    pending: int = 0
    delivered: int = 0
    failed: int = 0


class Delivery(Struct, frozen=True, array_like=True, gc=False):
    """What has become of one event; a record named by its sequence.

    Attributes:
        due_ns: no attempt comes before; 0 for at once.
        tried: attempts of this round; a redelivery begins a new one.
        attempts: all there have been.
        rounds: how often a redelivery was ordered.
        log: the newest attempts.
    """

    state: Literal["PENDING", "DELIVERED", "FAILED"]
    due_ns: int = 0
    tried: int = 0
    attempts: int = 0
    rounds: int = 0
    log: tuple[Attempt, ...] = ()


DELIVERIES: Final = RecordKind("d", Delivery, ascending=True)

_COUNTED: Final = ("PENDING", "DELIVERED", "FAILED")


def set_webhook(turn: Turn[Webhook], command: SetWebhook) -> None:
    """Send a merchant's events to this URL from now on, in place of another if there was one.

    A first webhook begins behind the event `after`; one that was there goes on where it was.
    """
    webhook = turn.state
    if webhook is None:
        webhook = Webhook(
            command.url,
            move(WEBHOOK, START, "set_webhook", "ENABLED"),
            "",
            turn.now_ns,
            turn.now_ns,
            command.after,
        )
        _tell(turn, webhook)
    elif (webhook.url, webhook.status) == (command.url, "ENABLED"):
        turn.answer(view_webhook(turn.number, webhook))
    else:
        status = move(WEBHOOK, webhook.status, "set_webhook", "ENABLED")
        _change(turn, replace(webhook, url=command.url, status=status, reason=""))


def enable_webhook(turn: Turn[Webhook], command: EnableWebhook) -> None:
    """Go on with what has waited. Refusals: WEBHOOK_NOT_FOUND."""
    webhook = turn.state
    if webhook is None:
        turn.answer(Refused(Refusal.WEBHOOK_NOT_FOUND, turn.number))
        return
    status = move(WEBHOOK, webhook.status, "enable_webhook", "ENABLED")
    if webhook.status == status:
        turn.answer(view_webhook(turn.number, webhook))
    else:
        _change(turn, replace(webhook, status=status, reason=""))


def disable_webhook(turn: Turn[Webhook], command: DisableWebhook) -> None:
    """Send nothing more until it is enabled; events wait. Refusals: WEBHOOK_NOT_FOUND."""
    webhook = turn.state
    if webhook is None:
        turn.answer(Refused(Refusal.WEBHOOK_NOT_FOUND, turn.number))
        return
    status = move(WEBHOOK, webhook.status, "disable_webhook", "DISABLED")
    if webhook.status == status:
        turn.answer(view_webhook(turn.number, webhook))
    else:
        _change(turn, replace(webhook, status=status, reason="asked"))


def redeliver_events(turn: Turn[Webhook], command: RedeliverEvents) -> None:
    """Send events once more, as if none had been tried; those under way are tried at once.

    What the cursor has not come to is on its way anyhow. Refusals: WEBHOOK_NOT_FOUND,
    WEBHOOK_BACKLOG.
    """
    webhook = turn.state
    if webhook is None:
        turn.answer(Refused(Refusal.WEBHOOK_NOT_FOUND, turn.number))
        return
    assert 0 <= command.last - command.first < REDELIVERED_MAX
    counts = _Counts(webhook)
    ordered: dict[str, Delivery] = {}
    for sequence in range(command.first, command.last + 1):
        name = delivery_name(sequence)
        known = turn.get(DELIVERIES, name)
        if known is None and sequence > webhook.cursor:
            continue
        source = START if known is None else known.state
        before = Delivery("PENDING") if known is None else known
        state = move(DELIVERY, source, "redeliver_events", "PENDING")
        ordered[name] = replace(before, state=state, due_ns=0, tried=0, rounds=before.rounds + 1)
        counts.move(source, state)
    counted = counts.of(webhook)
    if counted.pending > max(PENDING_MAX, webhook.pending):
        turn.answer(Refused(Refusal.WEBHOOK_BACKLOG, turn.number))
        return
    for name, delivery in ordered.items():
        turn.put(DELIVERIES, name, delivery)
    _change(turn, counted)


def record_deliveries(turn: Turn[Webhook], command: RecordDeliveries) -> None:
    """Note what came of attempts, which events are under way, and what the log forgets.

    Only the gateway says it. An attempt of a round that is over is noted and decides nothing.
    """
    webhook = turn.state
    assert webhook is not None, f"{turn.address} does not exist"
    assert command.cursor >= webhook.cursor, f"{turn.address} does not go back"
    counts = _Counts(webhook)
    for sequence in command.taken:
        name = delivery_name(sequence)
        if turn.get(DELIVERIES, name) is None:
            delivery = Delivery(move(DELIVERY, START, "record_deliveries", "PENDING"))
            turn.put(DELIVERIES, name, delivery)
            counts.move(START, delivery.state)
    for result in command.results:
        name = delivery_name(result.sequence)
        before = turn.get(DELIVERIES, name)
        after = attempted(before, result)
        turn.put(DELIVERIES, name, after)
        counts.move(START if before is None else before.state, after.state)
    for sequence in command.dropped:
        name = delivery_name(sequence)
        old = turn.get(DELIVERIES, name)
        if old is not None and old.state != "PENDING" and sequence <= command.cursor:
            turn.drop(DELIVERIES, name)
            counts.move(old.state, "")
    webhook = replace(counts.of(webhook), cursor=command.cursor)
    if command.gone == webhook.url and webhook.status == "ENABLED":
        status = move(WEBHOOK, webhook.status, "record_deliveries", "DISABLED")
        _change(turn, replace(webhook, status=status, reason="gone"))
    else:
        _tell(turn, webhook)


def attempted(before: Delivery | None, result: Result) -> Delivery:
    """Return a delivery after one more attempt.

    Args:
        before: None for an event of which nothing is noted yet.
    """
    attempt = result.attempt
    known = Delivery("PENDING") if before is None else before
    noted = replace(
        known,
        attempts=known.attempts + 1,
        log=(*known.log[1 - ATTEMPTS_KEPT :], attempt),
    )
    if known.state != "PENDING" or known.rounds != result.rounds:
        return noted
    source = START if before is None else known.state
    tried = known.tried + 1
    if succeeded(attempt):
        state = move(DELIVERY, source, "record_deliveries", "DELIVERED")
        return replace(noted, state=state, tried=tried, due_ns=0)
    if tried > len(RETRY_AFTER_S):
        state = move(DELIVERY, source, "record_deliveries", "FAILED")
        return replace(noted, state=state, tried=tried, due_ns=0)
    ended_ns = attempt.at_ns + attempt.duration_ms * _MS
    due_ns = ended_ns + RETRY_AFTER_S[tried - 1] * _S
    state = move(DELIVERY, source, "record_deliveries", "PENDING")
    return replace(noted, state=state, tried=tried, due_ns=due_ns)


def succeeded(attempt: Attempt) -> bool:
    """Return whether the merchant has taken an event: it has answered 2xx, in time."""
    return not attempt.error and 200 <= attempt.status <= 299


def delivery_name(sequence: int) -> str:
    """Return the name of an event's delivery: names sort as sequences do."""
    return f"{sequence:0{_DIGITS}d}"


def event_id(merchant_no: str, sequence: int) -> str:
    """Return what names an event for ever; no merchant's number has a slash."""
    return f"{merchant_no}/{sequence}"


class _Counts:
    """How many deliveries are in each state, while a turn moves some of them."""

    def __init__(self, webhook: Webhook) -> None:
        figures = (webhook.pending, webhook.delivered, webhook.failed)
        self._by_state = dict(zip(_COUNTED, figures, strict=True))

    def move(self, source: str, target: str) -> None:
        """Count a delivery that goes from one state to another; START, empty, is none."""
        if source:
            self._by_state[source] -= 1
        if target:
            self._by_state[target] += 1

    def of(self, webhook: Webhook) -> Webhook:
        pending, delivered, failed = (self._by_state[state] for state in _COUNTED)
        return replace(webhook, pending=pending, delivered=delivered, failed=failed)


def _change(turn: Turn[Webhook], webhook: Webhook) -> None:
    """Become a webhook with which the gateway has something new to do."""
    _tell(turn, replace(webhook, version=webhook.version + 1, changed_ns=turn.now_ns))


def _tell(turn: Turn[Webhook], webhook: Webhook) -> None:
    turn.become(webhook)
    turn.answer(view_webhook(turn.number, webhook))


def view_webhook(merchant_no: str, webhook: Webhook) -> WebhookView:
    """Return a webhook as it stands now."""
    return WebhookView(
        merchant_no=merchant_no,
        url=webhook.url,
        status=webhook.status,
        reason=webhook.reason or None,
        cursor=webhook.cursor,
        pending=webhook.pending,
        delivered=webhook.delivered,
        failed=webhook.failed,
        created_at=instant(webhook.created_ns),
        changed_at=instant(webhook.changed_ns),
    )


def view_delivery(merchant_no: str, sequence: int, delivery: Delivery) -> DeliveryView:
    """Return what has become of an event."""
    return DeliveryView(
        merchant_no=merchant_no,
        sequence=sequence,
        event_id=event_id(merchant_no, sequence),
        state=delivery.state,
        attempts=delivery.attempts,
        due_at=instant_if(delivery.due_ns),
        log=tuple(map(_view_attempt, delivery.log)),
    )


def _view_attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        at=instant(attempt.at_ns),
        duration_ms=attempt.duration_ms,
        status=attempt.status or None,
        error=attempt.error or None,
    )
