"""Handshakes over real sockets: who gets a stream, and what everybody else is told."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.server import Serving
from gateway.signatures.keys import PublicKey
from gateway.signatures.profile import read_response, verify_response
from gateway.stream.bounds import StreamBounds
from tests.gateway.desk_client import payment
from tests.gateway.serving import Door, connect, host_of, read_answer, until_closed
from tests.gateway.signed_desk import Signer, new_bank
from tests.gateway.stream.stream_client import (
    as_operator,
    certify,
    refusal,
    shake_hands,
    shop,
    signed,
    streaming,
    upgrade_request,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

MERCHANT = "/v1/merchants/M1/certificates"


def _asked(running: Serving, target: str = "/v1/stream", called: bytes = b"", **how: Any) -> bytes:
    return upgrade_request(called or host_of(running), target, **how)


async def test_answer_proves_that_the_handshake_was_understood(tmp_path: Path, door: Door) -> None:
    """With the example of RFC 6455, section 1.3; of what is offered the one that is known."""
    async with (
        shop(tmp_path, door=door) as running,
        streaming(
            running,
            sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
            sec_websocket_protocol="chat, piaohao.v1.json,superchat",
            sec_websocket_extensions="permessage-deflate; client_max_window_bits",
            connection="keep-alive, Upgrade",
            upgrade="WebSocket",
        ) as client,
    ):
        headers = client.head.headers
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert headers["sec-websocket-protocol"] == "piaohao.v1.json"
        assert headers["connection"] == "Upgrade"
        assert "sec-websocket-extensions" not in headers
        assert "content-length" not in headers
        assert (await client.errand("1", payment("O1")))["status"] == 201


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "version": ({"sec_websocket_version": "8"}, 426, "UPGRADE_REQUIRED"),
    "no version": ({"sec_websocket_version": None}, 426, "UPGRADE_REQUIRED"),
    "connection": ({"connection": "keep-alive"}, 426, "UPGRADE_REQUIRED"),
    "no key": ({"sec_websocket_key": None}, 400, "HANDSHAKE_REFUSED"),
    "short key": ({"sec_websocket_key": "AAAA"}, 400, "HANDSHAKE_REFUSED"),
    "key that is no base64": ({"sec_websocket_key": "!" * 24}, 400, "HANDSHAKE_REFUSED"),
    "two keys": (
        {"headers": [("sec-websocket-key", base64.b64encode(b"x" * 16).decode())]},
        400,
        "HANDSHAKE_REFUSED",
    ),
    "no subprotocol": ({"sec_websocket_protocol": None}, 400, "HANDSHAKE_REFUSED"),
    "other subprotocol": ({"sec_websocket_protocol": "chat"}, 400, "HANDSHAKE_REFUSED"),
    "page of another site": ({"origin": "https://evil.example"}, 400, "HANDSHAKE_REFUSED"),
    "time": ({"headers": [("request-timeout-s", "61")]}, 422, "INVALID_REQUEST"),
    "parameter": ({"target": "/v1/stream?from=1"}, 422, "INVALID_REQUEST"),
    "no such merchant": ({"target": "/v1/stream?merchant_no=M9"}, 404, "MERCHANT_NOT_FOUND"),
    "query": ({"target": "/v1/stream?merchant_no=%zz"}, 400, "MALFORMED_QUERY"),
    "somebody else": ({"called": b"elsewhere"}, 421, "MISDIRECTED_REQUEST"),
}


async def test_bad_handshake_is_told_what_is_wrong(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running:
        for case, (changes, status, code) in BAD.items():
            answer = await refusal(running, _asked(running, **changes))
            assert (answer.status, answer.code) == (status, code), case
            if status == 426:
                assert answer.headers["upgrade"] == "websocket"
                assert answer.headers["sec-websocket-version"] == "13"


async def test_what_is_no_handshake_stays_a_request(tmp_path: Path, door: Door) -> None:
    """Another path, method, version or protocol: answered as if no upgrade had been asked for."""
    missing = 421 if door == "express" else 404  # whose table is short
    async with shop(tmp_path, door=door) as running:
        get = _asked(running)
        for request, status in [
            (_asked(running, upgrade="h2c"), 426),
            (_asked(running, upgrade=None), 426),
            (get.replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
            (get.replace(b"GET", b"POST"), 405),
            (get.replace(b"/v1/stream", b"/v1/streams"), missing),
            (_asked(running, "/v1/payments/M1/O1"), 404),
        ]:
            async with await connect(running) as stream:
                await stream.send_all(request)
                assert (await read_answer(stream)).status == status, request


@pytest.mark.parametrize("early", [b"\x00", b"GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_byte_after_a_handshake_is_refused_with_it(
    early: bytes, tmp_path: Path, door: Door
) -> None:
    """Stock Hypercorn's process ends of the first; the second would be smuggled past a proxy."""
    async with shop(tmp_path, door=door) as running:
        for _ in range(3):
            async with await connect(running) as stream:
                await stream.send_all(_asked(running) + early)
                answer = await until_closed(stream)
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert answer.count(b"HTTP/1.1 ") == 1
                assert b"HANDSHAKE_REFUSED" in answer
        async with streaming(running) as client:
            assert (await client.errand("1", payment("O1")))["status"] == 201


