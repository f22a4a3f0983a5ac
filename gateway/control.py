"""The control socket: operators' way to a running node, a Unix socket in its data folder.

Only the owner may connect (mode 0600). A request is one line of JSON (`gateway.operations`), and
so is its answer: `{"result": …}`, or `{"error": {"exit": …, "detail": …}}` with the exit code
that the command line is to end with. Long work runs in a worker thread on a snapshot, while the
node goes on serving. What changes something is in the operators' audit log, where there is one,
before it is answered.
"""

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio
from msgspec import Struct

from engine.control import ParkedLeft
from engine.dates import ClosedDate, DateNotOpen
from engine.fault import Fault
from engine.inspection import vital_signs
from engine.node import Node
from gateway import operations
from gateway.answer import JSON, PROBLEM
from gateway.errors import CODES, RequestCode
from gateway.exits import INPUT, RESTORE, STORE, UNREACHABLE, CommandError
from gateway.handlers.day_cuts import view_day_cut
from gateway.operations import Acting, Call, Called, Cut, Reading, ShowVitals, TakePulse
from gateway.ops.office import Asked, Office, VerifyAudit, shell_of
from storage.errors import CorruptRowError, StorageError, StoreExistsError
from storage.folder import SOCKET_NAME
from storage.lmdb_store import LmdbStore

if TYPE_CHECKING:
    # What it needs, and the logs with it, would be half the start of every command.
    from gateway.counter import Counter
    from gateway.ops.vitals import NodeVitals, Pulse

log = logging.getLogger("piaohao.gateway")

LINE_BYTES: Final = 3 << 20
"""An array of commands takes 1 MiB, and every quotation mark in it two bytes here."""
_PATH_BYTES: Final = 100

_PEER: Final = struct.Struct("=iII")
"""Who has connected, as SO_PEERCRED tells: process, user, group (unix(7))."""

_decode = msgspec.json.Decoder(Reading | Acting | ShowVitals | TakePulse | Call | Asked).decode
_encode = msgspec.json.Encoder().encode


class Failure(Struct, frozen=True):
    """Why an operation was not done, and the exit code that says so."""

    exit: int
    detail: str


