"""Totals: running sums over all actors of a kind, as what an account holds is summed for operators.

A kind may name an amount of its states (`Total`); each shard keeps the sum of it over the actors
that it has, by currency. The sums move with the turn that changes a state, and are a row beside the
batch that holds the change: no proof rests on them, so they are not in the hash chain. The row says
in which epoch it was written, and the first commit of every epoch writes it: where the newest
commit is of another epoch, it comes from a program that knew nothing of totals, and the sums are
added up anew, a piece at a time beside the turns (docs/decisions/058).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from engine.batch import Payloads, overlaid
from storage.errors import CorruptRowError
from storage.journal import Commit
from storage.row import ACTORS, META
from storage.store import Snapshot

if TYPE_CHECKING:
    from engine.actor import Actor
    from engine.kind import ActorKind, Kinds

TOTALS_KEY: Final = b"totals"
ADDED_AT_ONCE: Final = 1_000
"""Actors that are added up in one go: 5 ms, as long as a slice."""

Sums = dict[str, dict[str, int]]
"""Name of a total → currency → minor units."""


class Total(Struct, frozen=True):
    """An amount that every actor of a kind has, and of which shards keep the sum.

    Attributes:
        name: unlike that of any other kind's.
        minor: given a state, returns the amount in minor units.
        currency: given a state, returns its currency, which never changes.
    """

    name: str
    minor: Callable[[Any], int]
    currency: Callable[[Any], str]


class TotalsRow(Struct, array_like=True, frozen=True):
    """The row in `meta`: the sums as of the newest commit, if `epoch` is that commit's."""

    epoch: int
    sums: Sums


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TotalsRow).decode


def totals_row(epoch: int, sums: Mapping[str, Mapping[str, int]]) -> dict[bytes, bytes | None]:
    """Return the row, as a commit of that epoch writes it."""
    return {TOTALS_KEY: _encode((epoch, sums))}


def durable_totals(snapshot: Snapshot, last: Commit) -> Sums | None:
    """Return the sums as of a snapshot; None where they have not been added up yet.

    Args:
        last: the snapshot's newest commit.

    Raises:
        CorruptRowError: the row is damaged.
    """
    payload = snapshot.get(META, TOTALS_KEY)
    if payload is None:
        return {} if last.sequence == 0 else None
    try:
        row = _decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptRowError(META, TOTALS_KEY, str(error)) from error
    return row.sums if row.epoch == last.epoch else None


class Totals:
    """The sums of one shard, as of the turns merged so far.

    Args:
        snapshot: of the shard's store.
        kinds: the domain.
        last: the snapshot's newest commit.

    Raises:
        CorruptRowError: the row is damaged, or one of those that have to be added up.

    Attributes:
        changed: the row is to be written with the next commit, if all have been added up.
    """

    def __init__(self, snapshot: Snapshot, kinds: "Kinds", last: Commit) -> None:
        self._kinds = kinds
        self._sums: Sums = {}
        # The last key that has been added up; what comes after it is counted when it is its turn.
        self._added: bytes | None = None
        self.changed = any(kind.total is not None for kind in kinds.by_name.values())
        if self.changed:
            durable = durable_totals(snapshot, last)
            if durable is not None:
                self._sums = durable
            else:
                self._added = b""
                self.add_up(snapshot, ())

    @property
    def complete(self) -> bool:
        """Whether every actor is in the sums."""
        return self._added is None

    def move(self, actor: "Actor", state: Any) -> None:
        """Count that an actor, of a kind that is summed, comes to have another state."""
        total = actor.kind.total
        assert total is not None, f"{actor.address} is of a kind that is not summed"
        minor = total.minor(state) - (0 if actor.state is None else total.minor(actor.state))
        if minor and (self._added is None or actor.key <= self._added):
            self._add(total, state, minor)

    def add_up(self, snapshot: Snapshot, overlays: Iterable[Payloads]) -> None:
        """Add up the next thousand actors of a store whose sums are not known.

        Args:
            overlays: states that have changed since the snapshot, older batch first.
        """
        assert self._added is not None, "all of them have been added up"
        rows = 0
        for key, payload in islice(self._rows(snapshot, overlays), ADDED_AT_ONCE):
            rows += 1
            self._added = key
            kind = self._kind(key)
            if kind.total is not None:
                try:
                    state = kind.decode_state(payload)
                except msgspec.DecodeError as error:
                    raise CorruptRowError(ACTORS, key, str(error)) from error
                self._add(kind.total, state, kind.total.minor(state))
        if rows < ADDED_AT_ONCE:
            self._added = None

    def rows(self, epoch: int) -> dict[bytes, bytes | None]:
        """Return the row for a commit of that epoch; nothing until all have been added up."""
        if self._added is not None:
            return {}
        self.changed = False
        return totals_row(epoch, self._sums)

    def _add(self, total: Total, state: Any, minor: int) -> None:
        sums = self._sums.setdefault(total.name, {})
        currency = total.currency(state)
        sums[currency] = sums.get(currency, 0) + minor
        self.changed = True

    def _rows(
        self, snapshot: Snapshot, overlays: Iterable[Payloads]
    ) -> Iterator[tuple[bytes, bytes]]:
        after = (self._added or b"") + b"\0"
        return overlaid(snapshot, ACTORS, overlays, after)

    def _kind(self, key: bytes) -> "ActorKind":
        try:
            return self._kinds.of(key[2:].decode("ascii"))
        except ValueError as error:  # no ASCII, or no address
            raise CorruptRowError(ACTORS, key, str(error)) from error
