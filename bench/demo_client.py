"""The demo's client: a process of its own that shops for a year through a node's gateway.

It reads the node's address from its standard input, which its parent then holds open: when that
ends, so does the client, at once, however the parent died. It tells the parent how it gets on,
one JSON object a line on its standard output (`demo_report`). It keeps no state: it asks the node
for its business date, passes over the dates that are closed and sends the open one again in
full; what was done already is answered with its first outcome, so nothing happens twice.
"""

import argparse
import http.client
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from queue import SimpleQueue
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from actors.commands import CaptureAuthorization, CreatePayment
from bench.demo_report import Failed, Finished, Progressed, Report, plan
from bench.journey import Basket, find_data, read_baskets
from bench.shopping import FIRST_DATE, AdvanceClock, Array, Cut, opening, replay
from gateway.exits import UNREACHABLE, CommandError

REPEATABLE: Final = frozenset({429, 503, 504})
"""Statuses after which the same command is sent again under the same number."""
PATIENCE_S: Final = 30.0
"""How long a request is tried again before the node counts as unreachable."""
PAUSE_S: Final = 0.2

encode = msgspec.json.Encoder().encode


class Problem(Struct):
    """What the client reads of a problem document."""

    code: str = ""
    detail: str = ""
    retry_after_s: int | None = None


class Item(Struct):
    """What one command of an array was answered; a body is decoded only if it is a problem."""

    status: int
    body: msgspec.Raw
    replayed: bool = False


class NodeView(Struct):
    """What the client reads of the node's description."""

    business_date: str


_items = msgspec.json.Decoder(list[Item]).decode
_node = msgspec.json.Decoder(NodeView).decode
_decode_problem = msgspec.json.Decoder(Problem).decode


class UnreachableError(CommandError):
    """The node did not answer in time, or would not do what was asked."""

    def __init__(self, detail: str) -> None:
        super().__init__(UNREACHABLE, detail)


class Connection:
    """One kept connection to the gateway.

    Args:
        address: the node's, for example `http://127.0.0.1:8080`.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._http = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=PATIENCE_S
        )

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def send(self, method: str, path: str, body: bytes | None = None) -> None:
        """Send a request and do not wait; a failure shows when it is to be answered."""
        try:
            self._http.request(method, path, body, {"content-type": "application/json"})
        except (OSError, http.client.HTTPException):
            self._http.close()

    def answer(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return the successful answer to the request just sent, sending it again if need be.

        Sending again is safe: a number that was used is answered with its first outcome.

        Raises:
            UnreachableError: the node stays away for too long, or refuses the request.
        """
        give_up = time.perf_counter() + PATIENCE_S
        while True:
            pause_s = PAUSE_S
            try:
                response = self._http.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                reason = str(error) or type(error).__name__
            else:
                if response.status < 300:
                    return answer
                problem = _problem(answer)
                reason = f"{response.status} {problem.code} {problem.detail}".rstrip()
                pause_s = problem.retry_after_s or PAUSE_S
                if response.status not in REPEATABLE:
                    raise UnreachableError(f"the node refuses {method} {path}: {reason}")
            if time.perf_counter() + pause_s > give_up:
                raise UnreachableError(f"the node does not answer {method} {path}: {reason}")
            time.sleep(pause_s)
            self.send(method, path, body)


