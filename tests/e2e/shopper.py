"""A client in a process of its own that never gives up: it logs what is acknowledged.

It reads a node's address from its standard input, one a line, newest last; each line is a node
that has just started. Its workers each send one command after the other and repeat the same one,
number and all, until it is answered for good. Every answer becomes a line in the log before the
next command is sent, and a line on standard output, for whoever counts.

    python tests/e2e/shopper.py LOG WORKERS
"""

import json
import sys
from itertools import count
from typing import Any, TextIO

import httpx2
import trio

RETRY = {429, 503, 504}


class Shopper:
    """Workers, and the address they all send to."""

    def __init__(self, log: TextIO) -> None:
        self.log = log
        self.address = ""
        self.moved = trio.Event()

    async def follow(self) -> None:
        """Take each new address as it comes; the end of the input is the end."""
        async with trio.lowlevel.FdStream(0) as stream:
            buffered = b""
            async for chunk in stream:
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    self.address = line.decode()
                    moved, self.moved = self.moved, trio.Event()
                    moved.set()

    async def work(self, worker: int) -> None:
        """Buy for ever: single payments, every third worker holds and captures in arrays."""
        async with httpx2.AsyncClient(timeout=30) as client:
            for number in count():
                name = f"{worker}-{number}"
                if worker % 3:
                    payment = {"merchant_no": "M1", "order_no": name, "payer": "A1",
                               "amount_minor": 7, "currency": "USD"}  # fmt: skip
                    await self.send(client, "/v1/payments", payment)
                else:
                    hold = {"command": "create_authorization", "merchant_no": "M1",
                            "hold_no": name, "payer": "A1", "amount_minor": 50,
                            "currency": "USD"}  # fmt: skip
                    capture = {"command": "capture_authorization", "merchant_no": "M1",
                               "hold_no": name, "capture_no": name, "amount_minor": 11,
                               "final": True}  # fmt: skip
                    await self.send(client, "/v1/commands", [hold, capture])

    async def send(self, client: httpx2.AsyncClient, path: str, body: Any) -> None:
        """Send until it is answered, then log the answer."""
        while True:
            moved = self.moved
            try:
                answer = await client.post(self.address + path, json=body)
            except httpx2.TransportError:
                # The node is gone: this was never answered. Go on with the next node.
                await moved.wait()
                continue
            items = answer.json() if path == "/v1/commands" else [answer.json()]
            statuses = {item["status"] for item in items} if len(items) > 1 else {
                answer.status_code
            }  # fmt: skip
            if statuses & RETRY:
                continue
            views = [item["body"] for item in items] if path == "/v1/commands" else items
            for view in views:
                self.log.write(json.dumps(view) + "\n")
            self.log.flush()
            print(len(views), flush=True)
            return


async def main(log: str, workers: int) -> None:
    """Run the workers until the input ends."""
    with open(log, "a", encoding="ascii") as file:  # noqa: ASYNC230, PTH123 -- before any work
        shopper = Shopper(file)
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                await shopper.follow()
                nursery.cancel_scope.cancel()

            moved = shopper.moved
            nursery.start_soon(follow)
            await moved.wait()
            for worker in range(workers):
                nursery.start_soon(shopper.work, worker)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
