"""Structured fields: read as `http-sf` reads them, and written in the same canonical form."""

import contextlib
from decimal import Decimal
from typing import Any

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.signatures.error import SignatureError
from gateway.signatures.structured import (
    Bare,
    InnerList,
    Item,
    Member,
    Token,
    parse_dictionary,
    serialize_dictionary,
)

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,6}", fullmatch=True)
BARES: st.SearchStrategy[Bare] = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.integers(-(10**14), 10**14).map(lambda number: Decimal(number) / 1_000),
    st.booleans(),
    st.binary(max_size=20),
    st.text([chr(code) for code in range(0x20, 0x7F)], max_size=12),
    st.from_regex(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,8}", fullmatch=True).map(Token),
)
PARAMETERS = st.dictionaries(KEYS, BARES, max_size=3)
ITEMS = st.builds(Item, BARES, PARAMETERS)
MEMBERS = st.one_of(ITEMS, st.builds(InnerList, st.lists(ITEMS, max_size=3), PARAMETERS))


@given(members=st.dictionaries(KEYS, MEMBERS, min_size=1, max_size=4))
def test_dictionary_that_was_written_is_read_the_same(members: dict[str, Member]) -> None:
    """By us, and by the library, which writes it in the same form."""
    text = serialize_dictionary(members)
    assert parse_dictionary(text) == members
    assert http_sf.ser(http_sf.parse(text.encode(), tltype="dictionary")) == text


def _theirs(text: str) -> str | None:
    """The library's canonical form; None if it refuses the text or what RFC 8941 has not."""
    found: list[str] = []
    with contextlib.suppress(ValueError):
        parsed: Any = http_sf.parse(
            text.encode("latin-1"),
            tltype="dictionary",
            on_duplicate_key=lambda key, context: found.append(key),
        )
        # Dates and display strings came with RFC 9651.
        if not found and "@" not in text and "%" not in text:
            return str(http_sf.ser(parsed))
    return None


@given(text=st.text(st.sampled_from('ab=,;()" \t01-.?:@*\\+/Z%'), max_size=14))
@example("a=1.")
@example("a=-")
@example("a=-0")
@example("a=-0.0")
@example("a\t")
@example("a,\t")
@example("a,\n")
@example("a=0123456789012345")
@example("a=1234567890123.1")
@example("a=1.1234")
@example('a="\\x"')
@example("a=(1 2")
@example("a=(1,2)")
@example("a=?2")
@example("a, ")
@example("a \t,\tb")
@example("a=(  1   2  ); x;y=1")
def test_any_text_is_read_or_refused_as_by_the_library(text: str) -> None:
    ours = None
    with contextlib.suppress(SignatureError):
        # An empty dictionary is one, but there is no way to write it.
        ours = serialize_dictionary(parse_dictionary(text)) or None
    theirs = _theirs(text)
    if "@" not in text and "%" not in text and not (ours is None and ":" in text):
        assert ours == theirs


@pytest.mark.parametrize("text", ["a, a", "a=1, b, a=1", "a;x;x", "a=(1);x=1;x=1", "a=:Bg=:"])
def test_what_rfc_8941_lets_pass_is_refused(text: str) -> None:
    """Keys that occur twice, and bits that base64 leaves over."""
    assert http_sf.parse(text.encode(), tltype="dictionary")
    with pytest.raises(SignatureError):
        parse_dictionary(text)
