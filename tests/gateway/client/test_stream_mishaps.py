"""Streams that are forged, cut, closed or out of order: what the client believes and does then."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from gateway.client import (
    AsyncClient,
    BrokenSequenceError,
    BusyError,
    OutcomeUnknownError,
    RefusedError,
    Stream,
    StreamEndedError,
    Terms,
    UnreachableError,
    UnreadableAnswerError,
    UntrustedAnswerError,
)
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Answer
from tests.gateway.client.hands import PAYMENT, QUICK
from tests.gateway.client.pretender import Pretender, Script, Talk, hang, leave, pretending
from tests.gateway.client.test_mishaps import problem

pytestmark = pytest.mark.one_shard

BANK = Bank()
IDENTITY = BANK.certify("M1")
OTHER = Bank("Bank of Others")
SOON = Terms(patience_s=1, try_s=2, pause_s=0.001, pause_max_s=0.1)
"""Gives up soon, but gives a busy machine its time."""
FINAL = (1002, 1003, 1007, 1009, 4400, 4401, 4409)
PASSING = (1001, 1006, 1008, 1011, 4408)


@asynccontextmanager
async def streaming(
    *scripts: Script, bank: Bank | None = None, terms: Terms = QUICK, **options: Any
) -> AsyncIterator[tuple[Pretender, Stream]]:
    """Have a stream of M1's to a pretender, that is not a bank unless it is given one."""
    async with pretending(bank, *scripts, **options) as pretender:
        who: dict[str, Any] = {"merchant_no": "M1"}
        if bank is not None:
            who = {"identity": IDENTITY, "root": BANK.root_pem}
        client = AsyncClient(pretender.address, **who, terms=terms)
        async with client as connected, connected.stream() as stream:
            with trio.fail_after(30):
                yield pretender, stream


async def _three(talk: Talk) -> None:
    assert await talk.hear() == {"resume": 0}
    await talk.events(1, 2, 3)
    await hang(talk)


async def _refuse_all(talk: Talk) -> None:
    """Answer to every errand: there is no such payer."""
    while True:
        errands = await talk.hear()
        for errand in errands if isinstance(errands, list) else [errands]:
            status, body = problem(404, "ACCOUNT_NOT_FOUND")
            answer = {"id": errand["id"], "status": status, "body": msgspec.Raw(body)}
            await talk.say({"answers": [answer]})


def _stripped(answer: Answer) -> None:
    for name in ("signature", "signature-input", "content-digest"):
        answer.headers.pop(name, None)


def _other_signature(answer: Answer) -> None:
    text = answer.headers["signature"]
    answer.headers["signature"] = text[:8] + ("A" if text[8] != "A" else "B") + text[9:]


def _unbound(answer: Answer) -> None:
    text = answer.headers["signature-input"]
    answer.headers["signature-input"] = text.replace(' "signature";req;key="sig1"', "")


async def _handed_out(stream: Stream, count: int) -> list[int]:
    events = stream.events()
    return [(await anext(events)).sequence for _ in range(count)]


async def test_handshake_that_the_bank_has_signed_is_believed() -> None:
    """The control for all that follows; each handshake has a nonce of its own."""
    async with streaming(_three, bank=BANK) as (pretender, stream):
        assert await _handed_out(stream, 3) == [1, 2, 3]
        assert await _handed_out(stream, 1) == [1]
        assert len(set(pretender.nonces)) == 2


@pytest.mark.parametrize("forge", [_stripped, _other_signature, _unbound])
async def test_forged_answer_to_the_handshake_is_not_believed(
    forge: Callable[[Answer], None],
) -> None:
    """Not by who listens, not by who has a command, and neither of them comes again."""
    heard: list[Any] = []

    async def hear(talk: Talk) -> None:
        heard.append(await talk.hear())

    async with streaming(hear, bank=BANK) as (pretender, stream):
        pretender.tampered = forge
        with pytest.raises(UntrustedAnswerError):
            await anext(stream.events())
        with pytest.raises(UntrustedAnswerError):
            await stream.pay("O1", **PAYMENT)
        assert len(pretender.nonces) == 2
        assert heard == []


async def test_answer_to_another_handshake_is_not_believed() -> None:
    async with streaming(_three, bank=BANK) as (pretender, stream):
        await _handed_out(stream, 1)
        pretender.bound_to = pretender.signatures[0]
        with pytest.raises(UntrustedAnswerError):
            await anext(stream.events())


