"""Traces: every turn that touched a payment or an authorization, on any shard, and no other."""

import json
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import trio

from actors.commands import CreatePayment
from actors.messages import PaymentDebited
from engine.history import History
from gateway.ops import footprint, trace
from gateway.ops.operators import Role
from gateway.ops.trace import Original, _is_complete
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S
from tests.gateway.ops.test_look import OPENING, ORDER, PAYER, WHY, pay

PATH = f"/ops/payments/M1/{ORDER}/trace"
TURNS = 3
"""That a payment takes."""


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
        ("merchant/M1/receivable", -200),
        ("merchant/M1/receivable", 700),
        ("••••7890", -700),
        ("••••7890", 200),
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
    assert {each["shard"] for each in seen["commits"]} == {payer}
    own = [each["amount_minor"] for each in seen["postings"] if each["account"] == "••••7890"]
    assert own == [-700, 200]
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


@pytest.mark.one_shard
async def test_large_commit_is_looked_through_in_pieces(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more pages at once than take a millisecond; what is behind them is found all the same."""
    await guarded.commands(*OPENING)
    others = [pay(f"A{number}", 1) for number in range(90)]
    (shard,) = guarded.ops.running.node.shards
    shard.hold_commits()  # so that all of them are in one, however slow the machine is
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(guarded.commands, *others, pay()))
        with trio.fail_after(LIMIT_S):
            while shard.stage.batch.turns < TURNS * (len(others) + 1):
                await trio.lowlevel.checkpoint()
        shard.let_commits()
    pieces: list[int] = []
    postings = trace._postings

    def counted(*arguments: Any) -> Any:
        rows = postings(*arguments)
        pieces.append(len(rows))
        return rows

    monkeypatch.setattr(trace, "_postings", counted)
    monkeypatch.setattr(trace, "PAGES_AT_ONCE", 1)
    seen = await guarded.look(PATH)
    assert sorted(each["amount_minor"] for each in seen["postings"]) == [-700, 700]
    assert len(pieces) > len(seen["commits"])
    assert max(pieces) < sum(pieces)


async def test_trace_is_incomplete_where_one_shard_has_forgotten_more(guarded: Guarded) -> None:
    """A merchant's shard may be quiet, and still have the first turn, and the payer's not."""
    await opened(guarded)
    stage = guarded.ops.running.node.shard_of("merchant/M1").stage
    original = Original("payment", "M1", ORDER, PAYER, CreatePayment, PaymentDebited, 1)
    turns = [turn for turn in stage.history if turn[6] is not None and turn[2] == "merchant/M1"]
    first = next(turn for turn in turns if turn[3] is CreatePayment)
    turns = turns[turns.index(first) :]
    busy = History(2)
    for begun_ns in (1, first[0]):
        busy.append((begun_ns, 1, "account/A", CreatePayment, "ok", 1, None))
        assert _is_complete(original, turns, [stage.history, busy])
    busy.append((first[0] + 1, 1, "account/A", CreatePayment, "ok", 1, None))
    assert _is_complete(original, turns, [stage.history, busy])
    busy.append((first[0] + 2, 1, "account/A", CreatePayment, "ok", 1, None))
    assert not _is_complete(original, turns, [stage.history, busy])


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


HOLD = "hold-77"
HOLD_PATH = f"/ops/authorizations/M1/{HOLD}/trace"


def of_hold(command: str, hold_no: str = HOLD, **members: Any) -> dict[str, Any]:
    """Return a command about an authorization."""
    return {"command": command, "merchant_no": "M1", "hold_no": hold_no, **members}


def hold(hold_no: str = HOLD) -> dict[str, Any]:
    return of_hold("create_authorization", hold_no, payer=PAYER, amount_minor=900, currency="USD")


async def held(guarded: Guarded) -> None:
    """Have money held, captured twice, what was left of it released, and some refunded; and a
    payment made under the very number of the hold."""
    for command in (
        *OPENING,
        hold(),
        of_hold("capture_authorization", capture_no="C1", amount_minor=300),
        pay(HOLD, 40),
        of_hold("capture_authorization", capture_no="C2", amount_minor=200),
        of_hold("release_authorization", release_no="L1"),
        of_hold("refund_authorization", refund_no="R7", amount_minor=120),
    ):
        (answer,) = await guarded.commands(command)
        assert answer["status"] == 201, answer


async def test_trace_of_an_authorization_has_its_captures_release_and_refund(
    guarded: Guarded,
) -> None:
    await held(guarded)
    seen = await guarded.look(HOLD_PATH)
    assert (seen["state"], seen["complete"]) == ("CAPTURED", True)
    assert (seen["captured_minor"], seen["captures"], seen["refunded_minor"]) == (500, 2, 120)
    begun = [each["message"] for each in seen["turns"] if each["message"].endswith("Authorization")]
    assert begun == [
        "CreateAuthorization",
        "CaptureAuthorization",
        "CaptureAuthorization",
        "ReleaseAuthorization",
        "RefundAuthorization",
    ]
    assert {"PlaceHold", "CaptureHold", "ReleaseHold", "CreditRefund"} <= {
        each["message"] for each in seen["turns"]
    }
    assert "DebitPayment" not in {each["message"] for each in seen["turns"]}
    own = [each for each in seen["postings"] if each["account"] == "••••7890"]
    assert sorted((each["reference"], each["amount_minor"]) for each in own) == [
        (f"capture/M1/{HOLD}/C1", -300),
        (f"capture/M1/{HOLD}/C2", -200),
        ("refund/M1/R7", 120),
    ]
    payment = await guarded.look(f"/ops/payments/M1/{HOLD}/trace")
    assert [each["message"] for each in payment["turns"]] == [
        "CreatePayment",
        "DebitPayment",
        "PaymentDebited",
    ]
    assert {each["reference"] for each in payment["postings"]} == {f"payment/M1/{HOLD}"}


async def test_void_and_a_hold_that_was_declined_are_traced_without_postings(
    guarded: Guarded,
) -> None:
    dear = {**hold("hold-dear"), "amount_minor": 10**9}
    answers = [
        (await guarded.commands(each))[0]["status"]
        for each in (*OPENING, hold(), of_hold("void_authorization", void_no="V1"), dear)
    ]
    assert answers == [201] * 6 + [422]
    seen = await guarded.look(HOLD_PATH)
    assert (seen["state"], seen["complete"], seen["postings"]) == ("VOIDED", True, [])
    assert "VoidHold" in {each["message"] for each in seen["turns"]}
    seen = await guarded.look("/ops/authorizations/M1/hold-dear/trace")
    assert (seen["state"], seen["complete"], seen["expires_at"]) == ("FAILED", True, None)
    assert [each["message"] for each in seen["turns"]] == [
        "CreateAuthorization",
        "PlaceHold",
        "HoldDeclined",
    ]


async def test_postings_of_captures_that_the_rings_have_forgotten_are_found_from_the_payer(
    guarded: Guarded,
) -> None:
    """Down to the oldest of them, and a refund between them too."""
    await held(guarded)
    await guarded.commands(*(pay(f"later-{number}", 1) for number in range(70)))
    for shard in guarded.ops.running.node.shards:
        shard.stage.history.clear()
    seen = await guarded.look(HOLD_PATH)
    assert (seen["complete"], seen["turns"]) == (False, [])
    own = [each["amount_minor"] for each in seen["postings"] if each["account"] == "••••7890"]
    assert own == [-300, -200, 120]


async def test_refund_says_what_it_is_of(guarded: Guarded) -> None:
    await held(guarded)
    seen = await guarded.look("/ops/refunds/M1/R7")
    assert (seen["original_kind"], seen["original"]) == ("authorization", HOLD)
    assert (seen["payer"], seen["redirected_to"], seen["masked"]) == ("••••7890", None, True)
    assert (seen["state"], seen["code"], seen["amount_minor"]) == ("SUCCEEDED", None, 120)
    assert (await guarded.look("/ops/refunds/M1/R7" + WHY, Role.ADMIN))["payer"] == PAYER
    missing = {"command": "refund_payment", "merchant_no": "M1", "order_no": "none",
               "refund_no": "R8", "amount_minor": 1}  # fmt: skip
    await guarded.commands(missing)
    seen = await guarded.look("/ops/refunds/M1/R8")
    assert (seen["state"], seen["code"], seen["payer"]) == ("FAILED", "NO_SUCH_PAYMENT", "")


async def test_authorization_or_refund_that_there_is_not_has_no_trace(guarded: Guarded) -> None:
    await guarded.commands(*OPENING)
    for path, code in ((HOLD_PATH, "NO_SUCH_HOLD"), ("/ops/refunds/M1/R9", "NO_SUCH_REFUND")):
        assert (await guarded.look(path, status=404))["code"] == code
