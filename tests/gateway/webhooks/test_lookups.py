"""Look-ups of names whose servers answer late, never, or at once."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from gateway.webhooks.lookups import Lookups

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

QUICK_S = 0.05


class Names:
    """A name server: `hang-…` has no answer until it is let, `none-…` no address.

    Attributes:
        asked: each host that was asked for.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._go_on = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("hang"):
            self._go_on.wait(20)
        if host.startswith("none"):
            raise OSError
        return [f"192.0.2.{port}"]

    def let(self) -> None:
        self._go_on.set()


@asynccontextmanager
async def looking(**places: int) -> AsyncIterator[tuple[Lookups, Names]]:
    """Have look-ups; none is left at the end."""
    names = Names()
    lookups = Lookups(names, quick_s=QUICK_S, **places)
    try:
        with trio.fail_after(10):
            yield lookups, names
            names.let()
            while lookups._under_way:
                await trio.testing.wait_all_tasks_blocked(0.005)
            assert lookups._threads.borrowed_tokens == 0
    finally:
        names.let()


async def test_thread_that_cannot_be_started_leaves_the_merchant_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the machine has no room for another: the next attempt looks up again."""

    def no_room(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with looking() as (lookups, names):
        with monkeypatch.context() as broken:
            broken.setattr(trio.lowlevel, "start_thread_soon", no_room)
            with pytest.raises(OSError, match="nobody says"):
                await lookups("M1", "shop.example", 1, slow=False)
        assert await lookups("M1", "shop.example", 1, slow=False) == ["192.0.2.1"]
        assert names.asked == ["shop.example"]


async def test_names_that_hang_keep_no_place_from_another_merchants() -> None:
    """Three times as many as there are places; each gives its own back and has failed."""
    async with looking(quick=4, late=20) as (lookups, names), trio.open_nursery() as nursery:

        async def hang(merchant_no: str) -> None:
            with pytest.raises(OSError, match="nobody"):
                await lookups(merchant_no, "hang.example", 1, slow=False)

        for n in range(12):
            nursery.start_soon(hang, f"H{n}")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await lookups("M1", "shop.example", 7, slow=False) == ["192.0.2.7"]
        assert names.asked.count("hang.example") == 12


async def test_merchant_has_one_look_up_under_way_whatever_it_asks() -> None:
    """Also when it is given up, and when the webhook is set to another name each time."""
    async with looking(quick=4, late=20) as (lookups, names):
        async with trio.open_nursery() as nursery:

            async def hang() -> None:
                with pytest.raises(OSError, match="nobody"):
                    await lookups("M1", "hang.example", 1, slow=False)

            for _ in range(8):
                nursery.start_soon(hang)
        for host in ("hang.example", "hang-2.example", "shop.example"):
            with pytest.raises(OSError, match="nobody"):
                await lookups("M1", host, 1, slow=True)
        assert names.asked == ["hang.example"]
        names.let()
        while lookups._under_way:
            await trio.testing.wait_all_tasks_blocked(0.005)
        assert await lookups("M1", "hang.example", 1, slow=False) == ["192.0.2.1"]


async def test_slow_name_has_the_time_of_its_attempt() -> None:
    async with looking() as (lookups, names), trio.open_nursery() as nursery:
        found: list[str] = []

        async def look() -> None:
            found.extend(await lookups("M1", "hang.example", 1, slow=True))

        nursery.start_soon(look)
        await trio.sleep(2 * QUICK_S)
        names.let()
    assert found == ["192.0.2.1"]


async def test_look_up_that_is_broken_off_before_it_has_begun_leaves_nothing() -> None:
    async with looking(quick=1, late=0, slow=1) as (lookups, names), trio.open_nursery() as nursery:
        nursery.start_soon(partial(lookups, "M1", "hang.example", 1, slow=True))
        for _ in range(3):
            with trio.move_on_after(QUICK_S / 10):
                await lookups("M2", "shop.example", 1, slow=False)
        nursery.cancel_scope.cancel()
        names.let()
        assert await lookups("M2", "shop.example", 1, slow=False) == ["192.0.2.1"]


async def test_name_without_an_address_is_an_error_for_all_who_ask() -> None:
    async with looking() as (lookups, names), trio.open_nursery() as nursery:

        async def look() -> None:
            with pytest.raises(OSError, match="nobody"):
                await lookups("M1", "none.example", 1, slow=False)

        for _ in range(3):
            nursery.start_soon(look)
    assert names.asked == ["none.example"]


async def test_machine_is_asked_in_a_thread() -> None:
    lookups = Lookups()
    assert "127.0.0.1" in await lookups("M1", "127.0.0.1", 443, slow=False)
    with pytest.raises(OSError, match="nobody"):
        await lookups("M1", "nobody.invalid", 443, slow=True)
