"""A command that runs a node here and a client beside it, as people start it: demo and replay."""

import csv
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.shards import SHARDS

PIAOHAO = str(Path(sys.executable).with_name("piaohao"))
END_S = 60
"""How long anything may take before the test gives up, in seconds."""


class Session:
    """A running command; its stderr goes to a file beside its data folder.

    Args:
        arguments: what follows on `piaohao COMMAND --data DATA`.
    """

    def __init__(self, command: str, data: Path, *arguments: str) -> None:
        self.data = data
        self._said = data.with_name(data.name + ".stderr")
        with self._said.open("wb") as stderr:
            self.process = subprocess.Popen(
                [PIAOHAO, command, "--data", str(data), "--shards", str(SHARDS), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def said(self) -> str:
        return self._said.read_text("utf-8")

    def address(self) -> str:
        """Wait until the node is up."""
        found = self.until(lambda: re.search(r"^node (\S+),", self.said(), re.MULTILINE))
        return str(found[1])

    def client(self) -> int:
        """Wait for the client's process, and return its number."""
        return int(self.until(lambda: next(_clients(self.process.pid), None)))

    def finish(self, within_s: float = END_S) -> tuple[int, str]:
        """Wait for its end; returns exit code and stdout."""
        out, _ = self.process.communicate(timeout=within_s)
        return self.process.returncode, out.decode()

    def until(self, look: Callable[[], Any], within_s: float = END_S) -> Any:
        """Look again and again until there is something, while the command runs."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)  # a look costs the node, or this machine, some milliseconds
        raise AssertionError(self.said())


def _clients(pid: int) -> Iterator[int]:
    """Yield a process's children that have become clients: a fork looks like its parent first."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            module = b"-m\0bench." in status.with_name("cmdline").read_bytes()
            if module and f"\nPPid:\t{pid}\n" in status.read_text():
                yield int(status.parent.name)


def ended(pid: int) -> bool:
    """Whether a process, which need not be our child, is gone or waits to be buried."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def until_ended(pid: int) -> None:
    """Wait until a client that nobody told has noticed that its parent is gone."""
    end = time.monotonic() + 5
    while not ended(pid):
        assert time.monotonic() < end, "the client outlives its parent"
        time.sleep(0.01)


def export(what: str, data: Path) -> list[dict[str, str]]:
    """Return what `piaohao export` says of a store."""
    out = data.with_name(f"{what}.csv")
    subprocess.run(
        [PIAOHAO, "export", what, "--data", str(data), "--out", str(out)],
        check=True,
        capture_output=True,
    )
    with out.open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))
