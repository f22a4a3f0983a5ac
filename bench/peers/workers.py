"""Workers: the web service on PostgreSQL in processes of its own, all accepting from one socket.

Its keys are made for the run and reach the workers over pipes; no file holds them.
"""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from bench.bulk import merchant_no
from bench.load.identities import Holder, Known
from bench.load.processes import started
from bench.peers.service import Form, Plan
from gateway import exits
from gateway.ca.csr import new_key
from gateway.exits import CommandError
from gateway.signatures.keys import PrivateKey

_WORKER: Final = (sys.executable, "-P", "-m", "bench.peers.service")


class Candidate(Struct, frozen=True):
    """One way in which the service may run."""

    form: Form
    workers: int
    pool: int

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.form}, {workers}, pool of {self.pool}"


class Serving(Struct, frozen=True):
    """A service that answers.

    Attributes:
        address: host and port.
        known: the keys of its merchants, and its bank's.
        pid: of its first worker.
    """

    address: tuple[str, int]
    known: Known
    pid: int


@asynccontextmanager
async def serving(database: str, candidate: Candidate, merchants: int) -> AsyncIterator[Serving]:
    """Have the service while the block runs.

    Args:
        database: how libpq finds it; `bench.peers.books` has filled it.
        merchants: how many of its merchants may sign.

    Raises:
        CommandError: it does not start.
    """
    known, bank_pem = _keys(merchants)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1_024))
        file = listening.fileno()
        plan = Plan(file, database, candidate.pool, candidate.form, known, bank_pem)
        workers = [
            await stack.enter_async_context(
                started(_WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[file])
            )
            for _ in range(candidate.workers)
        ]
        for worker in workers:
            assert worker.stdin is not None
            await worker.stdin.send_all(msgspec.json.encode(plan) + b"\n")
        for worker in workers:
            assert worker.stdout is not None
            if not await worker.stdout.receive_some():
                detail = "the web service on PostgreSQL does not start"
                raise CommandError(exits.CHECK_FAILED, detail)
        yield Serving(listening.getsockname()[:2], known, workers[0].pid)


def _keys(merchants: int) -> tuple[Known, bytes]:
    """Return new keys for the service's merchants and its bank, and the bank's in PEM."""
    pems = _pems()
    bank_pem = next(pems)
    holders = [Holder(merchant_no(n), f"{n + 1:x}", next(pems)) for n in range(merchants)]
    return Known(holders, "b", PrivateKey.from_pem(bank_pem).public.spki), bank_pem


def _pems() -> Iterator[bytes]:
    while True:
        key = new_key("ecdsa-p256-sha256")
        yield key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
