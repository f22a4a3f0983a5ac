"""The wire connects to what it has judged, and to nothing else; what goes wrong has a name."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from actors.commands import Attempt
from gateway.webhooks import wire as wire_module
from gateway.webhooks.reach import Reach
from gateway.webhooks.target import read_target
from gateway.webhooks.wire import Wire
from tests.gateway.certificates import Signer
from tests.gateway.webhooks.receiver import Receiver, receiving
from tests.gateway.webhooks.shop import LOOPBACK

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


class Names:
    """A resolver that answers as it was told to, one answer after the other, the last for ever.

    Attributes:
        asked: the names that it was asked for.
    """

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise OSError("no such name")
        return list(answer)


async def _post(
    url: str, names: Names, tls: ssl.SSLContext | None = None, allow: Sequence[str] = LOOPBACK
) -> Attempt:
    wire = Wire(read_target(url), Reach(allow), names, tls or ssl.create_default_context())
    try:
        return await wire.post(b"{}", {"content-type": "application/json"})
    finally:
        await wire.aclose()


def _url(receiver: Receiver, host: str) -> str:
    return receiver.url("/hook", host)


async def test_name_is_resolved_once_and_what_was_judged_is_connected_to(tmp_path: Path) -> None:
    """A second answer would be another address; nobody asks for it."""
    signer = Signer(tmp_path)
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with receiving(signer.server()) as receiver:
        attempt = await _post(_url(receiver, "localhost"), names, signer.client())
        assert (attempt.status, attempt.error) == (200, "")
        assert names.asked == ["localhost"]
        assert receiver.taken[0].headers["host"] == f"localhost:{receiver.port}"


async def test_name_that_has_come_to_point_inside_is_refused_when_it_is_connected_to() -> None:
    """Rebinding: public when the webhook was set, and at the first attempt; not at the second."""
    async with receiving() as receiver:
        url = f"https://shop.example:{receiver.port}/"
        reach = Reach()
        target = read_target(url)
        reach.check(target)
        attempt = await _post(url, Names(["127.0.0.1"]), allow=())
        assert (attempt.status, attempt.error) == (0, "ADDRESS_REFUSED")
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["93.184.215.14", "::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
        ["169.254.169.254"],
        ["nonsense"],
    ],
    ids="+".join,
)
async def test_name_with_an_address_that_is_not_public_is_not_connected_to(
    addresses: list[str],
) -> None:
    attempt = await _post("https://shop.example/", Names(addresses), allow=())
    assert attempt.error == "ADDRESS_REFUSED"


async def test_certificate_is_verified_for_the_name_and_not_for_the_address(
    tmp_path: Path,
) -> None:
    """It is one for localhost and 127.0.0.1, by an authority that is believed."""
    signer = Signer(tmp_path)
    async with receiving(signer.server()) as receiver:
        url = _url(receiver, "shop.example")
        attempt = await _post(url, Names(["127.0.0.1"]), signer.client())
        assert (attempt.status, attempt.error) == (0, "TLS")
        assert receiver.taken == []


async def test_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    async with receiving(signer.server()) as receiver:
        attempt = await _post(_url(receiver, "localhost"), Names(["127.0.0.1"]))
        assert (attempt.status, attempt.error) == (0, "TLS")


async def test_handshake_that_does_not_end_is_broken_off_and_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server speaks no TLS and waits for more; a socket left open is a warning, so an error."""
    monkeypatch.setattr(wire_module, "ATTEMPT_S", 0.3)
    async with receiving() as receiver:
        url = f"https://localhost:{receiver.port}/"
        attempt = await _post(url, Names(["127.0.0.1"]), Signer(tmp_path).client())
        assert attempt.error == "TIMEOUT"


async def test_name_that_nobody_knows_is_unresolved() -> None:
    assert (await _post("https://shop.example/", Names([]))).error == "UNRESOLVED"


async def test_address_that_does_not_listen_is_unreachable_and_another_is_tried() -> None:
    async with receiving() as receiver:
        url = f"http://localhost:{receiver.port}/"
        attempt = await _post(url, Names(["127.0.0.2", "127.0.0.1"]))
        assert attempt.status == 200
        assert (await _post(url, Names(["127.0.0.2"]))).error == "UNREACHABLE"


async def test_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1/")
        attempt = await _post(f"http://localhost:{receiver.port}/", Names(["127.0.0.1"]))
        assert attempt.status == 200


async def test_resolver_that_hangs_is_left_by_its_time_out() -> None:
    class Hangs(Names):
        async def __call__(self, host: str, port: int) -> list[str]:
            await trio.sleep_forever()
            return []

    with trio.move_on_after(0.1) as scope:
        await _post("https://shop.example/", Hangs([]))
    assert scope.cancelled_caught
