"""The operator's side: an operation on a data folder, done by whoever has its store.

The folder's lock decides: where it is free the store is opened here; where it is taken the node
that holds it is asked over its control socket. A live store is never opened a second time.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway import operations
from gateway.autopsy import autopsy, examine
from gateway.control import Failure, socket_name
from gateway.exits import STORE, UNREACHABLE, CommandError
from gateway.operations import Acting, Call, Reading, ShowVitals, TakePulse, Verify
from gateway.ops.office import Asked, Office, shell_of
from gateway.verification import VIOLATIONS_MAX, Report, unopenable
from storage.errors import CorruptRowError, StoreInUseError, StoreMissingError
from storage.folder import Folder, release

Request = Reading | Acting | ShowVitals | TakePulse | Call | Asked

_ANSWER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FAILURE: Final = msgspec.json.Decoder(Failure)


def open_folder(data: Path) -> Folder:
    """Lock a folder that holds a store.

    Raises:
        StoreMissingError: it holds none; then nothing is left behind in it.
        StoreInUseError: another process has it.
    """
    if not any(data.glob("shard-*")):
        raise StoreMissingError(
            f"there is no store in {data}; make one with: piaohao init --data {data}"
        )
    return Folder(data)


def perform(data: Path, asked: Reading) -> Any:
    """Perform an operation that reads; returns its result as plain values.

    Raises:
        CommandError, StorageError, OSError: see `gateway.control.failure_of`.
    """
    try:
        with closing(open_folder(data)) as folder:
            if isinstance(asked, Verify):
                found = autopsy(folder.shard_folders(), data)
                if found is not None:
                    return msgspec.to_builtins(found)
            try:
                stores = folder.open()
            except CorruptRowError as error:
                if not isinstance(asked, Verify):
                    raise
                return msgspec.to_builtins(_unopenable(data, error))
            try:
                with (
                    closing(Office(folder.path, time.time_ns)) as office,
                    operations.closing_all([store.snapshot() for store in stores]) as snapshots,
                ):
                    return msgspec.to_builtins(operations.read(stores, snapshots, asked, office))
            finally:
                release(stores)
    except StoreInUseError:
        try:
            return ask(data, asked)
        except ConnectionError:
            detail = f"the store in {data} is in use by a process that does not answer"
            raise CommandError(STORE, detail) from None


def _unopenable(data: Path, error: CorruptRowError) -> Report:
    """Return everything that is wrong with a store which does not open, the reason first."""
    rest = examine(data)
    first = unopenable(error).violations
    violations = [*first, *rest.violations][:VIOLATIONS_MAX]
    return replace(rest, ok=False, violations=violations)


def administer(data: Path, asked: Asked) -> Any:
    """Do something about operators, on a running node or where none is; returns plain values.

    Raises:
        CommandError, StorageError: see `gateway.control.failure_of`.
    """
    try:
        with (
            closing(open_folder(data)) as folder,
            closing(Office(folder.path, time.time_ns)) as office,
        ):
            return msgspec.to_builtins(office.administer(asked, shell_of(os.getuid())))
    except StoreInUseError:
        try:
            return ask(data, asked)
        except ConnectionError:
            detail = f"the store in {data} is in use by a process that does not answer"
            raise CommandError(STORE, detail) from None


def act(data: Path, asked: Acting | Call) -> Any:
    """Have the running node perform an operation; returns its result as plain values.

    Raises:
        CommandError: with exit code 4 where no node is running.
    """
    with running(data) as ask_node:
        return ask_node(asked)


@contextmanager
def running(data: Path) -> Iterator[Callable[[Request], Any]]:
    """Give what asks the running node, over one connection, as often as one likes.

    Raises:
        CommandError: with exit code 4 where no node is running, or it has gone; what the node says.
    """
    try:
        open_folder(data).close()
    except StoreInUseError:
        pass
    else:
        detail = f"no node is running on {data}; start one with: piaohao serve --data {data}"
        raise CommandError(UNREACHABLE, detail)

    def unreachable(error: ConnectionError) -> CommandError:
        return CommandError(UNREACHABLE, f"the node on {data} does not answer: {error}")

    try:
        line = _Line(data)
    except ConnectionError as error:
        raise unreachable(error) from None

    def ask_node(asked: Request) -> Any:
        try:
            return line.ask(asked)
        except ConnectionError as error:
            raise unreachable(error) from None

    with closing(line):
        yield ask_node


def ask(data: Path, asked: Request) -> Any:
    """Ask the running node over its control socket.

    Raises:
        CommandError: what the node says.
        ConnectionError: it does not listen, or it went away.
    """
    with closing(_Line(data)) as line:
        return line.ask(asked)


class _Line:
    """A connection to the control socket of the node on a folder.

    Raises:
        ConnectionError: nobody listens there.
    """

    def __init__(self, data: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            with socket_name(data) as name:
                self._connection.connect(name)
        except OSError as error:
            self._connection.close()
            raise ConnectionError(error.strerror) from error
        self._answers = self._connection.makefile("rb")

    def ask(self, asked: Request) -> Any:
        """Return the result of an operation as plain values; raises as `ask` does."""
        self._connection.sendall(msgspec.json.encode(asked) + b"\n")
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("it went away before it had answered")
        answer = _ANSWER.decode(line)
        if "error" in answer:
            failure = _FAILURE.decode(answer["error"])
            raise CommandError(failure.exit, failure.detail)
        return msgspec.json.decode(answer["result"])

    def close(self) -> None:
        """End it."""
        self._answers.close()
        self._connection.close()
