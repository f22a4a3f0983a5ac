"""A look: what is shown is what is there, durable and not, and personal data is masked."""

import json
import threading
from typing import Any

import pytest
import trio
import trio.testing

from actors import payment as payments
from actors.kinds import ACCOUNT, MERCHANT
from actors.messages import DebitPayment, PaymentDebited
from engine.totals import TOTALS_KEY
from gateway.ops.operators import Role
from storage.journal import open_commit, sequence_key
from storage.row import COMMITS, META
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S
from tests.shards import SHARDS

PAYER = "6217001234567890"
ORDER = "order-20260105-77"
WHY = "?reason=ticket%204711"
OPENING: list[dict[str, Any]] = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD"},
    {"command": "open_account", "account_no": PAYER, "currency": "USD"},
    {"command": "fund_account", "account_no": PAYER, "funding_no": "F1", "amount_minor": 10_000,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": PAYER, "agreement_no": "G1", "merchant_no": "M1"},
]  # fmt: skip


def pay(order_no: str = ORDER, amount_minor: int = 700) -> dict[str, Any]:
    """Return the command by which the one payer pays the one merchant."""
    return {
        "command": "create_payment",
        "merchant_no": "M1",
        "order_no": order_no,
        "payer": PAYER,
        "amount_minor": amount_minor,
        "currency": "USD",
    }


@pytest.fixture
async def shop(guarded: Guarded) -> Guarded:
    """A merchant, a payer with 100.00, and a payment of 7.00."""
    answers = await guarded.commands(*OPENING, pay())
    assert {each["status"] for each in answers} == {201}
    return guarded


async def test_actor_at_rest_is_shown_as_it_is_stored(shop: Guarded) -> None:
    seen = await shop.look(f"/ops/actors/account/{PAYER}")
    assert seen["confirmed"] == seen["speculative"]
    assert seen["confirmed"]["posted_minor"] == 10_000 - 700
    assert seen["staged_seq"] <= seen["durable_seq"]
    assert seen["mailbox"] == {"depth": 0, "head": "", "head_age_s": None}
    assert seen["waits_for"] == {"commit": 0, "chains": 0, "messages": [], "operator": False}
    assert [each["message"] for each in seen["turns"]][:2] == ["DebitPayment", "SignAgreement"]
    assert {(each["outcome"], each["durable"]) for each in seen["turns"]} == {("ok", True)}
    assert [each["amount_minor"] for each in seen["postings"]] == [-700, 10_000]
    assert seen["postings"][0]["balance_after_minor"] == 9_300


@pytest.mark.one_shard  # with several the message to the payer waits for the disk as well
async def test_what_is_not_durable_is_shown_beside_what_is(
    shop: Guarded, disk: threading.Event
) -> None:
    """While a commit hangs: the payer's turn is over, and nobody may rely on it yet."""
    disk.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.commands, pay("O2", 1_000))
        payer = shop.ops.running.node.shard_of(f"account/{PAYER}")
        with trio.fail_after(LIMIT_S):
            while payer.stage.actors[f"account/{PAYER}"].state.posted_minor == 9_300:
                await trio.testing.wait_all_tasks_blocked()
        seen = await shop.look(f"/ops/actors/account/{PAYER}")
        assert seen["confirmed"]["posted_minor"] == 9_300
        assert seen["speculative"]["posted_minor"] == 8_300
        assert seen["staged_seq"] == seen["durable_seq"] + 1 == seen["waits_for"]["commit"]
        assert seen["turns"][0]["durable"] is False
        assert len(seen["postings"]) == 2
        disk.set()
    seen = await shop.look(f"/ops/actors/account/{PAYER}")
    assert seen["confirmed"] == seen["speculative"]
    assert seen["confirmed"]["posted_minor"] == 8_300


async def test_masked_view_says_nothing_of_whom_an_actor_deals_with(shop: Guarded) -> None:
    hold = {"command": "create_authorization", "merchant_no": "M1", "hold_no": "hold-20260105-9",
            "payer": PAYER, "amount_minor": 500, "currency": "USD"}  # fmt: skip
    assert (await shop.commands(hold))[0]["status"] == 201
    account = await shop.look(f"/ops/actors/account/{PAYER}")
    assert account["masked"] is True
    assert [each["amount_minor"] for each in account["holds"]] == [500]
    for secret in ("M1", ORDER, "hold-20260105-9"):
        assert secret not in json.dumps(account), secret
    assert PAYER not in json.dumps(await shop.look("/ops/actors/merchant/M1"))


