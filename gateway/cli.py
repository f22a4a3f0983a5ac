"""The command line: `piaohao COMMAND`, where commands are entry points, so bench/ has its own.

Only the chosen command is imported; the list of all of them shows the first line of each module's
docstring, read without importing it. Whatever goes wrong ends in one clear line on stderr and an
exit code of `gateway.exits`.
"""

import ast
import faulthandler
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, Final

from gateway.exits import INPUT, OK

GROUP: Final = "piaohao.commands"
_HELP: Final = ("-h", "--help", "help")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # LMDB may die of a damaged page: then the signal and the read are named, at least.
    faulthandler.enable()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line without the program's name; returns the exit code."""
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not arguments:
        return _fail("give a command; `piaohao --help` lists them")
    name, *rest = arguments
    if name in _HELP:
        sys.stdout.write(_overview(commands))
        return OK
    if name == "--version":
        sys.stdout.write(f"piaohao {version('piaohao')}\n")
        return OK
    if name not in commands:
        return _fail(f"there is no command {name!r}; `piaohao --help` lists them")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return _call(commands[name].load(), rest)


def _call(app: Any, arguments: Sequence[str]) -> int:
    """Run a command's app; returns the exit code."""
    from cyclopts import CycloptsError  # noqa: PLC0415 -- the overview does without

    try:
        code = app(arguments, print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return OK  # whoever read our output has enough
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        # Half of what a command of the CA would load, and it can tell only what went wrong.
        from gateway.control import failure_of  # noqa: PLC0415

        failure = failure_of(cause)
        if failure is None:
            raise
        return _fail(failure.detail, failure.exit)
    return code if isinstance(code, int) else OK


def _fail(detail: str, code: int = INPUT) -> int:
    sys.stderr.write(f"piaohao: {detail}\n")
    return code


def _overview(commands: dict[str, EntryPoint]) -> str:
    lines = ["Piaohao, a payment engine for banks.", "", "usage: piaohao COMMAND [--help]", ""]
    width = max(map(len, commands))
    lines += [f"  {name:<{width}}  {_summary(commands[name])}" for name in sorted(commands)]
    return "\n".join([*lines, ""])


def _summary(entry: EntryPoint) -> str:
    """Return the first line of a command module's docstring, without importing the module."""
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    # "`piaohao serve`: run a node …" says its own name, which stands beside it already.
    return docstring.partition("\n")[0].rpartition("`: ")[2]
