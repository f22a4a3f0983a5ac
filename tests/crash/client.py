"""A client in a process of its own that never gives up, and logs what it is told.

It reads a node's address from its standard input, one a line, newest last; at the end of the
input it ends, once all that it has begun has its outcome. Its workers do
errands: each sends one command after the other, or all of an errand in an array, and sends again
by the documented rules alone (docs/API.md) what it was not told the outcome of. They also repeat
what has been answered, and reuse its numbers for something else. Every outcome becomes a line in
the log before its worker goes on, and then a line on standard output, for whoever counts.

    python -m tests.crash.client SETTINGS    (a JSON object, see `Settings`)
"""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any, Final, TextIO

import httpx2
import msgspec
import trio
from msgspec import Struct

from tests.crash.town import Command, Errands, single

LATER: Final = {429, 503, 504}
HISTORY: Final = 20_000
"""How many errands are remembered, to be repeated."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the client behaves.

    Attributes:
        log: path of the log, which goes on where it is.
        seed: of all that is drawn.
        workers: each has a connection and one request under way.
        name: begins every number.
        pause_s: how long to wait after a connection that was cut or could not be had; the next
            address on standard input ends the wait. None waits for that.
        patience_s: how long to wait for an answer.
        timeout_s: what the node is told to take at most; None says nothing.
        array: in arrays of so many commands, several errands together; 0 one errand at a time.
        repeated: how much of what is sent has been sent before.
        reused: how often a number that was answered comes again with other content.
        commands: end when so many outcomes were told, repeated ones too.
    """

    log: str
    seed: int
    workers: int
    name: str = "W"
    pause_s: float | None = None
    patience_s: float = 30.0
    timeout_s: float | None = None
    array: int = 0
    repeated: float = 0.2
    reused: float = 0.1
    commands: int = sys.maxsize


class Answer(Struct, frozen=True):
    """What one command was told: HTTP's status and body, and whether it is a first outcome."""

    status: int
    body: dict[str, Any]
    replayed: bool
    retry_after_s: float | None

    @property
    def final(self) -> bool:
        """Whether it is the command's outcome; if not, the command is to be sent again."""
        return self.status not in LATER and self.body.get("code") != "IN_FLIGHT"


