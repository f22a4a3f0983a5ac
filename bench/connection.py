"""A client's connection to a gateway that may be slow, busy, stopping or gone for a while.

A request is tried again for as long as patience lasts, which is safe: a number that was used is
answered with its first outcome. What the node refuses as a whole ends the client.
"""

import http.client
import time
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from actors.commands import Command
from gateway.exits import UNREACHABLE, CommandError

REPEATABLE: Final = frozenset({429, 503, 504})
"""Statuses after which the same command is sent again under the same number."""
PATIENCE_S: Final = 30.0
"""How long a request is tried again before the node counts as unreachable."""
PAUSE_S: Final = 0.2
ARRAY_MAX: Final = 1_000
"""Commands in an array at most: what the gateway takes."""

encode = msgspec.json.Encoder().encode


class AdvanceClock(Command, frozen=True, tag="advance_clock"):
    """Move the node's domain clock, for the items after it."""

    to: str


class Problem(Struct):
    """What a client reads of a problem document."""

    code: str = ""
    detail: str = ""
    retry_after_s: int | None = None


class Item(Struct):
    """What one command of an array was answered; a body is decoded only if it is a problem."""

    status: int
    body: msgspec.Raw
    replayed: bool = False


_items = msgspec.json.Decoder(list[Item]).decode
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
                problem = problem_in(answer)
                reason = f"{response.status} {problem.code} {problem.detail}".rstrip()
                pause_s = problem.retry_after_s or PAUSE_S
                if response.status not in REPEATABLE:
                    raise UnreachableError(f"the node refuses {method} {path}: {reason}")
            if time.perf_counter() + pause_s > give_up:
                raise UnreachableError(f"the node does not answer {method} {path}: {reason}")
            time.sleep(pause_s)
            self.send(method, path, body)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send a request and return its answer, as `answer` does."""
        self.send(method, path, body)
        return self.answer(method, path, body)

    def carried_out(
        self, path: str, body: bytes, put_off: frozenset[str] = frozenset()
    ) -> list[Item]:
        """Return the answers to the array just sent, sent again whole until nothing is put off.

        What was carried out the first time is only looked up the second time.

        Args:
            put_off: codes after which a command is sent again, besides those statuses that are
                REPEATABLE.

        Raises:
            UnreachableError: as for `answer`, or commands are put off for too long.
        """
        give_up = time.perf_counter() + PATIENCE_S
        while True:
            items = _items(self.answer("POST", path, body))
            later = [
                item
                for item in items
                if item.status >= 400
                and (item.status in REPEATABLE or problem_in(item.body).code in put_off)
            ]
            if not later:
                return items
            problem = problem_in(later[0].body)
            if time.perf_counter() > give_up:
                raise UnreachableError(f"the node does not do its commands: {problem.code}")
            time.sleep(problem.retry_after_s or PAUSE_S)
            self.send("POST", path, body)


def problem_in(body: msgspec.Raw | bytes) -> Problem:
    """Return what a body that should be a problem document says."""
    try:
        return _decode_problem(body)
    except msgspec.DecodeError:
        return Problem("NOT_A_PROBLEM_DOCUMENT")
