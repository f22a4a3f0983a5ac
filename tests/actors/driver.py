"""A bank without a runtime: the domain's handlers run on real turns, one message at a time.

What a shard does around a turn is done here in the plainest way: state, records and messages are
encoded and decoded again, the turn must conserve money, timers wait for the clock. Messages lie
in a queue until a test delivers them, in any order that keeps each sender's order to each
receiver; so races are played by hand. After every turn the whole bank is audited, and a refusal
must be one that `actors.refusable` lists.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors import commands
from actors.account import Account
from actors.answers import Outcome, Refused, Replayed
from actors.audit import StoreView, audit
from actors.kinds import KINDS
from actors.ledger_audit import PostingRow
from actors.merchant import Merchant
from actors.refusable import REFUSALS
from engine.actor import Actor
from engine.address import row_key
from engine.kind import Discarded, KeptError, RecordKind
from engine.message import Envelope, Token
from engine.turn import Turn

R = TypeVar("R", bound=Struct)

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
MORNING = 1_767_600_000 * SECOND
"""2026-01-05T08:00:00Z, when every test begins."""

_encode = msgspec.msgpack.Encoder().encode


class Bank:
    """Actors, their messages on the way and their timers; attributes are free to look at."""

    def __init__(self) -> None:
        self.now_ns = MORNING
        self.business_date = "2026-01-05"
        self.states: dict[str, Struct] = {}
        self.rows: dict[bytes, bytes] = {}
        self.postings: list[PostingRow] = []
        self.queue: list[Envelope] = []
        self.timers: dict[tuple[int, str, str], Struct] = {}
        self.answers: defaultdict[Token, list[Outcome | Replayed]] = defaultdict(list)
        self.audited = True
        self.unsure: set[Token | None] = set()
        self._asked: dict[Token, type[commands.Command]] = {}

    # What a shard is to its turns

    @property
    def posting_next(self) -> int:
        return len(self.postings) + 1

    def record(self, actor: Any, kind: RecordKind[R], key: bytes) -> R | None:
        row = self.rows.get(key)
        return None if row is None else kind.decode(row)

    def _turn(self, envelope: Envelope) -> None:
        address = envelope.to
        kind = KINDS.of(address)
        stage: Any = self
        turn: Turn[Any] = Turn(stage)
        turn._actor = Actor(address, kind, None)
        turn.address, turn.number = address, address.partition("/")[2]
        turn.state = self.states.get(address)
        turn.now_ns, turn.business_date = self.now_ns, envelope.business_date
        turn.sender, turn.token = envelope.sender, envelope.token
        turn.amount_minor, turn.currency = envelope.amount_minor, envelope.currency
        kind.handlers[type(envelope.body)](turn, envelope.body)
        self._merge(turn)

    def _merge(self, turn: Turn[Any]) -> None:
        kind = KINDS.of(turn.address)
        told = [message for message in turn._messages if message.amount_minor]
        sent = sum(message.amount_minor for message in told)
        posted = sum(posting[1] for posting in turn._postings)
        assert posted + sent == turn.amount_minor, "the turn does not conserve money"
        assert all(message.amount_minor > 0 for message in told)
        currencies = {posting[2] for posting in turn._postings}
        currencies |= {message.currency for message in told}
        currencies |= {turn.currency} - {""}
        assert len(currencies) <= 1, "the turn mixes currencies"
        if turn._changed:
            self.states[turn.address] = kind.decode_state(_encode(turn.state))
        for key, (record_kind, record) in turn._records.items():
            assert len(key) <= 511
            if record is None:
                self.rows.pop(key, None)
                continue
            self.rows[key] = _encode(record)
            assert record_kind.decode(self.rows[key]) == record
        self.postings += [(self.posting_next + n, *row) for n, row in enumerate(turn._postings)]
        for message in turn._messages:
            body = KINDS.of(message.to).decode_body(_encode(message.body))
            assert body == message.body
            self.queue.append(replace(message, body=body))
        for (due, name), body_or_none in turn._timers.items():
            if body_or_none is None:
                self.timers.pop((due, turn.address, name), None)
            else:
                self.timers[due, turn.address, name] = body_or_none
        for token, answer in turn._answers:
            assert isinstance(answer, Outcome | Replayed)
            refused = answer.outcome if isinstance(answer, Replayed) else answer
            if isinstance(refused, Refused) and token in self._asked:
                assert refused.code in REFUSALS[self._asked[token]], refused
            self.answers[token].append(answer)

    # What tests do

    def send(self, command: commands.Command) -> Token:
        """Give a command its first turn; what it sends stays in the queue."""
        token = (1, 0, len(self._asked) + 1)
        self._asked[token] = type(command)
        to = commands.first_actor(command)
        self._turn(Envelope(to, "", command, self.business_date, token))
        self._audit()
        return token

    def deliver(self, type_: type[Struct]) -> None:
        """Deliver the oldest message of a type."""
        index = next(n for n, m in enumerate(self.queue) if type(m.body) is type_)
        self.deliver_at(index)

    def deliver_at(self, index: int) -> None:
        """Deliver the message of that index, or the oldest one of its sender to its receiver."""
        ends = (self.queue[index].sender, self.queue[index].to)
        first = next(n for n, m in enumerate(self.queue) if (m.sender, m.to) == ends)
        self._turn(self.queue.pop(first))
        self._audit()

    def give_up(self, type_: type[Struct]) -> str | None:
        """Give up the oldest message of a type; returns why it is kept, if it is."""
        return self.give_up_at(next(n for n, m in enumerate(self.queue) if type(m.body) is type_))

    def give_up_at(self, index: int) -> str | None:
        """Give up the message of that index, or the oldest one of its sender to its receiver.

        It was parked: whoever waits has been told OUTCOME_UNKNOWN, and is in `unsure`.
        """
        ends = (self.queue[index].sender, self.queue[index].to)
        first = next(n for n, m in enumerate(self.queue) if (m.sender, m.to) == ends)
        message = replace(self.queue[first], token=None)
        self.unsure.add(self.queue[first].token)
        self.queue[first] = message
        try:
            self._turn(replace(message, body=Discarded(message.body)))
        except KeptError as kept:
            return str(kept)
        self.queue.pop(first)
        self._audit()
        return None

    def run(self) -> None:
        """Deliver until nothing is on its way."""
        while self.queue:
            self.deliver_at(0)

    def ask(self, command: commands.Command) -> Outcome | Replayed:
        """Do a command to its end and return its one answer."""
        token = self.send(command)
        self.run()
        return self.answer(token)

    def answer(self, token: Token) -> Outcome | Replayed:
        """Return the one answer that this caller got."""
        (answer,) = self.answers[token]
        return answer

    def do(self, command: commands.Command) -> Any:
        """Do a command that must succeed and return its view."""
        outcome = self.ask(command)
        assert not isinstance(outcome, Refused | Replayed), outcome
        return outcome

    def code(self, command: commands.Command) -> str:
        """Do a command to its end; return its refusal's code, or the state that it came to."""
        return _told(self.ask(command))

    def told(self, token: Token) -> str:
        """Return what this caller was told: a refusal's code, or a state."""
        return _told(self.answer(token))

    def wait(self, duration_ns: int) -> None:
        """Let time pass without any timer firing: they are late."""
        self.now_ns += duration_ns

    def fire(self) -> None:
        """Fire every timer that is due; what it sends stays in the queue."""
        for due, address, name in sorted(self.timers):
            # One before it may have cancelled it.
            if due <= self.now_ns and (due, address, name) in self.timers:
                body = self.timers.pop((due, address, name))
                self._turn(Envelope(address, address, body, self.business_date))
                self._audit()

    def force(self, address: str, **changes: Any) -> None:
        """Bring an actor into a state that no command leads to yet."""
        self.states[address] = replace(self.states[address], **changes)

    # What tests look at

    def account(self, account_no: str) -> Account:
        state = self.states[f"account/{account_no}"]
        assert isinstance(state, Account)
        return state

    def merchant(self, merchant_no: str) -> Merchant:
        state = self.states[f"merchant/{merchant_no}"]
        assert isinstance(state, Merchant)
        return state

    def get(self, address: str, kind: RecordKind[R], name: str) -> R:
        """Return a record that must be there."""
        return kind.decode(self.rows[row_key(address) + b"\0" + kind.tag + name.encode()])

    def records(self) -> Iterator[tuple[str, RecordKind[Any], str, Struct]]:
        for key, row in sorted(self.rows.items()):
            address, _, rest = key[2:].partition(b"\0")
            kind = KINDS.of(address.decode()).records[rest[:1]]
            yield address.decode(), kind, rest[1:].decode(), kind.decode(row)

    def view(self, closed_through: str = "") -> StoreView:
        """Return the bank as an audit reads it."""
        return StoreView(
            states=self.states.items(),
            records=self.records(),
            postings=self.postings,
            messages=self.queue,
            closed_through=closed_through,
            timers=self.timers,
        )

    def _audit(self) -> None:
        if self.audited:
            assert list(audit(self.view())) == []