async def test_other_bank_and_a_merchants_key_do_not_pass_for_the_bank() -> None:
    async with streaming(_three, bank=OTHER) as (_, stream):
        with pytest.raises(UntrustedAnswerError, match="a key that is not the bank's"):
            await anext(stream.events())
    thief = Bank()
    thief.key, thief.keyid = IDENTITY.key, IDENTITY.keyid
    async with streaming(_three, bank=thief) as (_, stream):
        with pytest.raises(UntrustedAnswerError, match="a key that is not the bank's"):
            await anext(stream.events())


async def test_stranger_by_its_tls_certificate_is_told_nothing(tmp_path: Path) -> None:
    tls: ssl.SSLContext = OTHER.tls(tmp_path)
    terms = Terms(patience_s=60)
    async with streaming(_three, bank=BANK, terms=terms, tls=tls) as (pretender, stream):
        with pytest.raises(UntrustedAnswerError, match="issuer certificate"):
            await anext(stream.events())
        with pytest.raises(UntrustedAnswerError, match="issuer certificate"):
            await stream.pay("O1", **PAYMENT)
        assert pretender.nonces == []


async def test_stream_goes_over_the_banks_own_tls(tmp_path: Path) -> None:
    async with streaming(_three, bank=BANK, tls=BANK.tls(tmp_path)) as (_, stream):
        assert await _handed_out(stream, 3) == [1, 2, 3]


async def test_refused_handshake_is_raised_as_the_bank_signed_it() -> None:
    async with streaming(_three, bank=BANK) as (pretender, stream):
        pretender.instead = [problem(401, "SIGNER_REVOKED")] * 2
        with pytest.raises(RefusedError) as caught:
            await stream.pay("O1", **PAYMENT)
        assert (caught.value.status, caught.value.code) == (401, "SIGNER_REVOKED")
        with pytest.raises(RefusedError):
            await anext(stream.events())


async def test_busy_bank_is_asked_again_and_so_is_who_is_not_the_bank() -> None:
    """A proxy's 502 has no signature: it says nothing about the bank."""
    async with streaming(_three) as (pretender, stream):
        pretender.instead = [problem(503, "NODE_BUSY"), problem(429, "TOO_MANY_STREAMS")]
        assert await _handed_out(stream, 1) == [1]
    async with streaming(_three, bank=BANK) as (pretender, stream):
        pretender.instead = [(502, b"<html>Bad gateway</html>")]
        pretender.tampered = lambda answer: _stripped(answer) if answer.status == 502 else None
        assert await _handed_out(stream, 1) == [1]
    async with streaming(_three, terms=SOON) as (pretender, stream):
        pretender.instead = [problem(503, "NODE_BUSY")] * 1_000
        with pytest.raises(BusyError):
            await anext(stream.events())
        with pytest.raises(BusyError):
            await stream.pay("O1", **PAYMENT)


async def test_answer_that_makes_no_stream_of_this_protocol_is_not_read_on() -> None:
    def without_protocol(answer: Answer) -> None:
        answer.headers.pop("sec-websocket-protocol", None)

    async with streaming(_three) as (pretender, stream):
        pretender.instead = [(200, b"{}")]
        with pytest.raises(UnreadableAnswerError):
            await anext(stream.events())
        pretender.tampered = without_protocol
        with pytest.raises(UnreadableAnswerError):
            await anext(stream.events())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00\xff\x16\x03\x01 what is this\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: AAAA\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 1000\r\n\r\nbut less",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (1 << 20),
    ],
)
async def test_answer_that_is_no_websockets_counts_as_none(head: bytes) -> None:
    """Nobody waits for more of it, patience ends, and what is raised is the client's own."""
    tries: list[trio.SocketStream] = []

    async def serve(stream: trio.SocketStream) -> None:
        tries.append(stream)
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some()
                await stream.send_all(head)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        address = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        client = AsyncClient(address, merchant_no="M1", terms=SOON)
        async with client as bank, bank.stream() as stream:
            with trio.fail_after(20):
                with pytest.raises(UnreachableError):
                    await anext(stream.events())
                with pytest.raises(UnreachableError):
                    await stream.pay("O1", **PAYMENT)
        assert len(tries) > 4
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("sequences", "came"), [((1, 2, 4, 5), 4), ((1, 2, 2), 2), ((1, 2, 1), 1)])
async def test_event_that_is_missing_or_comes_twice_is_an_error(
    sequences: tuple[int, ...], came: int
) -> None:
    async def skip(talk: Talk) -> None:
        await talk.hear()
        await talk.events(1, 2)
        await talk.events(*sequences[2:])
        await hang(talk)

    async with streaming(skip) as (_, stream):
        events = stream.events()
        assert [(await anext(events)).sequence for _ in range(2)] == [1, 2]
        with pytest.raises(BrokenSequenceError) as caught:
            await anext(events)
        assert (caught.value.expected, caught.value.came) == (3, came)
        assert events.after == 2


