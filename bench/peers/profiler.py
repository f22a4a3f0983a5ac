"""The profiler: a flame graph of ours for each row, which says what bounds it.

py-spy looks at a process a hundred times a second and needs nothing of it. It stops it for each
look, so it has a round of its own, after those of the row, whose figures count nowhere: a profile
costs time, never a figure. As root it may look at any process; otherwise the kernel decides
(ptrace(2)), and where it says no the comparison goes on and says so.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import trio

from bench.load.processes import started
from gateway import exits
from gateway.exits import CommandError

_PROGRAM: Final = Path(sys.executable).with_name("py-spy")
_WRITES_WITHIN_S: Final = 30.0
_TITLE: Final = re.compile(r'(<text id="title"[^>]*>)[^<]*')


class Profiler:
    """Profiles into a folder.

    Args:
        folder: that is made where it is not there.

    Raises:
        CommandError: the folder cannot be used, or py-spy is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not _PROGRAM.exists():
            detail = "--profile needs py-spy: run ./just setup, or pip install '.[peers]'"
            raise CommandError(exits.INPUT, detail)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CommandError(exits.INPUT, f"--profile {folder}: {error.strerror}") from None

    async def profile(
        self, what: str, pid: int, measure: Callable[[int], Awaitable[object]]
    ) -> str | None:
        """Profile a process in a round.

        Args:
            what: becomes the file's name: `uniform, 10,000 accounts`.
            measure: makes the round, as for `bench.peers.observer.Observer.round`.

        Returns the file's name in the folder; None where py-spy could not look at the process.
        """
        name = re.sub(r"[^a-z0-9]+", "-", what.lower().replace(",000", "000")) + ".svg"
        path = self._folder / name
        path.unlink(missing_ok=True)
        command = [str(_PROGRAM), "record", "--pid", str(pid), "--output", str(path)]
        async with started(command, stdout=subprocess.DEVNULL) as spy:
            await measure(0)
            if spy.returncode is None:
                spy.send_signal(signal.SIGINT)  # it writes what it has, and ends
            with trio.move_on_after(_WRITES_WITHIN_S):
                await spy.wait()
        if not path.exists():
            return None
        # Its title is the command, whose paths are nobody's business where a profile is published.
        drawn = path.read_text("utf-8")
        path.write_text(_TITLE.sub(lambda found: found[1] + escape(what), drawn, count=1), "utf-8")
        return name
