"""A follower of a merchant's events, as a program that is killed again and again.

Each event is a line of a file, synced before the next event is taken; the file is all that a
follower knows when it starts. Followers are forked, so that each costs a handshake and not the
imports of a process, and are killed at random moments; the last one goes on to the end.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final

import msgspec
import trio

from gateway.client import AsyncClient, Identity, Terms

_TERMS: Final = Terms(patience_s=60, pause_s=0.01, pause_max_s=0.1)
_TEAR: Final = b'{"torn":'
"""What a kill may have left at the end of the file: less than a line."""


class Place:
    """Where a follower keeps what it has seen.

    Args:
        file: one event a line.
    """

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def after(self) -> int:
        """Return the last sequence that is there; less than a line is cut off."""
        whole, end, _ = os.pread(self._file, 1 << 30, 0).rpartition(b"\n")
        os.ftruncate(self._file, len(whole + end))
        return int(msgspec.json.decode(whole.rpartition(b"\n")[2])["sequence"]) if whole else 0

    def add(self, line: bytes) -> None:
        """Write one more event, for good."""
        os.write(self._file, line + b"\n")
        os.fsync(self._file)

    def tear(self) -> None:
        """Leave half a line, as a machine that loses its power may."""
        os.write(self._file, _TEAR)


async def follow(address: str, folder: Path, place: Place, last: int) -> None:
    """Follow events from where the file ends, up to one of them."""
    me = Identity.read(key=folder / "m1.key", certificate=folder / "m1.pem")
    client = AsyncClient(address, me, folder / "root.pem", terms=_TERMS)
    async with client as bank, bank.stream() as stream:
        after = place.after()
        if after >= last:
            return
        async for event in stream.events(after=after):
            place.add(msgspec.json.encode(event))
            if event.sequence >= last:
                return


def _fork(address: str, folder: Path, file: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        trio.run(follow, address, folder, Place(file), sys.maxsize)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _let_live(file: Path, draw: random.Random) -> None:
    """Let a follower live for a moment, or until it has written some lines."""
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, 0.4))
        return
    enough = (file.stat().st_size if file.exists() else 0) + draw.randrange(1, 4_000)
    patience_s = time.monotonic() + 10
    while (not file.exists() or file.stat().st_size < enough) and time.monotonic() < patience_s:
        time.sleep(0.001)


def main(address: str, folder: Path, file: Path, kills: int, seed: int) -> None:
    """Have so many followers killed, saying so of each; then follow up to what stdin says."""
    draw = random.Random(seed)
    for kill in range(1, kills + 1):
        child = _fork(address, folder, file)
        _let_live(file, draw)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a follower has ended by itself"
        if draw.random() < 0.2:
            Place(file).tear()
        print(kill, flush=True)
    trio.run(follow, address, folder, Place(file), int(sys.stdin.readline()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
