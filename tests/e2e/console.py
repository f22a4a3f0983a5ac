"""Pages whose commands are run: what stands in their `console` blocks, and what comes of it.

A command stands behind `$ `, and goes on where its line ends with a backslash; the code with which
it is to end stands behind it (`# exit code 1`) unless that is 0. Below it stands what it prints:
`…` is any part of a line, or alone on its line any lines; a serial or a hash such as `4f2a…91` is
the same wherever the page has it. What only looks is asked again until it says what it should.
"""

import io
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final, NamedTuple

import trio

from gateway import cli

ANY: Final = "…"
LIMIT_S: Final = 20.0
"""After this a command that should have said something else by now will not."""

_BLOCK: Final = re.compile(r"^( *)```console\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_HEADING: Final = re.compile(r"^#{2,3} (.+)\n", re.MULTILINE)
_HEX: Final = re.compile(r"((?:[0-9]+:)?[0-9a-f]{4}…[0-9a-f]{2})")
_LOOKS: Final = re.compile(r"curl|piaohao (ask GET|verify|parked list|merchant certificates) ?")
_SHELL: Final = frozenset("|><&;")


class Command(NamedTuple):
    """A command, what the page has it print, and its exit code."""

    line: str
    shown: str = ""
    code: int = 0


class Console:
    """Where commands are typed: a folder, and what the page's names are called here.

    Attributes:
        names: what stands on a page → what it is: ports, and serials once they have been printed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}

    async def run(self, command: Command) -> None:
        """Run a command; it does and says what it should."""
        line = command.line
        for named, is_called in self.names.items():
            line = line.replace(named, is_called)
        until = trio.current_time() + LIMIT_S
        while True:
            code, said = await self.typed(line)
            if code == command.code and self._fits(command.shown, said):
                return
            if not _LOOKS.match(line) or trio.current_time() > until:
                shown = f"exit code {command.code}:\n{command.shown}"
                raise AssertionError(f"{line}\n{shown}\nand not exit code {code}:\n{said}")
            await trio.sleep(0.1)  # it is looked as often as somebody would who waits

    async def typed(self, line: str) -> tuple[int, str]:
        """Return exit code and output of a line; `piaohao` is run in this process, which spares
        the second that a process of its own takes to start."""
        if line.startswith("piaohao ") and not _SHELL & {*re.sub(r"'[^']*'", "", line)}:
            return await trio.to_thread.run_sync(self._piaohao, shlex.split(line)[1:])
        run = await trio.run_process(
            ["sh", "-ec", line],
            cwd=self.folder,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return run.returncode, run.stdout.decode()

    def _piaohao(self, arguments: list[str]) -> tuple[int, str]:
        said = io.StringIO()
        with chdir(self.folder), redirect_stdout(said), redirect_stderr(said):
            code = cli.run(arguments)
        return code, said.getvalue()

    def _fits(self, shown: str, said: str) -> bool:
        """Return whether an output is as the page has it; serials in it are remembered."""
        if not shown:
            return True
        called: dict[str, str] = {}
        found = re.fullmatch(self._pattern(shown, called), f"{said.rstrip()}\n")
        if found is not None:
            self.names |= {named: found[group] for named, group in called.items()}
        return found is not None

    def _pattern(self, shown: str, called: dict[str, str]) -> str:
        lines = []
        for line in shown.splitlines():
            if line == ANY:
                lines.append(r"(?:.*\n)*?")
                continue
            parts = _HEX.split(line)
            for at in range(1, len(parts), 2):
                parts[at] = self._serial(parts[at], called)
            for at in range(0, len(parts), 2):
                parts[at] = r"[^\n]*?".join(map(re.escape, parts[at].split(ANY)))
            lines.append("".join(parts) + r"\s*?\n")
        return "".join(lines)

    def _serial(self, named: str, called: dict[str, str]) -> str:
        if named in self.names:
            return re.escape(self.names[named])
        if named in called:
            return f"(?P={called[named]})"
        called[named] = f"serial{len(called)}"
        return f"(?P<{called[named]}>[0-9a-f:]+)"


class Page:
    """A page whose sections are followed one by one.

    Args:
        path: of the page.
        console: where its commands are typed.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._console = console
        _, *parts = _HEADING.split(path.read_text("utf-8"))
        self._sections = {
            heading: list(_commands(text))
            for heading, text in zip(parts[::2], parts[1::2], strict=True)
        }
        self._left = {heading for heading, commands in self._sections.items() if commands}

    async def follow(self, heading: str) -> None:
        """Type a section's commands, in their order."""
        self._left.remove(heading)
        for command in self._sections[heading]:
            await self._console.run(command)

    def finish(self) -> None:
        """Check that there is no command that nobody has typed."""
        assert not self._left


def _commands(text: str) -> Iterator[Command]:
    for _, block in _BLOCK.findall(text):
        for each in re.split(r"^\$ ", textwrap.dedent(block), flags=re.MULTILINE)[1:]:
            lines = each.splitlines()
            typed = [lines.pop(0)]
            while typed[-1].endswith("\\"):
                typed[-1] = typed[-1].removesuffix("\\").rstrip()
                typed.append(lines.pop(0).strip())
            line, _, code = " ".join(typed).partition("    # exit code ")
            yield Command(line, "\n".join(lines), int(code or "0"))
