"""Callers: who pays over one connection, again as soon as the last answer has come.

One kind for requests of HTTP, one for a stream. Each signs as its merchant with a key of its own,
and checks the bank's signature under the first answers and then under some of them. A caller to
whom the node says that it is busy waits as long as it was told, or does not, where a crowd is to
be played.
"""

import base64
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from bench.load.http1 import Answer, AnswerReader, encode_request
from bench.load.identities import Signer
from bench.load.loop import Link, Loop
from bench.load.tally import Item, Tally, decode_items, decode_message, decode_one
from bench.load.websocket import HANDSHAKE, MessageReader, text_frame
from bench.load.workload import Orders

CHECK_EVERY: Final = 16
"""Of so many answers one has its signature verified, and the first one always."""
_AGAIN_NS: Final = 100_000_000
_SINGLE: Final = "/v1/payments"
_ARRAY: Final = "/v1/commands"
_STREAM: Final = "/v1/stream"


class Terms(Struct, frozen=True):
    """How callers call.

    Attributes:
        address: host and port of the node.
        batch: payments in a request or in a frame.
        depth: frames of a stream that may be unanswered.
        stop_ns: when no new request is begun, on the monotonic clock.
        heeds: whether they wait when they are told to.
        pause_s: how long they wait between an answer and the next request in any case.
    """

    address: tuple[str, int]
    batch: int
    depth: int
    stop_ns: int
    heeds: bool
    pause_s: float

    @property
    def authority(self) -> str:
        """The Host header."""
        return f"{self.address[0]}:{self.address[1]}"


class Caller(ABC):
    """What both kinds have in common: to connect, to lose the connection, to wait."""

    def __init__(
        self, loop: Loop, terms: Terms, orders: Orders, signer: Signer | None, tally: Tally
    ) -> None:
        self._loop = loop
        self._terms = terms
        self._orders = orders
        self._merchant_no = orders.merchant_no
        self._signer = signer
        self._tally = tally
        self._link: Link | None = None
        self._signature = ""

    def begin(self) -> None:
        """Connect, and begin to call."""
        if time.monotonic_ns() >= self._terms.stop_ns:
            return
        try:
            self._link = Link(self._loop, self._terms.address, self._received, self._lost)
        except OSError:
            self._tally.refused(self._merchant_no, 0, "CONNECTION_REFUSED", (0,), None)
            self._again(self.begin)
            return
        self._connected()

    def unanswered(self) -> None:
        """Hear that the time is over, whatever is still under way."""
        if self._link is not None:
            self._give_up()
            self._link.close()

    @abstractmethod
    def _connected(self) -> None:
        """Send first what there is to send."""

    @abstractmethod
    def _received(self, data: bytes) -> None:
        """Take what has come in."""

    @abstractmethod
    def _give_up(self) -> None:
        """Count what is under way as unknown."""

    def _lost(self) -> None:
        self._give_up()
        self._again(self.begin)

    def _again(self, ready: Callable[[], None], wait_s: float = 0.0) -> None:
        self._loop.at(time.monotonic_ns() + max(_AGAIN_NS, int(wait_s * 1e9)), ready)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if self._signer is not None:
            signed = self._signer.sign(method, path, body)
            self._signature = signed["signature"]
            headers = {**headers, **signed}
        return encode_request(method, path, self._terms.authority, headers, body)

    def _check(self, answer: Answer) -> None:
        if self._signer is None:
            return
        headers = answer.headers()
        if answer.status == 503 and "signature" not in headers:
            return  # what finds no place in the node is refused without the gate's help
        self._signer.check(answer.status, headers, answer.body, self._signature)
        self._tally.verified += 1