@pytest.mark.parametrize("code", PASSING)
async def test_listener_resumes_after_the_last_event_it_has_handed_out(code: int) -> None:
    async def break_off(talk: Talk) -> None:
        await talk.hear()
        await talk.events(1, 2)
        await talk.close(code)

    async def cut_in_a_frame(talk: Talk) -> None:
        assert await talk.hear() == {"resume": 2}
        await talk.stream.send_all(b"\x81\x7d{")

    async def go_on(talk: Talk) -> None:
        assert await talk.hear() == {"resume": 2}
        await talk.events(3)
        await hang(talk)

    async with streaming(break_off, cut_in_a_frame, leave, go_on, bank=BANK) as (pretender, stream):
        assert await _handed_out(stream, 3) == [1, 2, 3]
        assert len(set(pretender.nonces)) == 4


@pytest.mark.parametrize("code", FINAL)
async def test_code_that_says_not_to_come_again_is_raised(code: int) -> None:
    async def close(talk: Talk) -> None:
        await talk.hear()
        await talk.close(code)

    async with streaming(close) as (pretender, stream):
        with pytest.raises(StreamEndedError) as caught:
            await anext(stream.events())
        assert (caught.value.close_code, caught.value.reason) == (code, "so it is")
        with pytest.raises(OutcomeUnknownError) as unknown:
            await stream.pay("O1", **PAYMENT)
        assert isinstance(unknown.value.__cause__, StreamEndedError)
        assert len(pretender.nonces) == 2


async def test_command_without_an_answer_is_given_again_under_its_number() -> None:
    given: list[Any] = []

    async def keep(talk: Talk) -> None:
        given.append(await talk.hear())

    async def answer_another(talk: Talk) -> None:
        given.append(await talk.hear())
        await talk.say({"answers": [{"id": "mine", "status": 201, "body": {}}]})
        await hang(talk)

    async def answer(talk: Talk) -> None:
        errand = await talk.hear()
        given.append(errand)
        status, body = problem(422, "INSUFFICIENT_FUNDS")
        await talk.say(
            {"answers": [{"id": errand["id"], "status": status, "body": msgspec.Raw(body)}]}
        )
        await hang(talk)

    async with streaming(keep, answer_another, leave, answer) as (_, stream):
        with pytest.raises(Exception, match="INSUFFICIENT_FUNDS"):
            await stream.pay("O1", **PAYMENT)
        assert len({each["id"] for each in given}) == 3
        assert given[0]["do"] == given[1]["do"] == given[2]["do"]
        assert given[0]["do"] == {
            "command": "create_payment",
            "merchant_no": "M1",
            "order_no": "O1",
            **PAYMENT,
        }


async def test_command_that_may_have_arrived_is_never_taken_for_failed() -> None:
    """Unlike one of which no byte has left."""

    async def keep(talk: Talk) -> None:
        await talk.hear()

    async with streaming(keep, leave, terms=SOON) as (_, stream):
        with pytest.raises(OutcomeUnknownError):
            await stream.pay("O1", **PAYMENT)
    async with streaming(hang, terms=SOON) as (_, stream):
        with pytest.raises(OutcomeUnknownError):
            await stream.pay("O1", **PAYMENT)
    client = AsyncClient("http://127.0.0.1:9", merchant_no="M1", terms=SOON)
    async with client as bank, bank.stream() as stream:
        with pytest.raises(UnreachableError):
            await stream.pay("O1", **PAYMENT)
        with pytest.raises(UnreachableError):
            await anext(stream.events())