class Client:
    """Workers, the address they all send to, and the history they share."""

    def __init__(self, settings: Settings, log: TextIO) -> None:
        self.settings = settings
        self.log = log
        self.address = ""
        self.moved = trio.Event()
        self.told = 0
        self.ending = False
        self.history: list[list[Command]] = []
        self.answered: set[str] = set()
        """The contents of all commands that have their outcome."""
        self.bound: list[Command] = []
        """The newest of these commands that have an amount, to be changed."""
        self._draw = random.Random(settings.seed)

    async def follow(self) -> None:
        """Take each new address as it comes; after the end of the input nothing is begun."""
        async with trio.lowlevel.FdStream(0) as stream:
            buffered = b""
            async for chunk in stream:
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    self.address = line.decode()
                    moved, self.moved = self.moved, trio.Event()
                    moved.set()
        self.ending = True

    async def work(self, worker: int) -> None:
        """Do errands, and now and then repeat one or reuse a number."""
        settings = self.settings
        errands = iter(Errands(f"{settings.name}{worker}", settings.seed))
        headers = {} if settings.timeout_s is None else {
            "Request-Timeout-S": str(settings.timeout_s)
        }  # fmt: skip
        async with httpx2.AsyncClient(timeout=settings.patience_s, headers=headers) as http:
            while self.told < settings.commands and not self.ending:
                if settings.array:
                    await self._send(http, list(self._filled(errands)))
                    continue
                errand = self._next(errands)
                if self._draw.random() < 0.5:
                    await self._send(http, errand)
                else:
                    for command in errand:
                        await self._send(http, [command])
                if self.bound and self._draw.random() < settings.reused:
                    await self._send(http, [self._changed()])

    def _next(self, errands: Iterator[list[Command]]) -> list[Command]:
        """Return a new errand, or an old one: answered, or still under way on any connection."""
        if self.history and self._draw.random() < self.settings.repeated:
            return self._draw.choice(self.history)
        errand = next(errands)
        if len(self.history) < HISTORY:
            self.history.append(errand)
        else:
            self.history[self._draw.randrange(HISTORY)] = errand
        return errand

    def _filled(self, errands: Iterator[list[Command]]) -> Iterator[Command]:
        """Yield an array's commands, whole errands of them."""
        size = 0
        while size < self.settings.array:
            errand = self._next(errands)
            size += len(errand)
            yield from errand

    def _changed(self) -> Command:
        """Return an answered command with another amount."""
        command = self._draw.choice(self.bound)
        return {**command, "amount_minor": command["amount_minor"] + 1}

    async def _send(self, http: httpx2.AsyncClient, commands: list[Command]) -> None:
        """Send commands until each has its outcome, and log the outcomes."""
        known = [json.dumps(command) in self.answered for command in commands]
        left = list(range(len(commands)))
        while left:
            moved = self.moved
            asked = [commands[index] for index in left]
            try:
                answers = await _ask(http, self.address, asked)
            except httpx2.TransportError:
                # Cut, refused or too slow: whether it happened is told when it is sent again.
                with trio.move_on_after(_or_ever(self.settings.pause_s)):
                    await moved.wait()
                continue
            for index, answer in zip(left, answers, strict=True):
                if answer.final:
                    self._note(commands[index], answer, known=known[index])
            self.log.flush()
            left = [index for index, answer in zip(left, answers, strict=True) if not answer.final]
            self.told += len(asked) - len(left)
            print(len(asked) - len(left), flush=True)
            if left:
                waits = [each.retry_after_s or 0.01 for each in answers if not each.final]
                with trio.move_on_after(max(waits)):
                    await moved.wait()

    def _note(self, command: Command, answer: Answer, *, known: bool) -> None:
        content = json.dumps(command)
        if content not in self.answered and answer.body.get("code") != "NUMBER_USED":
            self.answered.add(content)
            if "amount_minor" in command:
                self.bound = [*self.bound[-999:], command]
        line = [command, answer.status, answer.body, answer.replayed, known]
        self.log.write(json.dumps(line) + "\n")


def _or_ever(pause_s: float | None) -> float:
    return float("inf") if pause_s is None else pause_s


async def _ask(http: httpx2.AsyncClient, address: str, commands: list[Command]) -> list[Answer]:
    """Send one command to its endpoint, several in an array; returns an answer for each.

    Raises:
        httpx2.TransportError: no whole answer came.
    """
    if len(commands) == 1:
        path, body = single(commands[0])
        told = await http.post(address + path, json=body)
        wait = told.headers.get("Retry-After")
        replayed = told.headers.get("Idempotent-Replayed") == "true"
        retry_after_s = None if wait is None else float(wait)
        return [Answer(told.status_code, told.json(), replayed, retry_after_s)]
    told = await http.post(f"{address}/v1/commands", json=commands)
    if told.status_code != 200:
        # Refused whole: the answer is every command's.
        problem = told.json()
        return [Answer(told.status_code, problem, False, problem.get("retry_after_s"))] * len(
            commands
        )
    return [
        Answer(
            item["status"],
            item["body"],
            item.get("replayed", False),
            item["body"].get("retry_after_s"),
        )
        for item in told.json()
    ]


async def main(settings: Settings) -> None:
    """Work until the input ends, or all commands are sent."""
    with open(settings.log, "a", encoding="ascii") as log:  # noqa: ASYNC230, PTH123 -- before any work
        client = Client(settings, log)
        async with trio.open_nursery() as nursery:
            moved = client.moved
            nursery.start_soon(client.follow)
            await moved.wait()
            async with trio.open_nursery() as working:
                for worker in range(settings.workers):
                    working.start_soon(client.work, worker)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, msgspec.json.decode(sys.argv[1].encode(), type=Settings))