def _told(answer: Outcome | Replayed) -> str:
    """Return what an answer comes to: a code, or a state."""
    outcome = answer.outcome if isinstance(answer, Replayed) else answer
    if isinstance(outcome, Refused):
        return outcome.code
    return str(getattr(outcome, "state", None) or getattr(outcome, "status", ""))


def table(text: str) -> list[list[str]]:
    """Return the rows of a text table: cells are split at blanks, empty lines are left out."""
    return [line.split() for line in text.splitlines() if line.strip()]


PAYER, MERCHANT = "account/A1", "merchant/M1"


def shop(
    *,
    funds_minor: int = 100_000,
    fee_bps: int = 0,
    over_capture: bool = False,
    payment_limit_minor: int | None = None,
    daily_limit_minor: int | None = None,
) -> Bank:
    """Return a bank with account A1, funded, that lets merchant M1 take USD."""
    bank = Bank()
    bank.do(commands.OpenAccount("A1", "USD"))
    bank.do(commands.OpenMerchant("M1", "USD", fee_bps, over_capture))
    bank.do(commands.SignAgreement("A1", "M1", "M1", payment_limit_minor, daily_limit_minor))
    if funds_minor:
        bank.do(commands.FundAccount("A1", "F1", funds_minor, "USD"))
    return bank


