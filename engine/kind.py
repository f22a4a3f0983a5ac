"""Actor kinds: what the domain tells the runtime about its actors.

A kind names its state type, its record types and the handler of each message type. The runtime
looks handlers up by the exact type of the body, so a kind is a table, not a class hierarchy.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from engine import address as addresses
from engine.address import AddressError
from engine.message import Envelope, StoredEnvelope, Unreadable
from engine.totals import Total
from engine.turn import Turn, TurnError
from storage.row import ACTORS, HUBS

R = TypeVar("R", bound=Struct)

Handler = Callable[[Turn[Any], Any], None]

Discard = Callable[[Turn[Any], Any], str | None]
"""What a message's receiver does in place of its handler when an operator gives the message up:
whoever waits for the message learns that it came to nothing, and what money is in it goes on. It
returns why the message has to be kept instead, a sentence, with which nothing of its turn remains.
"""


class Keeping(StrEnum):
    """Why a message is not given up; stable codes that operators see."""

    RELEASE_ONLY = "RELEASE_ONLY"
    """What it tells has happened, or has to: only a release brings it to a true end."""
    UNREADABLE = "UNREADABLE"
    """Nobody knows what it says: a program that can read it has to be started first."""


class KeptError(Exception):
    """A message is not given up: RELEASE_ONLY, and why. Nothing of its turn remains."""


class Discarded(Struct, frozen=True):
    """Stands for a message that is given up: its turn is that of `ActorKind.discards`."""

    message: Any


_UNFORESEEN: Final = "nobody has said what it would mean to give it up"


class RecordKind(Generic[R]):
    """One kind of record that actors own: a one-byte tag in the key, and a frozen Struct type.

    Args:
        tag: one ASCII character, unique within the actor kind.
        type_: the record's frozen, array-like Struct.
        kept: whether a clean record stays in memory with its actor after its batch is durable
            (for what is read again and again, such as agreements).
        ascending: whether names mostly ascend, as dated order numbers do. Then a name above the
            actor's highest is known to be free without asking the store, which would cost 1 to
            10 µs. Names that do not ascend are merely looked up.
    """

    __slots__ = ("ascending", "decode", "kept", "name", "prefix", "tag", "type")

    def __init__(
        self, tag: str, type_: type[R], *, kept: bool = False, ascending: bool = False
    ) -> None:
        self.tag = tag.encode("ascii")
        self.prefix = b"\0" + self.tag
        self.ascending = ascending
        self.type = type_
        self.name = type_.__name__
        self.kept = kept
        self.decode: Callable[[bytes], R] = msgspec.msgpack.Decoder(type_).decode


class ActorKind:
    """Everything the runtime knows of one kind of actor.

    Args:
        name: the part of the address before the slash.
        state: the frozen, array-like Struct that is the actor's own row.
        records: the record kinds that live under such an actor.
        commands: type of an external command → handler; commands are never stored.
        messages: type of a message between actors, or of a timer → handler. Messages are
            array-like tagged Structs: a cut may have to store them.
        discards: type of such a message → what is done when an operator gives one up; those of
            other types are kept.
        hub: whether there are few of them and much goes through each, as with merchants. Hubs'
            rows have a table of their own, where they share pages: among the rows of all the
            others each would dirty a page for itself in every batch.
        unhindered: commands that have their turn though something is parked for the actor: what
            stops harm, and touches nothing that a parked message may be about.
        newest_postings: given a state, the sequences of the newest postings of the actor's
            ledger accounts, where an inspection starts to walk back.
        total: an amount of the state of which each shard keeps the sum (`engine.totals`). Not of
            hubs: they are few.

    Attributes:
        takes: the types of `messages`: what other actors may send to it.
        summed: given a state, returns the amount that is summed; None where nothing is. It is
            asked for in every turn, hence not looked up in `total`.
    """

    __slots__ = (
        "decode_body",
        "decode_state",
        "discards",
        "handlers",
        "name",
        "newest_postings",
        "records",
        "state",
        "summed",
        "table",
        "takes",
        "total",
        "unhindered",
    )

    def __init__(
        self,
        name: str,
        state: type[Struct],
        records: tuple[RecordKind[Any], ...],
        commands: Mapping[type[Struct], Handler],
        messages: Mapping[type[Struct], Handler],
        *,
        discards: Mapping[type[Struct], Discard] | None = None,
        hub: bool = False,
        unhindered: tuple[type[Struct], ...] = (),
        newest_postings: Callable[[Any], tuple[int, ...]] = lambda _: (),
        total: Total | None = None,
    ) -> None:
        assert total is None or not hub, f"{name}: hubs are not summed"
        tags = [record.tag for record in records]
        assert len(set(tags)) == len(tags), f"{name}: two record kinds share a tag"
        self.name = name
        self.table = HUBS if hub else ACTORS
        self.state = state
        self.records = {record.tag: record for record in records}
        self.handlers: dict[type[Struct], Handler] = {
            **commands,
            **messages,
            Unreadable: _refuse_unreadable,
            Discarded: self._discard,
        }
        self.discards: dict[type[Struct], Discard] = dict(discards or {})
        self.takes = frozenset(messages)
        assert commands.keys() >= set(unhindered), f"{name}: only its commands are unhindered"
        self.unhindered = frozenset(unhindered)
        self.newest_postings = newest_postings
        self.total = total
        self.summed = None if total is None else total.minor
        self.decode_state: Callable[[bytes], Any] = msgspec.msgpack.Decoder(state).decode
        union: Any = None
        for type_ in messages:
            union = type_ if union is None else union | type_
        self.decode_body: Callable[[bytes], Any] = msgspec.msgpack.Decoder(union).decode

    def _discard(self, turn: Turn[Any], discarded: Discarded) -> None:
        message = discarded.message
        discard = self.discards.get(type(message))
        why = _UNFORESEEN if discard is None else discard(turn, message)
        if why is not None:
            raise KeptError(why)


def _refuse_unreadable(turn: Turn[Any], message: Unreadable) -> None:
    raise TurnError(f"{turn.address} cannot read the message: {message.why}")


class Kinds:
    """The domain as the runtime sees it: all actor kinds.

    Args:
        kinds: every actor kind, by distinct names. What is `unhindered` at one is so at all.
        subjects: type of a command → what it is about, by which its chain is found again for a
            while; those of other types are not.
    """

    def __init__(
        self,
        kinds: tuple[ActorKind, ...],
        subjects: Mapping[type[Struct], Callable[[Any], str]] | None = None,
    ) -> None:
        self.by_name = {kind.name: kind for kind in kinds}
        self.subjects = {} if subjects is None else dict(subjects)
        self.unhindered: frozenset[type[Struct]] = frozenset().union(
            *(kind.unhindered for kind in kinds)
        )

    def of(self, address: str) -> ActorKind:
        """Return the kind of an address.

        Raises:
            AddressError: it is not an address, or there are no actors of its kind.
        """
        kind = self.by_name.get(addresses.split(address)[0])
        if kind is None:
            raise AddressError(f"there are no actors of this kind: {address!r}")
        return kind

    def read_body(self, address: str, raw: bytes) -> Any:
        """Return a message's body from its bytes, `Unreadable` where the receiver cannot."""
        try:
            return self.of(address).decode_body(raw)
        except (AddressError, msgspec.DecodeError) as error:
            return Unreadable(raw, str(error))

    def opened(self, row: StoredEnvelope) -> Envelope:
        """Return a stored message as it is delivered."""
        return Envelope(
            row.to,
            row.sender,
            self.read_body(row.to, row.body),
            row.business_date,
            row.token,
            row.amount_minor,
            row.currency,
            row.at_ns,
        )