async def test_role_that_may_sees_all_for_a_reason_that_is_kept(shop: Guarded) -> None:
    path = f"/ops/actors/account/{PAYER}"
    assert (await shop.look(path, Role.AUDITOR))["masked"] is True
    seen = await shop.look(path + WHY, Role.AUDITOR)
    assert seen["masked"] is False
    assert ORDER in json.dumps(seen)
    entry = (await shop.entries("?limit=1"))[0]
    assert (entry["action"], entry["reason"], entry["outcome"]) == (
        "get_actor",
        "ticket 4711",
        "200",
    )
    for role in (Role.VIEWER, Role.OPERATOR):
        assert (await shop.look(path + WHY, role, 403))["code"] == "RIGHT_MISSING"
        entry = (await shop.entries("?limit=1"))[0]
        assert (entry["operator"], entry["outcome"]) == (role, "RIGHT_MISSING")


async def test_looking_at_an_actor_does_not_wake_it(shop: Guarded) -> None:
    for shard in shop.ops.running.node.shards:
        shard.stage.passivate(0)
        shard.stage.passivate(0)  # those touched since the last time get a second chance
    seen = await shop.look(f"/ops/actors/account/{PAYER}")
    assert (seen["live"], seen["confirmed"]["posted_minor"]) == (False, 9_300)
    assert (await shop.look("/ops/shards"))["items"][0]["actors_live"] == 0


@pytest.mark.parametrize("path", ["account/nobody", "household/1", "merchant/M2"])
async def test_actor_that_there_is_not_is_not_found(shop: Guarded, path: str) -> None:
    assert (await shop.look(f"/ops/actors/{path}", status=404))["code"] == "NOT_FOUND"


