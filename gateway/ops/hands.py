"""Hands: do what two operators have agreed on, by the ways that the command line has.

What concerns accounts and merchants goes over the API's counter, as the bank itself; what repairs
the engine is one of its controls; what reads the whole store runs beside the load, in a worker
thread, one at a time. What is about something that is another by now than when it was proposed is
not done (`gateway.ops.targets`). What comes of it is DONE, or FAILED where nothing happened, or no
more than the outcome says, or UNKNOWN where that is not known here: never FAILED where it may have
happened.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import asdict, replace

from engine.control import DiscardParked, ParkedLeft, ParkedNotFirst, ReleaseParked
from engine.fault import Fault, FaultCode
from engine.message import StoredEnvelope
from engine.node import Node
from engine.parking import ParkedId, open_row, parked_id
from gateway.control import read_beside
from gateway.counter import Counter
from gateway.errors import Problem, RequestError, faulted
from gateway.handlers.webhooks import check_redelivered
from gateway.lookup import opened_cursor
from gateway.operations import BackedUp, Backup, Verify
from gateway.ops import actions, targets
from gateway.ops.actions import (
    Action,
    ActionBase,
    DeadLetterAction,
    ReleaseActor,
    StatusAction,
)
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.office import Office
from gateway.ops.outcome import Done, Fact, OutcomeCode, done, failed, unknown
from gateway.ops.proposals import Proposal
from gateway.verification import Report
from storage.errors import StorageError
from storage.lmdb_store import LmdbStore
from storage.row import PARKED

_encode: Final = msgspec.json.Encoder().encode
_decode: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])
_decode_problem: Final = msgspec.json.Decoder(Problem).decode

_UNSURE: Final = frozenset({FaultCode.OUTCOME_UNKNOWN, FaultCode.INTERNAL})
"""Codes after which it may have happened. INTERNAL is the engine's word for a turn that has left
no trace, and the counter's for whatever else has failed."""


class _Call(Struct, frozen=True):
    """One command of the API.

    Attributes:
        path: with the action's members; those that are not in it are the body.
        told: members of the answer that the outcome keeps: no balances, no names.
        signed: the body says who has approved it.
    """

    path: str
    told: tuple[str, ...]
    signed: bool = False


_MERCHANT: Final = "/v1/merchants/{merchant_no}"
_CALLS: Final[Mapping[type[ActionBase], _Call]] = {
    actions.FreezeAccount: _Call("/v1/accounts/{account_no}/freeze", ("status",)),
    actions.UnfreezeAccount: _Call("/v1/accounts/{account_no}/unfreeze", ("status",)),
    actions.ApproveMerchant: _Call(f"{_MERCHANT}/approve", ("status",), signed=True),
    actions.RejectMerchant: _Call(f"{_MERCHANT}/reject", ("status",), signed=True),
    actions.SuspendMerchant: _Call(f"{_MERCHANT}/suspend", ("status",)),
    actions.ActivateMerchant: _Call(f"{_MERCHANT}/activate", ("status",)),
    actions.CloseMerchant: _Call(f"{_MERCHANT}/close", ("status",)),
    actions.RevokeCertificate: _Call(
        f"{_MERCHANT}/certificates/{{serial}}/revoke", ("state", "revoked_at")
    ),
    actions.RevokeBankCertificate: _Call(
        "/v1/bank/certificates/{serial}/revoke", ("state", "revoked_at")
    ),
    actions.RedeliverEvents: _Call(f"{_MERCHANT}/webhook/redeliver", ("status", "pending")),
    actions.CutDay: _Call("/v1/day-cuts", ("state", "next_date")),
}


