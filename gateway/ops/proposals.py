"""Proposals: actions that wait for a second operator, as they are stored.

    PENDING ─► APPROVED ─► DONE | FAILED | UNKNOWN
         └───► REJECTED | WITHDRAWN | EXPIRED (24 hours, or a restore)

An approval names the digest of the very action that its operator has seen, is never of who has
proposed it, and is durable before anything is done. Each step is one transaction with its entry in
the audit log, in which it is seen again who takes it: of two who approve at once one does. What was
APPROVED when a process ended may have been done or not: the next one finds it and says UNKNOWN, and
it is for people to look and to propose it again. Calls are made in threads.
"""

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.ops import actions, audit_log
from gateway.ops.actions import Action
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.office import Office
from gateway.ops.operators import RIGHTS, Right, operator_of
from gateway.ops.outcome import OPEN, Done, Outcome, OutcomeCode, Status, unknown
from gateway.ops.sessions import Session, stands
from storage.cabinet import Writing, opened
from storage.errors import CorruptRowError
from storage.row import OPEN_PROPOSALS, PROPOSALS
from storage.store import Snapshot

log = logging.getLogger("piaohao.ops")

EXPIRES_NS: Final = 24 * 3_600 * 1_000_000_000
OPEN_PER_OPERATOR_MAX: Final = 50
READ_MAX: Final = 500
"""Proposals that are looked through for a page."""
NODE: Final = "node/itself"
"""How the audit log names the node; no operator's name has a slash."""
_DIGITS_MAX: Final = 18

T = TypeVar("T")


class Proposal(Struct, frozen=True, array_like=True):
    """A proposal's row.

    Attributes:
        sequence: its place among all.
        proposal_id: what it goes by; the sequence alone would be another's after a restore.
        action: its one text (`actions.canonical`).
        decided_by, decided_ns: who has approved, rejected or withdrawn it, and when; empty and 0
            before. It expires by itself.
        decision_reason: why it was rejected, or has expired before its time.
        ended_ns: when it was known what came of it, 0 before.
        outcome: what came of it.
    """

    sequence: int
    proposal_id: str
    action: bytes
    reason: str
    proposed_by: str
    proposed_ns: int
    expires_ns: int
    status: Status = Status.PENDING
    decided_by: str = ""
    decided_ns: int = 0
    decision_reason: str = ""
    ended_ns: int = 0
    outcome: Outcome | None = None

    def digest(self) -> str:
        """Return what an approval of it has to name."""
        return actions.digest(self.action, self.proposal_id)


