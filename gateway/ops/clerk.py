"""The clerk: has proposals carried out that were approved, and writes down what came of each.

From the approval on it is a task of the node's own: an operator who leaves meanwhile ends nothing,
and is told by the proposal itself. The approval is durable before anything is done. Where the node
ends in between nobody writes down what came of it, and the next process says UNKNOWN: nothing is
ever done a second time by itself.
"""

import logging
from typing import Final

import trio

from engine.fault import FaultCode
from gateway.ops.actions import Action
from gateway.ops.hands import Hands
from gateway.ops.office import Office
from gateway.ops.outcome import Done, unknown
from gateway.ops.proposals import Proposal, Proposals
from gateway.ops.sessions import Session
from storage.errors import StorageError

log = logging.getLogger("piaohao.ops")

WAIT_S: Final = 20.0
"""How long whoever approves is kept waiting for the outcome; a backup may take longer."""


class Clerk:
    """Carries out what was approved, on one node.

    Args:
        office: has the cabinet.
        proposals: what is in it.
        hands: do what they say.
    """

    def __init__(self, office: Office, proposals: Proposals, hands: Hands) -> None:
        self._office = office
        self._proposals = proposals
        self._hands = hands
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; started once proposals can be approved."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._look_back)
            task_status.started()
            await trio.sleep_forever()

    async def propose(self, session: Session, action: Action, reason: str) -> Proposal:
        """Note a proposal.

        Raises:
            OpsError, RequestError: see `Hands.completed`, `Proposals.propose`.
            StorageError: it could not be made durable.
        """
        completed = self._hands.completed(action)
        return await trio.to_thread.run_sync(self._proposals.propose, session, completed, reason)

    async def approve(self, session: Session, proposal_id: str, digest: str) -> Proposal:
        """Approve a proposal and have it carried out; returns it with its outcome, or APPROVED
        where that takes longer than 20 s.

        Raises:
            OpsError: see `Proposals.approve`.
            StorageError: it could not be made durable: not approved, or what came of it.
        """
        assert self._nursery is not None, "the clerk does not work yet"
        send, receive = trio.open_memory_channel[Proposal | Exception](1)
        self._nursery.start_soon(self._serve, session, proposal_id, digest, send)
        with trio.move_on_after(WAIT_S):
            told = await receive.receive()
            if isinstance(told, Exception):
                raise told
            return told
        return await trio.to_thread.run_sync(self._proposals.get, proposal_id)

    async def _look_back(self) -> None:
        """See what an earlier process has left; where there never were operators there is nothing,
        and no cabinet either. One that cannot be used does not keep the node from its work."""
        if self._office.exists():
            try:
                await trio.to_thread.run_sync(self._proposals.settle)
            except StorageError as error:
                log.critical("proposals cannot be looked through: %s", error)

    async def _serve(
        self,
        session: Session,
        proposal_id: str,
        digest: str,
        send: trio.MemorySendChannel[Proposal | Exception],
    ) -> None:
        """Serve one approval; whatever goes wrong is told and ends this task alone."""
        try:
            approved = await trio.to_thread.run_sync(
                self._proposals.approve, session, proposal_id, digest
            )
            what = await self._carried_out(approved)
            # What is known is to be written down though the node is about to end.
            with trio.CancelScope(shield=True):
                told = await trio.to_thread.run_sync(self._proposals.conclude, approved, what)
        except Exception as error:
            send.send_nowait(error)
        else:
            send.send_nowait(told)

    async def _carried_out(self, approved: Proposal) -> Done:
        try:
            return await self._hands.do(approved)
        except Exception:
            log.exception("proposal %s failed", approved.proposal_id)
            detail = "it failed in a way that nobody foresaw; look before it is repeated"
            return unknown(FaultCode.INTERNAL, detail)
