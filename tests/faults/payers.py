"""Payers, who send one payment after the other over HTTP and keep every answer with its time.

Each has one payment under way at any time, between accounts and merchants that are spread over
all shards, and stops at the first answer that is no acknowledgement. So when a fault strikes it
is known who waits, and what each of them is told.
"""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import trio

from tests.crash.customers import OPENING, commands
from tests.e2e.process import LIMIT_S

QUIET_S = 0.2
"""No answer for so long, with everybody waiting, and nobody will get one."""


class Told(NamedTuple):
    """An answer: when it came (CLOCK_MONOTONIC), to whom, and what it was; status 0 for none."""

    at_ns: int
    payer: int
    status: int
    body: dict[str, Any]


class Payers:
    """So many payers at one node.

    Attributes:
        answers: all, in the order in which they came.
        waiting: who has a payment under way.
    """

    def __init__(self, address: str, payers: int, timeout_s: float | None = None) -> None:
        self.answers: list[Told] = []
        self.waiting: set[int] = set()
        self._address = address
        self._count = payers
        self._headers = {} if timeout_s is None else {"Request-Timeout-S": str(timeout_s)}
        self._heard = trio.Event()

    async def open(self) -> None:
        """Open their accounts and merchants."""
        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            answer = await client.post(f"{self._address}/v1/commands", json=OPENING)
        assert {each["status"] for each in answer.json()} == {201}

    async def pay(self) -> None:
        """Pay until nobody gets an acknowledgement any more."""
        async with (
            httpx2.AsyncClient(timeout=LIMIT_S, headers=self._headers) as client,
            trio.open_nursery() as nursery,
        ):
            for payer in range(self._count):
                nursery.start_soon(self._pay, client, payer)

    async def _pay(self, client: httpx2.AsyncClient, payer: int) -> None:
        # Those of a customer's payments that nothing follows on.
        for number in count(1, 3):
            command = payment(payer, number)
            self.waiting.add(payer)
            try:
                answer = await client.post(f"{self._address}/v1/payments", json=command)
                status, body = answer.status_code, answer.json()
            except httpx2.TransportError:
                status, body = 0, {}
            self.answers.append(Told(time.monotonic_ns(), payer, status, body))
            self.waiting.remove(payer)
            self._heard.set()
            if status != 201:
                return

    def acknowledged(self) -> list[dict[str, Any]]:
        """Return the views of all payments that were acknowledged."""
        return [told.body for told in self.answers if told.status == 201]

    async def until(self, acknowledged: int) -> None:
        """Wait until so many payments have been acknowledged."""
        with trio.fail_after(LIMIT_S):
            while len(self.acknowledged()) < acknowledged:
                self._heard = trio.Event()
                await self._heard.wait()

    async def until_all_wait(self) -> None:
        """Wait until every payer waits, and the node has all of their payments."""
        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            with trio.fail_after(LIMIT_S):
                while True:
                    heard = self._heard = trio.Event()
                    with trio.move_on_after(QUIET_S):
                        await heard.wait()
                        continue
                    node = (await client.get(f"{self._address}/v1/node")).json()
                    everybody = len(self.waiting) == self._count
                    if everybody and node["counts"]["unconfirmed"] >= self._count:
                        return

    def write(self, log: Path) -> Path:
        """Write what was acknowledged as the customers of the crash lab do, for the judge."""
        with log.open("w", encoding="ascii") as file:
            for told in self.answers:
                if told.status == 201:
                    file.write(json.dumps({"at_ns": told.at_ns, "views": [told.body]}) + "\n")
        return log


def payment(payer: int, number: int) -> dict[str, Any]:
    """Return the body of a payment."""
    (command,) = commands(payer, number)
    return {name: value for name, value in command.items() if name != "command"}


@asynccontextmanager
async def lateness() -> AsyncIterator[list[float]]:
    """Measure how late this machine is meanwhile: yields a list, its last entry the worst, in s.

    What must happen within a second may take so much longer where nobody gets the processor.
    """
    worst = [0.0]

    async def beat() -> None:
        while True:
            wanted = trio.current_time() + 0.01
            await trio.sleep_until(wanted)
            worst.append(max(worst[-1], trio.current_time() - wanted))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        yield worst
        nursery.cancel_scope.cancel()
