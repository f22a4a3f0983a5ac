"""Rows: the checksum covers table, key and payload."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import CorruptRowError
from storage.row import ACTORS, RECORDS, TABLES, seal, unseal

short = st.binary(max_size=64)


@given(st.sampled_from(TABLES), short, short)
def test_sealed_row_opens(table: str, key: bytes, payload: bytes) -> None:
    assert unseal(table, key, seal(table, key, payload)) == payload


@given(short, short, st.integers(min_value=0))
def test_row_with_any_bit_flipped_is_found(key: bytes, payload: bytes, place: int) -> None:
    row = bytearray(seal(ACTORS, key, payload))
    place %= len(row) * 8
    row[place // 8] ^= 1 << place % 8
    with pytest.raises(CorruptRowError) as caught:
        unseal(ACTORS, key, bytes(row))
    assert (caught.value.table, caught.value.key) == (ACTORS, key)


@pytest.mark.parametrize("row", [b"", b"\0", b"\0\0\0"])
def test_row_cut_short_is_found(row: bytes) -> None:
    with pytest.raises(CorruptRowError):
        unseal(ACTORS, b"a", row)


def test_row_in_the_wrong_place_is_found() -> None:
    row = seal(ACTORS, b"a", b"1")
    for table, key in ((RECORDS, b"a"), (ACTORS, b"b"), (ACTORS, b"")):
        with pytest.raises(CorruptRowError):
            unseal(table, key, row)


def test_tables_have_seeds_of_their_own() -> None:
    assert len({seal(table, b"a", b"1") for table in TABLES}) == len(TABLES)