def failure_of(error: Exception) -> Failure | None:
    """Return what an expected error means to an operator, None for any other."""
    if isinstance(error, CommandError):
        return Failure(error.code, str(error))
    if isinstance(error, StoreExistsError):
        return Failure(INPUT, str(error))
    if isinstance(error, CorruptRowError):
        return Failure(STORE, f"{error}; {RESTORE}")
    if isinstance(error, StorageError):
        return Failure(STORE, str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure(INPUT, f"{where}{error.strerror or error}")
    return None


@contextlib.contextmanager
def socket_name(folder: Path) -> Iterator[str]:
    """Give the socket's path in a form that fits a Unix address, which takes 107 bytes."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield path
        return
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{held}/{SOCKET_NAME}"
    finally:
        os.close(held)


class _Coded(Struct):
    """What the audit log has of a refusal."""

    code: str = ""


_decode_coded = msgspec.json.Decoder(_Coded).decode


class ControlSocket:
    """Serves operators of one node.

    Args:
        folder: the node's data folder; its lock is ours, so a socket found there is stale.
        node: for operations that act.
        stores: those of its shards, for operations that read.
        counter: for those that ask the API.
        office: for those that are about operators.
    """

    def __init__(
        self,
        folder: Path,
        node: Node,
        stores: Sequence[LmdbStore],
        counter: "Counter",
        office: Office,
    ) -> None:
        self._folder = folder
        self._node = node
        self._stores = stores
        self._counter = counter
        self._office = office
        self._pulses: dict[trio.SocketStream, Pulse] = {}

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; started once operators can connect."""
        path = self._folder / SOCKET_NAME
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        try:
            mask = os.umask(0o177)
            try:
                with socket_name(self._folder) as name:
                    listening.bind(name)
            finally:
                os.umask(mask)
            listening.listen(16)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            await trio.serve_listeners(self._connection, [listener], task_status=task_status)
        finally:
            listening.close()
            path.unlink(missing_ok=True)

    async def _connection(self, stream: trio.SocketStream) -> None:
        """Serve one operator; whatever goes wrong ends this connection alone."""
        try:
            async with stream:
                buffered = b""
                async for chunk in stream:
                    buffered += chunk
                    while b"\n" in buffered:
                        line, _, buffered = buffered.partition(b"\n")
                        answer = await self._answer(line, stream)
                        await stream.send_all(_encode(answer) + b"\n")
                    if len(buffered) > LINE_BYTES:
                        return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:
            log.exception("an operator's connection failed")
        finally:
            self._pulses.pop(stream, None)

    async def _answer(self, line: bytes, stream: trio.SocketStream) -> dict[str, Any]:
        try:
            asked = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return {"error": Failure(INPUT, f"not an operation: {error}")}
        try:
            if isinstance(asked, Reading):
                result: Any = await read_beside(self._node, self._stores, asked, self._office)
            elif isinstance(asked, Call):
                result = await self._call(asked, stream)
            elif isinstance(asked, ShowVitals):
                shards = self._node.shards
                after = (*asked.after, *(0 for _ in shards))
                result = [vital_signs(*each) for each in zip(shards, after, strict=False)]
            elif isinstance(asked, TakePulse):
                result = await self._take_pulse(stream)
            elif isinstance(asked, VerifyAudit):
                result = await self._office.verify(asked.kept)
            elif isinstance(asked, Asked):
                result = await trio.to_thread.run_sync(
                    self._office.administer, asked, shell_of(_user_of(stream))
                )
            else:
                result = await self._act(asked, stream)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            return {"error": failure}
        return {"result": result}

    async def _call(self, asked: Call, stream: trio.SocketStream) -> Called:
        path, _, query = asked.path.partition("?")
        response = await self._counter.answer_operator(
            asked.method, path, query.encode(), asked.body.encode()
        )
        if asked.method != "GET":
            refused = _decode_coded(response.body).code if response.status >= 400 else ""
            said = f"{asked.method} {asked.path}"
            await self._note(stream, "call", said, refused or str(response.status))
        if response.headers["content-type"] not in (JSON, PROBLEM):
            raise CommandError(INPUT, f"{path} is not answered in JSON")
        return Called(response.status, msgspec.Raw(response.body))

    async def _take_pulse(self, stream: trio.SocketStream) -> "NodeVitals | None":
        from gateway.ops.vitals import Pulse  # noqa: PLC0415 -- commands do without

        pulse = self._pulses.get(stream)
        if pulse is None:
            self._pulses[stream] = Pulse(self._node, self._counter)
            return None
        return await pulse.take()

    async def _act(self, asked: Acting, stream: trio.SocketStream) -> Any:
        outcome = await self._node.ask_control(operations.control_of(asked))
        action = str(type(asked).__struct_config__.tag)
        subject = asked.business_date if isinstance(asked, Cut) else asked.address
        await self._note(stream, action, subject, _told(outcome))
        if isinstance(outcome, Fault):
            raise CommandError(UNREACHABLE, CODES[outcome.code].title)
        if isinstance(outcome, DateNotOpen):
            detail = f"{outcome.business_date} is not open: the current date is {outcome.current}"
            raise CommandError(INPUT, detail)
        return view_day_cut(outcome) if isinstance(outcome, ClosedDate) else outcome

    async def _note(
        self, stream: trio.SocketStream, action: str, subject: str, outcome: str
    ) -> None:
        """Write down what has been done, where operators are. A log that cannot be written is no
        reason to keep whoever has the data folder from helping the node."""
        if not self._office.exists():
            return
        shell = shell_of(_user_of(stream))
        try:
            await trio.to_thread.run_sync(self._office.note, shell, action, subject, outcome)
        except StorageError as error:
            log.critical("what a shell has had done is not in the audit log: %s", error)


def _told(outcome: Any) -> str:
    """Return the code of what came of an action."""
    if isinstance(outcome, Fault):
        return str(outcome.code)
    if isinstance(outcome, DateNotOpen):
        return str(RequestCode.DATE_NOT_OPEN)
    if isinstance(outcome, ParkedLeft) and outcome.error:
        return outcome.code or "TURN_FAILED"
    return "OK"


async def read_beside(
    node: Node, stores: Sequence[LmdbStore], asked: Reading, office: Office
) -> Any:
    """Perform an operation that only reads, in a worker thread, while the node goes on serving.

    Raises:
        StorageError, OSError: see `gateway.operations.read`.
    """
    with operations.closing_all(await node.snapshots()) as snapshots:
        check = trio.from_thread.check_cancelled
        return await trio.to_thread.run_sync(
            partial(operations.read, stores, snapshots, asked, office, check)
        )


def _user_of(stream: trio.SocketStream) -> int:
    peer = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(peer)
    return int(user)