async def test_listener_may_hear_nothing_for_longer_than_its_patience() -> None:
    """Patience is for connections that are not to be had, not for a bank where nothing happens."""

    async def close_late(talk: Talk) -> None:
        await talk.hear()
        await trio.sleep(SOON.patience_s * 1.5)

    async with streaming(close_late, _three, terms=SOON) as (_, stream):
        assert await _handed_out(stream, 1) == [1]


async def test_tasks_that_use_a_stream_while_it_is_closed_are_told() -> None:
    errors: list[str] = []

    async def pay(stream: Stream) -> None:
        with pytest.raises(OutcomeUnknownError) as caught:
            await stream.pay("O1", **PAYMENT)
        errors.append(f"{caught.value.__cause__}")

    async def listen(stream: Stream) -> None:
        with pytest.raises(UnreachableError) as caught:
            await anext(stream.events())
        errors.append(f"{caught.value}")

    ordered, listening = trio.Event(), trio.Event()

    async def hear(talk: Talk) -> None:
        (listening if "resume" in await talk.hear() else ordered).set()
        await talk.stream.receive_some()

    async with pretending(None, hear) as pretender, trio.open_nursery() as nursery:
        client = AsyncClient(pretender.address, merchant_no="M1", terms=QUICK)
        async with client as bank, bank.stream() as stream:
            nursery.start_soon(pay, stream)
            nursery.start_soon(listen, stream)
            await ordered.wait()
            await listening.wait()
    assert len(errors) == 2
    assert all("closed" in each for each in errors)


@pytest.mark.parametrize("moment", ["pause", "dialling"])
async def test_listener_that_has_no_connection_is_told_of_the_streams_end(moment: str) -> None:
    """At once, and as of any other loss, also between two tries and while one is being made."""
    with ExitStack() as sockets:
        socket = sockets.enter_context(trio.socket.socket())
        await socket.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{socket.getsockname()[1]}"  # refuses, as nobody listens
        if moment == "dialling":
            socket.listen()
            address = address.replace("http", "https")
        terms = Terms(pause_s=0.3, pause_max_s=0.3)
        client = AsyncClient(address, merchant_no="M1", terms=terms)

        async def listen(stream: Stream) -> None:
            with pytest.raises(UnreachableError, match="the stream is closed"):
                await anext(stream.events())

        with trio.fail_after(4):
            async with (
                client as bank,
                trio.open_nursery() as nursery,
                bank.stream() as stream,
            ):
                nursery.start_soon(listen, stream)
                await trio.testing.wait_all_tasks_blocked(0.05)
                if moment == "dialling":
                    sockets.enter_context((await socket.accept())[0])


async def test_bank_that_has_gone_silent_is_left() -> None:
    """No byte and no pong: the machine is gone, and no packet says so."""
    terms = Terms(patience_s=10, try_s=0.2, pause_s=0.001, pause_max_s=0.01, ping_s=0.05)

    async def fall_silent(talk: Talk) -> None:
        await talk.hear()
        await talk.events(1)
        await hang(talk)

    async def go_on(talk: Talk) -> None:
        assert await talk.hear() == {"resume": 1}
        await talk.events(2)
        await hang(talk)

    async with streaming(fall_silent, go_on, terms=terms) as (_, stream):
        assert await _handed_out(stream, 2) == [1, 2]


async def test_task_that_is_cancelled_leaves_the_others_their_stream() -> None:
    async with streaming(_refuse_all) as (pretender, stream):
        with pytest.raises(Exception, match="ACCOUNT_NOT_FOUND"):
            await stream.pay("O1", **PAYMENT)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.pay("O2", **PAYMENT)
        with pytest.raises(Exception, match="ACCOUNT_NOT_FOUND"):
            await stream.pay("O3", **PAYMENT)
        assert len(pretender.nonces) == 1


async def test_message_that_is_not_understood_ends_the_listening() -> None:
    async def mumble(talk: Talk) -> None:
        await talk.hear()
        await talk.say({"something": "new"})
        await talk.say({"events": [{"object": "event", "sequence": "1"}], "newest": 1})
        await hang(talk)

    async with streaming(mumble) as (_, stream):
        with pytest.raises(UnreadableAnswerError):
            await anext(stream.events())
