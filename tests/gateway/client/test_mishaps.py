"""What goes wrong on the way: cut connections, lost answers, a busy bank. Nothing happens twice."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.client import (
    BusyError,
    OutcomeUnknownError,
    RefusedError,
    Terms,
    UnreachableError,
)
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Answer, Mishap, fronting
from tests.gateway.client.hands import BRIEF, KINDS, PAYMENT, hand, open_business
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard

BANK = Bank()
IDENTITY = BANK.certify("M1")
PAY = "POST /v1/payments"
LOOK = "GET /v1/payments/M1/O1"


def problem(status: int, code: str, **members: Any) -> tuple[int, bytes]:
    """Return an answer that the bank might give."""
    body = {"type": "about:blank", "title": code.lower(), "status": status, "code": code}
    return status, msgspec.json.encode(body | members)


def by_a_proxy(answer: Answer) -> None:
    """Put what a proxy says in the place of an answer: in HTML, and unsigned."""
    answer.status, answer.headers, answer.body = 502, {}, b"<html>Bad gateway</html>"


MISHAPS: dict[str, list[Mishap]] = {
    "cut before the request was read": [Mishap(unread=True)],
    "answer lost after the commit": [Mishap(unheard=True)],
    "both, again and again": [Mishap(unread=True), Mishap(unheard=True)] * 2,
    "answer too late": [Mishap(late_s=0.6)],
    "node busy": [Mishap(instead=problem(503, "NODE_BUSY", retry_after_s=0))] * 2,
    "node busy, said before it knows whose request it is": [
        Mishap(instead=problem(503, "NODE_BUSY", retry_after_s=0), loose=True)
    ],
    "merchant busy": [Mishap(instead=problem(429, "ACTOR_BUSY"))],
    "deadline passed": [Mishap(instead=problem(504, "TIMEOUT"))],
    "another operation under way": [Mishap(instead=problem(409, "IN_FLIGHT"))],
    "a proxy that has lost its bank": [Mishap(tampered=by_a_proxy)],
}


@pytest.mark.parametrize("kind", KINDS)
async def test_payment_comes_through_whatever_happens_and_only_once(
    tmp_path: Path, kind: str
) -> None:
    terms = Terms(patience_s=10, try_s=0.4, pause_s=0.001, pause_max_s=0.01)
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand(kind, front.address, IDENTITY, BANK.root_pem, terms) as one:
            for number, (name, mishaps) in enumerate(MISHAPS.items()):
                front.targets.clear()
                front.mishaps.extend(mishaps)
                paid = await one.do("pay", f"O{number}", **PAYMENT)
                assert (paid.order_no, paid.state) == (f"O{number}", "SUCCEEDED"), name
                assert front.targets.count(PAY) == len(mishaps) + 1, name
            payments = await one.do("payments")
            assert len(payments) == len(MISHAPS)
            assert (await one.do("balance")).posted_minor == len(MISHAPS) * (2_599 - 10)
            assert len(set(front.nonces)) == len(front.nonces), "a try used the nonce of another"


async def test_unknown_outcome_is_looked_up_until_it_is_settled(tmp_path: Path) -> None:
    """Then the same command gets the first outcome; one that is not there is sent again."""
    unknown = Mishap(instead=problem(504, "OUTCOME_UNKNOWN"))
    under_way = Mishap(instead=(200, b'{"object":"payment","state":"PROCESSING"}'))
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem) as one:
            front.mishaps.extend([unknown, under_way, Mishap(unread=True), under_way])
            paid = await one.do("pay", "O1", **PAYMENT)
            asked = [each for each in front.targets if "certificates" not in each]
            assert asked == [PAY, LOOK, LOOK, LOOK, LOOK, PAY]
            assert paid.state == "SUCCEEDED"


async def test_number_used_for_something_else_is_told_after_a_lost_answer(tmp_path: Path) -> None:
    """A look by number would have shown the other payment as if it were this one."""
    async with serving(tmp_path) as node, fronting(node.address, None) as front:
        await open_business(node.address)
        async with hand("awaited", front.address) as one:
            await one.do("pay", "O1", **PAYMENT)
            unknown = Mishap(instead=problem(504, "OUTCOME_UNKNOWN"))
            for mishap in (Mishap(unheard=True), unknown):
                front.mishaps.append(mishap)
                with pytest.raises(RefusedError) as caught:
                    await one.do("pay", "O1", **PAYMENT | {"amount_minor": 1})
                assert caught.value.code == "NUMBER_USED"


async def test_end_of_patience_says_what_is_known(tmp_path: Path) -> None:
    """Unreachable or busy only where nothing can have happened."""
    busy = Mishap(instead=problem(503, "NODE_BUSY", retry_after_s=0))
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand("blocking", front.address, IDENTITY, BANK.root_pem, BRIEF) as one:
            front.mishaps.extend([busy] * 1_000)
            with pytest.raises(BusyError) as caught:
                await one.do("pay", "O1", **PAYMENT)
            assert caught.value.code == "NODE_BUSY"
            front.mishaps.extend([Mishap(unheard=True)])
            front.mishaps.rotate(1)
            with pytest.raises(OutcomeUnknownError):
                await one.do("pay", "O1", **PAYMENT)
            front.mishaps.clear()
            front.mishaps.extend([Mishap(unread=True)] * 1_000)
            with pytest.raises(UnreachableError):
                await one.do("get_payment", "O1")
            front.mishaps.clear()
            assert (await one.do("get_payment", "O1")).state == "SUCCEEDED"
            # Told to come later than patience lasts, nobody waits.
            front.mishaps.append(Mishap(instead=problem(503, "DISK_NEARLY_FULL", retry_after_s=10)))
            with pytest.raises(BusyError) as caught, trio.fail_after(5):
                await one.do("pay", "O2", **PAYMENT)
            assert caught.value.retry_after_s == 10


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_there_is_unreachable(kind: str) -> None:
    """Nothing was sent, so nothing can have happened."""
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        async with hand(kind, f"http://127.0.0.1:{port}", terms=BRIEF) as one:
            with pytest.raises(UnreachableError, match=r"POST /v1/payments: ConnectError"):
                await one.do("pay", "O1", **PAYMENT)


@pytest.mark.parametrize("kind", KINDS)
async def test_endless_answer_is_given_up(kind: str) -> None:
    """Byte by byte it would come in time each time: the whole of it has to."""

    async def drip(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            try:
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(0.01)
            except trio.BrokenResourceError:
                pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, drip, 0)
        port = listeners[0].socket.getsockname()[1]
        async with hand(kind, f"http://127.0.0.1:{port}", terms=BRIEF) as one:
            with pytest.raises(OutcomeUnknownError), trio.fail_after(5):
                await one.do("pay", "O1", **PAYMENT)
        nursery.cancel_scope.cancel()


async def test_array_is_sent_again_until_nothing_of_it_is_put_off(tmp_path: Path) -> None:
    """Lost or put off, it keeps its order, and is carried out once."""
    put_off = [
        {"status": 201, "body": {}},
        {"status": 503, "body": {"code": "NODE_BUSY", "retry_after_s": 0}},
    ]
    half = Mishap(instead=(200, msgspec.json.encode(put_off)))
    async with serving(tmp_path) as node, fronting(node.address, BANK, IDENTITY) as front:
        await open_business(node.address)
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem) as one:
            front.mishaps.extend([Mishap(unheard=True), half, Mishap(unread=True)])
            calls = one.client.calls
            commands = [
                calls.authorize("H1", **PAYMENT),
                calls.capture("H1", "C1", amount_minor=2_599),
            ]
            held, captured = await one.do("batch", commands)
            assert (held.hold_no, captured.hold_state) == ("H1", "CAPTURED")
            assert front.targets.count("POST /v1/commands") == 4
            assert (await one.do("balance")).posted_minor == 2_599 - 10
        async with hand("awaited", front.address, IDENTITY, BANK.root_pem, BRIEF) as one:
            front.mishaps.extend([half] * 1_000)
            outcomes = await one.do("batch", commands)
            assert isinstance(outcomes[1], BusyError)
            front.mishaps.extend([half] * 1_000)
            with pytest.raises(BusyError):
                await one.do("send_array", b"[]")
            front.mishaps.clear()
            front.mishaps.extend([Mishap(unread=True)] * 1_000)
            many = [calls.pay(f"O{number}", **PAYMENT) for number in range(1_500)]
            lost = await one.do("batch", many)
            assert len(lost) == 1_500
            assert {type(each) for each in lost[:1_000]} == {OutcomeUnknownError}
            assert {type(each) for each in lost[1_000:]} == {UnreachableError}, "never sent"
            assert front.mishaps, "the second array was not sent"


async def test_cancelled_command_is_left_to_the_bank(tmp_path: Path) -> None:
    """Who leaves gives up the answer, not the payment; the client goes on to be of use."""
    async with serving(tmp_path) as node, fronting(node.address, None) as front:
        await open_business(node.address)
        async with hand("awaited", front.address) as one:
            front.mishaps.append(Mishap(late_s=30))
            with trio.move_on_after(0.2) as scope:
                await one.do("pay", "O1", **PAYMENT)
            assert scope.cancelled_caught
            assert (await one.do("pay", "O1", **PAYMENT)).state == "SUCCEEDED"
            assert len(await one.do("payments")) == 1
