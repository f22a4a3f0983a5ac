"""Callers: who has errands done over one connection, whenever the pace says so.

One kind for requests of HTTP, one for a stream. Each signs as the merchant whose errand it is, and
checks the bank's signature under the first answers and then under some of them. A caller to whom
the node says that it is busy waits as long as it was told, or does not, where a crowd is to be
played.
"""

import base64
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from bench.load.http1 import Answer, AnswerReader, encode_request
from bench.load.identities import Signer
from bench.load.loop import Link, Loop
from bench.load.pace import Pace
from bench.load.requests import frame, request
from bench.load.tally import Item, Tally, Told, decode_items, decode_message, decode_one
from bench.load.websocket import HANDSHAKE, MessageReader, text_frame
from bench.workloads.errand import Errand, Source, merchant_of

CHECK_EVERY: Final = 16
"""Of so many answers one has its signature verified, and the first one always."""
_AGAIN_NS: Final = 100_000_000
Signers = Callable[[str], Signer | None]
"""Returns who signs for a merchant; None where nothing is signed."""
_STREAM: Final = "/v1/stream"


class Terms(Struct, frozen=True):
    """How callers call.

    Attributes:
        address: host and port of the node.
        batch: errands in a request or in a frame.
        depth: frames of a stream that may be unanswered.
        stop_ns: when no new connection is made, on the monotonic clock.
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
    """What both kinds have in common: to connect, to lose the connection, to wait.

    Args:
        merchant_no: whose connection it is, where it is one's.
    """

    def __init__(
        self,
        loop: Loop,
        terms: Terms,
        source: Source,
        pace: Pace,
        signers: Signers,
        tally: Tally,
        merchant_no: str = "",
    ) -> None:
        self._loop = loop
        self._terms = terms
        self._source = source
        self._pace = pace
        self._signers = signers
        self._signer = signers(merchant_no) if merchant_no else None
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
            self._tally.trouble("CONNECTION_REFUSED")
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

    @abstractmethod
    def ask(self, since_ns: int | None) -> None:
        """Send the next request, which arrived then; None for now."""

    @abstractmethod
    def finish(self) -> None:
        """Send nothing any more."""

    def _lost(self) -> None:
        self._pace.gone(self)
        self._give_up()
        self._again(self.begin)

    def _again(self, ready: Callable[[], None], wait_s: float = 0.0) -> None:
        self._loop.at(time.monotonic_ns() + max(_AGAIN_NS, int(wait_s * 1e9)), ready)

    def _free(self) -> None:
        """Be free for the next request, unless the connection is gone meanwhile."""
        if self._link is not None and self._link.open:
            self._pace.free(self)

    def _learn(self, results: Sequence[tuple[Errand, int, Told]]) -> None:
        for errand, status, told in results:
            self._source.learn(errand, done=status < 300 and told.code is None)

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
    """Sends one request after the other: an errand, or an array of them."""

    _errands: list[Errand] | None = None
    _since_ns = 0
    _answers = 0

    def _connected(self) -> None:
        self._reader = AnswerReader()
        self._pace.free(self)

    def ask(self, since_ns: int | None) -> None:
        """Send the next request, which arrived then; None for now."""
        assert self._link is not None
        batch = self._terms.batch
        self._errands = self._source.take(batch)
        self._signer = self._signers(merchant_of(self._errands[0]))
        asked = request(self._errands, "single" if batch == 1 else "array")
        data = self._request(asked.method, asked.path, {}, asked.body)
        self._since_ns = time.monotonic_ns() if since_ns is None else since_ns
        self._link.send(data)

    def finish(self) -> None:
        """Hang up; nothing is under way."""
        assert self._link is not None
        self._link.close()

    def _received(self, data: bytes) -> None:
        answer = self._reader.feed(data)
        if answer is None:
            return
        if not self._answers % CHECK_EVERY:
            self._check(answer)
        self._answers += 1
        wait_s = self._count(answer)
        wait_s = max(self._terms.pause_s, wait_s if self._terms.heeds else 0.0)
        if wait_s:
            self._again(self._free, wait_s)
        else:
            self._pace.free(self)

    def _count(self, answer: Answer) -> float:
        assert self._errands is not None
        errands, self._errands = self._errands, None
        if self._terms.batch > 1 and answer.status == 200:
            items = decode_items(answer.body)
            results = [
                (errand, item.status, item.body)
                for errand, item in zip(errands, items, strict=True)
            ]
        else:
            told = decode_one(answer.body)
            if self._terms.batch > 1:
                said = answer.headers().get("retry-after")
                told.retry_after_s = None if said is None else int(said)
            results = [(errand, answer.status, told) for errand in errands]
        self._learn(results)
        return self._tally.results(self._since_ns, results)

    def _give_up(self) -> None:
        if self._errands is not None:
            self._tally.lost(self._since_ns, self._errands)
            self._errands = None


class _Frame:
    """A frame that is under way."""

    __slots__ = ("errands", "left", "since_ns")

    def __init__(self, errands: list[Errand], since_ns: int) -> None:
        self.errands = errands
        self.left = set(range(len(errands)))
        self.since_ns = since_ns


class StreamCaller(Caller):
    """Sends frames of errands over a stream, some of them before the first is answered."""

    _bodies = 0

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
            self._tally.trouble(code, answer.status, wait_s)
            self._link.close()
            self._again(self.begin, wait_s or 0.0 if self._terms.heeds else 0.0)
            return
        self._stands = True
        for _ in range(self._terms.depth):
            self._pace.free(self)
        rest = self._reader.rest()
        if rest:
            self._received(rest)

    def ask(self, since_ns: int | None) -> None:
        """Send the next frame, which arrived then; None for now."""
        assert self._link is not None
        errands = self._source.take(self._terms.batch)
        data = text_frame(frame(errands, self._bodies))
        self._frames[self._bodies] = _Frame(errands, since_ns or time.monotonic_ns())
        self._bodies += 1
        self._link.send(data)

    def finish(self) -> None:
        """Hang up as soon as nothing is under way."""
        assert self._link is not None
        if not self._frames:
            self._link.close()

    def _count(self, message: bytes) -> None:
        groups: dict[int, list[tuple[int, Item]]] = {}
        for item in decode_message(message).answers:
            body, _, n = item.id.partition("-")
            groups.setdefault(int(body), []).append((int(n), item))
        for number, items in groups.items():
            frame_ = self._frames[number]
            results = [(frame_.errands[n], item.status, item.body) for n, item in items]
            self._learn(results)
            wait_s = self._tally.results(frame_.since_ns, results)
            frame_.left.difference_update(n for n, _ in items)
            if not frame_.left:
                del self._frames[number]
                if wait_s and self._terms.heeds:
                    self._again(self._free, wait_s)
                else:
                    self._pace.free(self)

    def _give_up(self) -> None:
        closed = self._messages.closed
        for each in self._frames.values():
            self._tally.lost(each.since_ns, [each.errands[n] for n in each.left])
        if closed:
            self._tally.trouble(f"CLOSED_{closed}")
        self._frames = {}