class Hands:
    """What does the actions of one node.

    Args:
        node: the engine.
        stores: those of its shards.
        counter: the API's.
        office: has the cabinet, which backups hold too.
        backups: the folder for backups; it need not be there.
    """

    def __init__(
        self,
        node: Node,
        stores: Sequence[LmdbStore],
        counter: Counter,
        office: Office,
        backups: Path,
    ) -> None:
        self._node = node
        self._stores = stores
        self._counter = counter
        self._office = office
        self._backups = backups
        self._one_reading = trio.Lock()
        self._one_change = trio.Lock()

    def completed(self, action: Action) -> Action:
        """Return an action that is to be proposed, with what the node knows of what it names.

        Raises:
            OpsError: NO_SUCH_DEAD_LETTER, also where it says something else of it;
                TARGET_CHANGED, it says something else of another target.
            RequestError: INVALID_REQUEST: so many events are not sent again at once.
        """
        if isinstance(action, actions.RedeliverEvents):
            check_redelivered(action.first, action.last)
        if isinstance(action, StatusAction):
            return replace(action, seen=_agreed(action.seen, targets.seen(self._node, action)))
        if isinstance(action, ReleaseActor):
            return replace(action, content=_agreed(action.content, self._first(action.address)))
        if not isinstance(action, DeadLetterAction):
            return action
        row, parked = self._parked(action.dead_letter_id)
        content = parked.content.hex()
        if action.address not in ("", row.to) or action.content not in ("", content):
            raise OpsError(OpsCode.NO_SUCH_DEAD_LETTER, "it is another one by now")
        return replace(action, address=row.to, content=content)

    def _parked(self, dead_letter_id: str) -> tuple[StoredEnvelope, ParkedId]:
        """Return what is parked under an id of `GET /ops/dead-letters`: shard, then the row's key.

        Raises:
            OpsError: NO_SUCH_DEAD_LETTER.
        """
        try:
            opened = opened_cursor(dead_letter_id)
        except RequestError:
            raise OpsError(OpsCode.NO_SUCH_DEAD_LETTER) from None
        number, key = opened[0], opened[1:]
        payload = None
        if number < len(self._node.shards) and key:
            snapshot = self._node.shards[number].store.snapshot()
            try:
                payload = snapshot.get(PARKED, key)
            finally:
                snapshot.close()
        if payload is None:
            raise OpsError(OpsCode.NO_SUCH_DEAD_LETTER)
        row = open_row(PARKED, key, payload)
        return row, parked_id(key, row)

    async def do(self, proposal: Proposal) -> Done:
        """Do what a proposal says and return what came of it.

        Raises:
            Exception: anything that nobody expects; what came of it is not known then.
        """
        action = actions.opened(proposal.action)
        call = _CALLS.get(type(action))
        if isinstance(action, StatusAction):
            assert call is not None, "a status is changed by the API"
            return await self._change(call, action, proposal.decided_by)
        if call is not None:
            return await self._call(call, action, proposal.decided_by)
        if isinstance(action, DeadLetterAction):
            return await self._treat(action)
        if isinstance(action, ReleaseActor):
            return await self._release(action)
        async with self._one_reading:
            if isinstance(action, actions.TakeBackup):
                return await self._back_up(proposal.proposal_id)
            return await self._verify()

    async def _change(self, call: _Call, action: StatusAction, approver: str) -> Done:
        """Change a status that is as it was seen. One at a time: of two that were agreed on at
        once the second finds what the first has changed."""
        async with self._one_change:
            now = targets.seen(self._node, action)
            if now != action.seen:
                detail = f"it was {action.seen or 'not looked at'} when it was proposed, now {now}"
                facts: dict[str, Fact] = {"seen": action.seen, "now": now}
                return failed(OutcomeCode.TARGET_CHANGED, detail, facts)
            return await self._call(call, action, approver)

    async def _call(self, call: _Call, action: ActionBase, approver: str) -> Done:
        given = asdict(action)
        path = call.path.format(**{name: quote(str(each), safe="") for name, each in given.items()})
        inside = {"seen", *(name for name in given if f"{{{name}}}" in call.path)}
        body = {name: each for name, each in given.items() if name not in inside}
        if call.signed:
            body["operator"] = approver
        response = await self._counter.answer_operator("POST", path, b"", _encode(body))
        if response.status >= 400:
            return _refused(_decode_problem(response.body))
        answer = _decode.decode(response.body)
        facts: dict[str, Fact] = {
            name: answer[name] for name in call.told if answer.get(name) is not None
        }
        return done(", ".join(f"{name}: {each}" for name, each in facts.items()), facts)

    def _first(self, address: str) -> str:
        first = targets.first_parked(self._node, address)
        return "" if first is None else first.content.hex()

    async def _release(self, action: ReleaseActor) -> Done:
        """Release all that is parked for an actor, the very first by its name; the engine takes
        so many at once."""
        only = targets.first_parked(self._node, action.address)
        if ("" if only is None else only.content.hex()) != action.content:
            return _another_first({})
        taken = 0
        while True:
            outcome = await self._node.ask_control(ReleaseParked(action.address, only))
            only = None
            if isinstance(outcome, Fault):
                return _refused(faulted(outcome), {"taken": taken})
            if isinstance(outcome, ParkedNotFirst):
                return _another_first({"left": outcome.left})
            taken += outcome.taken
            if outcome.error or not outcome.left or not outcome.taken:
                return _left(replace(outcome, taken=taken))

    async def _treat(self, action: DeadLetterAction) -> Done:
        key = opened_cursor(action.dead_letter_id)[1:]
        only = ParkedId(key, bytes.fromhex(action.content))
        control: ReleaseParked | DiscardParked = DiscardParked(action.address, only)
        if isinstance(action, actions.RetryDeadLetter):
            control = ReleaseParked(action.address, only)
        outcome = await self._node.ask_control(control)
        if isinstance(outcome, Fault):
            return _refused(faulted(outcome))
        if isinstance(outcome, ParkedNotFirst):
            detail = "it is not there any more, or another of its actor stands before it"
            return failed(OutcomeCode.DEAD_LETTER_NOT_FIRST, detail, {"left": outcome.left})
        return _left(outcome)

    async def _back_up(self, proposal_id: str) -> Done:
        out = self._backups / proposal_id
        try:
            await trio.Path(self._backups).mkdir(0o700, parents=True, exist_ok=True)
            written = await self._read(Backup(str(out.absolute())))
        except (StorageError, OSError) as error:
            return failed(OutcomeCode.BACKUP_FAILED, str(error))
        assert isinstance(written, BackedUp)
        newest = ", ".join(map(str, written.durable_seq))
        facts: dict[str, Fact] = {"folder": written.out, "durable_seq": newest}
        detail = f"wrote {written.out}, commit {newest} and all before it"
        if written.fault:
            detail = f"{detail}; of operators or their log: {written.fault}"
            return done(detail, facts, OutcomeCode.OPERATORS_NOT_WHOLE)
        return done(detail, facts)

    async def _read(self, asked: Backup | Verify) -> object:
        return await read_beside(self._node, self._stores, asked, self._office)

    async def _verify(self) -> Done:
        try:
            report = await self._read(Verify())
        except StorageError as error:
            return failed(OutcomeCode.VERIFICATION_FAILED, str(error))
        assert isinstance(report, Report)
        facts: dict[str, Fact] = {
            "ok": report.ok,
            "violations": len(report.violations),
            "journal_rows": report.journal_rows,
            "chain_heads": ", ".join(report.chain_heads),
        }
        if report.ok:
            return done("all that must hold holds", facts)
        found = ", ".join(sorted({each.invariant for each in report.violations}))
        detail = f"these do not hold: {found}; see piaohao verify"
        return done(detail, facts, OutcomeCode.VIOLATIONS_FOUND)


