"""What is sent when: order, schedule, patience with dead endpoints, and crashes, in virtual time.

The engine's side is the real actor on a bank without a runtime, so that what a crash leaves is what
would be read back.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.commands import Attempt, RecordDeliveries, RedeliverEvents, SetWebhook
from actors.webhook import (
    DELIVERIES,
    PENDING_MAX,
    RETRY_AFTER_S,
    Delivery,
    Webhook,
    delivery_name,
)
from engine.address import row_key
from gateway.webhooks.rounds import AT_ONCE, DEAD, PROBE_NS, Entry, Key, Rounds
from tests.actors.driver import MORNING, SECOND, Bank

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

URL = "https://shop.example/"
HOOK = "webhook/M1"
MS = 1_000_000
Answers = Callable[[int, int], int]
"""(sequence, time) → status of the answer."""


class World:
    """A merchant's events, its endpoint, and one courier after the other.

    Attributes:
        now_ns: virtual time.
        keys: what each event belongs to, by sequence from 1.
        tried: every attempt: sequence and when it began.
        over: events that were taken or given up once.
    """

    def __init__(self, keys: list[Key], answers: Answers) -> None:
        self.now_ns = MORNING
        self.keys = keys
        self.answers = answers
        self.tried: list[tuple[int, int]] = []
        self.over: set[int] = set()
        self.flying: list[tuple[int, Entry]] = []
        self.most = 0
        self.bank = Bank()
        self.bank.audited = False
        self.bank.do(SetWebhook("M1", URL, 0))
        self.start()

    @property
    def webhook(self) -> Webhook:
        state = self.bank.states[HOOK]
        assert isinstance(state, Webhook)
        return state

    def rows(self) -> list[tuple[int, Delivery]]:
        prefix = row_key(HOOK) + b"\0" + DELIVERIES.tag
        found = [(int(k[len(prefix) :]), v) for k, v in self.bank.rows.items() if prefix in k]
        return sorted((n, DELIVERIES.decode(row)) for n, row in found)

    def delivery(self, sequence: int) -> Delivery:
        return self.bank.get(HOOK, DELIVERIES, delivery_name(sequence))

    def start(self) -> None:
        """Begin anew from what is durable: what was flying or unreported is forgotten."""
        self.rounds = Rounds("M1", URL, self.webhook.cursor)
        self.flying.clear()
        self.look()

    def look(self) -> None:
        for sequence, delivery in self.rows():
            if delivery.state == "PENDING":
                self.rounds.order(sequence, self.keys[sequence - 1], delivery)
            else:
                self.rounds.over(sequence)

    def send(self) -> None:
        """Take on and begin what may be begun now."""
        rounds = self.rounds
        while wanted := rounds.wants(self.now_ns):
            news = range(rounds.read + 1, min(rounds.read + wanted, len(self.keys)) + 1)
            for sequence in news:
                rounds.take(sequence, self.keys[sequence - 1])
            if len(news) < wanted:
                break
        while (entry := rounds.next(self.now_ns)) is not None:
            self.tried.append((entry.sequence, self.now_ns))
            self.flying.append((self.now_ns, entry))
            self.most = max(self.most, len(self.flying))

    def land(self, index: int = 0, took_ms: int = 10) -> None:
        """Let an attempt come to its end."""
        at_ns, entry = self.flying.pop(index)
        status = self.answers(entry.sequence, at_ns)
        self.rounds.done(entry, Attempt(at_ns, took_ms, status))
        if entry.delivery is not None and entry.delivery.state != "PENDING":
            self.over.add(entry.sequence)

    def report(self) -> None:
        """Have all that is to be told noted."""
        while (report := self.rounds.report()) is not None:
            self.tell(report)

    def tell(self, report: RecordDeliveries) -> None:
        self.bank.do(report)
        self.rounds.reported()

    def run(self, until_ns: int | None = None) -> None:
        """Let time pass, with all that happens in it, until nothing more will."""
        while True:
            self.send()
            if self.flying:
                self.now_ns += 10 * MS
                while self.flying:
                    self.land()
                self.report()
                continue
            due_ns = self.rounds.due_ns(self.now_ns)
            if due_ns is None or (until_ns is not None and due_ns > until_ns):
                return
            assert due_ns > self.now_ns, "it would turn round and round"
            self.now_ns = due_ns

    def states(self) -> Counter[str]:
        return Counter(delivery.state for _, delivery in self.rows())


def _own(count: int) -> list[Key]:
    return [("payment", f"O{n}") for n in range(count)]


def test_event_that_is_never_taken_is_tried_on_schedule_and_given_up() -> None:
    world = World(_own(1), lambda *_: 500)
    world.run()
    times = [at_ns for sequence, at_ns in world.tried if sequence == 1]
    waits = [later - at - 10 * MS for at, later in pairwise(times)]
    assert waits == [each * SECOND for each in RETRY_AFTER_S]
    assert world.delivery(1).state == "FAILED"
    assert world.rounds.idle()


def test_events_of_one_payment_come_one_after_the_other_and_others_beside_them() -> None:
    keys = [("payment", "O1"), ("payment", "O1"), ("payment", "O2"), ("payment", "O1")]
    world = World(keys, lambda sequence, at_ns: 200 if sequence != 1 or at_ns > MORNING else 500)
    world.run()
    assert [sequence for sequence, _ in world.tried] == [1, 3, 1, 2, 4]
    assert world.states() == {"DELIVERED": 4}


def test_next_event_of_a_payment_is_sent_when_the_one_before_was_given_up() -> None:
    world = World([("payment", "O1")] * 2, lambda sequence, _: 500 if sequence == 1 else 200)
    world.run()
    assert [world.delivery(n).state for n in (1, 2)] == ["FAILED", "DELIVERED"]
    assert world.delivery(2).log[0].at_ns >= MORNING + sum(RETRY_AFTER_S) * SECOND


def test_endpoint_that_answers_has_so_many_attempts_at_a_time_and_no_more() -> None:
    world = World(_own(100), lambda *_: 200)
    world.send()
    assert len(world.flying) == 1, "it has not answered yet"
    world.run()
    assert world.most == AT_ONCE
    assert world.webhook.cursor == 100


def test_dead_endpoint_costs_one_probe_at_a_time_and_its_backlog_waits() -> None:
    day = 86_400 * SECOND
    world = World(_own(5_000), lambda *_: 503)
    world.run(until_ns=MORNING + 2 * day)
    assert world.most == 1
    assert world.webhook.pending + world.webhook.failed < 700
    assert world.rounds.read < 700
    attempts = len(world.tried)
    assert attempts < 2 * 700 * 16
    fresh = sorted({sequence: at_ns for sequence, at_ns in reversed(world.tried)}.values())
    probes = [later - at for at, later in pairwise(fresh[20:])]
    assert min(probes) >= PROBE_NS


def test_endpoint_that_is_back_is_found_by_a_probe_and_gets_all() -> None:
    back_ns = MORNING + 50_000 * SECOND
    world = World(_own(400), lambda _, at_ns: 200 if at_ns >= back_ns else 503)
    world.run(until_ns=back_ns + PROBE_NS)
    assert world.rounds.read == 400
    world.run()
    assert world.states() == {"DELIVERED": 400}
    assert world.most == AT_ONCE


def test_one_event_that_is_never_taken_holds_up_no_other_payment() -> None:
    world = World(_own(3_000), lambda sequence, _: 500 if sequence == 1 else 200)
    world.run(until_ns=MORNING + 3_600 * SECOND)
    assert world.states() == {"DELIVERED": 2_999, "PENDING": 1}
    assert world.webhook.cursor == 3_000


def test_payment_that_is_held_up_takes_no_more_room_than_there_is() -> None:
    """What does not find room stays where it is durable anyway."""
    world = World([("payment", "O1")] * 3_000, lambda *_: 500)
    world.run(until_ns=MORNING + 7_200 * SECOND)
    assert len(world.rounds) <= PENDING_MAX
    assert world.webhook.pending <= PENDING_MAX


def test_endpoint_that_is_gone_is_sent_nothing_more() -> None:
    world = World(_own(5), lambda *_: 410)
    world.run()
    assert len(world.tried) == 1
    assert (world.webhook.status, world.webhook.reason) == ("DISABLED", "gone")
    assert world.delivery(1).state == "PENDING"


def test_crash_repeats_what_was_flying_or_not_reported_and_nothing_else() -> None:
    world = World(_own(20), lambda *_: 200)
    world.send()
    world.land()
    world.report()
    world.send()
    flying = {entry.sequence for _, entry in world.flying}
    world.land()
    world.start()
    world.run()
    twice = {n for n, count in Counter(n for n, _ in world.tried).items() if count > 1}
    assert twice == flying
    assert world.states() == {"DELIVERED": 20}


def test_what_was_finished_beyond_the_cursor_is_not_sent_again_after_a_crash() -> None:
    world = World(_own(AT_ONCE + 1), lambda *_: 200)
    world.send()
    world.land()
    world.report()
    world.send()
    while len(world.flying) > 1:
        world.land(1)
    world.report()
    assert world.webhook.cursor == 1
    world.start()
    world.run()
    assert Counter(n for n, _ in world.tried)[2] == 2
    assert len(world.tried) == len(world.keys) + 1
    assert world.webhook.cursor == len(world.keys)


def test_cursor_that_lagged_behind_at_a_crash_catches_up_without_a_new_result() -> None:
    world = World(_own(2), lambda *_: 200)
    world.bank.do(RecordDeliveries("M1", 0, taken=(), results=()))
    world.run()
    world.bank.force(HOOK, cursor=0)
    world.start()
    world.send()
    world.report()
    assert world.webhook.cursor == 2
    assert world.rounds.idle()


def test_event_that_is_ordered_while_it_flies_is_sent_again() -> None:
    world = World(_own(1), lambda *_: 500)
    world.send()
    world.land()
    world.report()
    world.now_ns = world.delivery(1).due_ns
    world.send()
    assert len(world.flying) == 1
    world.bank.do(RedeliverEvents("M1", 1, 1))
    world.look()
    world.answers = lambda *_: 200
    world.land()
    world.report()
    assert world.delivery(1).state == "PENDING"
    world.run()
    assert (world.delivery(1).state, world.delivery(1).attempts) == ("DELIVERED", 3)


def test_earlier_event_that_is_ordered_waits_for_a_later_one_of_its_payment_that_flies() -> None:
    world = World([("payment", "O1")] * 2, lambda *_: 200)
    world.send()
    world.land()
    world.report()
    world.send()
    assert [entry.sequence for _, entry in world.flying] == [2]
    world.bank.do(RedeliverEvents("M1", 1, 1))
    world.look()
    world.send()
    assert len(world.flying) == 1
    world.land()
    world.report()
    world.run()
    assert [n for n, _ in world.tried] == [1, 2, 1]


def test_endpoint_is_sent_nothing_new_where_more_is_under_way_than_there_is_room_for() -> None:
    """What was ordered finds room beside what is under way and not noted yet."""
    rounds = Rounds("M1", URL, 0)
    late = Delivery("PENDING", due_ns=MORNING + 3_600 * SECOND)
    for sequence in range(1, PENDING_MAX + 17):
        rounds.order(sequence, ("payment", f"O{sequence}"), late)
    assert rounds.wants(MORNING) == 0
    rounds.failures = DEAD
    assert rounds.wants(MORNING) == 0


def test_endpoint_that_is_gone_is_said_to_be_so_once() -> None:
    """What flew beside would disable it again when somebody has enabled it meanwhile."""
    world = World(_own(9), lambda sequence, _: 410 if sequence == 2 else 200)
    world.send()
    world.land()
    world.send()
    world.land()
    first = world.rounds.report()
    assert first is not None
    world.tell(first)
    world.land()
    second = world.rounds.report()
    assert second is not None
    assert (first.gone, second.gone) == (URL, "")


def test_endpoint_that_had_failed_is_among_the_slow_at_the_next_start_too() -> None:
    """A merchant could start its courier again and again, and hold the threads for names."""
    world = World(_own(2), lambda *_: 500)
    world.send()
    world.land()
    world.report()
    world.start()
    assert world.rounds.slow
    world.answers = lambda *_: 200
    world.send()
    world.land()
    assert not world.rounds.slow


def test_event_that_failed_does_not_wait_for_those_that_are_new() -> None:
    """There are always some: the endpoint takes fewer than there are."""
    later_ns = MORNING + 15 * SECOND
    world = World(_own(600), lambda n, at_ns: 500 if n == 9 and at_ns < later_ns else 200)
    while world.rounds.read < len(world.keys):
        world.send()
        world.now_ns += SECOND
        while world.flying:
            world.land()
        world.report()
    first, again = (at_ns for sequence, at_ns in world.tried if sequence == 9)
    assert again - first <= 20 * SECOND


def test_clock_that_was_ahead_and_is_set_back_holds_nothing_up() -> None:
    ahead_ns = MORNING + 10**6 * SECOND
    rounds = Rounds("M1", URL, 1)
    rounds.order(1, ("payment", "O1"), Delivery("PENDING", due_ns=ahead_ns))
    assert rounds.next(MORNING) is not None


def test_endpoint_that_died_before_the_clock_was_set_back_is_looked_at() -> None:
    ahead_ns = MORNING + 10**6 * SECOND
    rounds = Rounds("M1", URL, DEAD)
    for sequence in range(1, DEAD + 1):
        last = Delivery("PENDING", tried=len(RETRY_AFTER_S))
        rounds.order(sequence, ("payment", f"O{sequence}"), last)
        entry = rounds.next(ahead_ns)
        assert entry is not None
        rounds.done(entry, Attempt(ahead_ns, 10, 500))
    assert (len(rounds), rounds.dead) == (0, True)
    assert rounds.wants(ahead_ns) == 0
    assert rounds.wants(MORNING) == 1


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0, 0.9))
def test_whatever_happens_events_come_in_order_and_none_is_lost(
    seed: int, payments: int, faults: float
) -> None:
    """Crashes, failures, redeliveries and late reports, in any order."""
    random = Random(seed)
    keys = [("payment", f"O{random.randrange(payments)}") for _ in range(40)]
    world = World(keys, lambda *_: 500 if random.random() < faults else 200)
    for _ in range(300):
        begun = len(world.tried)
        match random.randrange(8):
            case 0 | 1 | 2:
                world.send()
            case 3 | 4 if world.flying:
                world.now_ns += 5 * MS
                world.land(random.randrange(len(world.flying)))
            case 5:
                if (report := world.rounds.report()) is not None and random.random() < 0.9:
                    world.tell(report)
            case 6 if random.random() < 0.15:
                world.start()
                begun = len(world.tried)
            case 6 if world.webhook.cursor and random.random() < 0.3:
                sequence = random.randint(1, world.webhook.cursor)
                world.bank.do(RedeliverEvents("M1", sequence, sequence))
                world.look()
            case 7 if (due_ns := world.rounds.due_ns(world.now_ns)) is not None:
                world.now_ns = max(world.now_ns, due_ns)
        flying = Counter(world.keys[entry.sequence - 1] for _, entry in world.flying)
        assert not flying or max(flying.values()) == 1, "two of one payment at a time"
        for sequence, _ in world.tried[begun:]:
            earlier = {n for n in range(1, sequence) if keys[n - 1] == keys[sequence - 1]}
            assert earlier <= world.over, "before an earlier one of its payment"
    world.answers = lambda *_: 200
    while world.flying:
        world.land()
    world.report()
    world.run()
    world.report()
    assert {n for n, _ in world.rows()} == set(range(1, 41))
    assert world.states()["PENDING"] == 0
    assert world.webhook.cursor == 40
    counts = (world.webhook.pending, world.webhook.delivered, world.webhook.failed)
    states = world.states()
    assert counts == tuple(states[each] for each in ("PENDING", "DELIVERED", "FAILED"))


@pytest.mark.parametrize("failures", [0, DEAD - 1, DEAD])
def test_endpoint_is_taken_for_dead_after_so_many_failures(failures: int) -> None:
    world = World(_own(10), lambda *_: 500)
    for _ in range(failures):
        world.send()
        world.land()
    assert world.rounds.dead == (failures == DEAD)
