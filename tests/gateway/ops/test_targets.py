"""What an approval is bound to beside the action: the state of what it acts on, on a real node."""

from typing import Any

import pytest
import trio
import trio.testing

from actors.kinds import MERCHANT
from actors.messages import PaymentDebited
from gateway.counter import Counter
from gateway.ops.hands import Hands
from gateway.ops.operators import Role
from gateway.ops.outcome import Done
from gateway.ops.proposals import Proposal
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S
from tests.gateway.ops.test_actions import asked, dead_letters, paid
from tests.gateway.ops.test_look import OPENING, PAYER, pay
from tests.gateway.ops.two import WHY, Two

ACCOUNT: dict[str, str] = {"account_no": PAYER}
M1: dict[str, str] = {"merchant_no": "M1"}


@pytest.fixture
async def two(guarded: Guarded) -> Two:
    """A shop with one payment made, and the two."""
    answers = await guarded.commands(*OPENING, pay())
    assert {each["status"] for each in answers} == {201}
    return Two(guarded)


async def not_done(two: Two, proposal: dict[str, Any], now: str) -> None:
    """Have a proposal approved whose target is another one by now."""
    told = await two.approve(proposal)
    assert (told["status"], told["outcome"]["code"]) == ("FAILED", "TARGET_CHANGED")
    assert told["outcome"]["facts"]["now"] == now


@pytest.mark.one_shard
async def test_account_that_was_frozen_anew_is_not_opened_by_an_earlier_proposal(two: Two) -> None:
    """Its status is the same as when it was proposed, and it is another freeze: one that was
    proposed, and one that the bank's own systems have ordered."""
    await two.done("freeze_account", **ACCOUNT)
    old, older = [await two.propose("unfreeze_account", **ACCOUNT) for _ in range(2)]
    assert old["action"]["seen"] == "FROZEN/1"
    await two.done("unfreeze_account", **ACCOUNT)
    await two.done("freeze_account", **ACCOUNT)
    await not_done(two, old, "FROZEN/3")
    for what in ("unfreeze", "freeze"):
        assert (await asked(two, f"accounts/{PAYER}/{what}", {}))["object"] == "account"
    await not_done(two, older, "FROZEN/5")
    assert await paid(two, "O2") == "ACCOUNT_FROZEN"
    assert await two.done("unfreeze_account", **ACCOUNT) == {"status": "OPEN"}


