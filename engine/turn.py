"""A turn: one message handled by one actor, from start to end, all or nothing.

Handlers see the world only through their turn: the actor's state and records, the time, the
business date, and what they may do (post, tell, answer, set timers). Everything is collected
here and checked when the handler returns; only then does the shard merge it into the batch. A
handler that raises, or whose effects do not balance, leaves no trace.
"""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from engine.message import Envelope, Token

if TYPE_CHECKING:
    from engine.actor import Actor
    from engine.kind import RecordKind
    from engine.stage import Stage

S = TypeVar("S", bound=Struct)
R = TypeVar("R", bound=Struct)

MESSAGES_MAX = 100
"""Messages that one turn may send: larger work goes on in a message to itself."""
MINOR_MAX = 2**63 - 1
KEY_BYTES_MAX = 511

_encode = msgspec.msgpack.Encoder().encode


class TurnError(Exception):
    """The turn broke a rule of the runtime; nothing of it remains."""


class ConservationError(TurnError):
    """Postings plus money sent minus money received did not come out to zero."""


class Turn(Generic[S]):
    """What a handler is given. One object per shard is used again and again; never keep it.

    Attributes:
        address: the actor whose turn it is.
        number: the part of the address after the slash.
        state: the actor's state as of this turn, None while the actor does not exist. Frozen:
            change it with `become`.
        now_ns: the shard's clock, nanoseconds since 1970-01-01 UTC; with a domain clock, its time
            at the command that began the chain.
        business_date: ISO 8601 date that the command was stamped with.
        sender: the address that sent the message, empty for an external command.
        token: who waits for the answer, None when nobody does.
        amount_minor, currency: the money that came with the message.
    """

    __slots__ = (
        "_actor",
        "_answers",
        "_at_ns",
        "_changed",
        "_messages",
        "_postings",
        "_records",
        "_stage",
        "_timers",
        "address",
        "amount_minor",
        "business_date",
        "currency",
        "now_ns",
        "number",
        "sender",
        "state",
        "token",
    )

    _actor: "Actor"
    _stage: "Stage"
    _at_ns: int
    _changed: bool
    _records: "dict[bytes, tuple[RecordKind[Any], Struct | None]]"
    _postings: list[tuple[str, int, str, int, int, str, str]]
    _messages: list[Envelope]
    _answers: list[tuple[Token, Struct]]
    _timers: "dict[tuple[int, str], Struct | None]"

    address: str
    number: str
    state: S | None
    now_ns: int
    business_date: str
    sender: str
    token: Token | None
    amount_minor: int
    currency: str

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self._at_ns = 0
        self._changed = False
        self._records = {}
        self._postings = []
        self._messages = []
        self._answers = []
        self._timers = {}

    def become(self, state: S) -> None:
        """Make `state` the actor's state. The last call of the turn counts."""
        self.state = state
        self._changed = True

    def get(self, kind: "RecordKind[R]", name: str) -> R | None:
        """Return the actor's record of this kind and name, or None where there is none."""
        key = self._actor.key + kind.prefix + name.encode("ascii")
        if self._records:
            mine = self._records.get(key)
            if mine is not None:
                return mine[1]  # type: ignore[return-value]
        return self._stage.record(self._actor, kind, key)

    def put(self, kind: "RecordKind[R]", name: str, record: R) -> None:
        """Write the actor's record of this kind and name, new or in place of the old one."""
        key = self._actor.key + kind.prefix + name.encode("ascii")
        self._records[key] = (kind, record)

    def drop(self, kind: "RecordKind[Any]", name: str) -> None:
        """Take the actor's record of this kind and name away; nothing happens where there is none.

        For what is kept for a while only, as a log is: what binds a number stays for ever.
        """
        key = self._actor.key + kind.prefix + name.encode("ascii")
        self._records[key] = (kind, None)

    def post(
        self,
        account: str,
        amount_minor: int,
        currency: str,
        balance_after_minor: int,
        previous: int,
        reference: str,
    ) -> int:
        """Post `amount_minor` (signed) to a ledger account that this actor owns.

        Args:
            account: the ledger account's name, as exports show it.
            balance_after_minor: the account's posted balance with this posting in it.
            previous: sequence of the account's previous posting, 0 for its first.
            reference: what the posting belongs to, for people (`payment/M1/20260101-1`).

        Returns:
            The posting's sequence number in the shard's journal, from 1.
        """
        self._postings.append(
            (
                account,
                amount_minor,
                currency,
                balance_after_minor,
                previous,
                reference,
                self.business_date,
            )
        )
        return self._stage.posting_next + len(self._postings) - 1

    def tell(
        self,
        address: str,
        body: Struct,
        *,
        amount_minor: int = 0,
        currency: str = "",
    ) -> None:
        """Send a message, and with it any money, to another actor (or to this one).

        It is durable with this turn and processed exactly once; the caller's token travels with
        it. At most 100 a turn.
        """
        self._messages.append(
            Envelope(
                address,
                self.address,
                body,
                self.business_date,
                self.token,
                amount_minor,
                currency,
                self._at_ns,
            )
        )

    def answer(self, body: Struct, token: Token | None = None) -> None:
        """Answer the waiting caller, or the one named by `token`, once this turn is durable."""
        to = self.token if token is None else token
        if to is not None:
            self._answers.append((to, body))

    def set_timer(self, due_ns: int, name: str, body: Struct) -> None:
        """Have `body` delivered to this actor once the clock reaches `due_ns`.

        `(due_ns, name)` names the timer among the actor's own.
        """
        self._timers[(due_ns, name)] = body

    def cancel_timer(self, due_ns: int, name: str) -> None:
        """Forget the timer of that due time and name; nothing happens where there is none."""
        self._timers[(due_ns, name)] = None