_decode: Final = msgspec.msgpack.Decoder(Proposal).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Proposals:
    """The proposals of one data folder.

    Args:
        office: has the cabinet and the clock.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._settling = threading.Lock()
        self._looked_back = False

    def settle(self) -> None:
        """Let those expire whose time is over, and, once in a process, say UNKNOWN of those that
        an earlier one has left APPROVED. All other calls begin with it.

        Raises:
            StorageError: the cabinet cannot be used.
        """
        now_ns = self._office.now_ns()
        # One at a time: whoever comes second approves only after the first has looked back.
        with self._settling:
            with self._office.cabinet.reading() as snapshot:
                over = any(self._settled(each, now_ns) for each in _open(snapshot))
            if over:
                for each in self._office.cabinet.write(partial(self._settle, now_ns)):
                    log.warning("what came of proposal %s is not known", each.proposal_id)
            self._looked_back = True

    def lapse(self) -> None:
        """Let all that wait expire now, in a store that was restored: what has been decided of them
        since, and what they were about, is not known there.

        Raises:
            StorageError: it could not be made durable.
        """
        now_ns = self._office.now_ns()
        why = "the store was restored from a backup"

        def change(writing: Writing) -> None:
            for each in _open(writing):
                if each.status is Status.PENDING:
                    over = replace(each, status=Status.EXPIRED, decided_ns=now_ns)
                    _write(writing, replace(over, decision_reason=why), now_ns, reason=why)

        self._office.cabinet.write(change, urgent=True)

    def propose(self, session: Session, action: Action, reason: str) -> Proposal:
        """Note a proposal.

        Raises:
            OpsError: PROPOSALS_OPEN, NO_SESSION.
            StorageError: it could not be made durable, and is not there.
        """

        def change(writing: Writing, now_ns: int) -> Proposal:
            theirs = [each for each in _open(writing) if each.proposed_by == session.operator]
            if len(theirs) >= OPEN_PER_OPERATOR_MAX:
                raise OpsError(OpsCode.PROPOSALS_OPEN)
            last = next(writing.scan(PROPOSALS, reverse=True), None)
            sequence = 1 if last is None else int.from_bytes(last[0], "big") + 1
            made = Proposal(
                sequence,
                f"P{sequence}-{secrets.token_hex(4)}",
                actions.canonical(action),
                reason,
                session.operator,
                now_ns,
                now_ns + EXPIRES_NS,
            )
            return _write(writing, made, now_ns, session, reason)

        return self._change(session, change)

    def approve(self, session: Session, proposal_id: str, digest: str) -> Proposal:
        """Approve a proposal of somebody else's; it is not done yet.

        Raises:
            OpsError: NO_SUCH_PROPOSAL, OWN_PROPOSAL, PROPOSAL_EXPIRED, PROPOSAL_DECIDED,
                PROPOSAL_DIGEST_WRONG, PROPOSER_GONE, NO_SESSION.
            StorageError: it could not be made durable.
        """

        def change(writing: Writing, now_ns: int) -> Proposal:
            found = _anothers(writing, session, proposal_id, now_ns)
            if digest != found.digest():
                raise OpsError(OpsCode.PROPOSAL_DIGEST_WRONG)
            proposer = operator_of(writing, found.proposed_by)
            if proposer is None or proposer.disabled or Right.ACT not in RIGHTS[proposer.role]:
                raise OpsError(OpsCode.PROPOSER_GONE)
            decided = _decided(found, Status.APPROVED, session, now_ns)
            return _write(writing, decided, now_ns, session)

        return self._change(session, change)

    def reject(self, session: Session, proposal_id: str, reason: str) -> Proposal:
        """Reject a proposal of somebody else's.

        Raises:
            OpsError: NO_SUCH_PROPOSAL, OWN_PROPOSAL, PROPOSAL_EXPIRED, PROPOSAL_DECIDED,
                NO_SESSION.
            StorageError: it could not be made durable.
        """

        def change(writing: Writing, now_ns: int) -> Proposal:
            found = _anothers(writing, session, proposal_id, now_ns)
            decided = _decided(found, Status.REJECTED, session, now_ns)
            decided = replace(decided, decision_reason=reason)
            return _write(writing, decided, now_ns, session, reason)

        return self._change(session, change)

    def withdraw(self, session: Session, proposal_id: str) -> Proposal:
        """Take one's own proposal back.

        Raises:
            OpsError: NO_SUCH_PROPOSAL, ANOTHERS_PROPOSAL, PROPOSAL_EXPIRED, PROPOSAL_DECIDED,
                NO_SESSION.
            StorageError: it could not be made durable.
        """

        def change(writing: Writing, now_ns: int) -> Proposal:
            found = _found(writing, proposal_id)
            if found.proposed_by != session.operator:
                raise OpsError(OpsCode.ANOTHERS_PROPOSAL)
            _check_pending(found, now_ns)
            decided = _decided(found, Status.WITHDRAWN, session, now_ns)
            return _write(writing, decided, now_ns, session)

        return self._change(session, change)

    def conclude(self, proposal: Proposal, what: Done) -> Proposal:
        """Write down what came of a proposal that was approved.

        Raises:
            StorageError: it could not be made durable; the next process says UNKNOWN.
        """
        now_ns = self._office.now_ns()

        def change(writing: Writing) -> Proposal:
            found = _found(writing, proposal.proposal_id)
            assert found.status is Status.APPROVED, f"{found.proposal_id} is {found.status}"
            return _write(writing, _ended(found, what, now_ns), now_ns)

        return self._office.cabinet.write(change, urgent=True)  # it has been done

    def get(self, proposal_id: str) -> Proposal:
        """Return a proposal.

        Raises:
            OpsError: NO_SUCH_PROPOSAL.
            StorageError: the cabinet cannot be used.
        """
        self.settle()
        with self._office.cabinet.reading() as snapshot:
            return _found(snapshot, proposal_id)

    def page(
        self, status: Status | None, limit: int, below: int
    ) -> tuple[list[Proposal], int | None]:
        """Return proposals, newest first, and where to go on, None at the end.

        Args:
            status: those that are there alone.
            below: the sequence before which to begin.
        """
        self.settle()
        found: list[Proposal] = []
        with self._office.cabinet.reading() as snapshot:
            table = OPEN_PROPOSALS if status in OPEN else PROPOSALS
            rows = snapshot.scan(table, b"", _key(below), reverse=True)
            for number, (key, payload) in enumerate(rows, 1):
                if table == OPEN_PROPOSALS:
                    each = _at(snapshot, key)
                else:
                    each = opened(_decode, PROPOSALS, key, payload)
                if len(found) == limit or number > READ_MAX:
                    return found, each.sequence + 1
                if status is None or each.status is status:
                    found.append(each)
        return found, None

    def open_now(self) -> dict[Status, int]:
        """Return how many proposals wait for somebody, and how many are being carried out.

        It is a short read and waits for nobody, so that metrics may ask in the event loop: before
        the cabinet is open, which it is soon after the start, there are none.

        Raises:
            StorageError: the cabinet cannot be read.
        """
        cabinet, now_ns = self._office.opened, self._office.now_ns()
        found: Counter[Status] = Counter()
        if cabinet is not None:
            with cabinet.reading() as snapshot:
                found.update(
                    each.status
                    for each in _open(snapshot)
                    if each.status is not Status.PENDING or now_ns < each.expires_ns
                )
        return {status: found[status] for status in (Status.PENDING, Status.APPROVED)}

    def _change(self, session: Session, change: Callable[[Writing, int], T]) -> T:
        """Change something in the name of an operator who is one at that moment."""
        self.settle()
        now_ns = self._office.now_ns()

        def whole(writing: Writing) -> T:
            if not stands(session, operator_of(writing, session.operator)):
                raise OpsError(OpsCode.NO_SESSION)
            return change(writing, now_ns)

        return self._office.cabinet.write(whole)

    def _settle(self, now_ns: int, writing: Writing) -> list[Proposal]:
        """Write what has become of open proposals; returns those of which that is not known."""
        left: list[Proposal] = []
        for each in _open(writing):
            settled = self._settled(each, now_ns)
            if settled is not None:
                _write(writing, settled, now_ns)
                left += [settled] if settled.status is Status.UNKNOWN else []
        return left

    def _settled(self, proposal: Proposal, now_ns: int) -> Proposal | None:
        """Return what has become of an open proposal by itself, None for nothing."""
        if proposal.status is Status.PENDING:
            if now_ns < proposal.expires_ns:
                return None
            return replace(proposal, status=Status.EXPIRED, decided_ns=proposal.expires_ns)
        if self._looked_back:
            return None  # it is being done
        detail = "the node ended between the approval and its outcome; look before it is repeated"
        return _ended(proposal, unknown(OutcomeCode.NODE_ENDED, detail), now_ns)


def _open(snapshot: Snapshot) -> list[Proposal]:
    """Return the proposals of which something is still to come, oldest first."""
    return [_at(snapshot, key) for key, _ in snapshot.scan(OPEN_PROPOSALS)]


def _at(snapshot: Snapshot, key: bytes) -> Proposal:
    payload = snapshot.get(PROPOSALS, key)
    if payload is None:
        raise CorruptRowError(OPEN_PROPOSALS, key, "there is no such proposal")
    return opened(_decode, PROPOSALS, key, payload)


def _found(snapshot: Snapshot, proposal_id: str) -> Proposal:
    """Return a proposal as it is stored.

    Raises:
        OpsError: NO_SUCH_PROPOSAL.
    """
    digits = proposal_id.removeprefix("P").partition("-")[0]
    if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX:
        key = _key(int(digits))
        payload = snapshot.get(PROPOSALS, key)
        if payload is not None:
            found = opened(_decode, PROPOSALS, key, payload)
            if found.proposal_id == proposal_id:
                return found
    raise OpsError(OpsCode.NO_SUCH_PROPOSAL)


def _anothers(writing: Writing, session: Session, proposal_id: str, now_ns: int) -> Proposal:
    """Return a proposal that waits for somebody like this one.

    Raises:
        OpsError: NO_SUCH_PROPOSAL, OWN_PROPOSAL, PROPOSAL_EXPIRED, PROPOSAL_DECIDED.
    """
    found = _found(writing, proposal_id)
    # Names are who operators are: none is ever given to another, and a reset keeps it.
    if found.proposed_by == session.operator:
        raise OpsError(OpsCode.OWN_PROPOSAL)
    _check_pending(found, now_ns)
    return found


def _check_pending(proposal: Proposal, now_ns: int) -> None:
    if proposal.status is Status.EXPIRED or (
        proposal.status is Status.PENDING and now_ns >= proposal.expires_ns
    ):
        raise OpsError(OpsCode.PROPOSAL_EXPIRED)
    if proposal.status is not Status.PENDING:
        detail = f"it is {proposal.status}, decided by {proposal.decided_by}"
        raise OpsError(OpsCode.PROPOSAL_DECIDED, detail)


def _decided(proposal: Proposal, status: Status, session: Session, now_ns: int) -> Proposal:
    return replace(proposal, status=status, decided_by=session.operator, decided_ns=now_ns)


def _ended(proposal: Proposal, what: Done, now_ns: int) -> Proposal:
    return replace(proposal, status=what.status, outcome=what.outcome, ended_ns=now_ns)


def _write(
    writing: Writing,
    proposal: Proposal,
    now_ns: int,
    session: Session | None = None,
    reason: str = "",
) -> Proposal:
    """Write a proposal as it is from now on, and the entry that says so.

    Args:
        session: whose doing it is; None for the node's.
    """
    key = _key(proposal.sequence)
    writing.put(PROPOSALS, key, _encode(proposal))
    if proposal.status in OPEN:
        writing.put(OPEN_PROPOSALS, key, b"")
    else:
        writing.drop(OPEN_PROPOSALS, key)
    outcome = OutcomeCode.OK if proposal.outcome is None else proposal.outcome.code
    said = f"{proposal.proposal_id} {proposal.digest()} {proposal.action.decode()}"
    audit_log.append(
        writing,
        now_ns,
        NODE if session is None else session.operator,
        "" if session is None else str(session.role),
        f"proposal_{proposal.status.lower()}",
        subject=said[: audit_log.SUBJECT_MAX],
        reason=reason,
        outcome=str(outcome),
        certificate="" if session is None else session.certificate,
    )
    return proposal


def _key(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big")
