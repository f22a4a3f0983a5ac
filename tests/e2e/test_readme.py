"""The README's merchant, as it stands there: its lines are run, and print what it says.

Shell and Python alike, in an empty folder, with real processes, keys, TLS and signatures. Only the
port is another one.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio

README = Path(__file__).resolve().parents[2] / "README.md"
LINES_MAX = 20
PORT = "8443"
READY = "piaohao serves bank on https://127.0.0.1:"
LIMIT_S = 60.0
"""After this a line that should have done something counts as hanging."""


def _section() -> str:
    """Return the merchant's section."""
    text = README.read_text("utf-8").partition("\n## A merchant in 20 lines\n")[2]
    return text.partition("\n## ")[0]


def _blocks(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", _section(), re.DOTALL | re.MULTILINE)
    return [text for name, text in blocks if name == language]


def _environment() -> dict[str, str]:
    """Return an environment in which `piaohao` is the one beside this Python, as when activated."""
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join((beside, os.environ["PATH"]))}


async def _run(folder: Path, *command: str) -> str:
    """Run a command to its end; returns what it printed on stdout."""
    with trio.fail_after(LIMIT_S):
        run = await trio.run_process(
            command,
            cwd=folder,
            env=_environment(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, b""), run.stderr.decode()
    return run.stdout.decode()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[str]:
    buffered = b""
    async for chunk in stream:
        *whole, buffered = (buffered + chunk).split(b"\n")
        for line in whole:
            yield line.decode()


async def _started(shell: trio.Process) -> tuple[str, int]:
    """Wait until the node answers; returns its port, and the number of its process."""
    assert shell.stdout is not None
    port, node = "", 0
    async with aclosing(_lines(shell.stdout)) as lines:
        async for line in lines:
            if line.startswith("node "):
                node = int(line.removeprefix("node "))
            elif line.startswith(READY):
                port = line.removeprefix(READY)
            if port and node:
                return port, node
    raise AssertionError("a line has failed, or the node has ended")


@asynccontextmanager
async def _bank(folder: Path, lines: str) -> AsyncIterator[str]:
    """Run lines of shell, the last of which starts a node; gives the node's port.

    The shell waits for the node, which is stopped in good order.
    """
    assert lines.endswith(" &\n"), "the node runs in the background"
    shell = await trio.lowlevel.open_process(
        ["sh", "-ec", f"{lines}echo node $!\nwait $!"],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        with trio.fail_after(LIMIT_S):
            port, node = await _started(shell)
        yield port
        os.kill(node, signal.SIGTERM)
        with trio.fail_after(LIMIT_S):
            assert await shell.wait() == 0
    finally:
        if shell.returncode is None:
            os.killpg(shell.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await shell.wait()


@pytest.mark.one_shard
def test_merchant_has_less_than_20_lines() -> None:
    for lines in _blocks("python"):
        assert lines.count("\n") < LINES_MAX


@pytest.mark.one_shard
async def test_merchant_prints_what_the_readme_says_however_often(tmp_path: Path) -> None:
    founding, taking_on = _blocks("sh")
    programs, prints = _blocks("python"), _blocks("")
    assert len(programs) == len(prints) == 2  # one pays, one follows its events
    assert f"{READY}{PORT}`" in _section()
    for text in (founding, *programs):
        assert text.count(f":{PORT}") == 1
    async with _bank(tmp_path, founding.replace(f":{PORT}", ":0")) as port:
        await _run(tmp_path, "sh", "-ec", taking_on)
        for program, printed in zip(programs, prints, strict=True):
            for _ in range(2):
                again = program.replace(f":{PORT}", f":{port}")
                assert await _run(tmp_path, "python", "-c", again) == printed
