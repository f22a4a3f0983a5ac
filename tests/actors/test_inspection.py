"""An inspection of the domain's actors shows their newest postings, of every ledger they keep."""

import trio

from actors.commands import (
    CreatePayment,
    FundAccount,
    OpenAccount,
    OpenMerchant,
    SignAgreement,
    first_actor,
)
from actors.kinds import KINDS
from engine.clock import DomainClock
from engine.inspection import inspect
from engine.shard import Shard
from storage.memory import MemoryStore
from storage.store import Format

FORMAT = Format(
    version=1,
    incarnation="00",
    shard=0,
    shards=1,
    slots=1024,
    slot_map_version=1,
    created_ns=1_767_225_600_000_000_000,
)


async def test_inspection_shows_newest_postings_of_account_and_merchant() -> None:
    store = MemoryStore(FORMAT, "2026-01-01")
    shard = Shard(store, KINDS, DomainClock(FORMAT.created_ns))
    async with trio.open_nursery() as nursery:
        await nursery.start(shard.run)
        for command in (
            OpenMerchant("M1", "CNY", fee_bps=1_000),
            OpenAccount("A1", "CNY"),
            FundAccount("A1", "F1", 500, "CNY"),
            SignAgreement("A1", "M1", "M1"),
            CreatePayment("M1", "O1", "A1", 100, "CNY"),
        ):
            await shard.ask(first_actor(command), command)
        payer = inspect(shard, "account/A1")
        merchant = inspect(shard, "merchant/M1")
        shard.stop()
    assert [each.posting.amount_minor for each in payer.postings] == [-100, 500]
    assert sorted(each.posting.amount_minor for each in merchant.postings) == [-10, 10, 100]
