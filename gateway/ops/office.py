"""The office: the cabinet of one data folder, and what whoever has the folder does with it.

Operators are taken on, sent away and helped by commands in a shell (`piaohao operator`), whether a
node runs or not; whoever can read the data folder could read everything anyway. Each change is one
transaction with its entry in the audit log. Nothing here knows of sessions. Calls are made in
threads, or where nobody else waits; but the log, which only grows, a node checks in its event loop,
piece by piece: a thread at it would keep the GIL from whoever commits payments.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from gateway.exits import INPUT, CommandError
from gateway.ops import audit_log
from gateway.ops.audit_log import Audited, Kept, Verification
from gateway.ops.operators import Operator, Role, all_operators, encode, operator_of
from storage.cabinet import FOLDER, Cabinet, Writing
from storage.row import OPERATORS

OPERATORS_MAX: Final = 1_000
COMPLAINT_S: Final = 60.0
ENTRIES_AT_ONCE: Final = 300
"""Entries of the audit log that are checked before others have their turn: a millisecond."""


class Administration(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """Base of what a shell asks for."""


class AddOperator(Administration, frozen=True, tag="add_operator"):
    """Take an operator on; what was secret of it is hashed or encrypted already."""

    name: str
    role: Role
    password_hash: str
    totp_sealed: bytes


class ResetOperator(Administration, frozen=True, tag="reset_operator"):
    """Give an operator a new password and a new secret; locks and sessions end."""

    name: str
    password_hash: str
    totp_sealed: bytes


class DisableOperator(Administration, frozen=True, tag="disable_operator"):
    """Let an operator in no more; sessions end. `ResetOperator` takes it back."""

    name: str


class ListOperators(Administration, frozen=True, tag="list_operators"):
    """List all operators."""


class VerifyAudit(Administration, frozen=True, tag="verify_audit"):
    """Check the audit log."""

    kept: Kept | None = None


Asked = AddOperator | ResetOperator | DisableOperator | ListOperators | VerifyAudit


class OperatorView(Struct, frozen=True, tag_field="object", tag="operator"):
    """An operator as others may see it.

    Attributes:
        locked_until_ns: until when nothing is tried, 0 for not.
    """

    name: str
    role: Role
    created_ns: int
    one_time_codes: bool
    locked_until_ns: int
    disabled: bool


class OperatorList(Struct, frozen=True):
    """All operators, by name."""

    operators: list[OperatorView]


class Office:
    """The office of one data folder; the cabinet is opened when it is first needed.

    Args:
        data: the folder, whose lock the caller holds.
        now_ns: the clock.
    """

    def __init__(self, data: Path, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self._path = data / FOLDER
        self._cabinet: Cabinet | None = None
        self._opening = threading.Lock()
        self._verifying = trio.Lock()
        self._silent_until = 0.0

    @property
    def cabinet(self) -> Cabinet:
        """The cabinet.

        Raises:
            StorageError: it cannot be opened.
        """
        with self._opening:  # LMDB forbids to open an environment twice in one process
            if self._cabinet is None:
                self._cabinet = Cabinet(self._path)
            return self._cabinet

    @property
    def opened(self) -> Cabinet | None:
        """The cabinet if it is open already; whoever asks does not wait for it."""
        return self._cabinet

    def exists(self) -> bool:
        """Return whether there is a cabinet: there is none before the first operator is."""
        return self._path.is_dir()

    def close(self) -> None:
        """Close the cabinet if it is open."""
        if self._cabinet is not None:
            self._cabinet.close()
            self._cabinet = None

    def operator(self, name: str) -> Operator | None:
        """Return an operator as stored, None where there is nobody of that name."""
        with self.cabinet.reading() as snapshot:
            return operator_of(snapshot, name)

    def complains(self) -> bool:
        """Return whether it is time that the node's log says that the cabinet cannot be used: once
        a minute, as who asks in vain may go on asking, and the disk may be full just then."""
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + COMPLAINT_S
        return True

    async def verify(self, kept: Kept | None = None) -> Audited:
        """Check the audit log beside whatever else the event loop does; one check at a time.

        Raises:
            StorageError: it cannot be read.
        """
        async with self._verifying:
            await trio.to_thread.run_sync(lambda: self.cabinet)  # which may have to be made
            verification = Verification(kept)
            while True:
                with self.cabinet.reading() as snapshot:
                    found = verification.go_on(snapshot, ENTRIES_AT_ONCE)
                if found is not None:
                    return found
                await trio.lowlevel.checkpoint()

    def note(self, shell: str, action: str, subject: str, outcome: str) -> None:
        """Write down what somebody with a shell has had the node do.

        Raises:
            StorageError: it could not be made durable.
        """
        now_ns, subject = self.now_ns(), subject[: audit_log.SUBJECT_MAX]

        def change(writing: Writing) -> None:
            audit_log.append(writing, now_ns, shell, "", action, subject=subject, outcome=outcome)

        self.cabinet.write(change, urgent=True)  # it has been done

    def administer(self, asked: Asked, shell: str) -> OperatorView | OperatorList | Audited:
        """Do what a shell asks for; in a thread where others wait.

        Args:
            shell: who asks, as the audit log is to have it.

        Raises:
            CommandError: there is somebody of that name already, or nobody.
            StorageError: it could not be made durable.
        """
        if isinstance(asked, ListOperators | VerifyAudit):
            with self.cabinet.reading() as snapshot:
                if isinstance(asked, VerifyAudit):
                    return audit_log.verify(snapshot, asked.kept)
                return OperatorList([view_of(each) for each in all_operators(snapshot)])
        now_ns = self.now_ns()

        def change(writing: Writing) -> Operator:
            changed = _changed(writing, asked, now_ns)
            writing.put(OPERATORS, changed.name.encode(), encode(changed))
            action = str(type(asked).__struct_config__.tag)
            subject = f"{changed.name}, {changed.role}"
            audit_log.append(writing, now_ns, shell, "", action, subject=subject)
            return changed

        # Whoever has to be sent away is, also while the disk is nearly full.
        return view_of(self.cabinet.write(change, urgent=True))


def shell_of(user: int) -> str:
    """Return how the audit log names whoever has a shell and may open the data folder."""
    return f"shell/uid-{user}"


def view_of(operator: Operator) -> OperatorView:
    """Return what may be seen of an operator."""
    return OperatorView(
        operator.name,
        operator.role,
        operator.created_ns,
        bool(operator.totp_sealed),
        operator.locked_until_ns,
        operator.disabled,
    )


def _changed(
    writing: Writing, asked: AddOperator | ResetOperator | DisableOperator, now_ns: int
) -> Operator:
    held = operator_of(writing, asked.name)
    if isinstance(asked, AddOperator):
        if held is not None:
            raise CommandError(INPUT, f"there is an operator {asked.name} already")
        if writing.count(OPERATORS) >= OPERATORS_MAX:
            raise CommandError(INPUT, f"there are {OPERATORS_MAX} operators already")
        return Operator(
            asked.name, asked.role, asked.password_hash, asked.totp_sealed, created_ns=now_ns
        )
    if held is None:
        raise CommandError(INPUT, f"there is no operator {asked.name}")
    if isinstance(asked, DisableOperator):
        return replace(held, disabled=True, generation=held.generation + 1)
    return replace(
        held,
        password_hash=asked.password_hash,
        totp_sealed=asked.totp_sealed,
        totp_step=0,
        tries=0,
        locked_until_ns=0,
        generation=held.generation + 1,
        disabled=False,
    )