def payment(order_no: str, amount_minor: int = 1_000) -> commands.CreatePayment:
    """Return the command for a payment of A1 to M1."""
    return commands.CreatePayment("M1", order_no, "A1", amount_minor, "USD")


def authorization(
    hold_no: str, amount_minor: int = 1_000, valid_s: int = 3_600
) -> commands.CreateAuthorization:
    """Return the command for an authorization of M1 on A1, by default valid for an hour."""
    return commands.CreateAuthorization("M1", hold_no, "A1", amount_minor, "USD", valid_s)


def application(merchant_no: str = "M1", **changes: Any) -> commands.ApplyMerchant:
    """Return the command with which somebody would like to be a merchant."""
    applied = commands.ApplyMerchant(merchant_no, "USD", "Shop Ltd", "shop@example.com")
    return replace(applied, **changes)


def issued(serial: str, days: int = 365, start_ns: int = MORNING) -> commands.Issued:
    """Return what a CA would have made of a request: nothing that any key would verify."""
    key, document = f"key of {serial}".encode(), f"certificate {serial}".encode()
    return commands.Issued(serial, "ed25519", key, start_ns, start_ns + days * DAY, document)


def registering(
    certificate_no: str,
    serial: str,
    days: int = 365,
    *,
    request: str = "",
    renews: str | None = None,
    merchant_no: str = "M1",
    start_ns: int = MORNING,
) -> commands.RegisterCertificate:
    """Return the command that registers a certificate, valid for so many days from the morning."""
    asked_for = (request or certificate_no).encode().hex().zfill(64)
    made = issued(serial, days, start_ns)
    return commands.RegisterCertificate(merchant_no, certificate_no, asked_for, made, renews)
