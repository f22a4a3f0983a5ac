"""How connections are accepted: many at a time, and not so many that others wait for it."""

import errno
import os
import resource
import socket
import struct
from contextlib import AsyncExitStack, ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.listener.accepting import AT_A_TIME, EACH_S, accept
from tests.gateway.serving import (
    GOOD,
    Door,
    addressed,
    connect,
    host_of,
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

CLIENTS = 3 * AT_A_TIME + 5


@pytest.mark.parametrize(
    ("turn_s", "many"), [(1.0, AT_A_TIME), (8.5 * EACH_S, 8), (EACH_S / 2, 1), (0.0, 1)]
)
async def test_longer_turns_of_the_loop_have_more_newcomers(turn_s: float, many: int) -> None:
    """One a turn made them wait for seconds on a busy node; all in one would hold up the rest."""
    now = 0.0
    hosts: list[str] = []
    rounds: list[int] = []
    with ExitStack() as stack:
        bound = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        bound.setblocking(False)
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(bound.getsockname()))

        def clock() -> float:
            """Be asked once before each round and once after it."""
            nonlocal now
            rounds.append(len(hosts))
            now += turn_s if len(rounds) % 2 == 0 else 0.0
            return now

        def welcome(sock: socket.socket, host: str) -> None:
            stack.enter_context(sock)
            hosts.append(host)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, bound, welcome, lambda: False, clock)
            with trio.fail_after(5):
                while len(hosts) < CLIENTS:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert set(hosts) == {"127.0.0.1"}
    accepted = [after - before for before, after in pairwise(rounds) if after > before]
    assert accepted[:-1] == [many] * (len(accepted) - 1)
    assert 0 < accepted[-1] <= many


async def test_clients_that_have_left_are_not_let_in() -> None:
    """Whoever comes behind a flood of them waits for none; half-closed ones may be answered."""
    welcomed: list[bytes] = []
    with ExitStack() as stack:
        bound = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        bound.setblocking(False)
        for sent in [b"", b"GET / HT", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r"] * 4:
            leaving = stack.enter_context(socket.create_connection(bound.getsockname()))
            leaving.sendall(sent)
            leaving.shutdown(socket.SHUT_WR)
        with socket.create_connection(bound.getsockname()) as reset:
            reset.sendall(b"GET / HTTP/1.1\r\n\r\n")
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        last = stack.enter_context(socket.create_connection(bound.getsockname()))
        last.sendall(b"last")
        came = trio.Event()

        def welcome(sock: socket.socket, _: str) -> None:
            stack.enter_context(sock)
            welcomed.append(sock.recv(100))
            if welcomed[-1] == b"last":
                came.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, bound, welcome, lambda: False)
            with trio.fail_after(5):
                await came.wait()
            nursery.cancel_scope.cancel()
    assert welcomed == [b"GET / HTTP/1.1\r\n\r\n"] * 4 + [b"last"]


class _Short(socket.socket):
    """Finds no file for a connection so many times."""

    def __init__(self, fails: int) -> None:
        super().__init__()
        self._fails = fails

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self._fails:
            self._fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_accepting_goes_on_after_files_were_short(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes while no file can be opened waits, and is let in once one can."""
    with _Short(2) as bound, ExitStack() as stack:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        bound.setblocking(False)
        stack.enter_context(socket.create_connection(bound.getsockname()))
        came = trio.Event()

        def welcome(sock: socket.socket, _: str) -> None:
            stack.enter_context(sock)
            came.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, bound, welcome, lambda: False)
            with trio.fail_after(5):
                await came.wait()
            nursery.cancel_scope.cancel()
    assert len(caplog.records) == 2
    assert "no connection can be accepted for now" in caplog.text


@pytest.mark.parametrize(("fails", "waits_s"), [(1, 0.0), (2, 0.1)])
async def test_one_goes_for_a_new_one_where_files_are_short(
    fails: int, waits_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """One alone: where that does not help, somebody else has taken what it had."""
    made: list[int] = []
    with _Short(fails) as bound, ExitStack() as stack:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        bound.setblocking(False)
        stack.enter_context(socket.create_connection(bound.getsockname()))
        came = trio.Event()

        def welcome(sock: socket.socket, _: str) -> None:
            stack.enter_context(sock)
            came.set()

        def make_room() -> bool:
            made.append(1)
            return True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, bound, welcome, make_room)
            with trio.fail_after(5):
                await came.wait()
            nursery.cancel_scope.cancel()
    assert made == [1]
    assert trio.current_time() == pytest.approx(waits_s)


def _highest_file() -> int:
    return max(int(each.name) for each in Path("/proc/self/fd").iterdir())


async def test_idle_connection_goes_for_a_new_one_where_files_are_short(
    tmp_path: Path, door: Door
) -> None:
    """As many connections as there may be are too many where webhooks have the files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path, door=door) as running, AsyncExitStack() as stack:
        idle = await stack.enter_async_context(await connect(running))
        await trio.testing.wait_all_tasks_blocked(0.02)
        new = trio.SocketStream(trio.socket.socket())
        stack.push_async_callback(trio.aclose_forcefully, new)
        host, _, port = host_of(running).decode().rpartition(":")
        resource.setrlimit(resource.RLIMIT_NOFILE, (_highest_file() + 1, hard))
        try:
            with suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(new.socket.fileno()))
            await new.socket.connect((host, int(port)))
            await new.send_all(addressed(running, GOOD))
            with trio.fail_after(5):  # half the time that an idle one would have anyway
                assert (await read_answer(new)).status == 200
            assert await until_closed(idle) == b""
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