@pytest.mark.one_shard
async def test_of_two_that_are_approved_at_once_the_second_finds_what_the_first_has_done(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is held until the second has come as far as it can."""
    both = trio.Event()
    begun: list[Proposal] = []
    do, answer = Hands.do, Counter.answer_operator

    async def noted(self: Hands, proposal: Proposal) -> Done:
        begun.append(proposal)
        if len(begun) == 2:
            both.set()
        return await do(self, proposal)

    async def held(self: Counter, *asked: Any) -> Any:
        await both.wait()
        await trio.testing.wait_all_tasks_blocked()
        return await answer(self, *asked)

    monkeypatch.setattr(Hands, "do", noted)
    monkeypatch.setattr(Counter, "answer_operator", held)
    proposals = [await two.propose("freeze_account", **ACCOUNT) for _ in range(2)]
    codes: list[str] = []

    async def approve(proposal: dict[str, Any]) -> None:
        codes.append((await two.approve(proposal))["outcome"]["code"])

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for proposal in proposals:
                nursery.start_soon(approve, proposal)
    assert sorted(codes) == ["OK", "TARGET_CHANGED"]


@pytest.mark.one_shard
async def test_account_that_others_have_frozen_is_left_to_them(two: Two) -> None:
    """Also where nothing would change; and one that came after its proposal is another one."""
    freeze, unfreeze = [
        await two.propose(f"{what}_account", **ACCOUNT) for what in ("freeze", "unfreeze")
    ]
    early = await two.propose("freeze_account", account_no="A9")
    assert early["action"]["seen"] == "ABSENT/0"
    await two.guarded.commands({"command": "open_account", "account_no": "A9", "currency": "USD"})
    await not_done(two, early, "OPEN/0")
    await two.done("freeze_account", **ACCOUNT)
    await not_done(two, unfreeze, "FROZEN/1")
    await not_done(two, freeze, "FROZEN/1")


@pytest.mark.one_shard
@pytest.mark.parametrize("late", ["activate_merchant", "suspend_merchant", "close_merchant"])
async def test_merchant_that_was_suspended_anew_is_as_it_is(two: Two, late: str) -> None:
    await two.done("suspend_merchant", **M1)
    old = await two.propose(late, **M1)
    assert old["action"]["seen"] == "SUSPENDED/1"
    await two.done("activate_merchant", **M1)
    await two.done("suspend_merchant", **M1)
    await not_done(two, old, "SUSPENDED/3")
    assert (await asked(two, "merchants/M1"))["status"] == "SUSPENDED"


@pytest.mark.one_shard
@pytest.mark.parametrize("late", ["approve_merchant", "reject_merchant"])
async def test_application_is_decided_as_it_was_handed_in(two: Two, late: str) -> None:
    """One that was a draft when it was proposed may say anything by now."""
    applied = {"currency": "USD", "legal_name": "Shop Ltd", "contact": "shop@example.com"}
    await asked(two, "merchants/P1/apply", applied)
    more = {"reason": "no such company"} if late == "reject_merchant" else {}
    early = await two.propose(late, merchant_no="P1", **more)
    assert early["action"]["seen"] == "DRAFT/0"
    await asked(two, "merchants/P1/amend", {**applied, "legal_name": "Another Ltd"})
    await asked(two, "merchants/P1/submit", {})
    await not_done(two, early, "AUDITING/1")


@pytest.mark.one_shard
async def test_proposal_of_what_is_another_one_already_is_refused(two: Two) -> None:
    """A page may say what it has shown."""
    for action in (
        {"type": "freeze_account", **ACCOUNT, "seen": "FROZEN/1"},
        {"type": "release_actor", "address": "merchant/M1", "content": "0" * 64},
    ):
        body = {"action": action, "reason": WHY}
        assert (await two.post("", body, Role.OPERATOR, 409))["code"] == "TARGET_CHANGED"
    made = await two.propose("freeze_account", **ACCOUNT, seen="OPEN/0")
    assert (await two.approve(made))["status"] == "DONE"


@pytest.mark.one_shard
async def test_actor_with_another_dead_letter_is_not_released(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have agreed to try the one, and means the other to be discarded."""
    handlers: dict[Any, Any] = MERCHANT.handlers

    def fails(turn: Any, _: Any) -> None:
        raise RuntimeError("a bug")

    early = await two.propose("release_actor", address="merchant/M1")
    with monkeypatch.context() as patch:
        patch.setitem(handlers, PaymentDebited, fails)
        assert await paid(two, "O2") == "OUTCOME_UNKNOWN"
        old = await two.propose("release_actor", address="merchant/M1")
    same = await two.propose("release_actor", address="merchant/M1")
    told = await two.approve(early)
    assert told["outcome"]["code"] == "TARGET_CHANGED", "nothing was parked then"
    assert (await two.approve(same))["outcome"]["facts"] == {"taken": 1, "left": 0}
    with monkeypatch.context() as patch:
        patch.setitem(handlers, PaymentDebited, fails)
        assert await paid(two, "O3") == "OUTCOME_UNKNOWN"
    assert (await two.approve(old))["outcome"]["code"] == "TARGET_CHANGED"
    assert len(await dead_letters(two)) == 1


@pytest.mark.one_shard
async def test_day_that_two_have_proposed_to_cut_is_cut_once(two: Two) -> None:
    first, second = [await two.propose("cut_day", business_date="2026-01-05") for _ in range(2)]
    assert (await two.approve(first))["outcome"] == (await two.approve(second))["outcome"]
    assert two.guarded.ops.running.node.business_date() == "2026-01-06"
