"""The client's stream against a real node: commands, batches, events, and how it ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.client import (
    AsyncClient,
    RefusedError,
    Stream,
    StreamEndedError,
    Terms,
    UnreachableError,
)
from gateway.counter import Request
from gateway.server import Serving
from gateway.stream.bounds import StreamBounds
from gateway.stream.closing import Close, CloseCode
from gateway.stream.session import Session
from gateway.stream.streams import Streams
from tests.gateway.client.bank import Bank
from tests.gateway.client.hands import PAYMENT, QUICK, open_business
from tests.gateway.serving import serving

BANK = Bank()
SMALL = {**PAYMENT, "amount_minor": 1}

pytestmark = pytest.mark.one_shard


@asynccontextmanager
async def business(
    data: Path, terms: Terms = QUICK, bounds: StreamBounds | None = None
) -> AsyncIterator[tuple[Serving, AsyncClient]]:
    """Serve a node where M1 may debit A1, and give M1's client."""
    async with serving(data, stream_bounds=bounds) as running:
        await open_business(running.address)
        async with AsyncClient(running.address, merchant_no="M1", terms=terms) as bank:
            yield running, bank


async def take(stream: Stream, count: int, after: int = 0) -> list[int]:
    """Return the sequences of so many events."""
    events = stream.events(after=after)
    with trio.fail_after(20):
        found = [(await anext(events)).sequence for _ in range(count)]
    await events.aclose()
    return found


