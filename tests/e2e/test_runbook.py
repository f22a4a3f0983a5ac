"""docs/ops/runbook/ is true: each page's commands are run against a node that is in that condition.

One node, as a process with three shards on a small disk of its own, is brought from one condition
to the next: its disk stalls, fills up and goes on, one of its handlers fails and is mended, and in
the end its store is damaged and made anew from a backup.
"""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from engine.address import shard_of
from gateway.ca import ceremony, private_files
from gateway.ca.master_key import new_master_key
from gateway.commands.calling import answered
from gateway.exits import CommandError
from gateway.operator import administer
from gateway.ops.office import AddOperator
from gateway.ops.operators import Role
from tests.e2e.console import Command, Console, Page
from tests.e2e.process import NodeProcess, make_store, node
from tests.faults.disk import HANGS_S, Disk, Kind
from tests.gateway.ops.house import PASSWORD, QUICK

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs/ops/runbook"
SHARDS: Final = 3
MERCHANT: Final = "merchant/M1"
SECTIONS: Final = [
    "What is seen",
    "What it means",
    "What is safe",
    "What to do",
    "How one knows that it is over",
    "What it never does to money",
]
SEEN, DO, OVER = SECTIONS[0], SECTIONS[3], SECTIONS[4]
DISK_MIB: Final = 64
SLOW_S: Final = 0.7
POISONED: Final = """
import os
from actors.kinds import MERCHANT
from actors.messages import PaymentDebited

handle = MERCHANT.handlers[PaymentDebited]

def fails_while_poisoned(turn, message):
    if os.path.exists({poison!r}):
        raise RuntimeError("no such field")
    return handle(turn, message)

MERCHANT.handlers[PaymentDebited] = fails_while_poisoned
from gateway.cli import main
main()
"""
"""A node with a bug that comes and goes, as another version's would."""


class Town(Console):
    """A bank in a folder, with its node, its disk and a shop.

    Attributes:
        disk: the node's.
        poison: while this file is there, the shop's money cannot be credited.
        payer: an account on another shard than the shop.
    """

    def __init__(self, folder: Path, elsewhere: Path) -> None:
        super().__init__(folder)
        self.data = folder / "bank"
        self.disk = Disk(self.data, elsewhere)
        self.poison = elsewhere / "poison"
        self.payer = next(
            str(number)
            for number in itertools.count(6217001234567890)
            if shard_of(f"account/{number}", SHARDS) != shard_of(MERCHANT, SHARDS)
        )
        self.running: NodeProcess
        self._stack = AsyncExitStack()

    async def serve(self, data: Path, *options: str) -> None:
        """Start a node and go by its ports."""
        command = (sys.executable, "-c", POISONED.format(poison=str(self.poison)))
        self.running = await self._stack.enter_async_context(
            node(data, *options, command=self.disk.command(command))
        )
        self.names["127.0.0.1:9090"] = self.running.ops_address.removeprefix("http://")
        self.names["127.0.0.1:8080"] = self.running.address.removeprefix("http://")

    async def close(self) -> None:
        """End whatever runs."""
        await self._stack.aclose()

    async def typed(self, line: str) -> tuple[int, str]:
        """See `Console.typed`; a node that is started here stays until the end."""
        if not line.startswith("piaohao serve "):
            return await super().typed(line)
        words = shlex.split(line.removesuffix("&"))[2:]
        given = [each for each in words if each != "--plain"]
        options = dict(zip(given[::2], given[1::2], strict=True))
        data, _ = options.pop("--data"), options.pop("--listen")
        options["--ops-listen"] = "127.0.0.1:0"
        for option in ("--keys", "--master-key"):
            options[option] = str(self.folder / options[option])
        options["--log"] = "json"
        await self.serve(self.folder / data, "--plain", *itertools.chain(*options.items()))
        return 0, ""

    async def ask(self, path: str, body: Any) -> Any:
        """Have the node do something, as the bank."""
        given = json.dumps(body)
        return await trio.to_thread.run_sync(answered, self.data, "POST", path, given)

    def payment(self, order_no: str, amount_minor: int = 1) -> dict[str, Any]:
        """Return a payment to the shop; it is in the file that pages have paid, too."""
        body = {"merchant_no": "M1", "order_no": order_no, "payer": self.payer,
                "amount_minor": amount_minor, "currency": "CNY"}  # fmt: skip
        (self.folder / "payment.json").write_text(json.dumps(body))
        return body

    async def pay(self, order_no: str, amount_minor: int = 1) -> None:
        """Pay."""
        await self.ask("/v1/payments", self.payment(order_no, amount_minor))

    async def is_there(self, order_no: str) -> bool:
        """Return whether there is such a payment."""
        path = f"/v1/payments/M1/{order_no}"
        try:
            await trio.to_thread.run_sync(answered, self.data, "GET", path)
        except CommandError as error:
            if "NO_SUCH_PAYMENT" in str(error):
                return False
            raise
        return True

    async def pay_often(self, name: str, count: int) -> None:
        """Send an array of payments."""
        commands = [
            {"command": "create_payment", **self.payment(f"{name}-{number}")}
            for number in range(count)
        ]
        await self.ask("/v1/commands", commands)

    async def open_account(self, shard: int, name: str) -> None:
        """Open an account on a shard."""
        numbers = (f"{name}-{each}" for each in itertools.count())
        number = next(each for each in numbers if shard_of(f"account/{each}", SHARDS) == shard)
        await self.ask("/v1/accounts", {"account_no": number, "currency": "CNY"})

    def hang(self, shard: int) -> None:
        """Have a shard's disk stall from now on."""
        self.disk.delay(Kind.SYNC, HANGS_S, where=f"shard-{shard}/")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    path = tmp_path / "machine"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@asynccontextmanager
