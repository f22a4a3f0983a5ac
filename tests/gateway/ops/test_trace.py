"""A payment's trace: every turn that touched it, on whichever shards, and nobody else's."""

import json
from datetime import datetime
from typing import Any

import pytest

from actors.commands import CreatePayment
from actors.payment import PAYMENTS
from engine.history import History, shown
from gateway.lookup import record_of
from gateway.ops import footprint, trace_row
from gateway.ops.operators import Role
from gateway.ops.trace_row import _is_complete
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.test_look import OPENING, ORDER, PAYER, WHY, pay

PATH = f"/ops/payments/M1/{ORDER}/trace"


async def opened(guarded: Guarded) -> None:
    """Have two payments made, and the first one refunded in part."""
    refund = {"command": "refund_payment", "merchant_no": "M1", "order_no": ORDER,
              "refund_no": "R1", "amount_minor": 200}  # fmt: skip
    answers = await guarded.commands(*OPENING, pay(), pay("O2", 50), refund)
    assert {each["status"] for each in answers} == {201}


async def test_trace_has_each_turn_of_the_payment_in_order(guarded: Guarded) -> None:
    await opened(guarded)
    seen = await guarded.look(PATH)
    assert (seen["state"], seen["amount_minor"], seen["refunded_minor"]) == ("SUCCEEDED", 700, 200)
    assert seen["complete"] is True
    assert [(each["address"], each["message"]) for each in seen["turns"]] == [
        ("merchant/M1", "CreatePayment"),
        ("account/••••7890", "DebitPayment"),
        ("merchant/M1", "PaymentDebited"),
        ("merchant/M1", "RefundPayment"),
        ("account/••••7890", "CreditRefund"),
        ("merchant/M1", "RefundCredited"),
    ]
    node = guarded.ops.running.node
    owners = {
        "merchant": node.shard_of("merchant/M1"),
        "account": node.shard_of(f"account/{PAYER}"),
    }
    for turn in seen["turns"]:
        assert turn["shard"] == owners[turn["address"].partition("/")[0]].stage.number
        assert (turn["outcome"], turn["durable"]) == ("ok", True)
    times = [datetime.fromisoformat(each["at"]) for each in seen["turns"]]
    assert times == sorted(times)
    in_turns = {(each["shard"], each["sequence"]) for each in seen["turns"]}
    assert {(each["shard"], each["sequence"]) for each in seen["commits"]} == in_turns
    assert all(each["commit_ns"] > 0 for each in seen["commits"])
    assert sorted((each["account"], each["amount_minor"]) for each in seen["postings"]) == [
        ("merchant/M1/receivable", 700),
        ("••••7890", -700),
    ]


async def test_masked_trace_does_not_say_who_paid(guarded: Guarded) -> None:
    await opened(guarded)
    assert PAYER not in json.dumps(await guarded.look(PATH))
    seen = await guarded.look(PATH + WHY, Role.ADMIN)
    assert (seen["payer"], seen["masked"]) == (PAYER, False)
    assert seen["turns"][1]["address"] == f"account/{PAYER}"
    assert {each["account"] for each in seen["postings"]} == {"merchant/M1/receivable", PAYER}
    await guarded.look(PATH + WHY, Role.OPERATOR, 403)


async def test_trace_whose_turns_are_forgotten_says_so(guarded: Guarded) -> None:
    """After a restart, or when the ring has gone round; the payment is there all the same, and the
    debit is found from its payer, under what came after it."""
    await opened(guarded)
    await guarded.commands(*(pay(f"later-{number}", 1) for number in range(70)))
    for shard in guarded.ops.running.node.shards:
        shard.stage.history.clear()
    seen = await guarded.look(PATH)
    assert (seen["complete"], seen["turns"]) == (False, [])
    assert (seen["state"], seen["payer"]) == ("SUCCEEDED", "••••7890")
    payer = guarded.ops.running.node.shard_of(f"account/{PAYER}").stage.number
    (commit,) = seen["commits"]
    assert commit["shard"] == payer
    debits = [each for each in seen["postings"] if each["amount_minor"] < 0]
    assert [(each["account"], each["amount_minor"]) for each in debits] == [("••••7890", -700)]
    account = await guarded.look(f"/ops/actors/account/{PAYER}")
    assert account["postings"][-1]["amount_minor"] != -700, "it is no more among the newest"


