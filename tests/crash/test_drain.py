"""SIGTERM under load: what was admitted is answered, what was not has not happened.

The clients here speak HTTP by hand, because it matters how many bytes of an answer came before a
connection was closed. They keep their connections, open new ones for each request, send arrays,
send several requests at once without waiting, and bodies that are only half there at the signal.
"""

import json
import random
from collections import Counter
from contextlib import closing, suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import trio

from gateway.operations import Verify
from gateway.operator import perform
from storage.folder import Folder, release
from tests.crash.crowd import open_town
from tests.crash.log import Key, Log
from tests.crash.town import Command, Errands, key_of, single
from tests.crash.witness import Witness
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node

ARRAY: Final = 250
PIPELINED: Final = 5
ROUNDS: Final = 2


class Fate(Enum):
    """What became of a request."""

    ANSWERED = auto()
    REFUSED = auto()
    """503 STOPPING, with a Retry-After."""
    CLOSED = auto()
    """The connection was refused, or closed before the first byte of an answer."""


class Connection:
    """One connection, as a client that counts bytes has it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def answer(self) -> tuple[int, dict[str, str], bytes] | None:
        """Return status, headers and body of the next answer; None if not one byte of it came."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                assert not self._buffer, f"half an answer: {self._buffer!r}"
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(self._buffer) < length:
            assert await self._more(), f"half an answer: {head!r} {self._buffer!r}"
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(first.split()[1]), headers, body

    async def _more(self) -> bool:
        try:
            chunk = await self.stream.receive_some()
        except trio.BrokenResourceError:
            return False
        self._buffer += chunk
        return bool(chunk)


def request(address: str, commands: list[Command]) -> bytes:
    """Return a whole request to the node at `address`: one command, or several in an array."""
    path, body = single(commands[0]) if len(commands) == 1 else ("/v1/commands", commands)
    encoded = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: {address.removeprefix('http://')}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(encoded)}\r\n\r\n"
    ).encode() + encoded


class Load:
    """Clients of all kinds, until the node is gone.

    Args:
        log: takes what was answered.
        name: begins all numbers.
        answers: how many of them make it `warm`.

    Attributes:
        fates: how many commands had which fate.
        not_done: commands that must not have happened.
        warm: set once enough was answered.
        stopping: to be set once the node is to stop.
    """

    def __init__(self, running: NodeProcess, log: Log, seed: int, name: str, answers: int) -> None:
        self._address = running.address
        self._port = int(running.address.rpartition(":")[2])
        self._log = log
        self._seed = seed
        self._name = name
        self._answers = answers
        self.fates: Counter[Fate] = Counter()
        self.not_done: set[Key] = set()
        self.warm = trio.Event()
        self.stopping = trio.Event()

    def _errands(self, kind: str, worker: int) -> Errands:
        return Errands(f"{self._name}-{kind}{worker}", self._seed)

    async def kept(self, worker: int) -> None:
        """Send command after command on one connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        connection = Connection(stream)
        async with stream:
            for errand in self._errands("kept", worker):
                for command in errand:
                    if not await self._ask(connection, [command]):
                        return

    async def fresh(self, worker: int) -> None:
        """Send each command on a connection of its own, until none is taken any more."""
        for errand in self._errands("fresh", worker):
            for command in errand:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self._port)
                except OSError:
                    self._note([command], None)
                    return
                async with stream:
                    await self._ask(Connection(stream), [command])

    async def arrays(self, worker: int) -> None:
        """Send long arrays on one connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        connection = Connection(stream)
        errands = iter(self._errands("array", worker))
        async with stream:
            while True:
                array: list[Command] = []
                while len(array) < ARRAY:
                    array += next(errands)
                if not await self._ask(connection, array):
                    return

    async def pipelined(self, worker: int) -> None:
        """Send several requests at once, and only then read the answers."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        connection = Connection(stream)
        errands = iter(self._errands("pipe", worker))
        async with stream:
            taken = True
            while taken:
                commands = [next(errands)[0] for _ in range(PIPELINED)]
                await _send(stream, b"".join(request(self._address, [each]) for each in commands))
                for command in commands:
                    taken = self._note([command], await connection.answer() if taken else None)

    async def halved(self, worker: int) -> None:
        """Send half a request, and the rest once the node is to stop."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        command = next(iter(self._errands("half", worker)))[0]
        whole = request(self._address, [command])
        async with stream:
            await _send(stream, whole[:-10])
            await self.stopping.wait()
            await _send(stream, whole[-10:])
            self._note([command], await Connection(stream).answer())

    async def _ask(self, connection: Connection, commands: list[Command]) -> bool:
        await _send(connection.stream, request(self._address, commands))
        return self._note(commands, await connection.answer())

    def _note(
        self, commands: list[Command], told: tuple[int, dict[str, str], bytes] | None
    ) -> bool:
        """Note what commands of one request were told; returns whether there was an answer."""
        if told is None:
            self.fates[Fate.CLOSED] += len(commands)
            self.not_done.update(map(key_of, commands))
            return False
        status, headers, body = told
        decoded: Any = json.loads(body)
        if len(commands) == 1:
            if status == 503:
                assert int(headers["retry-after"]) > 0
                assert headers["connection"] == "close", "nothing more should be sent on it"
            items = [(status, decoded)]
        else:
            assert status == 200
            items = [(item["status"], item["body"]) for item in decoded]
        for command, (item_status, view) in zip(commands, items, strict=True):
            if item_status == 503:
                assert view["code"] == "STOPPING", view
                assert view["retry_after_s"] > 0
                self.fates[Fate.REFUSED] += 1
                self.not_done.add(key_of(command))
            elif view.get("code") != "IN_FLIGHT":
                self.fates[Fate.ANSWERED] += 1
                self._log.note(command, item_status, view, False, False)
        if self.fates[Fate.ANSWERED] >= self._answers:
            self.warm.set()
        return True


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    """Send what can be sent: a connection that was closed shows when it is to be read."""
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)


