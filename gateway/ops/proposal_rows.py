"""Rows of proposals: one operator proposes an action, a different one approves it, and it is done.

What is approved is named by its digest, which the proposal shows: whoever approves has the node do
what they have seen, or nothing.
"""

from typing import Annotated, Final

import trio
from msgspec import Meta, Struct

from actors.answers import instant, instant_if
from gateway.answer import Answer
from gateway.ops import actions
from gateway.ops.actions import Action
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.health import Phase
from gateway.ops.masking import Reason
from gateway.ops.operators import Right
from gateway.ops.outcome import Outcome, Status
from gateway.ops.proposals import Proposal
from gateway.ops.row import act, read

ProposalId = Annotated[str, Meta(min_length=1, max_length=40)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="SHA-256, hex")]
_BEYOND: Final = (1 << 63) - 1

_UNDER_WAY: Final = frozenset({Status.PENDING, Status.APPROVED})
"""What is told of an approval whose outcome is not known yet."""


class ProposeAction(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done, and why.

    Attributes:
        reason: for whoever is to approve it, and for the audit log.
    """

    action: Action
    reason: Reason


class ProposalKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which proposal."""

    proposal_id: ProposalId


class ApproveProposal(ProposalKey, frozen=True):
    """Which proposal, and what it says.

    Attributes:
        digest: of the very action that was looked at, as the proposal shows it.
    """

    digest: Digest


class RejectProposal(ProposalKey, frozen=True):
    """Which proposal, and why not."""

    reason: Reason


class WithdrawProposal(ProposalKey, frozen=True):
    """Which proposal of one's own."""


class ListProposals(Struct, frozen=True, forbid_unknown_fields=True):
    """Which proposals.

    Attributes:
        status: those alone that are there now.
        cursor: where to go on: `next_cursor` of the page before.
    """

    status: Status | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=_BEYOND)] | None = None


class ProposalView(Struct, frozen=True, tag_field="object", tag="proposal"):
    """An action that was proposed, and what has become of it.

    Attributes:
        digest: what an approval has to name: the SHA-256, in hex, of the action as JSON with its
            members in the order of their names and without blanks, a line end, and `proposal_id`.
        expires_at: until when it can be approved.
        decided_by: who has approved, rejected or withdrawn it.
        decision_reason: why it was rejected, or has expired before its time.
        ended_at: when it was known what came of it.
    """

    proposal_id: str
    action: Action
    digest: str
    reason: str
    status: Status
    proposed_by: str
    proposed_at: str
    expires_at: str
    decided_by: str | None
    decided_at: str | None
    decision_reason: str | None
    ended_at: str | None
    outcome: Outcome | None


class ProposalPage(Struct, frozen=True):
    """A page of proposals, newest first.

    Attributes:
        next_cursor: where the next page begins; null on the last one. A page may be short, or
            empty, and not the last.
    """

    items: list[ProposalView]
    next_cursor: int | None


async def propose_action(desk: OpsDesk, visitor: Visitor, asked: ProposeAction) -> Answer:
    """Propose an action. It waits for another operator's approval, for 24 hours at most."""
    assert visitor.session is not None
    made = await desk.clerk.propose(visitor.session, asked.action, asked.reason)
    return Answer(201, _view(made))


async def list_proposals(desk: OpsDesk, visitor: Visitor, asked: ListProposals) -> Answer:
    """Return proposals, newest first."""
    below = _BEYOND if asked.cursor is None else asked.cursor
    found, next_cursor = await trio.to_thread.run_sync(
        desk.proposals.page, asked.status, asked.limit, below
    )
    return Answer(200, ProposalPage([_view(each) for each in found], next_cursor))


async def get_proposal(desk: OpsDesk, visitor: Visitor, asked: ProposalKey) -> Answer:
    """Return a proposal and what has become of it."""
    return Answer(200, _view(await trio.to_thread.run_sync(desk.proposals.get, asked.proposal_id)))


