"""docs/STREAM.md says what the code does: its handshake, its messages, its codes."""

import re
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import sign_request
from gateway.stream.bounds import COMMANDS_MAX, MESSAGE_BYTES, StreamBounds
from gateway.stream.closing import Close, CloseCode, Flush
from gateway.stream.handshake import accepted
from gateway.stream.messages import Errands, Resume, read_message

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"
PAGE: Final = (DOCS / "STREAM.md").read_text("utf-8")
LEAVE: Final = {
    "nothing": Flush.NOTHING,
    "answers that are ready": Flush.READY,
    "the answers to all that was begun": Flush.ALL,
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def _headers(block: str) -> dict[str, str]:
    lines = block.replace("\n ", "").splitlines()[1:]
    return dict(line.split(": ", 1) for line in lines)


def test_handshake_is_signed_and_accepted_as_shown() -> None:
    asked, answered = map(_headers, _blocks("text"))
    found = re.search(
        r"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n",
        (DOCS / "SIGNATURES.md").read_text("utf-8"),
        re.DOTALL,
    )
    assert found is not None
    signed = sign_request(
        PrivateKey(load_pem_private_key(found[0].encode(), None)),
        "3b7c2f9e41d8a605",
        method="GET",
        authority=asked["host"],
        path="/v1/stream",
        query="",
        body=b"",
        created=1_767_600_000,
        nonce="6mT2pXkQwYb8vR4nZs1c9A",
        scheme="https",
    )
    assert {name.lower(): value for name, value in signed.items()}.items() <= asked.items()
    assert accepted(asked).items() <= answered.items()


def test_messages_of_a_client_are_messages() -> None:
    single, array, resume, answers, events = _blocks("json")
    one, two = read_message(single.encode()), read_message(array.encode())
    assert isinstance(one, Errands)
    assert isinstance(two, Errands)
    assert (one.ids, two.ids) == (("a1",), ["a2", "a3"])
    assert read_message(resume.encode()) == Resume(1_041)
    assert set(msgspec.json.decode(answers)) == {"answers"}
    assert set(msgspec.json.decode(events)) == {"events", "newest"}


def test_table_of_codes_is_the_codes_there_are() -> None:
    rows = re.findall(r"^\| ([0-9]{4}) \| ([A-Z0-9_]+) \| .+ \| (.+) \| .+ \|$", PAGE, re.MULTILINE)
    found = [(int(code), name, LEAVE[leave]) for code, name, leave in rows]
    assert found == [(code.value, code.name, Close(code).flush) for code in CloseCode]


def test_bounds_are_those_that_it_names() -> None:
    bounds = StreamBounds()
    for figure in (
        f"Past {bounds.window:,} commands",
        f"1 to {COMMANDS_MAX:,} errands",
        f"longer than {MESSAGE_BYTES >> 20} MiB",
        f"at most {bounds.events_per_page} a message",
        f"has {bounds.message_s:g} s from its first byte",
        f"nothing for {bounds.ping_s:g} s gets a ping",
        f"has {bounds.pong_s:g} s to say something",
        f"within {bounds.send_s:g} s each",
        f"{bounds.controls_at_once} in a row and one a second",
        f"{bounds.fragments_max:,} fragments at most",
        f"closes the connection within {bounds.linger_s:g} s",
        f"a merchant that has {bounds.streams_per_merchant} streams",
    ):
        assert figure in " ".join(PAGE.split()), figure
