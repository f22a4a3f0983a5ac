"""Bystanders: honest clients of a node, and what they notice of an attack on it.

Each pays again and again with a short pause in between, mostly over a connection that it has, now
and then over a new one. If it is hung up on it connects again and sends the same payment, as any
client would, and all of that counts as the time that the payment took.
"""

import resource
import statistics
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from gateway.client import Identity
from tests.e2e.bank import Bank
from tests.gateway.serving import RawAnswer

PAUSE_S: Final = 0.02
ANEW: Final = 10
"""Every so many payments go over a new connection."""
PATIENCE_S: Final = 30.0
"""A payment that takes longer has failed."""
_GONE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Noticed(Struct):
    """What bystanders have seen.

    Attributes:
        took_s: of each payment, to its answer.
        lost: connections that were cut or refused on the way there.
        peak_bytes: most memory that the node has had meanwhile.
    """

    took_s: list[float]
    lost: int = 0
    peak_bytes: int = 0

    @property
    def p99_s(self) -> float:
        """What a hundredth of the payments took longer than."""
        return statistics.quantiles(self.took_s, n=100)[98] if len(self.took_s) > 1 else 0.0


class _Bystander:
    def __init__(
        self, bank: Bank, identity: Identity, port: int, host: str, numbers: Iterator[int]
    ) -> None:
        self._bank, self._identity, self._port, self._host = bank, identity, port, host
        self._numbers = numbers
        self._stream: trio.SocketStream | None = None

    async def pay(self, noticed: Noticed) -> None:
        """Make one payment."""
        number = next(self._numbers)
        body = {"merchant_no": "M1", "order_no": f"O{number}", "payer": "A1", "amount_minor": 1}
        body["currency"] = "USD"
        began = trio.current_time()
        with trio.fail_after(PATIENCE_S):
            while True:
                signed = self._bank.signed(
                    self._identity,
                    "POST",
                    "/v1/payments",
                    body,
                    scheme="http",
                    authority=self._host,
                )
                signed.headers["host"] = self._host
                try:
                    answer = await self._exchange(signed.headers, signed.body)
                except _GONE:
                    await self.hang_up()
                    noticed.lost += 1
                    await trio.sleep(0.01)
                    continue
                if answer.status in {200, 201}:
                    break
                assert answer.status in {429, 503}, answer
                await trio.sleep(int(answer.headers["retry-after"]))
        noticed.took_s.append(trio.current_time() - began)
        if not number % ANEW:
            await self.hang_up()

    async def _exchange(self, headers: dict[str, str], body: bytes) -> RawAnswer:
        if self._stream is None:
            self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST /v1/payments HTTP/1.1\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._some()
        head, _, rest = received.decode("latin-1").partition("\r\n\r\n")
        fields = [line.partition(": ") for line in head.split("\r\n")[1:]]
        found = {name.lower(): value for name, _, value in fields}
        while len(rest) < int(found["content-length"]):
            rest += (await self._some()).decode("latin-1")
        return RawAnswer(int(head.split()[1]), found, rest.encode("latin-1"))

    async def _some(self) -> bytes:
        assert self._stream is not None
        data = bytes(await self._stream.receive_some(1 << 16))
        if not data:
            raise trio.BrokenResourceError
        return data

    async def hang_up(self) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)
        self._stream = None


class Bystanders:
    """Honest clients of one node.

    Args:
        bank: whose node it is; its business is open.
        identity: the merchant that they are.
        port, host: of the listener that they use.
        pid: the node's.
        clients: how many they are.
    """

    def __init__(
        self, bank: Bank, identity: Identity, port: int, host: str, pid: int, clients: int = 4
    ) -> None:
        numbers = count(1)
        self._pid = pid
        self._clients = [_Bystander(bank, identity, port, host, numbers) for _ in range(clients)]

    async def notice(self, seconds: float, until: Callable[[], bool] = lambda: False) -> Noticed:
        """Pay for some time; returns what it was like."""
        noticed = Noticed([])
        end = trio.current_time() + seconds

        async def go_on(client: _Bystander) -> None:
            while trio.current_time() < end and not until():
                await client.pay(noticed)
                noticed.peak_bytes = max(noticed.peak_bytes, memory_of(self._pid))
                await trio.sleep(PAUSE_S)

        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(go_on, client)
        return noticed

    async def hang_up(self) -> None:
        """Be gone."""
        for client in self._clients:
            await client.hang_up()


def memory_of(pid: int) -> int:
    """Return the bytes that a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()
