"""The callers of an overload: a process of its own, with as many connections as callers.

Every caller sends arrays of payments, one after the other, and waits for each answer. First there
are as many as the node takes on; then ten times as many, none of whom heeds Retry-After; then as
many as at first. What each phase came to is reported to the parent (`bench.tether`).
"""

import argparse
import sys
from collections import Counter
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import trio
from msgspec import Struct

from bench.bulk import CURRENCY, account_no, merchant_no
from bench.demo_client import percentile_ms
from bench.engine_bench import choose_payers
from bench.tether import report, tie_to_parent

WARM_UP_S: Final = 5.0
GATHERING: Final = 0.1
"""The share of a phase in which its callers come, one after the other."""
RECOVERED_WITHIN_S: Final = 2.0
_SPAN_S: Final = 2.0
_RECEIVE_BYTES: Final = 1 << 18


class Phase(Struct, frozen=True, tag_field="event", tag="phase"):
    """What one phase came to.

    Attributes:
        name: `warm-up`, `full`, `overload` or `after`.
        accepted: payments that succeeded.
        refused: code → commands; what a request as a whole was refused for counts for all of it.
        unexplained: refusals without a time to come again.
        p50_ms, p99_ms: of the accepted ones, from sending the array to having its answer.
    """

    name: str
    callers: int
    seconds: float
    accepted: int
    refused: dict[str, int]
    unexplained: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Accepted payments a second."""
        return self.accepted / self.seconds


class Recovered(Struct, frozen=True, tag_field="event", tag="recovered"):
    """How the node came back to full speed.

    Attributes:
        seconds: from the end of the overload to the first moment from which, over two seconds,
            nine tenths of the full rate are reached; None if that did not happen.
    """

    seconds: float | None


class _Problem(Struct):
    code: str | None = None
    retry_after_s: int | None = None


class _Item(Struct):
    status: int
    body: _Problem


_decode_items = msgspec.json.Decoder(list[_Item]).decode
_decode_item = msgspec.json.Decoder(_Problem).decode


class Tally:
    """Counts the answers of one phase."""

    def __init__(self) -> None:
        self.accepted: list[tuple[float, int, float]] = []
        self.refused: Counter[str] = Counter()
        self.unexplained = 0

    def answered(self, sent: float, status: int, retry_after: bool, body: bytes, size: int) -> None:
        """Count the answer to an array of `size` commands, or to a single one."""
        now = trio.current_time()
        if status == 201:
            self.accepted.append((now, 1, now - sent))
        elif status == 200:
            items = _decode_items(body)
            done = sum(item.status == 201 for item in items)
            self.accepted.append((now, done, now - sent))
            for item in items if done < len(items) else ():
                if item.status != 201:
                    self.refused[str(item.body.code)] += 1
                    self.unexplained += item.body.retry_after_s is None
        else:
            self.refused[str(_decode_item(body).code)] += size
            self.unexplained += not retry_after

    def phase(self, name: str, callers: int, seconds: float) -> Phase:
        """Return what it came to."""
        waited = [(latency_s, done) for _, done, latency_s in self.accepted]
        return Phase(
            name,
            callers,
            seconds,
            sum(done for _, done, _ in self.accepted),
            dict(self.refused),
            self.unexplained,
            percentile_ms(waited, 0.50) or 0.0,
            percentile_ms(waited, 0.99) or 0.0,
        )


class Crowd:
    """Callers, and what they are told.

    Args:
        address: of the node.
        batch: commands in an array; one by one, without an array, for 1.
    """

    def __init__(self, address: str, accounts: int, merchants: int, batch: int) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._batch = batch
        self._merchants = merchants
        self._payers = choose_payers("uniform", accounts, seed=1)
        self._orders = count(1)
        self._prefix = f"{trio.current_time():.3f}"
        self.tally = Tally()

    async def call(self, callers: int, seconds: float) -> Tally:
        """Have so many callers call for `seconds`, and until they have their answers."""
        self.tally = Tally()
        begun = trio.current_time()
        until = begun + seconds
        async with trio.open_nursery() as nursery:
            for n in range(callers):
                # A crowd gathers; it does not come out of the ground.
                comes = begun + GATHERING * seconds * n / callers
                nursery.start_soon(self._caller, comes, until, self.tally)
        return self.tally

    async def _caller(self, comes: float, until: float, tally: Tally) -> None:
        await trio.sleep_until(comes)
        async with await trio.open_tcp_stream(self._host, self._port) as stream:
            while trio.current_time() < until:
                request = self._request()
                sent = trio.current_time()
                await stream.send_all(request)
                answer = await _answer(stream)
                tally.answered(sent, *answer, self._batch)

    def _request(self) -> bytes:
        commands = [self._command() for _ in range(self._batch)]
        path = "/v1/commands" if self._batch > 1 else "/v1/payments"
        body = f"[{','.join(commands)}]" if self._batch > 1 else commands[0]
        return (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode("ascii")

    def _command(self) -> str:
        order = next(self._orders)
        payer = self._payers[order % len(self._payers)]
        tag = '"command":"create_payment",' if self._batch > 1 else ""
        return (
            f'{{{tag}"merchant_no":"{merchant_no(payer % self._merchants)}",'
            f'"order_no":"{self._prefix}-{order:09d}","payer":"{account_no(payer)}",'
            f'"amount_minor":100,"currency":"{CURRENCY}"}}'
        )


async def _answer(stream: trio.SocketStream) -> tuple[int, bool, bytes]:
    """Return an answer's status, whether it says when to come again, and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _more(stream)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }
    length = int(headers[b"content-length"])
    while len(body) < length:
        body += await _more(stream)
    return int(first.split()[1]), b"retry-after" in headers, body


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(_RECEIVE_BYTES))
    if not data:
        raise trio.BrokenResourceError("the node has hung up")
    return data


def recovered_s(accepted: list[tuple[float, int, float]], end: float, rate: float) -> float | None:
    """Return how long after `end` nine tenths of `rate` are reached again, over two seconds.

    Args:
        accepted: (when, how many, latency), in order of time, of the time after the overload.
    """
    for step in range(int(RECOVERED_WITHIN_S / 0.1) * 3):
        begin = end + step * 0.1
        done = sum(many for when, many, _ in accepted if begin <= when < begin + _SPAN_S)
        if done / _SPAN_S >= 0.9 * rate:
            return round(begin - end, 1)
    return None


async def main(address: str, settings: Any) -> None:
    """Go through the phases."""
    crowd = Crowd(address, settings.accounts, settings.merchants, settings.batch)
    callers, times = settings.callers, settings.times
    phases = (
        ("warm-up", callers, WARM_UP_S),
        ("full", callers, settings.full_s),
        ("overload", callers * times, settings.overload_s),
        ("after", callers, settings.full_s),
    )
    rate = 0.0
    for name, many, seconds in phases:
        begun = trio.current_time()
        tally = await crowd.call(many, seconds)
        phase = tally.phase(name, many, trio.current_time() - begun)
        report(phase)
        if name == "full":
            rate = phase.rate
        if name == "after":
            report(Recovered(recovered_s(tally.accepted, begun, rate)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.overload_client")
    for option in ("accounts", "merchants", "batch", "callers", "times"):
        parser.add_argument(f"--{option}", type=int, required=True)
    for option in ("full-s", "overload-s"):
        parser.add_argument(f"--{option}", type=float, required=True)
    asked = parser.parse_args()
    trio.run(main, tie_to_parent().get(), asked)
    sys.exit(0)
