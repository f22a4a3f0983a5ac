"""Proposals: who may do what to one, in which state, and that none is carried out twice."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from gateway.ops import actions, proposals
from gateway.ops.clerk import Clerk
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.office import DisableOperator, ResetOperator
from gateway.ops.operators import Role
from gateway.ops.outcome import Done, Outcome, OutcomeCode, Status, done, failed, unknown
from gateway.ops.proposals import EXPIRES_NS, NODE, Proposal, Proposals
from gateway.ops.sessions import Session
from storage.cabinet import Cabinet, Writing
from storage.errors import CabinetError
from storage.row import OPEN_PROPOSALS, PROPOSALS
from tests.gateway.ops.house import QUICK, SHELL, House, house

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

FREEZE = actions.FreezeAccount("6217001234567890")
WHY = "ticket 4711"
ENDS: dict[Status, Done] = {
    Status.DONE: done("status: FROZEN", {"status": "FROZEN"}),
    Status.FAILED: failed("ACCOUNT_NOT_FOUND", "There is no such account."),
    Status.UNKNOWN: unknown("OUTCOME_UNKNOWN", "The command began."),
}


class Duty:
    """Three operators who may act, a house and its proposals.

    Attributes:
        proposals: as one process has them; another process makes its own.
    """

    def __init__(self, made: House) -> None:
        self.house = made
        self.proposals = Proposals(made.office)
        self._sessions: dict[str, Session] = {}
        for name, role in (
            ("duty-1", Role.OPERATOR),
            ("duty-2", Role.ADMIN),
            ("duty-3", Role.OPERATOR),
        ):
            made.take_on(name, role)
            self.log_in(name, role)

    def log_in(self, name: str, role: Role) -> None:
        """Begin a session of an operator's, in place of the one that there was."""
        self.house.now_ns += 1
        row = self.house.office.operator(name)
        assert row is not None
        self._sessions[name] = Session(name, role, row.generation, self.house.now_ns, 0, 0)

    def reset(self, name: str) -> None:
        """Give an operator another password, as `piaohao operator reset` does."""
        asked = ResetOperator(name, QUICK.hash("another password"), b"another secret")
        self.house.office.administer(asked, SHELL)

    def session(self, name: str) -> Session:
        return self._sessions[name]

    def propose(self, name: str = "duty-1", action: Any = FREEZE) -> Proposal:
        return self.proposals.propose(self.session(name), action, WHY)

    def approve(self, proposal: Proposal, name: str = "duty-2") -> Proposal:
        found = self.session(name)
        return self.proposals.approve(found, proposal.proposal_id, proposal.digest())

    def reject(self, proposal: Proposal, name: str = "duty-2") -> Proposal:
        return self.proposals.reject(self.session(name), proposal.proposal_id, "not today")

    def withdraw(self, proposal: Proposal, name: str = "duty-1") -> Proposal:
        return self.proposals.withdraw(self.session(name), proposal.proposal_id)

    def brought(self, status: Status) -> Proposal:
        """Return a proposal that has come to a status."""
        made = self.propose()
        if status is Status.PENDING:
            return made
        if status is Status.REJECTED:
            return self.reject(made)
        if status is Status.WITHDRAWN:
            return self.withdraw(made)
        if status is Status.EXPIRED:
            self.house.now_ns += EXPIRES_NS
            return self.proposals.get(made.proposal_id)
        approved = self.approve(made)
        if status is Status.APPROVED:
            return approved
        return self.proposals.conclude(approved, ENDS[status])

    def restarted(self) -> None:
        """Begin with the next process."""
        self.proposals = Proposals(self.house.office)

    def actions(self, count: int) -> list[tuple[str, str]]:
        """Return who has done what, of the log's newest entries."""
        return [(each.operator, each.action) for each in self.house.log()[-count:]]


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    with house(tmp_path) as made:
        yield Duty(made)
        assert made.verified().ok


def refused(code: OpsCode, what: Callable[[], object]) -> OpsError:
    """Assert that something is refused with a code, and return the refusal."""
    with pytest.raises(OpsError) as caught:
        what()
    assert caught.value.code is code
    return caught.value