async def test_requests_before_a_handshake_are_answered_first(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, await connect(running) as stream:
        first = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: %b\r\n\r\n" % host_of(running)
        await stream.send_all(first * 2 + _asked(running))
        received = b""
        with trio.fail_after(20):
            while b"sec-websocket-accept" not in received:
                received += await stream.receive_some()
        assert [received.count(each) for each in (b" 404 ", b" 101 ")] == [2, 1]
        assert received.index(b" 404 ") < received.index(b" 101 ")


async def test_streams_are_counted_and_their_places_given_back(tmp_path: Path, door: Door) -> None:
    bounds = StreamBounds(streams_max=3, streams_per_merchant=2)
    keys = new_bank(tmp_path / "keys")
    async with shop(tmp_path / "bank", keys=keys, stream_bounds=bounds, door=door) as running:
        await as_operator(running, "/v1/merchants", {"merchant_no": "M2", "currency": "USD"})
        m1 = await certify(running, MERCHANT)
        m2 = await certify(running, "/v1/merchants/M2/certificates")

        async def refused(signer: Signer) -> tuple[int, str]:
            answer = await refusal(running, _asked(running, headers=signed(running, signer)))
            assert int(answer.headers["retry-after"]) >= 1
            return answer.status, answer.code

        for _ in range(2):
            async with (
                streaming(running, "/v1/stream", headers=signed(running, m1)),
                streaming(running, "/v1/stream", headers=signed(running, m1)),
            ):
                assert await refused(m1) == (429, "TOO_MANY_STREAMS")
                async with streaming(running, "/v1/stream", headers=signed(running, m2)):
                    assert await refused(m2) == (503, "NODE_BUSY")
            with trio.fail_after(20):
                while (await _status(running, m1)) != 101:
                    pass  # the node has not seen yet that the others have left


async def _status(running: Serving, signer: Signer) -> int:
    async with await connect(running) as stream:
        request = _asked(running, headers=signed(running, signer))
        return (await shake_hands(stream, request))[0].status


async def test_signed_node_knows_whose_stream_it_is(tmp_path: Path, door: Door) -> None:
    keys = new_bank(tmp_path / "keys")
    async with shop(tmp_path / "bank", keys=keys, door=door) as running:
        await as_operator(running, "/v1/merchants", {"merchant_no": "M2", "currency": "USD"})
        m1 = await certify(running, MERCHANT)
        headers = signed(running, m1)
        page = "https://page.example"  # where requests are signed, whose it is does not count
        async with streaming(running, "/v1/stream", headers=headers, origin=page) as client:
            got = client.head.headers
            answered = read_response(got["signature-input"], got["signature"])
            verify_response(
                PublicKey(keys.signing.key.public_key()),
                answered,
                status=101,
                content_digest=got["content-digest"],
                body=b"",
                now=time.time(),
                request_signature=dict(headers)["signature"],
            )
            assert (await client.errand("1", payment("O1")))["status"] == 201
            other = await client.errand("2", payment("O1", merchant_no="M2"))
            assert (other["status"], other["body"]["code"]) == (404, "MERCHANT_NOT_FOUND")
            bank = {"command": "open_account", "account_no": "A2", "currency": "USD"}
            answer = await client.errand("3", bank)
            assert (answer["status"], answer["body"]["code"]) == (403, "NOT_FOR_MERCHANTS")
            await client.send({"resume": 0})
            await client.until(lambda: client.events)
            assert client.sequences == [1]

            again = await refusal(running, _asked(running, headers=headers))
            assert (again.status, again.code) == (401, "NONCE_USED")
            target = "/v1/stream?merchant_no=M2"
            theirs = await refusal(
                running, _asked(running, target, headers=signed(running, m1, target))
            )
            assert (theirs.status, theirs.code) == (404, "MERCHANT_NOT_FOUND")
            moved = await refusal(running, _asked(running, target, headers=signed(running, m1)))
            assert (moved.status, moved.code) == (401, "SIGNATURE_WRONG")
            stranger = await refusal(running, _asked(running))
            assert (stranger.status, stranger.code) == (401, "SIGNATURE_MISSING")
            assert "accept-signature" in stranger.headers


async def test_bank_may_order_everything_and_follow_whom_it_names(
    tmp_path: Path, door: Door
) -> None:
    keys = new_bank(tmp_path / "keys")
    async with shop(tmp_path / "bank", keys=keys, door=door) as running:
        core = await certify(running, "/v1/bank/certificates", "core")
        target = "/v1/stream?merchant_no=M1"
        async with streaming(running, target, headers=signed(running, core, target)) as client:
            opened = {"command": "open_account", "account_no": "A2", "currency": "USD"}
            assert (await client.errand("1", opened))["status"] == 201
            await client.send({"resume": 0})
            assert (await client.errand("2", payment("O1")))["status"] == 201
            await client.until(lambda: client.events)
        async with streaming(running, "/v1/stream", headers=signed(running, core)) as client:
            await client.send({"resume": 0})
            assert (await client.closed())[0] == 4400


async def test_merchant_that_asks_too_often_is_told_in_each_answer(
    tmp_path: Path, door: Door
) -> None:
    """A message counts as a request, as the handshake does."""
    keys = new_bank(tmp_path / "keys")
    async with shop(tmp_path / "bank", keys=keys, rate_per_s=3.0, door=door) as running:
        m1 = await certify(running, MERCHANT)
        async with streaming(running, "/v1/stream", headers=signed(running, m1)) as client:
            for name in "abc":
                await client.send([{"id": f"{name}{n}", "do": payment(f"{name}{n}")} for n in "12"])
            answers = [await client.answer(f"{name}{n}") for name in "abc" for n in "12"]
            assert [each["status"] for each in answers] == [201] * 4 + [429] * 2
            assert answers[-1]["body"]["code"] == "RATE_LIMITED"
            assert answers[-1]["body"]["retry_after_s"] == 1
            # It is not heard before that time, and then it is.
            assert (await client.errand("d", payment("d")))["status"] == 201