def _refused(problem: Problem, facts: Mapping[str, Fact] | None = None) -> Done:
    """Return what comes of an action that was answered with a problem."""
    told = dict(facts or {})
    if problem.current is not None:
        told["current"] = problem.current
        told["allowed"] = ", ".join(problem.allowed)
    detail = f"{problem.title} {problem.detail}".rstrip()
    if problem.code in _UNSURE:
        return unknown(problem.code, detail, told)
    return failed(problem.code, detail, told)


def _agreed(said: str, now: str) -> str:
    """Return how a target is, where that is what was said of it, or nothing was.

    Raises:
        OpsError: TARGET_CHANGED.
    """
    if said not in ("", now):
        raise OpsError(OpsCode.TARGET_CHANGED)
    return now


def _another_first(facts: Mapping[str, Fact]) -> Done:
    detail = "another dead letter is its first than when it was proposed"
    return failed(OutcomeCode.TARGET_CHANGED, detail, facts)


def _left(outcome: ParkedLeft) -> Done:
    """Return what comes of a release or a discard; what an error quotes may be personal.

    Why one is not given up is a sentence of ours.
    """
    facts: dict[str, Fact] = {"taken": outcome.taken, "left": outcome.left}
    detail = f"{outcome.taken} taken off, {outcome.left} left"
    if not outcome.error:
        return done(detail, facts)
    if outcome.code:
        return failed(OutcomeCode(outcome.code), outcome.error.partition(": ")[2], facts)
    name = outcome.error.partition(": ")[0]
    return failed(
        OutcomeCode.TURN_FAILED, f"{detail}; one has failed: {name}", {**facts, "error": name}
    )
