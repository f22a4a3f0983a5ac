"""What a power cut may leave of files that were being written, by the log of a disk.

What a completed sync covers is there. Of what was written to a file since, and of what is under
way, anything may be there: any writes or none of them, or any of their sectors of 512 bytes, as a
disk writes a sector whole or not at all, and LMDB's own protocol rests on that. A write through
O_DSYNC that has returned is there. So is the meta page of a commit, and one that is under way is
there or not, but never torn, because it lies within a sector. The file may be as long as any of
the writes would have made it, with zeros where nothing has arrived.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tests.faults.disk import Call, Kind

SECTOR: Final = 512
KEPT: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How likely a write, or a sector, is to be there; one of these for each file of each state."""


class Piece(NamedTuple):
    """What is there or is not."""

    offset: int
    data: bytes


def file_before(base: bytes, calls: Iterable[Call]) -> bytes:
    """Return one file as it is while the power is on."""
    content = bytearray(base)
    for call in calls:
        _write(content, call)
    return bytes(content)


def file_after(
    base: bytes, calls: Iterable[Call], cut_ns: int, draw: random.Random, *, torn: bool
) -> bytes:
    """Return one file as it may be found.

    Args:
        base: what was durable before the first call.
        calls: those on this file, in the order in which they ended.
        cut_ns: when the power goes.
        torn: whether writes may be there in part.
    """
    durable = bytearray(base)
    pending: list[Call] = []
    for call in calls:
        if call.start_ns > cut_ns or call.result < 0:
            continue
        assert call.kind is not Kind.TRUNCATE, "LMDB cuts no data file short"
        ended = call.end_ns <= cut_ns
        if call.kind is Kind.META:
            last = call.offset + len(call.data) - 1
            assert call.offset // SECTOR == last // SECTOR, "a meta page that can be torn"
        if call.kind is Kind.META and ended:
            _write(durable, call)
        elif call.kind is not Kind.SYNC:
            pending.append(call)
        elif ended:
            # What was not over when the sync began may have been too late for it.
            for covered in pending:
                if covered.end_ns <= call.start_ns:
                    _write(durable, covered)
            pending = [each for each in pending if each.end_ns > call.start_ns]
    kept = draw.choice(KEPT)
    for each in pending:
        for piece in _sectors(each) if torn else [Piece(each.offset, each.data)]:
            if draw.random() < kept:
                _write(durable, piece)
    longest = max((each.offset + len(each.data) for each in pending), default=0)
    if draw.random() < kept:
        durable.extend(bytes(max(0, longest - len(durable))))
    return bytes(durable)


def moments(
    calls: Sequence[Call], acknowledged: Sequence[int], count: int, draw: random.Random
) -> list[int]:
    """Draw moments for a cut: at the edges of calls, between them, and as an answer comes in."""
    found: list[int] = []
    first, last = acknowledged[0], acknowledged[-1]
    inside = [call for call in calls if first < call.start_ns and call.end_ns < last]
    while len(found) < count:
        call = draw.choice(inside)
        found.append(
            draw.choice(
                (
                    draw.choice(acknowledged),
                    call.start_ns,
                    draw.randint(call.start_ns, call.end_ns),
                    call.end_ns,
                    draw.randint(first, last),
                )
            )
        )
    return found


def _sectors(call: Call) -> Iterable[Piece]:
    at = 0
    while at < len(call.data):
        size = SECTOR - (call.offset + at) % SECTOR
        yield Piece(call.offset + at, call.data[at : at + size])
        at += size


def _write(content: bytearray, piece: Piece | Call) -> None:
    end = piece.offset + len(piece.data)
    content.extend(bytes(max(0, end - len(content))))
    content[piece.offset : end] = piece.data