STEPS: dict[str, Callable[[Duty, Proposal], Proposal]] = {
    "approve": Duty.approve,
    "reject": Duty.reject,
    "withdraw": Duty.withdraw,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", Status)
def test_proposal_takes_a_step_once_and_only_while_it_waits(
    duty: Duty, status: Status, step: str
) -> None:
    """State by step: what a proposal has come to stays."""
    proposal = duty.brought(status)
    assert proposal.status is status
    before = duty.house.verified().rows
    if status is Status.PENDING:
        assert STEPS[step](duty, proposal).status in {
            Status.APPROVED,
            Status.REJECTED,
            Status.WITHDRAWN,
        }
        assert duty.house.verified().rows == before + 1
        return
    expired = status is Status.EXPIRED
    code = OpsCode.PROPOSAL_EXPIRED if expired else OpsCode.PROPOSAL_DECIDED
    refused(code, lambda: STEPS[step](duty, proposal))
    assert duty.proposals.get(proposal.proposal_id) == proposal
    assert duty.house.verified().rows == before


def test_proposal_is_kept_as_it_was_made(duty: Duty) -> None:
    made = duty.propose()
    duty.restarted()
    assert duty.proposals.get(made.proposal_id) == made
    assert (made.status, made.proposed_by, made.reason) == (Status.PENDING, "duty-1", WHY)
    assert made.expires_ns - made.proposed_ns == EXPIRES_NS
    assert actions.opened(made.action) == FREEZE


@pytest.mark.parametrize("step", ["approve", "reject"])
def test_nobody_decides_their_own_proposal_whatever_becomes_of_them(duty: Duty, step: str) -> None:
    """A reset gives another password and another secret, and the same operator."""
    made = duty.propose()
    refused(OpsCode.OWN_PROPOSAL, lambda: getattr(duty, step)(made, "duty-1"))
    duty.reset("duty-1")
    refused(OpsCode.NO_SESSION, lambda: getattr(duty, step)(made, "duty-1"))
    duty.log_in("duty-1", Role.OPERATOR)
    refused(OpsCode.OWN_PROPOSAL, lambda: getattr(duty, step)(made, "duty-1"))
    assert duty.proposals.get(made.proposal_id).status is Status.PENDING
    assert duty.approve(made).status is Status.APPROVED


def test_nobody_withdraws_what_another_has_proposed(duty: Duty) -> None:
    made = duty.propose()
    refused(OpsCode.ANOTHERS_PROPOSAL, lambda: duty.withdraw(made, "duty-2"))
    assert duty.proposals.get(made.proposal_id) == made


def test_approval_names_the_digest_of_this_proposal(duty: Duty) -> None:
    """The same action under another number has another digest, and another action too."""
    first, same = duty.propose(), duty.propose()
    other = duty.propose(action=actions.UnfreezeAccount("6217001234567890"))
    digests = {each.digest() for each in (first, same, other)}
    assert len(digests) == 3
    for digest in (same.digest(), other.digest(), "", first.digest().upper()):
        approve = partial(duty.proposals.approve, duty.session("duty-2"), first.proposal_id, digest)
        refused(OpsCode.PROPOSAL_DIGEST_WRONG, approve)
    assert duty.proposals.get(first.proposal_id) == first


@pytest.mark.parametrize(
    "action",
    [
        FREEZE,
        actions.TakeBackup(),
        actions.RejectMerchant("M1", 'no "such" company: 票号/\u2028'),
        actions.RedeliverEvents("M1", 1, 200),
        actions.DiscardDeadLetter("AAo", "merchant/M1", "ab" * 32),
    ],
)
def test_digest_can_be_made_by_whoever_sees_the_proposal(duty: Duty, action: Any) -> None:
    """As the documentation says, by another program's JSON."""
    made = duty.propose(action=action)
    shown = json.loads(msgspec.json.encode(actions.opened(made.action)))
    text = json.dumps(shown, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signed = f"{text}\n{made.proposal_id}".encode()
    assert made.digest() == hashlib.sha256(signed).hexdigest()


def test_action_that_was_changed_in_the_store_is_not_what_was_approved(duty: Duty) -> None:
    """The digest is of what would be carried out, not a text beside it."""
    made = duty.propose()
    other = msgspec.structs.replace(
        made, action=actions.canonical(actions.FreezeAccount("6217009999999999"))
    )
    key = made.sequence.to_bytes(8, "big")
    duty.house.office.cabinet.write(
        lambda writing: writing.put(PROPOSALS, key, msgspec.msgpack.encode(other))
    )
    refused(OpsCode.PROPOSAL_DIGEST_WRONG, lambda: duty.approve(made))


@pytest.mark.parametrize(
    "proposal_id",
    ["", "P", "P1", "P1-", "P1-00000000", "P2-00000000", "X1", "P-1", "P\u0661-00000000",
     f"P{'9' * 30}-00000000"],
)  # fmt: skip
def test_proposal_that_there_is_not_is_not_found(duty: Duty, proposal_id: str) -> None:
    made = duty.propose()
    refused(OpsCode.NO_SUCH_PROPOSAL, lambda: duty.proposals.get(proposal_id))
    for step in (
        lambda: duty.proposals.approve(duty.session("duty-2"), proposal_id, made.digest()),
        lambda: duty.proposals.reject(duty.session("duty-2"), proposal_id, WHY),
        lambda: duty.proposals.withdraw(duty.session("duty-1"), proposal_id),
    ):
        refused(OpsCode.NO_SUCH_PROPOSAL, step)


def test_of_many_who_approve_at_once_one_does(duty: Duty) -> None:
    """Each in a thread of its own, as on a node."""
    names = [f"night-{number}" for number in range(6)]
    for name in names:
        duty.house.take_on(name, Role.OPERATOR)
        duty.log_in(name, Role.OPERATOR)
    made = duty.propose()
    together = threading.Barrier(len(names))
    approved: list[str] = []
    codes: list[OpsCode] = []

    def approve(name: str) -> None:
        together.wait()
        try:
            approved.append(duty.approve(made, name).decided_by)
        except OpsError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=approve, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [OpsCode.PROPOSAL_DECIDED] * (len(names) - 1)
    assert [duty.proposals.get(made.proposal_id).decided_by] == approved
    assert [each[1] for each in duty.actions(2)] == ["proposal_pending", "proposal_approved"]


def test_operator_who_was_sent_away_decides_nothing(duty: Duty) -> None:
    """Also where the session was good a moment ago: it is looked at in the transaction."""
    made, own = duty.propose(), duty.propose("duty-2")
    duty.house.office.administer(DisableOperator("duty-2"), SHELL)
    for step in (
        lambda: duty.approve(made),
        lambda: duty.reject(made),
        lambda: duty.withdraw(own, "duty-2"),
        lambda: duty.propose("duty-2"),
    ):
        refused(OpsCode.NO_SESSION, step)
    assert duty.proposals.get(made.proposal_id) == made
    assert duty.approve(made, "duty-3").status is Status.APPROVED


def test_what_somebody_has_proposed_who_was_sent_away_is_not_approved(duty: Duty) -> None:
    made, another = duty.propose(), duty.propose()
    duty.house.office.administer(DisableOperator("duty-1"), SHELL)
    refused(OpsCode.PROPOSER_GONE, lambda: duty.approve(made))
    assert duty.reject(made).status is Status.REJECTED
    duty.reset("duty-1")
    assert duty.approve(another).status is Status.APPROVED


def test_proposal_expires_after_a_day_to_the_nanosecond(duty: Duty) -> None:
    early, late = duty.propose(), duty.propose()
    duty.house.now_ns = early.expires_ns - 1
    assert duty.approve(early).status is Status.APPROVED
    duty.house.now_ns = late.expires_ns
    refused(OpsCode.PROPOSAL_EXPIRED, lambda: duty.approve(late))
    assert duty.actions(1) == [(NODE, "proposal_expired")]
    expired = duty.proposals.get(late.proposal_id)
    assert (expired.status, expired.decided_by) == (Status.EXPIRED, "")
    assert expired.decided_ns == late.expires_ns


def test_proposal_that_expires_while_it_is_approved_is_not_approved(
    duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what is over and the approval's transaction time goes on."""
    made = duty.propose()
    times = iter([made.expires_ns - 1, made.expires_ns])
    monkeypatch.setattr(duty.house.office, "now_ns", lambda: next(times))
    refused(OpsCode.PROPOSAL_EXPIRED, lambda: duty.approve(made))


def test_what_was_approved_when_a_process_ended_is_unknown_to_the_next(duty: Duty) -> None:
    """And stays so: nothing takes it up again. The process that approves leaves it alone."""
    approved, waiting = duty.approve(duty.propose()), duty.propose()
    duty.proposals.settle()
    assert duty.proposals.get(approved.proposal_id) == approved
    duty.restarted()
    left = duty.proposals.get(approved.proposal_id)
    assert (left.status, left.decided_by) == (Status.UNKNOWN, "duty-2")
    assert left.outcome is not None
    assert left.outcome.code == OutcomeCode.NODE_ENDED
    assert duty.actions(1) == [(NODE, "proposal_unknown")]
    assert duty.house.log()[-1].outcome == OutcomeCode.NODE_ENDED
    refused(OpsCode.PROPOSAL_DECIDED, lambda: duty.approve(approved))
    rows = duty.house.verified().rows
    duty.restarted()
    assert duty.proposals.get(approved.proposal_id) == left
    assert duty.house.verified().rows == rows
    assert duty.approve(waiting).status is Status.APPROVED, "the others wait as before"


def test_each_step_is_in_the_log_with_what_was_proposed(duty: Duty) -> None:
    made = duty.propose()
    duty.proposals.conclude(duty.approve(made), ENDS[Status.FAILED])
    duty.reject(duty.propose())
    entries = duty.house.log()[-5:]
    said = [(each.operator, each.role, each.action, each.outcome) for each in entries]
    assert said == [
        ("duty-1", "operator", "proposal_pending", "OK"),
        ("duty-2", "admin", "proposal_approved", "OK"),
        (NODE, "", "proposal_failed", "ACCOUNT_NOT_FOUND"),
        ("duty-1", "operator", "proposal_pending", "OK"),
        ("duty-2", "admin", "proposal_rejected", "OK"),
    ]
    text = '{"account_no":"6217001234567890","seen":"","type":"freeze_account"}'
    for entry in entries[:3]:
        assert entry.subject == f"{made.proposal_id} {made.digest()} {text}"
    assert [each.reason for each in entries] == [WHY, "", "", WHY, "not today"]


def test_nobody_has_more_than_so_many_open(duty: Duty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "OPEN_PER_OPERATOR_MAX", 2)
    first = duty.propose()
    duty.propose()
    refused(OpsCode.PROPOSALS_OPEN, duty.propose)
    assert duty.propose("duty-2").status is Status.PENDING, "it is each one's own bound"
    duty.withdraw(first)
    assert duty.propose().status is Status.PENDING


def test_pages_have_each_proposal_once_newest_first(
    duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no page may look through many: then some are short."""
    made = [duty.propose() for _ in range(9)]
    for each in made[::2]:
        duty.withdraw(each)
    waiting = [each.proposal_id for each in made[1::2]]
    every = [each.proposal_id for each in made]

    def walked(status: Status | None) -> list[str]:
        found: list[str] = []
        below: int | None = 1 << 62
        while below is not None:
            page, below = duty.proposals.page(status, 2, below)
            assert len(page) <= 2
            assert status is None or {each.status for each in page} <= {status}
            found += [each.proposal_id for each in page]
        return found[::-1]

    for read_max in (500, 3):
        monkeypatch.setattr(proposals, "READ_MAX", read_max)
        assert walked(None) == every
        assert walked(Status.PENDING) == waiting
        assert walked(Status.WITHDRAWN) == every[::2]
        assert walked(Status.DONE) == []


def test_index_of_open_ones_has_those_alone_that_wait(duty: Duty) -> None:
    kept = {duty.brought(status).sequence for status in Status if status is not Status.EXPIRED}
    with duty.house.office.cabinet.reading() as snapshot:
        there = {int.from_bytes(key, "big") for key, _ in snapshot.scan(OPEN_PROPOSALS)}
        assert snapshot.count(PROPOSALS) == len(kept)
    assert there == {
        each.sequence
        for each in duty.proposals.page(None, 100, 1 << 62)[0]
        if each.status in {Status.PENDING, Status.APPROVED}
    }


def test_outcome_is_kept_as_it_was(duty: Duty) -> None:
    approved = duty.approve(duty.propose())
    facts: dict[str, Any] = {"ok": True, "violations": 0, "chain_heads": "ab, cd"}
    duty.proposals.conclude(approved, Done(Status.DONE, Outcome("OK", "all holds", facts)))
    found = duty.proposals.get(approved.proposal_id)
    assert found.outcome == Outcome("OK", "all holds", facts)
    assert type(found.outcome.facts["ok"]) is bool


def test_outcome_is_written_down_though_the_disk_is_nearly_full(
    duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was agreed on while there was room has been done; nothing new is agreed on."""
    approved, waiting = duty.approve(duty.propose()), duty.propose()
    with monkeypatch.context() as patched:
        patched.setattr(Cabinet, "_has_room", lambda _: False)
        assert duty.proposals.conclude(approved, ENDS[Status.DONE]).status is Status.DONE
        with pytest.raises(CabinetError):
            duty.approve(waiting)
        duty.house.office.administer(DisableOperator("duty-1"), SHELL)
    refused(OpsCode.PROPOSER_GONE, lambda: duty.approve(waiting))


@pytest.mark.parametrize("end", [done, partial(failed, "BACKUP_FAILED")])
def test_outcome_that_cites_what_is_no_text_is_kept(duty: Duty, end: Callable[..., Done]) -> None:
    """A folder's name may be any bytes; what was done would be UNKNOWN for it."""
    approved = duty.approve(duty.propose())
    folder = os.fsdecode(b"/srv/\xff/backups")
    found = duty.proposals.conclude(approved, end(f"wrote {folder}", {"folder": folder}))
    assert duty.proposals.get(approved.proposal_id) == found
    assert found.outcome is not None
    assert (found.outcome.detail, found.outcome.facts) == (
        "wrote /srv/?/backups",
        {"folder": "/srv/?/backups"},
    )


async def test_what_came_of_it_is_written_down_though_the_node_ends_just_then(duty: Duty) -> None:
    made = duty.propose()
    async with trio.open_nursery() as nursery:

        class Last:
            """Hands whose last work it was."""

            async def do(self, proposal: Proposal) -> Done:
                nursery.cancel_scope.cancel()
                return ENDS[Status.DONE]

        clerk = Clerk(duty.house.office, duty.proposals, Last())  # type: ignore[arg-type]
        await nursery.start(clerk.run)
        await clerk.approve(duty.session("duty-2"), made.proposal_id, made.digest())
    assert duty.proposals.get(made.proposal_id).status is Status.DONE


@pytest.mark.parametrize("row", [None, b"nonsense", msgspec.msgpack.encode([1, "P1-0"])])
async def test_proposal_that_nobody_understands_does_not_keep_the_node_from_its_work(
    duty: Duty, row: bytes | None
) -> None:
    """Its checksum may be right: another program has written it, or somebody with the file."""

    def put(writing: Writing) -> None:
        key = (1).to_bytes(8, "big")
        writing.put(OPEN_PROPOSALS, key, b"")
        if row is not None:
            writing.put(PROPOSALS, key, row)

    duty.house.office.cabinet.write(put)
    async with trio.open_nursery() as nursery:
        clerk = Clerk(duty.house.office, duty.proposals, None)  # type: ignore[arg-type]
        await nursery.start(clerk.run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(CabinetError):
            duty.proposals.page(None, 1, 1 << 62)
        nursery.cancel_scope.cancel()


async def test_outcome_that_cannot_be_written_is_unknown_to_the_next_process(
    duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told DONE of what is not written down, and this process does not do it again."""
    made = duty.propose()

    class Last:
        """Hands after whose work the disk is full."""

        async def do(self, proposal: Proposal) -> Done:
            monkeypatch.setattr(Cabinet, "write", full)
            return ENDS[Status.DONE]

    def full(*_: object, **__: object) -> None:
        raise CabinetError("the disk is full")

    async with trio.open_nursery() as nursery:
        clerk = Clerk(duty.house.office, duty.proposals, Last())  # type: ignore[arg-type]
        await nursery.start(clerk.run)
        with pytest.raises(CabinetError):
            await clerk.approve(duty.session("duty-2"), made.proposal_id, made.digest())
        nursery.cancel_scope.cancel()
    monkeypatch.undo()
    assert duty.proposals.get(made.proposal_id).status is Status.APPROVED
    duty.restarted()
    assert duty.proposals.get(made.proposal_id).status is Status.UNKNOWN


def test_open_proposals_are_counted_until_somebody_decides_or_their_time_is_over(
    duty: Duty,
) -> None:
    """As metrics have them: nobody need have looked for one to have expired."""

    def counted() -> tuple[int, int]:
        found = duty.proposals.open_now()
        return found[Status.PENDING], found[Status.APPROVED]

    assert counted() == (0, 0)
    first = duty.propose()
    duty.propose("duty-3")
    assert counted() == (2, 0)
    approved = duty.approve(first)
    assert counted() == (1, 1)
    duty.proposals.conclude(approved, ENDS[Status.DONE])
    assert counted() == (1, 0)
    duty.house.now_ns += EXPIRES_NS
    assert counted() == (0, 0)
