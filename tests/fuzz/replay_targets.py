"""Targets of replays: one row, and a whole file read from where a run left off.

`row` holds the fields of a row to the standard library's reader of comma-separated values. `file`
checks that every line is said something of once, that no place is skipped or read twice, and that
reading on from any place gives what reading through gave.
"""

import csv
import os
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

from bench.replay.file import LINE_MAX, FileError, Fingerprint, ReplayFile
from bench.replay.row import AMOUNT_MAX, COLUMNS, FOLLOWING, Mistake, Row, fields, instant, parse
from tests.fuzz.target import Target

_ROW: Final = b"payment,O1,A1,M1,100,USD,2026-01-05T08:00:00Z,"
_ROWS: Final = (
    _ROW,
    b'hold,"H1",A1,M1,2500,USD,2026-01-05T08:00:01.123456789Z,',
    b"capture,C1,,M1,100,USD,2026-01-05t08:00:02+00:00,H1",
    b"void,V1,,M1,0,USD,2026-01-05T08:00:03z,H1",
    b'refund,"R1",A1,"M1",5,USD,2026-01-05T08:00:04.5Z,O1',
    b"transfer,T1,A1,A2,9999999999999,USD,2199-12-31T23:59:59.999999Z,",
)
_TOKENS: Final = (
    *(b",", b'"', b'""', b"\r\n", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\xff", b" ", b"\t", b"'"),
    *(b"payment", b"reversal", b"release", b"10000000000001", b"-1", b"1.0", b"+00:00", b"T", b"Z"),
    *(b"2026-02-30", b"23:59:60", b"1969-12-31", b".999999999", b"\xc3\xa9", b"\xc2\x85", b"\x1c"),
    *(b"\xe2\x80\xa8", b"a" * 4096, b"\xd9\xa1", b"=1+1", b"\x0b", b"\x0c"),
)


def _row(data: bytes) -> None:
    said = parse(data)
    found = fields(data)
    if isinstance(found, Mistake):
        assert said is found
    elif data and not set(data) & set(b'\r\n"'):
        assert found == next(csv.reader([data.decode()]))
    if not isinstance(said, Row):
        return
    assert 0 <= said.amount_minor <= AMOUNT_MAX
    assert instant(said.time) == (said.at_us, said.time)
    assert bool(said.original) is (said.kind in FOLLOWING)
    for each in (said.reference, said.merchant, said.payer, said.original, said.time):
        assert each.isascii()
        assert not each or each.isprintable()
        assert "," not in each
    amount = str(said.amount_minor)
    kind, reference, payer, merchant, _, currency, at_us, time, original = said
    again = ",".join([kind, reference, payer, merchant, amount, currency, time, original])
    assert parse(again.encode()) == said
    assert at_us >= 0


ROW: Final = Target("row", _row, _ROWS, _TOKENS)


def _file(data: bytes) -> None:
    descriptor = os.memfd_create("replay")
    try:
        os.write(descriptor, data)
        path = Path(f"/proc/self/fd/{descriptor}")
        try:
            file = ReplayFile(path)
        except FileError:
            return
        with file:
            _read(file, path, data)
    finally:
        os.close(descriptor)


def _read(file: ReplayFile, path: Path, data: bytes) -> None:
    reads = list(file.rows(file.begin))
    places = [file.begin, *(each.after for each in reads)]
    assert all(one.offset < two.offset for one, two in pairwise(places))
    assert all(one.latest_us <= two.latest_us for one, two in pairwise(places))
    assert not data[places[-1].offset :].strip(b"\r\n"), "what stands behind the last row is blank"
    for before, each in zip(places, reads, strict=False):
        text = data[before.offset : each.after.offset].strip(b"\r\n")
        assert (each.said is Mistake.LINE_TOO_LONG) is (len(text) >= LINE_MAX) or b"\r" in text
        assert b"\n" not in text
    middle = places[len(places) // 2]
    assert list(file.rows(middle)) == reads[len(places) // 2 :]
    assert file.lines_behind(file.begin) == data[file.begin.offset :].count(b"\n")
    first = next((each.said for each in reads if isinstance(each.said, Row)), None)
    assert file.first_time() == (None if first is None else first.time)
    fingerprint = Fingerprint(path)
    for place in places:
        assert fingerprint.up_to(place.offset) == sha256(data[: place.offset]).hexdigest()
    fingerprint.close()


_HEADER: Final = ",".join(COLUMNS).encode() + b"\n"

FILE: Final = Target(
    "file",
    _file,
    (
        _HEADER + b"\n".join(_ROWS) + b"\n",
        b"\xef\xbb\xbf" + _HEADER.replace(b"\n", b"\r\n") + b"\r\n".join(_ROWS),
        _HEADER + _ROW + b"\n\n" + b"x" * (LINE_MAX + 1) + b"\n" + _ROW,
        _HEADER + _ROWS[2] + b"\n" + _ROW + b'\n"\n' + _ROWS[2],
    ),
    _TOKENS,
)