async def test_debit_under_more_postings_than_are_looked_through_is_not_found(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(guarded)
    await guarded.commands(*(pay(f"later-{number}", 1) for number in range(10)))
    for shard in guarded.ops.running.node.shards:
        shard.stage.history.clear()
    monkeypatch.setattr(footprint, "AT_ONCE", 2)
    monkeypatch.setattr(footprint, "WALKED_MAX", 10)
    assert (await guarded.look(PATH))["postings"] == []
    monkeypatch.setattr(footprint, "WALKED_MAX", 20)
    assert (await guarded.look(PATH))["postings"] != []


async def test_large_commit_is_looked_through_in_pieces(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more pages at once than take a millisecond; what is behind them is found all the same."""
    await guarded.commands(*OPENING)
    others = [pay(f"A{number}", 1) for number in range(90)]
    await guarded.commands(*others, pay())
    pieces: list[int] = []
    postings = trace_row._postings

    def counted(*arguments: Any) -> Any:
        rows = postings(*arguments)
        pieces.append(len(rows))
        return rows

    monkeypatch.setattr(trace_row, "_postings", counted)
    monkeypatch.setattr(trace_row, "PAGES_AT_ONCE", 1)
    seen = await guarded.look(PATH)
    assert sorted(each["amount_minor"] for each in seen["postings"]) == [-700, 700]
    assert len(pieces) > len(seen["commits"])
    assert max(pieces) < sum(pieces)


async def test_trace_is_incomplete_where_one_shard_has_forgotten_more(guarded: Guarded) -> None:
    """A merchant's shard may be quiet, and still have the first turn, and the payer's not."""
    await opened(guarded)
    node = guarded.ops.running.node
    stage = node.shard_of("merchant/M1").stage
    payment = record_of(node, "merchant/M1", PAYMENTS, ORDER)
    assert payment is not None
    turns = [shown(turn) for turn in stage.history if turn[6] is not None]
    turns = [each for each in turns if each.address == "merchant/M1"]
    first = next(each for each in turns if each.message == "CreatePayment")
    turns = turns[turns.index(first) :]
    busy = History(2)
    for begun_ns in (1, first.begun_ns):
        busy.append((begun_ns, 1, "account/A", CreatePayment, "ok", 1, None))
        assert _is_complete(payment, turns, [stage.history, busy])
    busy.append((first.begun_ns + 1, 1, "account/A", CreatePayment, "ok", 1, None))
    assert _is_complete(payment, turns, [stage.history, busy])
    busy.append((first.begun_ns + 2, 1, "account/A", CreatePayment, "ok", 1, None))
    assert not _is_complete(payment, turns, [stage.history, busy])


async def test_trace_of_a_repetition_alone_is_incomplete(guarded: Guarded) -> None:
    await opened(guarded)
    for shard in guarded.ops.running.node.shards:
        shard.stage.history.clear()
        shard.stage.beginnings.clear()
    await guarded.commands(pay())
    seen = await guarded.look(PATH)
    assert [each["message"] for each in seen["turns"]] == ["CreatePayment"]
    assert seen["complete"] is False


async def test_payment_that_there_is_not_has_no_trace(guarded: Guarded) -> None:
    await opened(guarded)
    for path in ("/ops/payments/M1/O9/trace", f"/ops/payments/M9/{ORDER}/trace"):
        problem: Any = await guarded.look(path, status=404)
        assert problem["code"] == "NO_SUCH_PAYMENT"
