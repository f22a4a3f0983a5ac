"""Logins: from name, password and one-time code to a session, and what wrong tries come to.

    tries 0 … 9 ─ wrong ─► one more; the tenth ─► locked for 30 minutes ─► tries 0
         └─────── right ─► tries 0, a session

One is tried at a time, so that as many are counted as were made, and a guess costs its hash; few
wait their turn, and the others are refused. An operator's name has a place of its own to wait in,
so that whoever keeps the others taken keeps no operator out. Otherwise a name that nobody has is
treated as any other, so that answers do not say which there are. Each try is an entry of the audit
log in the transaction that counts it; while a name is locked nothing is tried, and nothing is
written.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from msgspec.structs import replace

from gateway.ca.master_key import MasterKey
from gateway.ops import audit_log, passwords
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.office import Office
from gateway.ops.operators import Operator, Role, encode, operator_of
from gateway.ops.sessions import Begun, Sessions
from storage.cabinet import Writing
from storage.errors import StorageError
from storage.row import OPERATORS

log = logging.getLogger("piaohao.ops")

TRIES_MAX: Final = 10
LOCKED_NS: Final = 30 * 60 * 1_000_000_000
WAITING_MAX: Final = 8
"""Logins that wait for the one that is tried: a second's work. One of each operator's name waits
beyond that."""
STRANGERS_MAX: Final = 1_000
"""Names that nobody has whose tries are remembered; the longest untried is forgotten first."""


class Logins:
    """Lets operators in.

    Args:
        office: has their rows.
        sessions: gets those who are let in.
        master_key: opens the secrets of one-time codes; without, nobody who needs one is let in.
    """

    def __init__(self, office: Office, sessions: Sessions, master_key: MasterKey | None) -> None:
        self._office = office
        self._sessions = sessions
        self._master_key = master_key
        self._one = trio.Lock()
        self._beyond: set[str] = set()
        self._strangers: OrderedDict[str, Operator] = OrderedDict()

    async def log_in(self, name: str, password: str, code: str, certificate: str = "") -> Begun:
        """Return a new session.

        Args:
            certificate: the subject of the one that was shown, empty where there is no TLS.

        Raises:
            OpsError: LOGIN_REFUSED, LOGIN_LOCKED, LOGINS_BUSY, AUDIT_UNAVAILABLE.
        """
        async with self._turn(name):
            # Whoever leaves now has been counted all the same: threads are not cancelled.
            try:
                tried = await trio.to_thread.run_sync(self._try, name, password, code, certificate)
            except StorageError as error:
                if self._office.complains():
                    log.critical("nobody can log in: %s", error)
                raise OpsError(OpsCode.AUDIT_UNAVAILABLE) from None
        operator, tried_ns = tried
        # As of its try: a reset that came between ends the session too.
        return self._sessions.begin(operator, tried_ns, certificate)

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Wait for this name's turn, in the place that all share or in its own.

        Raises:
            OpsError: LOGINS_BUSY.
        """
        common = self._one.statistics().tasks_waiting - len(self._beyond)
        if common < WAITING_MAX:
            async with self._one:
                yield
            return
        if name in self._beyond or not self._is_operators(name):
            raise OpsError(OpsCode.LOGINS_BUSY, retry_after_s=1)
        self._beyond.add(name)
        try:
            await self._one.acquire()
        finally:
            self._beyond.remove(name)
        try:
            yield
        finally:
            self._one.release()

    def _is_operators(self, name: str) -> bool:
        """Return whether somebody has this name; a look of microseconds, and no wait for a cabinet
        that is not open yet."""
        cabinet = self._office.opened
        if cabinet is None:
            return False
        try:
            with cabinet.reading() as snapshot:
                return operator_of(snapshot, name) is not None
        except StorageError:
            return False  # whoever is tried meets it again, and is told

    def _try(self, name: str, password: str, code: str, certificate: str) -> tuple[Operator, int]:
        held = self._office.operator(name)
        now_ns = self._office.now_ns()
        operator = held or self._strangers.get(name) or _stranger(name)
        if operator.locked_until_ns > now_ns:
            left_s = math.ceil((operator.locked_until_ns - now_ns) / 1e9)
            raise OpsError(OpsCode.LOGIN_LOCKED, retry_after_s=left_s)
        nobodys = passwords.nobodys_hash()  # made once, and not by whoever has the first wrong name
        right = passwords.fits(operator.password_hash or nobodys, password)
        step = self._step(operator, code, now_ns)
        right = right and step is not None and not operator.disabled
        counted, right = self._office.cabinet.write(
            partial(
                _count, operator, step if right else None, now_ns, held is not None, certificate
            )
        )
        if held is None:
            self._strangers[name] = counted
            self._strangers.move_to_end(name)
            while len(self._strangers) > STRANGERS_MAX:
                self._strangers.popitem(last=False)
        if counted.locked_until_ns > now_ns:
            # Once a lock: a line a try would let anybody on the machine fill the disk.
            log.warning("a login is locked for %d minutes", LOCKED_NS // 60_000_000_000)
        if not right:
            raise OpsError(OpsCode.LOGIN_REFUSED)
        return counted, now_ns

    def _step(self, operator: Operator, code: str, now_ns: int) -> int | None:
        """Return the step whose one-time code was given, None where it is wrong; viewers need
        none, and the step that they have is as good as any."""
        if operator.role is Role.VIEWER:
            return operator.totp_step
        if self._master_key is None:
            log.warning("no operator with one-time codes can log in: the node has no master key")
            return None
        secret = passwords.opened(self._master_key, operator.name, operator.totp_sealed)
        if secret is None:
            log.error("the one-time codes of %s are under another master key", operator.name)
            return None
        return passwords.step_of(secret, code, now_ns, operator.totp_step)


def _stranger(name: str) -> Operator:
    """Return whom a name stands for that nobody has."""
    return Operator(name, Role.VIEWER, "", b"", created_ns=0, disabled=True)


def _count(
    operator: Operator,
    step: int | None,
    now_ns: int,
    known: bool,
    certificate: str,
    writing: Writing,
) -> tuple[Operator, bool]:
    """Write what came of a try; returns the operator as it is now, and whether the try was right.

    Args:
        step: of the one-time code; None where the try was wrong.
        known: there is an operator of that name.
    """
    now = (operator_of(writing, operator.name) or operator) if known else operator
    if now.password_hash != operator.password_hash or now.disabled:
        step = None  # a shell has changed the row while the old password was hashed
    if step is not None:
        now, outcome = replace(now, tries=0, locked_until_ns=0, totp_step=step), "OK"
    elif now.tries + 1 < TRIES_MAX:
        now, outcome = replace(now, tries=now.tries + 1), str(OpsCode.LOGIN_REFUSED)
    else:
        now = replace(now, tries=0, locked_until_ns=now_ns + LOCKED_NS)
        outcome = str(OpsCode.LOGIN_LOCKED)
    if known:
        writing.put(OPERATORS, now.name.encode(), encode(now))
    role = str(now.role) if known else ""
    audit_log.append(
        writing, now_ns, now.name, role, "log_in", outcome=outcome, certificate=certificate
    )
    return now, step is not None
