"""The judge: a process that looks at stores, so that a broken one cannot take the test along.

One process looks at many stores, as it takes a second to start; if it dies of a store, that is
its finding, and another one follows.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash import aftermath


class Judge:
    """Asks the process (`tests.crash.aftermath`).

    Args:
        said: where what it writes on stderr goes.
    """

    def __init__(self, said: Path) -> None:
        self._said = said
        self._process: subprocess.Popen[bytes] | None = None

    def lost(self, data: Path, log: Path, cut_ns: int = 1 << 62) -> str:
        """Return what a store has lost or doubled; empty for nothing. The store goes on from there.

        Args:
            log: of the customers.
            cut_ns: what was acknowledged later does not count.
        """
        if self._process is None:
            with self._said.open("ab") as said:
                self._process = subprocess.Popen(
                    [sys.executable, aftermath.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"data": str(data), "log": str(log), "cut_ns": cut_ns}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return str(json.loads(line)["lost"])
        code = self._process.wait()
        self.dismiss()
        return f"whoever reads it ends with {code}"

    def dismiss(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


@contextmanager
def judging(said: Path) -> Iterator[Judge]:
    """Have a judge, and dismiss it in the end."""
    judge = Judge(said)
    try:
        yield judge
    finally:
        judge.dismiss()