async def approve_proposal(desk: OpsDesk, visitor: Visitor, asked: ApproveProposal) -> Answer:
    """Approve a proposal of another operator's. It is carried out at once, and answered with its
    outcome; or 202 where that takes longer than 20 s, and APPROVED, or still PENDING where the
    approval itself is not durable yet."""
    assert visitor.session is not None
    if desk.health.phase is not Phase.SERVING:
        raise OpsError(OpsCode.NODE_NOT_SERVING, retry_after_s=5)
    approved = await desk.clerk.approve(visitor.session, asked.proposal_id, asked.digest)
    return Answer(202 if approved.status in _UNDER_WAY else 200, _view(approved))


async def reject_proposal(desk: OpsDesk, visitor: Visitor, asked: RejectProposal) -> Answer:
    """Reject a proposal of another operator's, for a reason."""
    assert visitor.session is not None
    rejected = await trio.to_thread.run_sync(
        desk.proposals.reject, visitor.session, asked.proposal_id, asked.reason
    )
    return Answer(200, _view(rejected))


async def withdraw_proposal(desk: OpsDesk, visitor: Visitor, asked: WithdrawProposal) -> Answer:
    """Take back a proposal of one's own."""
    assert visitor.session is not None
    withdrawn = await trio.to_thread.run_sync(
        desk.proposals.withdraw, visitor.session, asked.proposal_id
    )
    return Answer(200, _view(withdrawn))


def _view(proposal: Proposal) -> ProposalView:
    return ProposalView(
        proposal_id=proposal.proposal_id,
        action=actions.opened(proposal.action),
        digest=proposal.digest(),
        reason=proposal.reason,
        status=proposal.status,
        proposed_by=proposal.proposed_by,
        proposed_at=instant(proposal.proposed_ns),
        expires_at=instant(proposal.expires_ns),
        decided_by=proposal.decided_by or None,
        decided_at=instant_if(proposal.decided_ns),
        decision_reason=proposal.decision_reason or None,
        ended_at=instant_if(proposal.ended_ns),
        outcome=proposal.outcome,
    )


_PROPOSAL: Final = "/ops/proposals/{proposal_id}"
_DECIDED: Final = (
    OpsCode.NO_SUCH_PROPOSAL,
    OpsCode.PROPOSAL_EXPIRED,
    OpsCode.PROPOSAL_DECIDED,
)

ROWS: Final = (
    act(
        "/ops/proposals",
        ProposeAction,
        propose_action,
        Right.ACT,
        ProposalView,
        OpsCode.NO_SUCH_DEAD_LETTER,
        OpsCode.TARGET_CHANGED,
        OpsCode.PROPOSALS_OPEN,
        status=201,
    ),
    read("/ops/proposals", ListProposals, list_proposals, Right.LOOK, ProposalPage),
    read(
        _PROPOSAL,
        ProposalKey,
        get_proposal,
        Right.LOOK,
        ProposalView,
        OpsCode.NO_SUCH_PROPOSAL,
    ),
    act(
        f"{_PROPOSAL}/approve",
        ApproveProposal,
        approve_proposal,
        Right.ACT,
        ProposalView,
        *_DECIDED,
        OpsCode.OWN_PROPOSAL,
        OpsCode.PROPOSAL_DIGEST_WRONG,
        OpsCode.PROPOSER_GONE,
        OpsCode.NODE_NOT_SERVING,
        also=(202,),
    ),
    act(
        f"{_PROPOSAL}/reject",
        RejectProposal,
        reject_proposal,
        Right.ACT,
        ProposalView,
        *_DECIDED,
        OpsCode.OWN_PROPOSAL,
    ),
    act(
        f"{_PROPOSAL}/withdraw",
        WithdrawProposal,
        withdraw_proposal,
        Right.ACT,
        ProposalView,
        *_DECIDED,
        OpsCode.ANOTHERS_PROPOSAL,
    ),
)
