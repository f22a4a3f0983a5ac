"""The audit log: what operators have seen and done, each entry chained to the one before.

    chain(n) = SHA-256(chain(n - 1) ‖ entry(n)),  chain(0) = 32 zero bytes

Entries are numbered from 1 without a gap. Whoever changes one, takes one out or puts one in has to
make all later ones anew, and ends with another head: so an auditor who has kept a number and its
head (`Audited`) finds it, and whoever has not trusts the file. The same holds for the journal
(`storage.journal`).
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from storage.cabinet import Writing, opened
from storage.errors import CorruptRowError
from storage.row import AUDIT
from storage.store import Snapshot

START: Final = bytes(32)
SUBJECT_MAX: Final = 512
"""Characters that are kept of what an entry is about."""
_CHAIN_BYTES: Final = 32


class Entry(Struct, frozen=True, array_like=True):
    """One entry.

    Attributes:
        sequence: its number.
        at_ns: when, by the node's clock.
        operator: who; `shell/uid-…` for whoever had the data folder itself.
        role: in which role; empty for a shell, and where it is not known who it was.
        action: the row of the table, or the command.
        subject: what it was about: path and query without the reason, or a name.
        reason: what the operator gave for it.
        outcome: the status, or the code that refused it.
        certificate: the subject of the certificate that was shown on the connection; empty where
            there was no TLS, and in entries that were written before there was.
    """

    sequence: int
    at_ns: int
    operator: str
    role: str
    action: str
    subject: str
    reason: str
    outcome: str
    certificate: str = ""


class Audited(Struct, frozen=True):
    """What a verification has found.

    Attributes:
        rows: entries that there are, or that are sound before the first that is not.
        head: the chain over them, in hexadecimal.
        fault: what is wrong, empty where nothing is.
    """

    ok: bool
    rows: int
    head: str
    fault: str = ""


class Kept(Struct, frozen=True):
    """A number and the head that the log had there, from an earlier verification."""

    rows: int
    head: str


_decode: Final = msgspec.msgpack.Decoder(Entry).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def append(
    writing: Writing,
    at_ns: int,
    operator: str,
    role: str,
    action: str,
    *,
    subject: str = "",
    reason: str = "",
    outcome: str = "OK",
    certificate: str = "",
) -> Entry:
    """Write the next entry, within a transaction that may hold what it speaks of."""
    last = next(writing.scan(AUDIT, reverse=True), None)
    before, sequence = START, 1
    if last is not None:
        before, sequence = last[1][:_CHAIN_BYTES], int.from_bytes(last[0], "big") + 1
    entry = Entry(sequence, at_ns, operator, role, action, subject, reason, outcome, certificate)
    content = _encode(entry)
    writing.put(AUDIT, _key(sequence), _chained(before, content) + content)
    return entry


def newest(snapshot: Snapshot) -> Kept:
    """Return the number of the newest entry, and the head there; nothing is checked.

    Raises:
        CorruptRowError: it is damaged.
    """
    last = next(snapshot.scan(AUDIT, reverse=True), None)
    if last is None:
        return Kept(0, START.hex())
    return Kept(int.from_bytes(last[0], "big"), last[1][:_CHAIN_BYTES].hex())


def entries(snapshot: Snapshot, below: int) -> Iterator[Entry]:
    """Yield entries, newest first, from the one before number `below`."""
    for key, payload in snapshot.scan(AUDIT, b"", _key(below), reverse=True):
        yield opened(_decode, AUDIT, key, payload[_CHAIN_BYTES:])


class Verification:
    """A check of every entry and the chain, in as many pieces as one likes.

    Entries are never changed, so each piece may see the log as it is by then.

    Args:
        kept: from an earlier verification: the log has to have passed through there.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept
        self._chain = START
        self._rows = 0

    def go_on(self, snapshot: Snapshot, rows_max: int | None = None) -> Audited | None:
        """Check the next entries, all that are left by default; None while there are more."""
        kept = self._kept
        if kept is not None and kept.rows == 0 and kept.head != START.hex():
            return self._broken(_OTHER.format(0))
        try:
            # From right behind the last: what somebody has put before the next is seen, too.
            rows = snapshot.scan(AUDIT, _key(self._rows) + b"\0" if self._rows else b"")
            for key, payload in islice(rows, rows_max):
                fault = _fault(self._rows + 1, key, payload, self._chain)
                if fault:
                    return self._broken(fault)
                self._chain, self._rows = payload[:_CHAIN_BYTES], self._rows + 1
                if kept is not None and kept.rows == self._rows and kept.head != self._chain.hex():
                    return self._broken(_OTHER.format(self._rows))
            if next(rows, None) is not None:
                return None
        except CorruptRowError as error:
            return self._broken(f"after entry {self._rows}: {error}")
        if kept is not None and kept.rows > self._rows:
            return self._broken(f"there were {kept.rows} entries once, and {self._rows} are left")
        return Audited(True, self._rows, self._chain.hex())

    def _broken(self, fault: str) -> Audited:
        return Audited(False, self._rows, self._chain.hex(), fault)


def verify(snapshot: Snapshot, kept: Kept | None = None) -> Audited:
    """Check every entry and the chain in one go, where nobody else waits; see `Verification`."""
    found = Verification(kept).go_on(snapshot)
    assert found is not None
    return found


_OTHER: Final = "up to entry {} it is not the log that it was"


def _fault(sequence: int, key: bytes, payload: bytes, before: bytes) -> str:
    if key != _key(sequence):
        return f"entry {sequence} is missing"
    content = payload[_CHAIN_BYTES:]
    if _chained(before, content) != payload[:_CHAIN_BYTES]:
        return f"entry {sequence} does not fit the chain"
    try:
        entry = _decode(content)
    except msgspec.DecodeError as error:
        return f"entry {sequence} cannot be read: {error}"
    return "" if entry.sequence == sequence else f"entry {sequence} says that it is another"


def _chained(before: bytes, content: bytes) -> bytes:
    return hashlib.sha256(before + content).digest()


def _key(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big")