async def _stopped(path: Path, shards: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    data = path / f"bank-{shards}"
    log = Log(path / f"told-{shards}")
    await make_store(data, shards)
    not_done: set[Key] = set()
    fates: Counter[Fate] = Counter()
    for round_ in range(ROUNDS):
        async with node(data) as running:
            if round_ == 0:
                await open_town(running.address)
            load = Load(running, log, seed, f"{round_}", draw.randrange(200, 1_500))
            await _stopped_under(load, running)
            assert running.errors == b"", running.errors.decode()
        not_done |= load.not_done
        fates += load.fates
    print(shards, "shards:", {fate.name: count for fate, count in fates.items()})
    assert set(fates) == set(Fate), "something of each kind"
    assert _clean(data), "the next start would have to recover"
    witness = Witness(log)
    async with node(data) as running:
        await witness.check(running.address)
    assert not not_done & witness.happened, "it happened, and its client was not told"
    assert witness.happened == log.told.keys()
    report = await trio.to_thread.run_sync(perform, data, Verify())
    assert report["ok"], report["violations"]


async def _stopped_under(load: Load, running: NodeProcess) -> None:
    """Put load on the node, stop it once it is warm, and wait for both to end."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for client, workers in (
                (load.kept, 6),
                (load.fresh, 3),
                (load.arrays, 3),
                (load.pipelined, 2),
                (load.halved, 3),
            ):
                for worker in range(workers):
                    nursery.start_soon(client, worker)
            await load.warm.wait()
            running.process.terminate()
            load.stopping.set()
            assert await running.process.wait() == 0


def _clean(data: Path) -> bool:
    """Whether every shard was closed in good order."""
    with closing(Folder(data)) as folder:
        stores = folder.open()
        clean = all(store.was_clean for store in stores)
        release(stores)
    return clean


async def test_sigterm_under_load_answers_what_it_admitted_and_does_nothing_else(
    tmp_path: Path,
) -> None:
    async with trio.open_nursery() as nursery:
        for shards in (1, 3):
            nursery.start_soon(_stopped, tmp_path, shards)
