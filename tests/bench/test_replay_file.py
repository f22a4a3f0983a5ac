"""The file of a replay: lines of any length, places to go on from, and its fingerprint."""

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from bench.replay.file import LINE_MAX, FileError, Fingerprint, Place, ReplayFile
from bench.replay.row import COLUMNS, Mistake, Row

HEADER = ",".join(COLUMNS).encode() + b"\n"


def _row(number: int, second: int = 0) -> bytes:
    return f"payment,o{number},P1,M1,100,CNY,2026-01-05T08:00:{second:02d}Z,".encode()


def _read(path: Path, place: Place | None = None) -> list[tuple[int, str]]:
    """Line numbers, with the reference of a row or the code of a mistake."""
    with ReplayFile(path) as file:
        return [
            (read.after.line, read.said.reference if isinstance(read.said, Row) else read.said)
            for read in file.rows(file.begin if place is None else place)
        ]


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER + b"\n" + _row(1) + b"\r\n\r\nsale\n" + _row(2))
    assert _read(path) == [(3, "o1"), (5, Mistake.WRONG_COLUMN_COUNT), (6, "o2")]


@pytest.mark.parametrize(
    "header",
    [
        HEADER.rstrip() + b"\r\n",
        b"\xef\xbb\xbf" + HEADER,
        b",".join(b'"' + each.encode() + b'"' for each in COLUMNS) + b"\n",
    ],
    ids=["crlf", "byte-order-mark", "quoted"],
)
def test_header_may_be_written_in_other_ways(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(header + _row(1))
    assert _read(path) == [(2, "o1")]


def test_stray_quote_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER + b'"' + _row(1) + b"\n" + _row(2) + b"\n")
    assert _read(path) == [(2, Mistake.BAD_QUOTES), (3, "o2")]


@pytest.mark.parametrize("size", [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 3 * LINE_MAX])
def test_line_of_any_length_is_one_row(tmp_path: Path, size: int) -> None:
    """Its line break counts: what is just short enough is looked at."""
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER + b"x" * (size - 1) + b"\n" + _row(1) + b"\n")
    code = Mistake.LINE_TOO_LONG if size > LINE_MAX else Mistake.WRONG_COLUMN_COUNT
    assert _read(path) == [(2, code), (3, "o1")]


def test_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    tracemalloc.start()
    try:
        assert _read(path) == [(2, Mistake.LINE_TOO_LONG)]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_time_that_goes_back_is_a_mistake_and_moves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    rows = [_row(1, 5), _row(2, 4), _row(3, 5), _row(4, 9) + b",", _row(5, 6)]
    path.write_bytes(HEADER + b"\n".join(rows))
    assert _read(path) == [
        (2, "o1"),
        (3, Mistake.TIME_GOES_BACK),
        (4, "o3"),
        (5, Mistake.WRONG_COLUMN_COUNT),
        (6, "o5"),
    ]


def test_reading_goes_on_from_any_place(tmp_path: Path) -> None:
    """With the same line numbers, and the same idea of what goes back in time."""
    path = tmp_path / "file.csv"
    rows = [_row(1, 5), b"", _row(2, 4), b"x" * 9_000, _row(3, 5)]
    path.write_bytes(HEADER + b"\n".join(rows))
    whole = _read(path)
    with ReplayFile(path) as file:
        places = [read.after for read in file.rows(file.begin)]
    for n, place in enumerate(places):
        assert _read(path, place) == whole[n + 1 :]


def test_first_time_is_that_of_the_first_well_formed_row(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER + b"sale\n" + _row(1, 7) + b"\n")
    with ReplayFile(path) as file:
        assert file.first_time() == "2026-01-05T08:00:07Z"
    path.write_bytes(HEADER + b"sale\n")
    with ReplayFile(path) as file:
        assert file.first_time() is None


def test_fingerprint_is_that_of_the_bytes_up_to_a_place(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    content = HEADER + b"\n".join(_row(n) for n in range(50_000))
    path.write_bytes(content)
    fingerprint = Fingerprint(path)
    for offset in (0, 10, 10, 1_500_000, len(content), len(content) + 5):
        assert fingerprint.up_to(offset) == hashlib.sha256(content[:offset]).hexdigest()
    fingerprint.close()


def test_file_that_is_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be opened"):
        ReplayFile(tmp_path)
