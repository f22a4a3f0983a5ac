"""Completion: what must be true when every fault has ended and everybody has had time.

- `completion`: no message, hold or refund is stuck, every date that was cut is closed.
- `slots`: every place that a command took is free again.
- `nothing-happened`: what callers were told had not happened, has not.
- `spells`: nothing leaves a frozen account, a suspended merchant takes nothing, and nobody is told
  so without reason.
- `revocations`: a certificate whose revocation was answered is revoked.
- `verify`: the store passes the same verification as `piaohao verify` makes.
"""

from collections.abc import Callable
from typing import Any, Final

import trio

from actors.answers import Refused
from actors.commands import (
    CreateAuthorization,
    CreatePayment,
    CreateTransfer,
    WithdrawFunds,
    content,
)
from actors.refusal import Refusal
from bench.simulator.checkers.records import OPEN_HOLDS
from bench.simulator.world import World
from engine.dates import DateState, open_date
from gateway.verification import verify
from storage.row import DATES, OUTBOX, PARKED

_PATIENCE_S: Final = 600.0


class Completion:
    """The last questions to a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def serving(self) -> None:
        """Wait until the node serves."""
        await self._until(lambda: self._world.node is not None, "the node does not start")

    async def at_rest(self) -> None:
        """Wait until nothing is under way."""
        await self._until(self._rests, "something is still under way")

    async def stopped(self) -> None:
        """Wait until the process has come to its end."""
        await self._until(lambda: self._world.node is None, "the node does not come to its end")

    async def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        with trio.move_on_after(_PATIENCE_S) as patience:
            while not holds():  # noqa: ASYNC110 -- virtual time; it asks many things at once
                await trio.sleep(0.05)
        if patience.cancelled_caught:
            self._world.fail("completion", f"{otherwise} after {_PATIENCE_S:.0f} s")

    def _rests(self) -> bool:
        world = self._world
        node = world.node
        return node is not None and all(
            shard.at_rest()
            and not shard.stage.asks
            and shard.stage.next_due > world.machine_ns()
            and not (shard.stage.links and shard.stage.links.trimmable())
            and shard.store.snapshot().count(OUTBOX) == 0
            for shard in node.shards
        )

    def nothing_parked(self) -> bool:
        """Return whether no message is parked."""
        return all(disk.snapshot().count(PARKED) == 0 for disk in self._world.disks)

    def nothing_happened(self) -> None:
        """See that no command has taken effect whose caller was told that nothing happened."""
        world = self._world
        for one in world.everything:
            key = (one.address, one.tag, one.name)
            record = world.checkers.records.get(key)
            if one.outcome is not None or one.unsure or record is None:
                continue
            asked_for = content(one.command)
            may_have_happened = any(
                (each.address, each.tag, each.name) == key
                and content(each.command) == asked_for
                and (each.outcome is not None or each.unsure)
                for each in world.everything
            )
            if record.digest == asked_for and not may_have_happened:
                world.fail("nothing-happened", f"{one.name}, and it is {record}")

    def spells_kept(self) -> None:
        """See that nothing left a frozen account, that a suspended merchant took nothing, and that
        nobody was told so of one who was neither."""
        for one in self._world.everything:
            command: Any = one.command
            if one.outcome is None:
                continue
            taking = isinstance(command, CreatePayment | CreateAuthorization)
            whose = {command.merchant_no, command.payer} if taking else set()
            if isinstance(command, CreateTransfer | WithdrawFunds):
                whose = {command.account_no}
            spells = [spell for spell in self._world.spells if spell.number in whose]
            refused = isinstance(one.outcome, Refused) and one.outcome.code
            if not refused:
                for spell in spells:
                    if spell.sure < one.began and one.ended < spell.ending:
                        self._world.fail("spells", f"{command} in {spell}: {one.outcome}")
            elif (
                whose
                and refused is Refusal.ACCOUNT_FROZEN
                and not any(
                    spell.began <= one.ended and one.began <= spell.over for spell in spells
                )
            ):
                self._world.fail("spells", f"{command} was refused: {one.outcome}")

    def revocations_kept(self) -> None:
        """See that whatever somebody was told is revoked, is."""
        world = self._world
        for serial in world.revoked:
            certificate = world.checkers.states.get(f"certificate/{serial}")
            if certificate is None or certificate.status != "REVOKED":
                world.fail("revocations", f"{serial} was revoked, and it is {certificate}")

    async def check(self) -> None:
        """Look at everything that is left."""
        world = self._world
        node = world.node
        if node is None or world.failure is not None:
            return
        for key, record in sorted(world.checkers.records.items()):
            state = getattr(record, "state", "")
            if state == "PROCESSING" or (key[1] == "h" and state in OPEN_HOLDS):
                world.fail("completion", f"{key} is still {state}")
            elif state == "PENDING_FUNDS":
                world.fail("completion", f"{key} still waits for funds after its days")
        for shard in node.shards:
            if shard.admission.unconfirmed or shard.stage.asks:
                world.fail("slots", f"{shard.admission.unconfirmed} places are still taken")
            if shard.store.snapshot().count(OUTBOX) or shard.store.snapshot().count(PARKED):
                world.fail("completion", "a message is left over")
            for business_date, payload in shard.store.snapshot().scan(DATES):
                if open_date(business_date, payload).state is not DateState.CLOSED:
                    world.fail("completion", f"{business_date.decode()} is not closed")
        if world.broken is not None:
            world.fail("turns", world.broken)
        await self.verified()

    async def verified(self) -> None:
        """See that what is stored passes verification; nothing is under way."""
        world = self._world
        if world.node is None or world.failure is not None:
            return
        report = verify(await world.node.snapshots())
        for violation in report.violations[:1]:
            world.fail("verify", f"{violation}")
        if not report.ok:
            world.fail("verify", f"{report.sums}")