async def opened(machine: Path, elsewhere: Path) -> AsyncIterator[Town]:
    """Give a town in which somebody can pay and somebody can look."""
    town = Town(machine, elsewhere)
    await make_store(town.data, SHARDS)
    master_key, keys, key = new_master_key(), machine / "bank-keys", machine / "master.key"
    master_key.write(key)
    ceremony.found(keys, "Example Bank", master_key, now=datetime.now(UTC))
    administer(town.data, AddOperator("duty-1", Role.VIEWER, QUICK.hash(PASSWORD), b""))
    login = json.dumps({"name": "duty-1", "password": PASSWORD})
    private_files.write_new(machine / "login.json", login.encode())
    given = ("--keys", str(keys), "--master-key", str(key), "--plain", "--log", "json")
    await town.serve(town.data, *given, "--ops-listen", "127.0.0.1:0")
    try:
        opening = [
            {"command": "open_merchant", "merchant_no": "M1", "currency": "CNY", "fee_bps": 38},
            {"command": "open_account", "account_no": town.payer, "currency": "CNY"},
            {"command": "fund_account", "account_no": town.payer, "funding_no": "F1",
             "amount_minor": 1_000_000, "currency": "CNY"},
            {"command": "sign_agreement", "account_no": town.payer, "agreement_no": "G1",
             "merchant_no": "M1"},
        ]  # fmt: skip
        assert {each["status"] for each in await town.ask("/v1/commands", opening)} == {201}
        yield town
    finally:
        await town.close()


async def _index(town: Town, page: Page) -> None:
    await page.follow("Before anything")


async def _hot_merchant(town: Town, page: Page) -> None:
    town.hang(shard_of(MERCHANT, SHARDS))
    async with trio.open_nursery() as beside:
        for array in ("hot-1", "hot-2"):
            beside.start_soon(town.pay_often, array, 600)
        await page.follow(SEEN)
        await page.follow(DO)
        town.disk.heal()
    await page.follow("If nobody knows what it is doing")
    town.payment("hot-3")
    await page.follow(OVER)


async def _slow_commits(town: Town, page: Page) -> None:
    town.disk.delay(Kind.SYNC, SLOW_S, where="shard-0/")
    begun = trio.current_time()
    await town.open_account(0, "slow")
    assert trio.current_time() - begun >= SLOW_S
    await page.follow(SEEN)
    town.hang(0)
    async with trio.open_nursery() as beside:
        beside.start_soon(town.open_account, 0, "stalled")
        await page.follow(DO)
        town.disk.heal()
    await page.follow(OVER)


