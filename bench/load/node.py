"""The node under test: `piaohao serve` in a process of its own, on a store filled in bulk.

Its keys are made for the run, and its merchants' certificates by its own CA, over the control
socket (docs/CERTIFICATES.md). What the clients were told is compared with what it has stored once
it has ended: every merchant's balance is what they were told was paid, and the store verifies.
"""

import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from actors.kinds import MERCHANT
from bench.bulk import merchant_no
from bench.engine_run import filled
from bench.load.client import Transport
from bench.load.identities import Holder, Known
from bench.load.processes import started
from gateway import exits
from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.master_key import new_master_key
from gateway.exits import CommandError
from gateway.lookup import state_at
from gateway.operations import Call, ShowVitals, Verify, closing_all
from gateway.operator import ask, perform
from gateway.signatures.keys import PrivateKey
from storage.folder import Folder, release

RATE: Final = 1_000_000
"""Requests a second that a merchant may send: the bench is to meet other limits than this one."""
_SERVE: Final = (sys.executable, "-P", "-c", "from gateway.cli import main; main()", "serve")
_STOPS_WITHIN_S: Final = 60.0


class Place(Struct, frozen=True):
    """The files of a node under test, in a folder that is the run's own.

    Attributes:
        folder: in which they are.
        bank: keyid and public key, in DER, with which the bank signs its answers; None for a node
            that takes unsigned requests.
        data: the folder of the store.
    """

    folder: Path
    bank: tuple[str, bytes] | None
    data: Path

    def arguments(self, *more: str) -> list[str]:
        """Return the command line that serves it."""
        keys = ["--unsigned"]
        if self.bank is not None:
            folder = str(self.folder / "keys")
            keys = ["--keys", folder, "--master-key", str(self.folder / "master.key")]
        listen = ["--listen", "127.0.0.1:0", "--rate", str(RATE)]
        return [*_SERVE, "--data", str(self.data), *keys, *listen, *more]


class Running(Struct, frozen=True):
    """A node that answers.

    Attributes:
        pid: of its process.
        addresses: transport → host and port.
        ops: address of its ops port; empty where it has none.
    """

    place: Place
    pid: int
    addresses: Mapping[Transport, tuple[str, int]]
    ops: str = ""

    def certify(self, merchants: Sequence[int]) -> Known | None:
        """Have the bank certify a new key (ECDSA, P-256) for each of these merchants.

        Raises:
            CommandError: it does not.
        """
        if self.place.bank is None:
            return None
        keyid, spki = self.place.bank
        return Known([self._holder(merchant_no(each)) for each in merchants], keyid, spki)

    def vital_signs(self) -> dict[str, Any]:
        """Return how its first shard is: see `engine.inspection.VitalSigns`."""
        return self.all_signs(())[0]

    def all_signs(self, after: Sequence[int]) -> list[dict[str, Any]]:
        """Return how each shard is; of its commits, those after the given one."""
        signs: list[dict[str, Any]] = ask(self.place.data, ShowVitals(tuple(after)))
        return signs

    def _holder(self, number: str) -> Holder:
        key = new_key("ecdsa-p256-sha256")
        # A store that is used again has the certificates of the runs before.
        body = {"certificate_no": secrets.token_hex(8), "csr": body_of(new_csr(key, number))}
        path = f"/v1/merchants/{number}/certificates"
        called = Call("POST", path, msgspec.json.encode(body).decode())
        answer = ask(self.place.data, called)
        if answer["status"] >= 400:
            detail = f"merchant {number} gets no certificate: {answer['body']['code']}"
            raise CommandError(exits.CHECK_FAILED, detail)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Holder(number, answer["body"]["serial"], pem)


def prepare(folder: Path, accounts: int, merchants: int, *, shards: int, signed: bool) -> Place:
    """Make a store with funded accounts, and the bank's keys, in a folder.

    Raises:
        StorageError, OSError: they cannot be written.
    """
    place = with_keys(folder, folder / "node", signed=signed)
    with closing(Folder(place.data, create=True)) as store:
        for each in filled(store, accounts, merchants, paid=False, shards=shards):
            each.close(clean=True)
    return place


