"""The cheap counts vouch for just those bodies in which the exact scan finds no member twice."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType

from actors.note import Description, Metadata
from gateway.body import BodyDecoder, Lines
from gateway.errors import RequestError
from gateway.series import Entry
from gateway.strict_json import blemish, read

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


class Leaf(Struct, frozen=True, forbid_unknown_fields=True):
    """An object within another."""

    a: int = 0
    b: str = ""


class Tree(Struct, frozen=True, forbid_unknown_fields=True):
    """One field of every kind that a schema may have."""

    name: str
    labels: dict[str, str]
    leaf: Leaf | None = None
    leaves: list[Leaf] | UnsetType = UNSET
    final: bool = False
    valid_s: int = 5
    limit: int | None = None
    description: Description = UNSET
    metadata: Metadata = UNSET


class Letter(Struct, frozen=True, forbid_unknown_fields=True):
    """A text that may have line ends, beside one that may not."""

    pem: Lines
    name: str


TREE = BodyDecoder[Tree](Tree)
TREES = BodyDecoder[list[Tree]](list[Tree])
ENTRY = BodyDecoder[Entry](Entry)
ENTRIES = BodyDecoder[list[Entry]](list[Entry])
LETTER = BodyDecoder[Letter](Letter)

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t", " \r\n"])
# Texts in which all that the counts look for is found where it means nothing.
PIECES = st.sampled_from(
    ["a", "b", ":", ' "', '":', " :", "\t", "\\", "{", "}", ",", "é", "茶", "👛"]
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)
NAMES = st.one_of(st.sampled_from(["a", "b", "final", ":", '":']), TEXTS)


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


@st.composite
def spelt(draw: st.DrawFn, text: str) -> str:
    """Return a text as JSON; its first characters may be escaped though they need not be."""
    cut = draw(st.integers(0, len(text)))
    return f'"{_escaped(text[:cut])}{json.dumps(text[cut:], ensure_ascii=bool(cut % 2))[1:-1]}"'


@st.composite
def joined(draw: st.DrawFn, members: list[tuple[str, str]]) -> str:
    """Return an object of these members, in any order and with some of them twice."""
    members = draw(st.permutations(members))
    if members and draw(st.integers(0, 2)) == 0:
        twice = draw(st.sampled_from(members))
        members = [*members, twice] if draw(st.booleans()) else [twice, *members]
    before, after = draw(SPACE), draw(SPACE)
    parts = [f"{after}{draw(spelt(name))}{before}:{after}{value}" for name, value in members]
    return "{" + ",".join(parts) + before + "}"


@st.composite
def maps(draw: st.DrawFn) -> str:
    """Return an object of texts; names may be twice by themselves."""
    names = draw(st.lists(NAMES, max_size=3))
    return draw(joined([(name, draw(spelt(draw(TEXTS)))) for name in names]))


@st.composite
def leaves(draw: st.DrawFn) -> str:
    members = {"a": str(draw(st.integers(0, 2))), "b": draw(spelt(draw(TEXTS)))}
    return draw(joined([each for each in members.items() if draw(st.booleans())]))


@st.composite
def trees(draw: st.DrawFn) -> str:
    """Return a body for `Tree`: it fits but for what the texts have in them, and duplicates."""
    several = draw(st.lists(leaves(), max_size=2))
    optional = {
        "leaf": draw(st.one_of(st.just("null"), leaves())),
        "leaves": f"[{','.join(several)}]",
        "final": draw(st.sampled_from(["true", "false"])),
        "valid_s": str(draw(st.integers(4, 6))),
        "limit": draw(st.sampled_from(["null", "0", "7"])),
        "description": draw(spelt(draw(TEXTS))),
        "metadata": draw(maps()),
    }
    members = {"name": draw(spelt(draw(TEXTS))), "labels": draw(maps())}
    members |= {name: value for name, value in optional.items() if draw(st.booleans())}
    return draw(joined(list(members.items())))


COMMANDS = {
    "command": '"capture_authorization"',
    "merchant_no": '"M:1"',
    "hold_no": '"H1"',
    "capture_no": '":"',
    "amount_minor": "5",
}


@st.composite
def commands(draw: st.DrawFn) -> str:
    """Return a tagged command."""
    members = COMMANDS | {"capture_no": draw(st.sampled_from(['"C1"', '"C:1"', '"C\\u003a1"']))}
    if draw(st.booleans()):
        members["final"] = draw(st.sampled_from(["true", "false"]))
    if draw(st.booleans()):
        members["metadata"] = draw(maps())
    return draw(joined(list(members.items())))


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return arrays of these."""
    return st.lists(items, max_size=2).map(lambda each: f"[{' , '.join(each)}]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise KeyError(pairs)
    return dict(pairs)


def _agree(decoder: BodyDecoder[Any], type_: Any, body: bytes) -> None:
    """Hold a decoder to msgspec for the schema and to the standard library for duplicates."""
    try:
        sent = json.loads(body, object_pairs_hook=_unique)
    except KeyError:
        sent = None
    found = decoder.attempt(body)
    if found is None:
        problem = decoder.problem(body, read(body))
        if sent is None:
            # Unless a text that comes before it is blemished, too.
            assert problem.code in {"DUPLICATE_MEMBER", "CONTROL_CHARACTER"}
        else:
            assert problem.code in {"CONTROL_CHARACTER", "INVALID_REQUEST"}
        return
    assert sent is not None, "a member was there twice, and the last of them was taken"
    assert blemish(read(body)) is None
    assert found == msgspec.json.decode(body, type=type_)
    _sent_is_found(sent, msgspec.to_builtins(found))


def _sent_is_found(sent: Any, found: Any) -> None:
    """Whatever was sent is in what was found; what else is there are defaults."""
    if isinstance(sent, dict):
        assert sent.keys() <= found.keys()
        for name, value in sent.items():
            _sent_is_found(value, found[name])
    elif isinstance(sent, list):
        assert len(sent) == len(found)
        for one, other in zip(sent, found, strict=True):
            _sent_is_found(one, other)
    else:
        assert sent == found
        assert type(sent) is type(found)


@given(trees())
def test_object_is_vouched_for_if_and_only_if_no_member_is_twice(body: str) -> None:
    _agree(TREE, Tree, body.encode())


@given(arrays(trees()))
@settings(max_examples=50)
def test_array_is_vouched_for_if_and_only_if_no_member_is_twice(body: str) -> None:
    _agree(TREES, list[Tree], body.encode())


@given(arrays(commands()))
def test_commands_are_vouched_for_if_and_only_if_no_member_is_twice(body: str) -> None:
    _agree(ENTRIES, list[Entry], body.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"","labels":{}}',
        b'{"name":"a:b","labels":{":":":"}}',
        b'{"name":"\\u003a","labels":{"\\u003a":"x"}}',
        b'{"name" : "a : b","labels"\t:\n{}}',
        b'{"name":"","labels":{},"final":false,"valid_s":5,"limit":null,"leaf":null}',
        b'{"name":"","labels":{},"leaf":{"a":0,"b":""},"leaves":[{},{"a":0}]}',
        b'{"name":"\\"name\\":1","labels":{"name":"\\"labels\\":"}}',
    ],
)
def test_body_in_which_no_member_is_twice_is_taken(body: bytes) -> None:
    assert TREE.decode(body) == msgspec.json.decode(body, type=Tree)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a","labels":{},"name":"a"}',
        b'{"name":"\\u003a","labels":{},"labels":{}}',
        b'{"name":"\\u003a:","labels":{},"n\\u0061me":":"}',
        b'{"name":"","labels":{"a":"","a":""}}',
        b'{"name":"","labels":{},"final":true,"final":false}',
        b'{"name":"","labels":{},"final":false,"final":false}',
        b'{"name":"","labels":{},"valid_s":6,"valid_s":5}',
        b'{"name":"","labels":{"a":"1"},"labels":{}}',
        b'{"name":"","labels":{},"leaf":{"a":1,"a":0}}',
        b'{"name":"","labels":{},"leaf":{"a":1},"leaf":null}',
        b'{"name":"","labels":{},"leaves":[{"a":0,"a":0}]}',
    ],
)
def test_member_that_is_twice_is_found_whatever_hides_it(body: bytes) -> None:
    """Colons that are escaped, values that are the default, members of what is written over."""
    with pytest.raises(RequestError) as refused:
        TREE.decode(body)
    assert refused.value.problem.code == "DUPLICATE_MEMBER"


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"a","labels":{}}',
        b'{"name":"\xe8\x8c\xb6","labels":{"k":"v","l":"\\u8336"},"metadata":{"m":"n"}}',
        b'{"name": "a:b", "labels": {"k": "http://x"}, "leaf": {"a": 1, "b": "x:"}}',
        b'{"name":"a","labels":{},"final":false,"valid_s":5,"limit":null}',
        b'{"name":"a","labels":{},"leaves":[{"a":1},{"b":"x"}]}',
    ],
)
def test_ordinary_body_is_vouched_for_without_the_exact_scan(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes ten times as long as everything else."""
    monkeypatch.setattr("gateway.body.read", None)
    assert TREE.attempt(body) is not None
    assert TREES.attempt(b"[" + body + b"," + body + b"]") is not None


def test_ordinary_command_is_vouched_for_by_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.body._BEFORE_COLON", None)
    body = b'{"command":"open_account","account_no":"A1","currency":"USD"}'
    assert ENTRIES.attempt(b"[" + body + b", " + body + b"]") is not None
    body = b'{"name":"a","labels":{"k":"v"},"leaf":{"a":1},"metadata":{"k":"v"}}'
    assert TREES.attempt(b"[" + body + b", " + body + b"]") is not None


def test_tag_that_is_twice_is_found() -> None:
    body = json.dumps({"command": "open_account", "account_no": "A1", "currency": "USD"}).encode()
    assert ENTRY.attempt(body) is not None
    assert ENTRY.attempt(body[:-1] + b',"command":"open_account"}') is None


@pytest.mark.parametrize(
    "text", ["\x00", "\n", "\x7f", "\x85", "\u2028", "\uffff", "e\u0301", "\ud800"]
)
def test_text_without_a_pattern_is_looked_at_all_the_same(text: str) -> None:
    raw = msgspec.json.encode("" if text == "\ud800" else text)
    for spelling in (f'"{_escaped(text)}"'.encode(), raw if raw != b'""' else b'"\xed\xa0\x80"'):
        for body in (b'{"name":%b,"labels":{}}', b'{"name":"","labels":{"k":%b}}'):
            assert TREE.attempt(body % spelling) is None


def test_only_a_text_of_lines_has_line_ends() -> None:
    pem = "-----BEGIN X-----\r\n\tAA==\n-----END X-----\n"
    assert LETTER.decode(json.dumps({"pem": pem, "name": "x"}).encode()) == Letter(pem, "x")
    for pem, name in (("a\n", "b\n"), ("a\x00\n", "b"), ("e\u0301\n", "b")):
        with pytest.raises(RequestError) as refused:
            LETTER.decode(json.dumps({"pem": pem, "name": name}).encode())
        assert refused.value.problem.status == 400
    with pytest.raises(RequestError) as refused:
        LETTER.decode(b'{"pem":"a\\n"}')
    assert refused.value.problem.code == "INVALID_REQUEST", "the line end is none of it"
    with pytest.raises(RequestError) as refused:
        LETTER.decode(b'{"pem":"a\\n","pem":"a\\n","name":"b"}')
    assert refused.value.problem.code == "DUPLICATE_MEMBER"


def test_type_that_is_not_closed_has_no_decoder() -> None:
    class Open(Struct):
        name: str

    class Nested(Struct, forbid_unknown_fields=True):
        labels: dict[str, dict[str, str]]

    class Made(Struct, forbid_unknown_fields=True):
        labels: dict[str, str] = msgspec.field(default_factory=dict)

    for type_ in (Open, Nested, Made, Any):
        with pytest.raises(AssertionError):
            BodyDecoder[Any](type_)