async def _stuck_link(town: Town, page: Page) -> None:
    async def pay() -> None:
        with suppress(CommandError):  # OUTCOME_UNKNOWN, where the machine is slow
            await town.pay("link")

    town.hang(shard_of(f"account/{town.payer}", SHARDS))
    async with trio.open_nursery() as beside:
        beside.start_soon(pay)
        await page.follow(SEEN)
        await page.follow(DO)
        town.disk.heal()
    await page.follow(OVER)


async def _quarantined_actor(town: Town, page: Page) -> None:
    async def pay_and_be_parked(order_no: str) -> None:
        town.poison.touch()
        with pytest.raises(CommandError, match="OUTCOME_UNKNOWN"):
            await town.pay(order_no, 1_500)

    await pay_and_be_parked("parked-1")
    await page.follow(SEEN)
    await page.follow(DO)
    town.poison.unlink()
    await page.follow("With a program that can")
    town.payment("parked-3")
    await page.follow(OVER)
    await pay_and_be_parked("parked-2")
    await page.follow("If there will never be one")
    entries = [json.loads(line) for line in town.running.errors.splitlines()]
    failed = [each for each in entries if each["template"] == "a turn of %s at %s failed"]
    assert failed[0]["event"] == "a turn of PaymentDebited at merchant/M1 failed"
    assert failed[0]["exception"][-1] == "RuntimeError"


async def _disk_full(town: Town, page: Page) -> None:
    old = town.folder / "old-backups"
    old.mkdir()
    with (old / "2025-12.tar").open("wb", buffering=0) as file, suppress(OSError):
        while (free := _free(old)) > 1 << 20:
            file.write(bytes(min(free - (1 << 20), 4 << 20)))
    for section in (SEEN, DO, OVER):
        await page.follow(section)


def _free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


async def _revoked_certificate(town: Town, page: Page) -> None:
    for line in (
        "openssl genpkey -algorithm ed25519 -out m1.key",
        "openssl req -new -key m1.key -subj /CN=M1 -out m1.csr",
        "piaohao merchant certificate M1 --data bank --csr m1.csr --out m1.pem",
    ):
        await town.run(Command(line))
    for section in (SEEN, DO, OVER):
        await page.follow(section)


async def _restore(town: Town, page: Page) -> None:
    await town.pay("before")
    await page.follow(DO)
    await town.pay("after")
    assert await town.running.end() == 0
    damaged = 0
    for file in town.data.glob("shard-*/data.mdb"):
        content = file.read_bytes()
        damaged += content.count(b"payment/M1/link")
        file.write_bytes(content.replace(b"payment/M1/link", b"payment/M1/lint"))
    assert damaged
    await page.follow(SEEN)
    await page.follow("When it has happened")
    await page.follow(OVER)
    town.data, town.names["--data bank"] = town.folder / "bank-2", "--data bank-2"
    assert await town.is_there("before")
    assert not await town.is_there("after")


CONDITIONS: Final[dict[str, Callable[[Town, Page], Awaitable[None]]]] = {
    "README": _index,
    "hot-merchant": _hot_merchant,
    "slow-commits": _slow_commits,
    "stuck-link": _stuck_link,
    "disk-full": _disk_full,
    "revoked-certificate": _revoked_certificate,
    "restore": _restore,
    "quarantined-actor": _quarantined_actor,
}
"""Each page's, in an order in which each leaves what the next one needs."""


@pytest.mark.first
@pytest.mark.one_shard  # it has three by itself
async def test_commands_of_every_page_do_what_it_says(machine: Path, tmp_path: Path) -> None:
    assert {each.stem for each in FOLDER.glob("*.md")} == {*CONDITIONS}
    async with opened(machine, tmp_path / "elsewhere") as town:
        for name, follow in CONDITIONS.items():
            page = Page(FOLDER / f"{name}.md", town)
            await follow(town, page)
            page.finish()


@pytest.mark.one_shard
@pytest.mark.parametrize("name", [each for each in CONDITIONS if each != "README"])
def test_page_says_the_same_of_everything_that_goes_wrong(name: str) -> None:
    """Whoever reads one at night knows where to look; and the index has it."""
    headings = re.findall(r"^## (.+)$", (FOLDER / f"{name}.md").read_text("utf-8"), re.MULTILINE)
    assert headings == SECTIONS
    assert f"({name}.md)" in (FOLDER / "README.md").read_text("utf-8")
