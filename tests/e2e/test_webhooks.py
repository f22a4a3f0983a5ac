"""Webhooks of a real node that is killed again and again: at least once, in order, nothing lost.

The merchant's server of docs/WEBHOOKS.md is run as it stands there, but for addresses and ports.
"""

import re
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import trio

from actors.commands import CaptureAuthorization, CreateAuthorization, CreatePayment, RefundPayment
from actors.webhook import DELIVERIES
from bench.load.processes import started
from gateway.client import AsyncClient, Identity, WebhookVerifier
from gateway.operations import Verify
from gateway.operator import open_folder, perform
from storage.row import RECORDS
from tests.e2e.bank import Bank
from tests.e2e.process import LIMIT_S, piaohao
from tests.gateway.webhooks.receiver import Receiver, receiving

ALLOW = ("--webhook-allow", "127.0.0.0/8")
ROUNDS = 2


async def _business(m1: AsyncClient, n: int) -> None:
    """Have several events of each payment, and of each hold."""
    numbers = [f"{n}-{each}" for each in range(20)]
    pays = [CreatePayment("M1", each, "A1", 10, "USD") for each in numbers]
    holds = [CreateAuthorization("M1", each, "A1", 10, "USD") for each in numbers]
    captures = [CaptureAuthorization("M1", each, each, 5) for each in numbers]
    refunds = [RefundPayment("M1", each, each, 1) for each in numbers]
    outcomes = await m1.batch([*pays, *holds, *captures, *refunds])
    assert not [each for each in outcomes if isinstance(each, Exception)]


async def _arrived(receiver: Receiver, count: int) -> None:
    await receiver.until(lambda: len(receiver.taken) > count)


def _noted(data: Path) -> set[int]:
    """Return the events that a node which is gone has noted as delivered."""
    noted = set()
    with closing(open_folder(data)) as folder:
        for store in folder.open():
            with closing(store.snapshot()) as snapshot:
                for key, payload in snapshot.scan(RECORDS):
                    if b"webhook/M1\0" in key and DELIVERIES.decode(payload).state == "DELIVERED":
                        noted.add(int(key[-19:]))
            store.close(clean=False)
    return noted


def _check_order(receiver: Receiver) -> None:
    """The first arrival of each event comes after all earlier ones of its payment or hold."""
    first: dict[int, int] = {}
    of: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for at, taken in enumerate(receiver.taken):
        event = taken.event.event
        if event.sequence not in first:
            first[event.sequence] = at
            kind = event.original_kind or event.type.partition(".")[0]
            of[kind, event.original or event.number].append(event.sequence)
    assert all(sequences == sorted(sequences) for sequences in of.values())
    assert max(map(len, of.values())) == 2


async def test_node_that_is_killed_delivers_everything_and_repeats_what_was_in_flight(
    tmp_path: Path,
) -> None:
    bank = Bank(tmp_path)
    async with receiving() as receiver:
        after: list[tuple[int, set[int]]] = []
        verifier: WebhookVerifier | None = None
        m1: Identity | None = None
        for n in range(ROUNDS):
            async with bank.serving(*ALLOW) as running:
                if n == 0:
                    await bank.open_business()
                    m1 = await bank.merchant()
                    shown = await piaohao(
                        "merchant",
                        "webhook",
                        "set",
                        "M1",
                        receiver.url(),
                        "--unproved",
                        "--data",
                        bank.data,
                    )
                    assert "ENABLED" in shown.stdout, shown.stderr
                assert m1 is not None
                async with bank.client(running, m1) as client:
                    if verifier is None:
                        verifier = await client.webhooks(receiver.url())
                    await _business(client, n)
                # Killed in the middle: some have arrived, some have not.
                await _arrived(receiver, 80 * n + 20)
                await running.end(kill=True)
            after.append((len(receiver.taken), _noted(bank.data)))
        async with bank.serving(*ALLOW) as running:
            await receiver.until(lambda: len(set(receiver.sequences)) == 80 * ROUNDS)
            assert await running.end() == 0
        for taken in receiver.taken:
            assert verifier is not None
            assert verifier.verify(taken.headers, taken.body) == taken.event
    _check_order(receiver)
    assert set(receiver.sequences) == set(range(1, 80 * ROUNDS + 1))
    for arrived, noted in after:
        assert noted, "it was killed before anything was noted"
        assert not noted & set(receiver.sequences[arrived:]), "what was noted came again"
    report = await trio.to_thread.run_sync(perform, bank.data, Verify())
    assert report["ok"], report


PAGE = Path(__file__).resolve().parents[2] / "docs" / "WEBHOOKS.md"


def _server(bank: str, hook: str, port: int) -> str:
    """Return the page's program, at these addresses."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)
    for there, here in {
        "https://localhost:8443": bank,
        "https://shop.example/piaohao": hook,
        '("127.0.0.1", 9000)': f'("127.0.0.1", {port})',
    }.items():
        assert program.count(there) == 1, there
        program = program.replace(there, here)
    return str(program)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def _until_it_listens(port: int) -> None:
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return


async def test_merchants_server_of_the_page_takes_the_banks_events_and_no_others(
    tmp_path: Path,
) -> None:
    """It has its keys from the synchronous client, prints each event once, and refuses the rest."""
    bank, port = Bank(tmp_path), _free_port()
    hook = f"http://127.0.0.1:{port}/piaohao"
    async with bank.serving(*ALLOW) as running:
        await bank.open_business()
        m1 = await bank.merchant()
        m1.write(key=tmp_path / "m1.key", certificate=tmp_path / "m1.pem")
        address = running.address.replace("127.0.0.1", "localhost")
        program = tmp_path / "server.py"
        program.write_text(_server(address, hook, port))
        command = [sys.executable, "-u", str(program)]
        async with started(command, stdout=subprocess.PIPE, cwd=tmp_path) as server:
            await _until_it_listens(port)
            await bank.do("/v1/merchants/M1/webhook", url=hook)
            async with bank.client(running, m1) as client:
                await client.pay("order-1", payer="A1", amount_minor=5, currency="USD")
            assert server.stdout is not None
            printed = b""
            with trio.fail_after(LIMIT_S):
                while not printed.endswith(b"\n"):
                    printed += await server.stdout.receive_some()
            assert printed == b"payment.succeeded order-1 5\n"
            strange = await trio.open_tcp_stream("127.0.0.1", port)
            async with strange:
                await strange.send_all(b"POST /piaohao HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
                assert b" 401 " in await strange.receive_some()