async def test_quarantined_actor_shows_up_with_its_dead_letters(
    shop: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The money in them is counted, and the node stays ready: everybody else is served."""
    handlers: dict[Any, Any] = MERCHANT.handlers

    def fails(turn: Any, message: Any) -> None:
        raise RuntimeError(f"the order {message.order_no} of {turn.sender}")

    monkeypatch.setitem(handlers, PaymentDebited, fails)
    await shop.commands(pay("O2", 300), pay("O3", 400))
    seen = await shop.look("/ops/actors/merchant/M1")
    assert seen["waits_for"]["operator"] is True
    assert seen["turns"][0]["outcome"] in {"RuntimeError", "ok"}
    page = await shop.look("/ops/dead-letters")
    assert len(page["items"]) == seen["dead_letters_count"] == len(seen["dead_letters"]) >= 1
    first = page["items"][0]
    assert (first["address"], first["message"]) == ("merchant/M1", "PaymentDebited")
    assert (first["amount_minor"], first["currency"]) == (300, "USD")
    assert (first["sender"], first["error"]) == ("account/••••7890", "RuntimeError: ••••")
    assert PAYER not in json.dumps([page, seen])
    whole = await shop.look(f"/ops/dead-letters{WHY}", Role.ADMIN)
    assert whole["items"][0]["error"] == f"RuntimeError: the order O2 of account/{PAYER}"
    one_by_one: list[str] = []
    cursor = ""
    while cursor is not None:
        part = await shop.look(f"/ops/dead-letters?limit=1{cursor and f'&cursor={cursor}'}")
        one_by_one += [each["id"] for each in part["items"]]
        cursor = part["next_cursor"]
    assert one_by_one == [each["id"] for each in page["items"]]
    money = await shop.look("/ops/conservation")
    parked = sum(each["amount_minor"] for each in page["items"])
    (dollars,) = money["currencies"]
    assert (dollars["messages_minor"], dollars["accounts_minor"]) == (parked, -parked)
    assert (money["balanced"], dollars["difference_minor"]) == (True, 0)
    assert dollars["issued_minor"] == 10_000
    assert (await shop.ops.get("/readyz"))[0] == 200
    samples = await shop.ops.samples()
    assert sum(
        value for (name, _), value in samples.items() if name == "piaohao_messages_parked"
    ) == len(page["items"])
    monkeypatch.setitem(handlers, PaymentDebited, payments.payment_debited)


async def test_conservation_says_what_is_held_as_of_the_newest_commits(shop: Guarded) -> None:
    """It is a part of what is in accounts, and null where it is not known."""
    hold = {"command": "create_authorization", "merchant_no": "M1", "hold_no": "H1",
            "payer": PAYER, "amount_minor": 500, "currency": "USD"}  # fmt: skip
    capture = {"command": "capture_authorization", "merchant_no": "M1", "hold_no": "H1",
               "capture_no": "C1", "amount_minor": 200}  # fmt: skip
    for command, held in ((pay("O2"), 0), (hold, 500), (capture, 300)):
        await shop.commands(command)
        (dollars,) = (await shop.look("/ops/conservation"))["currencies"]
        assert (dollars["held_minor"], dollars["accounts_minor"]) == (held, 0)
    store: Any = shop.ops.running.node.shard_of(f"account/{PAYER}").store
    with store._env.begin(write=True) as txn:
        assert txn.delete(TOTALS_KEY, db=store._tables[META])
    assert (await shop.look("/ops/conservation"))["currencies"][0]["held_minor"] is None


async def test_dead_letter_of_an_account_does_not_say_which_merchant_sent_it(
    shop: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what of its own is under way: where somebody buys is theirs."""

    def fails(turn: Any, message: Any) -> None:
        raise RuntimeError

    handlers: dict[Any, Any] = ACCOUNT.handlers
    debit = handlers[DebitPayment]
    monkeypatch.setitem(handlers, DebitPayment, fails)
    await shop.commands(pay("O2", 300))
    page = await shop.look("/ops/dead-letters")
    account = await shop.look(f"/ops/actors/account/{PAYER}")
    assert [each["sender"] for each in page["items"]] == ["merchant/••••"]
    assert [each["sender"] for each in account["dead_letters"]] == ["merchant/••••"]
    assert "M1" not in json.dumps([page, account])
    whole = await shop.look(f"/ops/dead-letters{WHY}", Role.ADMIN)
    assert [each["sender"] for each in whole["items"]] == ["merchant/M1"]
    monkeypatch.setitem(handlers, DebitPayment, debit)


async def test_commits_are_listed_back_to_the_first(shop: Guarded) -> None:
    total = 0
    for number, shard in enumerate(shop.ops.running.node.shards):
        seen: list[dict[str, Any]] = []
        cursor: int | None = 1 << 40
        while cursor is not None:
            path = f"/ops/commits?shard={number}&limit=2&cursor={cursor}"
            page = await shop.look(path)
            seen += page["items"]
            cursor = page["next_cursor"]
        # Another may have followed by now: it drops messages that have been acknowledged.
        newest = seen[0]["sequence"]
        assert [each["sequence"] for each in seen] == list(range(newest, -1, -1))
        snapshot = shard.store.snapshot()
        row = next(snapshot.scan(COMMITS, sequence_key(newest)))
        assert seen[0]["chain"] == open_commit(*row).chain.hex()
        snapshot.close()
        # The first was made with the store: it is of no process.
        assert all((each["commit_ns"] is None) == (each["sequence"] == 0) for each in seen)
        total += sum(each["turns"] for each in seen)
    shards = (await shop.look("/ops/shards"))["items"]
    assert total == sum(each["turns"] for each in shards)
    beyond = await shop.look(f"/ops/commits?shard={SHARDS}", status=422)
    assert beyond["code"] == "INVALID_REQUEST"


async def test_links_show_what_went_over_them(shop: Guarded) -> None:
    links = (await shop.look("/ops/links"))["items"]
    assert len(links) == SHARDS * (SHARDS - 1)
    ends = {(each["shard"], each["other"]): each for each in links}
    for (shard, other), end in ends.items():
        assert end["sent"] == ends[other, shard]["taken"]
        assert end["under_way"] == end["sent"] - end["acknowledged"] >= 0
    assert SHARDS == 1 or any(each["sent"] for each in links)