class HttpCaller(Caller):
    """Sends one request after the other: a payment, or an array of them."""

    _amounts: list[int] | None = None
    _since_ns = 0
    _answers = 0

    def _connected(self) -> None:
        self._reader = AnswerReader()
        self._ask()

    def _ask(self) -> None:
        assert self._link is not None
        terms = self._terms
        if time.monotonic_ns() >= terms.stop_ns:
            self._link.close()
            return
        body, self._amounts = self._orders.take(terms.batch)
        request = self._request("POST", _SINGLE if terms.batch == 1 else _ARRAY, {}, body)
        self._since_ns = time.monotonic_ns()
        self._link.send(request)

    def _received(self, data: bytes) -> None:
        answer = self._reader.feed(data)
        if answer is None:
            return
        if not self._answers % CHECK_EVERY:
            self._check(answer)
        self._answers += 1
        wait_s = self._count(answer)
        self._amounts = None
        wait_s = max(self._terms.pause_s, wait_s if self._terms.heeds else 0.0)
        if wait_s:
            self._again(self._ask, wait_s)
        else:
            self._ask()

    def _count(self, answer: Answer) -> float:
        assert self._amounts is not None
        if answer.status == 200:
            items = decode_items(answer.body)
            results = (
                (item.status, item.body, amount)
                for item, amount in zip(items, self._amounts, strict=True)
            )
            return self._tally.results(self._merchant_no, self._since_ns, results)
        told = decode_one(answer.body)
        if self._terms.batch == 1:
            results_ = ((answer.status, told, self._amounts[0]),)
            return self._tally.results(self._merchant_no, self._since_ns, results_)
        said = answer.headers().get("retry-after")
        wait_s = None if said is None else float(said)
        code = str(told.code)
        self._tally.refused(self._merchant_no, answer.status, code, self._amounts, wait_s)
        self._tally.answered(self._merchant_no, self._since_ns, 0, 0)
        return wait_s or 0.0

    def _give_up(self) -> None:
        if self._amounts is not None:
            self._tally.refused(self._merchant_no, 0, "CONNECTION_LOST", self._amounts, None)
            self._amounts = None


class _Frame:
    """A frame that is under way."""

    __slots__ = ("amounts", "left", "since_ns")

    def __init__(self, amounts: list[int]) -> None:
        self.amounts = amounts
        self.left = set(range(len(amounts)))
        self.since_ns = time.monotonic_ns()


class StreamCaller(Caller):
    """Sends frames of payments over a stream, some of them before the first is answered."""

    def _connected(self) -> None:
        assert self._link is not None
        self._reader = AnswerReader()
        self._messages = MessageReader()
        self._stands = False
        self._frames: dict[int, _Frame] = {}
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {**HANDSHAKE, "sec-websocket-key": key, "request-timeout-s": "30"}
        self._link.send(self._request("GET", _STREAM, headers, b""))

    def _received(self, data: bytes) -> None:
        if not self._stands:
            answer = self._reader.feed(data)
            if answer is not None:
                self._shaken(answer)
            return
        for message in self._messages.feed(data):
            self._count(message)
        assert self._link is not None
        if self._messages.reply:
            self._link.send(self._messages.reply)
            self._messages.reply = b""
        if self._messages.closed:
            self._link.close()
            self._lost()

    def _shaken(self, answer: Answer) -> None:
        assert self._link is not None
        self._check(answer)
        if answer.status != 101:
            code = str(decode_one(answer.body).code)
            said = answer.headers().get("retry-after")
            wait_s = None if said is None else float(said)
            self._tally.refused(self._merchant_no, answer.status, code, (0,), wait_s)
            self._link.close()
            self._again(self.begin, wait_s or 0.0 if self._terms.heeds else 0.0)
            return
        self._stands = True
        for _ in range(self._terms.depth):
            self._send()
        rest = self._reader.rest()
        if rest:
            self._received(rest)

    def _send(self) -> None:
        assert self._link is not None
        if time.monotonic_ns() >= self._terms.stop_ns:
            if not self._frames:
                self._link.close()
            return
        body, amounts = self._orders.take(self._terms.batch)
        self._frames[self._orders.bodies - 1] = _Frame(amounts)
        self._link.send(text_frame(body))

    def _count(self, message: bytes) -> None:
        wait_s = 0.0
        groups: dict[int, list[tuple[int, Item]]] = {}
        for item in decode_message(message).answers:
            body, _, n = item.id.partition("-")
            groups.setdefault(int(body), []).append((int(n), item))
        for number, items in groups.items():
            frame = self._frames[number]
            results = ((item.status, item.body, frame.amounts[n]) for n, item in items)
            wait_s = self._tally.results(self._merchant_no, frame.since_ns, results)
            frame.left.difference_update(n for n, _ in items)
            if not frame.left:
                del self._frames[number]
                if wait_s and self._terms.heeds:
                    self._again(self._send, wait_s)
                else:
                    self._send()

    def _give_up(self) -> None:
        closed = self._messages.closed
        for frame in self._frames.values():
            amounts = [frame.amounts[n] for n in frame.left]
            self._tally.refused(self._merchant_no, 0, "CONNECTION_LOST", amounts, None)
        if closed:
            self._tally.refused(self._merchant_no, 0, f"CLOSED_{closed}", (0,), None)
        self._frames = {}