def with_keys(folder: Path, data: Path, *, signed: bool) -> Place:
    """Make the bank's keys in a folder, for a node on the store in another one.

    Raises:
        OSError: they cannot be written.
    """
    bank = None
    if signed:
        master_key = new_master_key()
        master_key.write(folder / "master.key")
        ceremony.found(folder / "keys", "Bench Bank", master_key, now=datetime.now(UTC))
        signing = BankKeys.load(folder / "keys", master_key).signing
        bank = (signing.keyid, PrivateKey(signing.key).public.spki)
    return Place(folder, bank, data)


@asynccontextmanager
async def running(place: Place, *, express: bool, ops: bool = False) -> AsyncIterator[Running]:
    """Have a node serve while the block runs; then it ends in good order.

    Args:
        express: with its express listener.
        ops: with its ops port.

    Raises:
        CommandError: it does not start, or does not end in good order.
    """
    more = [
        part
        for option, wanted in (("--express-listen", express), ("--ops-listen", ops))
        if wanted
        for part in (option, "127.0.0.1:0")
    ]
    async with started(place.arguments(*more), stdout=subprocess.PIPE) as process:
        said = await _first_lines(process, 1 + express + ops)
        ops_address = said.pop() if ops else ""
        host_ports = [(each.hostname or "", each.port or 0) for each in map(urlsplit, said)]
        addresses: dict[Transport, tuple[str, int]] = {
            "hypercorn": host_ports[0],
            "express": host_ports[-1],
            "websocket": host_ports[0],
        }
        # A read that is signed in the second in which a node has started could be one that the
        # process before it has answered, and is refused (`engine.marks`).
        await trio.sleep(1 - time.time() % 1)
        yield Running(place, process.pid, addresses, ops_address)
        process.terminate()
        with trio.move_on_after(_STOPS_WITHIN_S):
            await process.wait()
        if process.returncode != 0:
            detail = f"the node has ended with code {process.returncode}"
            raise CommandError(exits.CHECK_FAILED, detail)


async def _first_lines(process: trio.Process, count: int) -> list[str]:
    """Return the addresses that a node says once it answers."""
    assert process.stdout is not None
    said = b""
    while said.count(b"\n") < count:
        chunk = await process.stdout.receive_some()
        if not chunk:
            raise CommandError(exits.CHECK_FAILED, "the node has ended before it was ready")
        said += chunk
    return [line.split()[-1] for line in said.decode().splitlines()]


class Held(Struct, frozen=True):
    """What a store holds, compared with what was told.

    Attributes:
        missing_minor: sum over merchants of what was told to be paid and is not there.
        untold_minor: of what is there and nobody was told of, beyond what is unknown.
        verify_ok: whether everything holds that has to.
    """

    missing_minor: int
    untold_minor: int
    verify_ok: bool

    def checks(self) -> list[tuple[bool, str]]:
        """Return what has to hold: whether it does, and what to say where it does not."""
        return [
            (self.verify_ok, "the store does not verify"),
            (
                not self.missing_minor and not self.untold_minor,
                f"{self.missing_minor} minor units that were told of are not in the store, and of "
                f"{self.untold_minor} in it nobody was told",
            ),
        ]


def compare(
    data: Path, merchants: int, told_minor: Counter[str], unknown_minor: Counter[str]
) -> Held:
    """Hold what clients were told against the store of a node that has ended.

    Raises:
        StorageError: it cannot be read.
    """
    missing = untold = 0
    with closing(Folder(data)) as folder:
        stores = folder.open()
        try:
            with closing_all([store.snapshot() for store in stores]) as snapshots:
                balances = {
                    merchant_no(n): sum(
                        0 if state is None else state.posted_minor
                        for state in (
                            state_at(snapshot, MERCHANT, merchant_no(n)) for snapshot in snapshots
                        )
                    )
                    for n in range(merchants)
                }
        finally:
            release(stores)
    for number, balance in balances.items():
        missing += max(0, told_minor[number] - balance)
        untold += max(0, balance - told_minor[number] - unknown_minor[number])
    return Held(missing, untold, perform(data, Verify())["ok"])