class Replay:
    """The replay against one node, and its figures.

    Args:
        baskets: the whole year's: what is opened does not depend on how much is replayed.
        limit: how many of them to replay.
    """

    def __init__(self, connection: Connection, baskets: list[Basket], limit: int) -> None:
        self._connection = connection
        self._baskets = baskets
        self._limit = limit
        self._purchases = 0
        self._replayed = 0
        self._refused: Counter[str] = Counter()
        self._latencies_s: list[tuple[float, int]] = []

    def run(self) -> Finished:
        """Do all that is left to do.

        Raises:
            UnreachableError: the node is away, or refuses an array or a cut as a whole.
        """
        begun = time.perf_counter()
        self._connection.send("GET", "/v1/node")
        start = _node(self._connection.answer("GET", "/v1/node")).business_date
        baskets = self._baskets[: self._limit]
        _report(plan(baskets, start))
        steps: Iterator[Array | Cut] = replay(baskets, start)
        if start == FIRST_DATE:
            steps = chain(opening(self._baskets), steps)
        requests = map(_request, steps)
        request = next(requests, None)
        while request is not None:
            step, path, body = request
            sent = time.perf_counter()
            self._connection.send("POST", path, body)
            request = next(requests, None)  # made while the node works
            if isinstance(step, Array):
                items = self._carried_out(path, body)
                self._count(step, items, time.perf_counter() - sent)
            else:
                self._connection.answer("POST", path, body)
        return Finished(
            seconds=time.perf_counter() - begun,
            purchases=self._purchases,
            replayed=self._replayed,
            refused=dict(self._refused),
            p50_ms=percentile_ms(self._latencies_s, 0.50),
            p99_ms=percentile_ms(self._latencies_s, 0.99),
        )

    def _carried_out(self, path: str, body: bytes) -> list[Item]:
        """Return the answers to an array, sent again as a whole until no command is put off.

        What was carried out the first time is only looked up the second time.
        """
        give_up = time.perf_counter() + PATIENCE_S
        while True:
            items = _items(self._connection.answer("POST", path, body))
            put_off = [item for item in items if item.status in REPEATABLE]
            if not put_off:
                return items
            problem = _problem(put_off[0].body)
            if time.perf_counter() > give_up:
                raise UnreachableError(f"the node does not do its commands: {problem.code}")
            time.sleep(problem.retry_after_s or PAUSE_S)
            self._connection.send("POST", path, body)

    def _count(self, array: Array, items: list[Item], latency_s: float) -> None:
        purchases = commands = 0
        for command, item in zip(array.items, items, strict=True):
            purchases += isinstance(command, (CreatePayment, CaptureAuthorization))
            commands += not isinstance(command, AdvanceClock)
            self._replayed += item.replayed
            if item.status >= 400:
                self._refused[_problem(item.body).code] += 1
        self._purchases += purchases
        if commands:
            self._latencies_s.append((latency_s, commands))
        _report(
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


def _request(step: Array | Cut) -> tuple[Array | Cut, str, bytes]:
    if isinstance(step, Array):
        return step, "/v1/commands", encode(step.items)
    return step, "/v1/day-cuts", encode({"business_date": step.business_date})


def _problem(body: msgspec.Raw | bytes) -> Problem:
    """Return what a body that should be a problem document says."""
    try:
        return _decode_problem(body)
    except msgspec.DecodeError:
        return Problem("NOT_A_PROBLEM_DOCUMENT")


def _report(report: Report) -> None:
    sys.stdout.buffer.write(encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _heed_parent(address: SimpleQueue[str]) -> None:
    """Pass the address on, then wait until the parent's end of the pipe closes, and end.

    It reads the pipe itself: a thread that waits in `sys.stdin` holds a lock which the
    interpreter wants when the main thread ends.
    """
    line = b""
    while data := os.read(0, 4096):
        if b"\n" not in line:
            line += data
            if b"\n" in line:
                address.put(line.partition(b"\n")[0].decode())
    os._exit(0)


def main() -> int:
    """Replay, and return the exit code: 0 done, 2 no data, 4 the node is away or refuses."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo_client")
    parser.add_argument("--limit", type=int, default=sys.maxsize, help="only the first N baskets")
    limit: int = parser.parse_args().limit
    # Ctrl-C reaches the whole foreground group; what it means is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    address: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_heed_parent, args=(address,), daemon=True).start()
    try:
        baskets = read_baskets(find_data())
        with closing(Connection(address.get())) as connection:
            _report(Replay(connection, baskets, limit).run())
    except CommandError as error:
        _report(Failed(error.code, str(error)))
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
