"""Clock jumps: the machine's wall clock is set forward and back under a running node, and between.

Time in a store never goes back, a hold expires neither early nor twice, nobody waits for ever, as
deadlines are of another clock. The clock is the kernel's, shifted for the node alone by a library
that is loaded before libc (`shifted_clock.c`).
"""

import shutil
import struct
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import trio

from gateway.exits import OK
from gateway.operations import Verify
from gateway.operator import perform
from storage.folder import Folder, release
from storage.journal import decode_commit
from storage.row import COMMITS
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY
ANSWERED_S: Final = 8
"""Within this a request is answered, whatever the clock does; callers here wait for 5 s."""


class ShiftedClock:
    """The wall clock of every process that is started in its test."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("there is no C compiler")
        library = path / "shifted_clock.so"
        source = Path(__file__).with_name("shifted_clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        self._file = path / "shift"
        self.set(0)
        monkeypatch.setenv("SHIFTED_CLOCK", str(self._file))
        monkeypatch.setenv("LD_PRELOAD", str(library))

    def set(self, shift_s: int) -> None:
        """Set it so many seconds off the machine's, at once."""
        # In place: the processes have the file mapped.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", shift_s))


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    return ShiftedClock(tmp_path, monkeypatch)


class Shop:
    """A merchant and a payer on a node, and every time that an answer has named."""

    def __init__(self) -> None:
        self.times: list[str] = []
        self._count = 0

    async def call(self, running: NodeProcess, path: str, body: Any = None) -> Any:
        """Return the answer to a request, which comes soon."""
        headers = {"Request-Timeout-S": "5"}
        with trio.fail_after(ANSWERED_S):
            async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
                url = running.address + path
                if body is None:
                    return (await client.get(url)).json()
                answer = await client.post(url, json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        view = answer.json()
        if "created_at" in view:
            self.times.append(view["created_at"])
        return view

    async def opened(self, running: NodeProcess) -> None:
        commands = [
            {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 0},
            {"command": "open_account", "account_no": "A1", "currency": "USD"},
            {"command": "fund_account", "account_no": "A1", "funding_no": "F1",
             "amount_minor": 10_000, "currency": "USD"},
            {"command": "sign_agreement", "account_no": "A1", "agreement_no": "G1",
             "merchant_no": "M1"},
        ]  # fmt: skip
        await self.call(running, "/v1/commands", commands)

    async def pay(self, running: NodeProcess) -> None:
        self._count += 1
        body = {"merchant_no": "M1", "order_no": f"O{self._count}", "payer": "A1",
                "amount_minor": 1, "currency": "USD"}  # fmt: skip
        assert (await self.call(running, "/v1/payments", body))["state"] == "SUCCEEDED"

    async def hold(self, running: NodeProcess, hold_no: str) -> None:
        body = {"merchant_no": "M1", "hold_no": hold_no, "payer": "A1", "amount_minor": 100,
                "currency": "USD", "valid_s": HOUR}  # fmt: skip
        assert (await self.call(running, "/v1/authorizations", body))["state"] == "HELD"

    async def state(self, running: NodeProcess, hold_no: str) -> str:
        return str((await self.call(running, f"/v1/authorizations/M1/{hold_no}"))["state"])

    async def expired(self, running: NodeProcess, hold_no: str) -> None:
        """Wait until a hold has expired: its timer has fired, and the merchant knows."""
        with trio.fail_after(LIMIT_S):
            while await self.state(running, hold_no) != "EXPIRED":
                pass


async def test_clock_that_jumps_moves_time_only_forward(
    tmp_path: Path, clock: ShiftedClock
) -> None:
    data, shop = tmp_path / "bank", Shop()
    await make_store(data)
    async with node(data) as running:
        await shop.opened(running)
        await shop.hold(running, "H1")
        for shift_s in (HOUR // 2, -DAY, -YEAR, 0, HOUR // 2):
            # Half an hour is not an hour, and time that was is no time at all.
            clock.set(shift_s)
            await shop.pay(running)
            assert await shop.state(running, "H1") == "HELD"
        clock.set(DAY)
        await shop.expired(running, "H1")
        await shop.pay(running)
        clock.set(0)
        await shop.hold(running, "H2")  # placed where time stands still, a day ahead
        for shift_s in (-DAY, -YEAR, HOUR):
            clock.set(shift_s)
            await shop.pay(running)
        assert await running.end() == OK
    # Across restarts too, after a crash and after a clean stop, with the clock a year behind.
    clock.set(-YEAR)
    for kill in (True, False):
        async with node(data) as running:
            assert b"until then time stands still" in running.errors or not kill
            await shop.pay(running)
            assert await shop.state(running, "H1") == "EXPIRED"
            assert await shop.state(running, "H2") == "HELD"
            await running.end(kill=kill)
    clock.set(DAY + HOUR // 2)
    async with node(data) as running:
        await shop.pay(running)
        assert await shop.state(running, "H2") == "HELD", "it has half an hour left"
        clock.set(2 * DAY)
        await shop.expired(running, "H2")
        clock.set(-YEAR)
        await shop.pay(running)
        events = await shop.call(running, "/v1/merchants/M1/events?limit=1000")
        account = await shop.call(running, "/v1/accounts/A1")
        assert await running.end() == OK
    ended = [each["number"] for each in events["items"] if "expired" in each["type"]]
    assert ended == ["H1", "H2"], "each hold expires once"
    assert account["held_minor"] == 0
    assert shop.times == sorted(shop.times)
    _check_store(data)


def _check_store(data: Path) -> None:
    """Time is in order in every shard's commits, and everything that must hold does."""
    with closing(Folder(data)) as folder:
        stores = folder.open()
        for store in stores:
            view = store.snapshot()
            times = [decode_commit(payload).now_ns for _, payload in view.scan(COMMITS)]
            view.close()
            assert times == sorted(times)
            assert len(times) > 2
        release(stores)
    report = perform(data, Verify())
    assert report["ok"], report["violations"]


async def test_deadline_is_of_another_clock(tmp_path: Path, clock: ShiftedClock) -> None:
    """A clock that jumps a day ahead every few milliseconds lets no request time out."""
    data, shop = tmp_path / "bank", Shop()
    await make_store(data)
    async with node(data) as running:
        await shop.opened(running)
        async with trio.open_nursery() as nursery:

            async def jump() -> None:
                shift_s = 0
                while True:
                    shift_s += DAY
                    clock.set(shift_s)
                    await trio.sleep(0.005)
                    clock.set(-YEAR)
                    await trio.sleep(0.005)

            nursery.start_soon(jump)
            for _ in range(50):
                await shop.pay(running)
            nursery.cancel_scope.cancel()
        assert await running.end() == OK
    assert shop.times == sorted(shop.times)
    _check_store(data)