async def test_command_on_a_stream_comes_to_what_it_comes_to_by_http(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        paid = await stream.pay("O1", **PAYMENT)
        assert paid == await bank.get_payment("O1")
        assert await stream.pay("O1", **PAYMENT) == paid
        await stream.refund("R1", order_no="O1", amount_minor=99)
        with pytest.raises(RefusedError) as by_stream:
            await stream.pay("O1", **SMALL)
        with pytest.raises(RefusedError) as by_http:
            await bank.pay("O1", **SMALL)
        assert vars(by_stream.value) == vars(by_http.value)
        assert by_stream.value.code == "NUMBER_USED"
        assert type(by_stream.value) is type(by_http.value)


async def test_tasks_that_share_a_stream_have_their_own_answers_each(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        found: dict[int, int] = {}

        async def pay(amount_minor: int) -> None:
            given = {**PAYMENT, "amount_minor": amount_minor}
            payment = await stream.pay(f"O{amount_minor}", **given)
            found[amount_minor] = payment.amount_minor

        async with trio.open_nursery() as nursery:
            for amount_minor in range(1, 101):
                nursery.start_soon(pay, amount_minor)
        assert found == {each: each for each in range(1, 101)}


async def test_batch_keeps_its_order_and_has_refusals_among_its_outcomes(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        calls = stream.calls
        commands = [calls.pay(f"O{number}", **SMALL) for number in range(1_500)]
        commands.insert(700, calls.pay("huge", **{**PAYMENT, "amount_minor": 10**9}))
        outcomes = await stream.batch([*commands, calls.reverse("O3", "V3")])
        assert len(outcomes) == 1_502
        refused = outcomes.pop(700)
        assert isinstance(refused, RefusedError)
        assert refused.code == "INSUFFICIENT_FUNDS"
        assert [each.order_no for each in outcomes[:-1]] == [  # type: ignore[union-attr]
            f"O{number}" for number in range(1_500)
        ]
        assert not isinstance(outcomes[-1], Exception)


async def test_events_come_from_where_they_are_wanted_and_go_on(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        await stream.batch(stream.calls.pay(f"O{number}", **SMALL) for number in range(600))
        known = [event.sequence async for event in bank.events()]
        assert await take(stream, 600) == known
        assert await take(stream, 5, after=590) == known[590:595]
        events = stream.events(after=600)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(stream.pay, "late", **PAYMENT))
            with trio.fail_after(20):
                event = await anext(events)
        assert (event.sequence, events.after, events.newest) == (601, 601, 601)


async def test_command_is_answered_while_events_wait_for_their_listener(tmp_path: Path) -> None:
    """Who listens may give commands in between, however many events wait behind."""
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        await stream.batch(stream.calls.pay(f"O{number}", **SMALL) for number in range(1_500))
        count = 0
        with trio.fail_after(30):
            async for event in stream.events():
                count += 1
                assert event.sequence == count
                if count % 500 == 1:
                    await stream.pay(f"P{count}", **SMALL)
                if count == 1_503:
                    break


async def test_error_within_a_stream_leaves_it_as_it_was_raised(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank):
        stream = bank.stream()

        async def fail() -> None:
            async with stream:
                await stream.pay("O1", **PAYMENT)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        with pytest.raises(RuntimeError):
            await stream.pay("O2", **PAYMENT)


async def test_task_that_waits_when_the_stream_is_closed_is_told(tmp_path: Path) -> None:
    patient = Terms(patience_s=5, try_s=5, pause_s=0.001, pause_max_s=0.01)
    client = AsyncClient("http://127.0.0.1:9", merchant_no="M1", terms=patient)
    errors: list[Exception] = []

    async def pay(stream: Stream) -> None:
        with pytest.raises(UnreachableError) as caught:
            await stream.pay("O1", **PAYMENT)
        errors.append(caught.value)

    async with client as bank, trio.open_nursery() as nursery, bank.stream() as stream:
        nursery.start_soon(pay, stream)
        await trio.testing.wait_all_tasks_blocked()
    assert len(errors) == 1


async def test_listener_that_is_beyond_the_newest_event_is_told_for_good(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (_, bank), bank.stream() as stream:
        with pytest.raises(StreamEndedError) as caught:
            await anext(stream.events(after=1_000))
        assert caught.value.close_code == 4409
        assert "newest" in caught.value.reason


async def test_stream_of_a_merchant_who_is_not_there_is_refused(tmp_path: Path) -> None:
    async with business(tmp_path / "bank") as (running, _):
        stranger = AsyncClient(running.address, merchant_no="M9", terms=QUICK)
        async with stranger as bank, bank.stream() as stream:
            with pytest.raises(RefusedError) as caught:
                await anext(stream.events())
            assert caught.value.code == "MERCHANT_NOT_FOUND"
            with pytest.raises(RefusedError):
                await stream.pay("O1", **PAYMENT)


async def test_listener_too_slow_for_the_bank_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a page and the next; the bank hangs up on it, and it resumes where it was.

    The kernel's buffers are small, so that the bank notices without megabytes.
    """
    hung_up: list[trio.Event] = [trio.Event()]
    shut = Session.shut

    def notice(session: Session, close: Close) -> None:
        shut(session, close)
        if close.code is CloseCode.TOO_SLOW:
            hung_up[-1].set()

    serve = Streams.serve

    async def serve_tightly(
        streams: Streams,
        request: Request,
        stream: trio.abc.Stream,
        early: bytes,
        let_in: Callable[[], None],
    ) -> None:
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4_096)
        await serve(streams, request, stream, early, let_in)

    monkeypatch.setattr(Session, "shut", notice)
    monkeypatch.setattr(Streams, "serve", serve_tightly)
    bounds = StreamBounds(send_s=0.2, tick_s=0.02, linger_s=0.05)
    async with business(tmp_path / "bank", bounds=bounds) as (_, bank), bank.stream() as stream:
        await stream.batch(stream.calls.pay(f"O{number}", **SMALL) for number in range(3_000))
        expected = 1
        with trio.fail_after(60):
            async for event in stream.events():
                assert event.sequence == expected
                if expected == 1:
                    await hung_up[-1].wait()
                    hung_up.append(trio.Event())
                if expected == 3_000:
                    break
                expected += 1
        assert len(hung_up) == 2


def test_stream_goes_over_tls_where_the_bank_is_on_another_machine() -> None:
    identity, root = BANK.certify("M1"), BANK.root_pem
    AsyncClient("https://bank.example", identity, root).stream()
    AsyncClient("http://127.0.0.1:9", identity, root).stream()
    with pytest.raises(ValueError, match="https"):
        AsyncClient("http://bank.example", identity, root).stream()
