"""The demo's client: a process of its own that shops for a year through a node's gateway.

It is tied to its parent (`tether`) and keeps no state: it asks the node for its business date,
passes over the dates that are closed and sends the open one again in full; what was done already
is answered with its first outcome, so nothing happens twice.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from actors.commands import CaptureAuthorization, CreatePayment
from bench.connection import AdvanceClock, encode, node_at
from bench.demo_report import Failed, Finished, Progressed, plan
from bench.journey import Basket, find_data, read_baskets
from bench.shopping import FIRST_DATE, Array, Cut, opening, replay
from bench.tether import report, tie_to_parent
from gateway.client import BankClient, Item
from gateway.client.errors import problem_in
from gateway.exits import CommandError


class Replay:
    """The replay against one node, and its figures.

    Args:
        baskets: the whole year's: what is opened does not depend on how much is replayed.
        limit: how many of them to replay.
    """

    def __init__(self, node: BankClient, baskets: list[Basket], limit: int) -> None:
        self._node = node
        self._baskets = baskets
        self._limit = limit
        self._purchases = 0
        self._replayed = 0
        self._refused: Counter[str] = Counter()
        self._latencies_s: list[tuple[float, int]] = []

    def run(self) -> Finished:
        """Do all that is left to do.

        Raises:
            PiaohaoError: the node is away, or refuses an array or a cut as a whole.
        """
        begun = time.perf_counter()
        start = self._node.node().business_date
        baskets = self._baskets[: self._limit]
        report(plan(baskets, start))
        steps: Iterator[Array | Cut] = replay(baskets, start)
        if start == FIRST_DATE:
            steps = chain(opening(self._baskets), steps)
        requests = (
            (step, encode(step.items) if isinstance(step, Array) else b"") for step in steps
        )
        request = next(requests, None)
        while request is not None:
            step, body = request
            sent = time.perf_counter()
            if isinstance(step, Array):
                answered = self._node.start_array(body)
                request = next(requests, None)  # made while the node works
                self._count(step, answered.result(), time.perf_counter() - sent)
            else:
                cut = self._node.start(self._node.calls.cut_day(step.business_date))
                request = next(requests, None)
                cut.result()
        return Finished(
            seconds=time.perf_counter() - begun,
            purchases=self._purchases,
            replayed=self._replayed,
            refused=dict(self._refused),
            p50_ms=percentile_ms(self._latencies_s, 0.50),
            p99_ms=percentile_ms(self._latencies_s, 0.99),
        )

    def _count(self, array: Array, items: list[Item], latency_s: float) -> None:
        purchases = commands = 0
        for command, item in zip(array.items, items, strict=True):
            purchases += isinstance(command, (CreatePayment, CaptureAuthorization))
            commands += not isinstance(command, AdvanceClock)
            self._replayed += item.replayed
            if item.status >= 400:
                self._refused[problem_in(item.body).code] += 1
        self._purchases += purchases
        if commands:
            self._latencies_s.append((latency_s, commands))
        report(
            Progressed(
                business_date=array.business_date,
                purchases=purchases,
                commands=commands,
                latency_ms=latency_s * 1e3,
                refused=self._refused.total(),
            )
        )


def percentile_ms(latencies_s: list[tuple[float, int]], share: float) -> float | None:
    """Return the latency, in milliseconds, that `share` of all commands did not exceed.

    Args:
        latencies_s: (seconds, how many commands waited that long).
    """
    rest = share * sum(count for _, count in latencies_s)
    for latency_s, count in sorted(latencies_s):
        rest -= count
        if rest <= 0:
            return latency_s * 1e3
    return None


def main() -> int:
    """Replay, and return the exit code: 0 done, 2 no data, 4 the node is away or refuses."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo_client")
    parser.add_argument("--limit", type=int, default=sys.maxsize, help="only the first N baskets")
    parser.add_argument("--sandbox", type=Path, required=True, help="where the client's key is")
    asked = parser.parse_args()
    address = tie_to_parent()
    try:
        baskets = read_baskets(find_data())
        with node_at(address.get(), asked.sandbox) as node:
            report(Replay(node, baskets, asked.limit).run())
    except CommandError as error:
        report(Failed(error.code, str(error)))
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
