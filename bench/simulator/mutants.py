"""Mutants: deliberate bugs, each of which a checker must find.

A mutant is a small change of a function's source text, put in while a run lasts: the function is
compiled anew and given to everybody who holds it. A text that is not found exactly once is an
error, so a mutant cannot go stale unnoticed.
"""

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, Final

from msgspec import Struct


class Edit(Struct, frozen=True):
    """One change.

    Attributes:
        place: `module:function` or `module:Class.method`.
        old, new: what is replaced in its text; `old` occurs there once.
    """

    place: str
    old: str
    new: str


class Mutant(Struct, frozen=True):
    """One bug.

    Attributes:
        name: as `--mutant` takes it.
        what: what goes wrong, in a few words.
        edits: how.
        shards: with how many shards it shows.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    shards: int = 0


class StaleMutantError(Exception):
    """The text that a mutant changes is not what it was."""


@contextmanager
def applied(mutant: Mutant | None) -> Iterator[None]:
    """Have the code be wrong as the mutant says.

    Raises:
        StaleMutantError: the code has changed since the mutant was written.
    """
    by_place: dict[str, list[Edit]] = {}
    for edit in () if mutant is None else mutant.edits:
        by_place.setdefault(edit.place, []).append(edit)
    with ExitStack() as stack:
        for place, edits in by_place.items():
            stack.enter_context(_edited(place, edits))
        yield


@contextmanager
def _edited(place: str, edits: list[Edit]) -> Iterator[None]:
    function = _function(place)
    source = textwrap.dedent(inspect.getsource(function)).removeprefix("@staticmethod\n")
    for edit in edits:
        if source.count(edit.old) != 1:
            raise StaleMutantError(f"{place}: {source.count(edit.old)} times {edit.old!r}")
        source = source.replace(edit.old, edit.new)
    names: dict[str, Any] = {}
    code = compile(f"from __future__ import annotations\n{source}", place, "exec")
    exec(code, function.__globals__, names)
    before = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = before


def _function(place: str) -> FunctionType:
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    function = getattr(found, "__func__", found)
    assert isinstance(function, FunctionType), place
    return function


def _one(name: str, what: str, place: str, old: str, new: str, shards: int = 0) -> Mutant:
    return Mutant(name, what, (Edit(place, old, new),), shards)


_ENGINE: Final = (
    _one(
        "reply-before-commit",
        "callers are told while their batch is still being written",
        "engine.shard:Shard.commit_batch",
        "times = await self.store.commit(writes)",
        "[self.callers.tell(ask, body) for ask, body in batch.answers]\n"
        "        times = await self.store.commit(writes)",
    ),
    _one(
        "commit-again-after-failure",
        "a commit that failed is taken for one that did not",
        "engine.shard:Shard.commit_batch",
        "times = await self.store.commit(writes)",
        "try:\n"
        "            times = await self.store.commit(writes)\n"
        "        except Exception:\n"
        "            times = __import__('storage.store').store.CommitTimes(0, 0)",
    ),
    _one(
        "failure-told-as-nothing",
        "after a failed commit waiters are told that nothing happened",
        "engine.shard:Shard.fail",
        "self.callers.tell_all(OUTCOME_UNKNOWN)",
        "self.callers.tell_all(__import__('engine.fault').fault.INTERNAL)",
    ),
    _one(
        "late-told-as-timeout",
        "a command that has begun is told TIMEOUT at its deadline",
        "engine.callers:Callers.expire",
        "self.tell(ask, OUTCOME_UNKNOWN)",
        "self.tell(ask, TIMEOUT)",
    ),
    _one(
        "told-twice",
        "a caller is called back twice",
        "engine.callers:Callers.tell",
        "tell_caller(ask.reply, outcome)",
        "tell_caller(ask.reply, outcome), tell_caller(ask.reply, outcome)",
    ),
    _one(
        "stop-drops",
        "an orderly stop does not wait for what was admitted",
        "engine.shard:Shard.stop",
        "self._end_if_at_rest()",
        "self._over.set()",
    ),
    _one(
        "slot-leak",
        "a command's place is not given back",
        "engine.callers:Callers._forget",
        "self._admission.release(ask.to)",
        "pass",
    ),
    _one(
        "dirty-actor-evicted",
        "passivation forgets a state that is not durable",
        "engine.stage:Stage.passivate",
        "if actor.staged_seq > self.durable_seq:",
        "if False:",
    ),
    _one(
        "held-not-counted",
        "what accounts hold changes, and the shard's sum of it stays",
        "engine.stage:Stage._merge",
        "if before is None or summed(before) != summed(turn.state):",
        "if False:",
    ),
    _one(
        "timer-lost-at-restart",
        "what was due is forgotten when a process starts",
        "engine.stage:Stage.__init__",
        "self.next_due = self._earliest_timer()",
        "self.next_due = timers.NEVER",
    ),
    _one(
        "timers-not-written",
        "timers do not get into the batch",
        "engine.stage:Stage.cut",
        "TIMERS: batch.timers,",
        "TIMERS: {},",
    ),
    _one(
        "rollback-forgets-records",
        "a turn that failed leaves its records to the next",
        "engine.stage:Stage.take_turn",
        "turn._records.clear()",
        "outcome != 'ok' or turn._records.clear()",
    ),
    _one(
        "overlay-forgotten",
        "records of the batch that is being committed are not seen",
        "engine.stage:Stage.record",
        "if found is None and self.committing is not None:",
        "if False:",
    ),
    _one(
        "number-forgotten",
        "a number is looked for in memory only",
        "engine.stage:Stage.record",
        "if kind.ascending and key > self._highest(actor, kind):",
        "if kind.ascending:",
    ),
    _one(
        "leftover-not-written",
        "messages that are left at a cut do not become rows",
        "engine.stage:Stage.cut",
        "batch.outbox[key] = parking.encode(stored(envelope))",
        "pass",
    ),
    _one(
        "parked-not-written",
        "a message whose turn failed is counted as parked, and gone",
        "engine.stage:Stage.park",
        "self.batch.parked[self.parking.add(row)] = parking.failed(row, error)",
        "self.parking.add(row)",
    ),
    _one(
        "token-of-another-boot",
        "a chain that began before a restart answers somebody else's question",
        "engine.stage:Stage.ask_of",
        "token[0] != self.store.epoch or ",
        "",
        3,
    ),
    _one(
        "outbox-not-loaded",
        "recovery loads only messages with money in them",
        "engine.recovery:load",
        "stage.carried.append(",
        "row.amount_minor and stage.carried.append(",
    ),
    _one(
        "clock-goes-back",
        "turns see the machine's clock as it is set",
        "engine.clock:WallClock.now_ns",
        "self._last_ns = max(self._last_ns, now_ns)",
        "self._last_ns = now_ns",
    ),
    _one(
        "stale-reads",
        "a read transaction is kept over several commits",
        "engine.node:Node.snapshot",
        "return self.shard_of(address).store.snapshot()",
        "store = self.shard_of(address).store\n"
        "    if store.last.sequence % 16 == 0 or not hasattr(self, 'stale'):\n"
        "        self.stale = {}\n"
        "    view = store.snapshot()\n"
        "    view._open_tables = self.stale.setdefault(store, view._open_tables)\n"
        "    return view",
    ),
)

_MARKS: Final = (
    _one(
        "mark-forgotten-at-restart",
        "what came before a restart may come again after it",
        "engine.marks:MarkRows.__init__",
        "marks.recall(_stored_keys(snapshot, marks.floor_s))",
        "pass",
    ),
    _one(
        "mark-stored-late",
        "a mark is written with the batch after its command's",
        "engine.stage:Stage.cut",
        "MARKS: batch.marks,",
        "MARKS: self.__dict__.setdefault('late', [{}]).append(batch.marks) or self.late.pop(0),",
    ),
    _one(
        "mark-stored-at-the-door",
        "a mark is written though its command never has a turn",
        "engine.shard:Shard.submit",
        "self.admission.enqueue(",
        "mark is None or self.stage.marks.put(self.stage.batch, mark)\n    self.admission.enqueue(",
    ),
    _one(
        "mark-forgotten-early",
        "a mark's row goes before the window is over",
        "engine.marks:Marks.rows_from_s",
        "self.floor_s - self._margin_s",
        "self.floor_s + self._margin_s",
    ),
    _one(
        "mark-asked-and-not-noted",
        "a request that comes twice at the same time is let in twice",
        "engine.marks:Marks.take",
        "keys.add(key)",
        "pass",
    ),
)

_LINKS: Final = (
    _one(
        "cursor-forgotten",
        "the receiver's row lags one message behind what it took",
        "engine.links:Links.write",
        "link.encode(receiver.end)",
        "link.encode(msgspec.structs.replace(\n"
        "                receiver.end, cursor=max(0, receiver.end.cursor - 1)))",
        3,
    ),
    _one(
        "outbox-trimmed-early",
        "rows go once they were sent, not once they were taken",
        "engine.links:Links.trim",
        "rows[0][1] <= sender.acknowledged",
        "rows[0][1] <= sender.end.last",
        3,
    ),
    Mutant(
        "message-taken-twice",
        "a message that comes again has a second turn",
        (
            Edit(
                "engine.links:Links.arrives",
                "if sequence != receiver.arrived + 1:",
                "if sequence > receiver.arrived + 1:",
            ),
            Edit(
                "engine.links:Links.arrives",
                "receiver.arrived = sequence",
                "receiver.arrived = max(receiver.arrived, sequence)",
            ),
            Edit(
                "engine.links:Links.take",
                "assert sequence == end.cursor + 1, ",
                "sequence = max(sequence, end.cursor); ",
            ),
        ),
        3,
    ),
    Mutant(
        "gap-ignored",
        "a message is taken though the one before it is missing",
        (
            Edit(
                "engine.links:Links.arrives",
                "if sequence != receiver.arrived + 1:",
                "if sequence <= receiver.arrived:",
            ),
            Edit(
                "engine.links:Links.take",
                "assert sequence == end.cursor + 1, ",
                "",
            ),
        ),
        3,
    ),
    _one(
        "acknowledged-before-durable",
        "a message is acknowledged as it arrives",
        "engine.shard:Shard.arrive",
        "self._wake.set()",
        "self._way.acknowledge(self.stage.number, source, links.receiving[source].arrived)\n"
        "    self._wake.set()",
        3,
    ),
    _one(
        "never-sent-again",
        "what was lost on the way stays lost",
        "engine.links:Links.send_again",
        "for other in self.overdue(now):",
        "for other in ():",
        3,
    ),
    _one(
        "date-closed-early",
        "a date is closed while messages of it are on their way to other shards",
        "engine.control:close_dates",
        "if links is not None and not links.quiet(stage.batch, business_date):",
        "if False:",
        3,
    ),
)

_DOMAIN: Final = (
    _one(
        "refunds-race",
        "a refund does not see those that are under way",
        "actors.refund:_refuse",
        "original.refunded_minor + original.refunding_minor + amount",
        "original.refunded_minor + amount",
    ),
    _one(
        "reversal-of-refunded",
        "a payment is reversed though some of it was refunded",
        "actors.payment:_refuse_reversal",
        "if payment.refunded_minor or payment.refunding_minor:",
        "if False:",
    ),
    _one(
        "content-ignored",
        "another command under a used number gets the first one's outcome",
        "actors.outcome:repeat",
        "if first.digest != content:",
        "if False:",
    ),
    _one(
        "hold-reserves-nothing",
        "a hold is placed and no money is set aside",
        "actors.hold:place_hold",
        "held_minor=account.held_minor + amount,",
        "held_minor=account.held_minor,",
    ),
    _one(
        "held-is-spendable",
        "what is held counts as available",
        "actors.account:available_minor",
        "account.posted_minor - account.held_minor - account.frozen_minor",
        "account.posted_minor",
    ),
    _one(
        "capture-keeps-hold",
        "captured money stays held as well",
        "actors.hold:capture_hold",
        "held_minor=account.held_minor - (amount - excess)",
        "held_minor=account.held_minor",
    ),
    _one(
        "capture-beyond-hold",
        "any amount can be captured",
        "actors.hold:capture_hold",
        "elif captured > share_minor(hold.amount_minor, hold.limit_bps):",
        "elif False:",
    ),
    _one(
        "expiry-gives-all-back",
        "a hold that was partly captured gives back its whole amount",
        "actors.hold:_expire",
        "rest_minor(hold)",
        "hold.amount_minor",
    ),
    _one(
        "event-number-skipped",
        "an event takes two numbers",
        "actors.event:append_event",
        "events = merchant.events + 1",
        "events = merchant.events + 2",
    ),
    _one(
        "declined-is-debited",
        "available money is looked at only beyond a hundred units",
        "actors.agreement:refuse_use",
        "if available_minor(account) < amount_minor:",
        "if available_minor(account) < amount_minor > 100:",
    ),
)

_RULES: Final = (
    _one(
        "agreement-use-not-counted",
        "what a merchant takes does not count against the daily limit of its agreement",
        "actors.agreement:count_use",
        "if allowance.counted:",
        "if False:",
    ),
    _one(
        "account-use-not-counted",
        "transfers and withdrawals do not count against the account's own limits",
        "actors.limits:spend",
        "turn.become(replace(account, used_date=date, used_minor=used))",
        "pass",
    ),
    _one(
        "daily-limit-ignored",
        "a merchant takes more on a date than its agreement allows",
        "actors.agreement:refuse_use",
        "if used + amount_minor > limit:",
        "if False:",
    ),
    _one(
        "cancelled-agreement-holds",
        "a merchant goes on taking after its agreement was cancelled",
        "actors.agreement:refuse_use",
        "if not allowance.agreement_no:",
        "if False:",
    ),
    _one(
        "freeze-ignored",
        "money leaves a frozen account",
        "actors.account:refuse_status",
        'if account.status == "OPEN":',
        'if account.status in ("OPEN", "FROZEN"):',
    ),
    _one(
        "suspension-ignored",
        "a suspended merchant takes payments",
        "actors.merchant:admit",
        "if takes:",
        "if False:",
    ),
    _one(
        "closing-never-ends",
        "a merchant that is closing stays so when nothing is open with it any more",
        "actors.merchant:end_closing",
        'merchant.status == "CLOSING"',
        "False",
    ),
    _one(
        "revocation-forgotten",
        "a certificate says that it is revoked, and is not",
        "actors.certificate:withdraw_certificate",
        "turn.become(certificate)",
        "pass",
    ),
    _one(
        "renewed-certificate-stays",
        "a certificate that was renewed is valid as long as before",
        "actors.certificate:end_certificate",
        "ends_ns=message.ends_ns",
        "ends_ns=certificate.ends_ns",
    ),
    _one(
        "frozen-is-spendable",
        "a frozen amount counts as available",
        "actors.account:available_minor",
        "account.posted_minor - account.held_minor - account.frozen_minor",
        "account.posted_minor - account.held_minor",
    ),
    _one(
        "closed-account-credited",
        "a closed account takes money",
        "actors.account:refuse_credit",
        'if account.status == "CLOSED":',
        "if False:",
    ),
    _one(
        "reversal-after-the-date",
        "a payment is reversed on a later business date",
        "actors.payment:_refuse_reversal",
        "if payment.business_date != turn.business_date:",
        "if False:",
    ),
    _one(
        "reversal-keeps-fee",
        "the fee of a reversed payment is kept",
        "actors.payment:reverse_payment",
        "debit(turn, payment.amount_minor, payment.fee_minor, reference, in_flight=1)",
        "debit(turn, payment.amount_minor, 0, reference, in_flight=1)",
    ),
    _one(
        "credited-to-another",
        "a transfer goes to an account that nobody named",
        "actors.transfer:_begin",
        'f"account/{counterparty}"',
        '"account/A0" if name.startswith("transfer") else f"account/{counterparty}"',
    ),
    _one(
        "note-forgotten",
        "what the caller noted beside a payment is not kept",
        "actors.commands:digest",
        "with_note(_sha256(_encode(command)).digest(), command)",
        "_sha256(_encode(command)).digest()",
    ),
    _one(
        "event-of-another-amount",
        "an event tells the payment less its fee",
        "actors.payment:payment_debited",
        "append_event(turn, EventType.PAYMENT_SUCCEEDED, order_no, amount,",
        "append_event(turn, EventType.PAYMENT_SUCCEEDED, order_no, amount - fee,",
    ),
    _one(
        "projection-stays",
        "a merchant is not told that a hold has expired",
        "actors.hold:expire_hold",
        'turn.tell(f"merchant/{message.merchant_no}", HoldEnded(message.hold_no, figures(hold)))',
        "pass",
    ),
    _one(
        "queue-jumped",
        "of refunds that wait the newest goes first",
        "actors.refund:covered",
        "return pending.first",
        "last = turn.get(REFUNDS, pending.last)\n"
        "    return pending.last if last.amount_minor <= merchant.posted_minor else ''",
    ),
    _one(
        "waiting-forgotten",
        "money comes, and nobody looks at the refunds that wait for it",
        "actors.refund:covered",
        "if pending is None or merchant.posted_minor < pending.first_minor:",
        "if True:",
    ),
    _one(
        "timers-early",
        "timers fire an hour before they are due",
        "engine.stage:Stage.fire_timers",
        "now_ns), _TIMERS_AT_ONCE",
        "now_ns + 3_600 * 10**9), _TIMERS_AT_ONCE",
    ),
    _one(
        "attempt-not-counted",
        "after a crash a message has its turn, and the attempt was not written before",
        "engine.recovery:_deliver_with_caution",
        "stored(envelope, attempts=begun + 1)",
        "stored(envelope, attempts=begun)",
    ),
    _one(
        "arrival-attempt-not-counted",
        "the same of a message of another shard",
        "engine.recovery:_take_with_caution",
        "links.begin_attempt(source)",
        "pass",
        3,
    ),
    _one(
        "together-unannounced",
        "after a crash many messages are tried together, and the attempt was not written before",
        "engine.recovery:recover",
        "await _announce(shard, due)",
        "pass",
    ),
    _one(
        "delivered-row-stays",
        "a message has its turn, and its row stays for the next start",
        "engine.stage:Stage.deliver_carried",
        "self.batch.outbox[outbox_key(self.number, sequence)] = None",
        "pass",
    ),
    _one(
        "parked-reversed",
        "parked messages are released newest first",
        "engine.control:_release",
        "in _parked(stage, address, limit):",
        "in reversed(list(_parked(stage, address, limit))):",
    ),
    _one(
        "discarded-and-forgotten",
        "the money of a discarded payment goes to suspense, and nobody is told",
        "actors.discard:_debited",
        "send_by_suspense(turn, reference, turn.sender, undo)",
        "send_by_suspense(turn, reference)",
    ),
    _one(
        "sent-money-not-counted",
        "a link's row does not say how much money has left by it",
        "engine.links:Links.depart",
        "link.encode(sender.end)",
        "link.encode(msgspec.structs.replace(sender.end, sent_minor={}))",
        3,
    ),
    _one(
        "replay-tells-today",
        "a repetition is told how things stand, not its first outcome",
        "actors.refund:first_refund",
        "if refund.first:",
        "if False:",
    ),
)

_STORAGE: Final = (
    Mutant(
        "checksum-skipped",
        "rows are not checked",
        (
            Edit(
                "storage.row:seal",
                'zlib.crc32(payload, zlib.crc32(key, SEEDS[table])).to_bytes(4, "big")',
                "bytes(4)",
            ),
            Edit(
                "storage.row:unseal",
                'if zlib.crc32(payload, zlib.crc32(key, SEEDS[table])).to_bytes(4, "big")'
                " != row[:4]:",
                "if False:",
            ),
        ),
    ),
    _one(
        "chain-without-postings",
        "the chain does not cover what was posted",
        "storage.journal:chained",
        'chain.update(b"".join(postings))',
        "pass",
    ),
)

MUTANTS: Final = {
    each.name: each for each in (*_ENGINE, *_MARKS, *_LINKS, *_DOMAIN, *_RULES, *_STORAGE)
}
