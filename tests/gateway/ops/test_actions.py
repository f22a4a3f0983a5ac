"""Actions on a real node: proposed by one operator, approved by another, done once, on record."""

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from actors.commands import BANK, RegisterBankCertificate, SetWebhook
from actors.kinds import ACCOUNT, CERTIFICATE, MERCHANT
from actors.messages import DebitPayment, PaymentDebited, PaymentDeclined, WithdrawCertificate
from gateway.ca.master_key import new_master_key
from gateway.lookup import state_of
from gateway.operations import Discard, Release, Verify
from gateway.operator import act, perform
from gateway.ops import clerk
from gateway.ops.actions import Action
from gateway.ops.hands import _CALLS, Hands
from gateway.ops.health import Health, Phase
from gateway.ops.office import DisableOperator, Office
from gateway.ops.operators import Role
from gateway.ops.outcome import Done, OutcomeCode, Status
from gateway.ops.proposals import Proposal, Proposals
from storage.folder import Folder
from tests.actors.driver import issued, registering
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S, watched
from tests.gateway.ops.test_look import OPENING, PAYER, pay
from tests.gateway.ops.two import WHY, Two

AMOUNT = 300
TO_M2: list[dict[str, Any]] = [
    {"command": "open_merchant", "merchant_no": "M2", "currency": "USD"},
    {"command": "sign_agreement", "account_no": PAYER, "agreement_no": "G2", "merchant_no": "M2"},
]
APPLICATION = {"currency": "USD", "legal_name": "Shop Ltd", "contact": "shop@example.com"}


@pytest.fixture
async def two(guarded: Guarded) -> Two:
    """A shop with one payment made, and the two."""
    answers = await guarded.commands(*OPENING, pay())
    assert {each["status"] for each in answers} == {201}
    return Two(guarded)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, type], Callable[[], None]]:
    """What makes turns of a kind fail with a message; it returns what mends it."""

    def poisoned(kind: Any, message: type) -> Callable[[], None]:
        handlers: dict[Any, Any] = kind.handlers
        sound = handlers[message]

        def fails(turn: Any, _: Any) -> None:
            raise RuntimeError(f"something about {turn.sender}")

        monkeypatch.setitem(handlers, message, fails)
        return lambda: monkeypatch.setitem(handlers, message, sound)

    return poisoned


async def paid(two: Two, order_no: str, **more: Any) -> Any:
    """Have the payer pay; returns the status, or the code of what it is answered."""
    (answer,) = await two.guarded.commands({**pay(order_no, AMOUNT), **more})
    return answer["body"].get("code") or answer["body"]["state"]


async def dead_letters(two: Two) -> list[dict[str, Any]]:
    return list((await two.guarded.look("/ops/dead-letters"))["items"])


async def asked(two: Two, path: str, body: Any = None) -> Any:
    """Ask the API for something; returns its answer."""
    address = f"{two.guarded.ops.running.address}/v1/{path}"
    client = two.guarded.ops.client
    answer = await (client.get(address) if body is None else client.post(address, json=body))
    return answer.json()


async def until(two: Two, path: str, name: str, value: Any) -> None:
    """Wait until the API says this: messages to other shards take their time."""
    with trio.fail_after(LIMIT_S):
        while (await asked(two, path)).get(name) != value:
            await trio.lowlevel.checkpoint()


async def test_poisoned_actor_is_released_by_two_and_the_log_verifies(
    two: Two, poison: Any
) -> None:
    mend = poison(MERCHANT, PaymentDebited)
    assert await paid(two, "O2") == "OUTCOME_UNKNOWN"
    assert await paid(two, "O3") == "ACTOR_QUARANTINED"
    assert len(await dead_letters(two)) == 1
    proposal = await two.propose("release_actor", address="merchant/M1")
    own = await two.approve(proposal, Role.OPERATOR, 403)
    assert own["code"] == "OWN_PROPOSAL"
    told = await two.approve(proposal)
    assert (told["status"], told["outcome"]["code"]) == ("FAILED", "TURN_FAILED"), "not mended yet"
    assert told["outcome"]["facts"] == {"taken": 0, "left": 1, "error": "RuntimeError"}
    assert PAYER not in str(told["outcome"]), "what an error quotes is nobody's to read"
    mend()
    facts = await two.done("release_actor", address="merchant/M1")
    assert facts == {"taken": 1, "left": 0}
    assert await dead_letters(two) == []
    assert (await asked(two, "payments/M1/O2"))["state"] == "SUCCEEDED"
    assert await paid(two, "O3") == "SUCCEEDED"
    assert await two.done("release_actor", address="merchant/M1") == {"taken": 0, "left": 0}
    log = await two.guarded.entries("?limit=200")
    steps = [
        (each["operator"], each["action"], each["outcome"])
        for each in log
        if each["action"].startswith("proposal_") and proposal["proposal_id"] in each["subject"]
    ]
    assert steps == [
        ("operator", "proposal_pending", "OK"),
        ("admin", "proposal_approved", "OK"),
        ("node/itself", "proposal_failed", "TURN_FAILED"),
    ]
    found = await two.guarded.look("/ops/audit/verification", Role.AUDITOR)
    assert (found["ok"], found["fault"]) == (True, "")


async def test_dead_letters_are_retried_one_by_one_in_their_order(two: Two, poison: Any) -> None:
    answers = await two.guarded.commands(*TO_M2)
    assert {each["status"] for each in answers} == {201}
    mend = poison(ACCOUNT, DebitPayment)
    assert await paid(two, "O2") == "OUTCOME_UNKNOWN"
    assert await paid(two, "O2", merchant_no="M2") == "OUTCOME_UNKNOWN"
    first, second = [each["id"] for each in await dead_letters(two)]
    retry = "retry_dead_letter"
    assert await two.failed(retry, dead_letter_id=second) == "DEAD_LETTER_NOT_FIRST"
    assert await two.failed(retry, dead_letter_id=first) == "TURN_FAILED"
    again = await two.propose(retry, dead_letter_id=first)
    assert again["action"]["address"] == f"account/{PAYER}"
    mend()
    assert await two.done(retry, dead_letter_id=first) == {"taken": 1, "left": 1}
    assert [each["id"] for each in await dead_letters(two)] == [second]
    late = await two.approve(again)
    assert (late["status"], late["outcome"]["code"]) == ("FAILED", "DEAD_LETTER_NOT_FIRST")
    assert await two.done(retry, dead_letter_id=second) == {"taken": 1, "left": 0}
    for merchant_no in ("M1", "M2"):
        await until(two, f"payments/{merchant_no}/O2", "state", "SUCCEEDED")


async def test_dead_letter_is_discarded_once_however_often_agreed(two: Two, poison: Any) -> None:
    """Its payment has come to nothing, and no other letter goes in its stead."""
    poison(MERCHANT, PaymentDebited)
    await paid(two, "O2")
    (letter,) = await dead_letters(two)
    told = await two.propose("discard_dead_letter", dead_letter_id=letter["id"])
    named = {key: told["action"][key] for key in ("address", "content")}
    for other in ({"address": "merchant/M2"}, {"content": "0" * 64}):
        action = {"type": "discard_dead_letter", "dead_letter_id": letter["id"], **named, **other}
        body = {"action": action, "reason": WHY}
        wrong = await two.post("", body, Role.OPERATOR, 404)
        assert wrong["code"] == "NO_SUCH_DEAD_LETTER"
    same = await two.propose("discard_dead_letter", dead_letter_id=letter["id"], **named)
    assert (await two.approve(told))["outcome"]["facts"] == {"taken": 1, "left": 0}
    assert (await two.approve(same))["outcome"]["code"] == "DEAD_LETTER_NOT_FIRST"
    await until(two, "payments/M1/O2", "code", "MESSAGE_DISCARDED")
    assert (await asked(two, "accounts/suspense-USD"))["posted_minor"] == 0
    for account, amounts in (("suspense-USD", [-AMOUNT, AMOUNT]), (PAYER, [AMOUNT, -AMOUNT])):
        path = f"/ops/journal?account={account}&limit=2&reason=ticket%204711"
        entries = (await two.guarded.look(path, Role.ADMIN))["items"]
        assert [each["amount_minor"] for each in entries] == amounts
        assert {each["original"]["number"] for each in entries} == {"O2"}
    for shard in two.guarded.ops.running.node.shards:
        shard.stage.history.clear()
    way = await two.guarded.look("/ops/payments/M1/O2/trace")
    of_payer = [each for each in way["postings"] if each["account"].endswith(PAYER[-4:])]
    assert [each["amount_minor"] for each in of_payer] == [-AMOUNT, AMOUNT]
    assert (await two.guarded.look("/ops/conservation"))["balanced"] is True
    for missing in (letter["id"], "AA", "A", "_" * 140, "no id"):
        body = {"action": {"type": "retry_dead_letter", "dead_letter_id": missing}, "reason": WHY}
        gone = await two.post("", body, Role.OPERATOR, 404)
        assert gone["code"] == "NO_SUCH_DEAD_LETTER"


async def test_dead_letter_that_tells_what_has_happened_is_kept(two: Two, poison: Any) -> None:
    mend = poison(MERCHANT, PaymentDeclined)
    assert await paid(two, "O2", amount_minor=10**9) == "OUTCOME_UNKNOWN"
    (letter,) = await dead_letters(two)
    told = await two.agreed("discard_dead_letter", dead_letter_id=letter["id"])
    assert (told["status"], told["outcome"]["code"]) == ("FAILED", "RELEASE_ONLY")
    assert told["outcome"]["facts"] == {"taken": 0, "left": 1}
    assert told["outcome"]["detail"].endswith("; release this")
    for asked_for in (Discard("merchant/M1"), Release("merchant/M1")):
        await trio.to_thread.run_sync(act, two.guarded.data, asked_for)
    log = await two.guarded.entries("?limit=2")
    assert [each["outcome"] for each in log] == ["RELEASE_ONLY", "TURN_FAILED"], "by a shell"
    mend()
    await two.done("release_actor", address="merchant/M1")
    assert await paid(two, "O2", amount_minor=10**9) == "INSUFFICIENT_FUNDS"


async def test_account_is_frozen_and_opened_again(two: Two) -> None:
    assert await two.done("freeze_account", account_no=PAYER) == {"status": "FROZEN"}
    assert await paid(two, "O2") == "ACCOUNT_FROZEN"
    assert await two.done("freeze_account", account_no=PAYER) == {"status": "FROZEN"}
    assert await two.done("unfreeze_account", account_no=PAYER) == {"status": "OPEN"}
    assert await paid(two, "O3") == "SUCCEEDED"
    assert await two.failed("freeze_account", account_no="A9") == "ACCOUNT_NOT_FOUND"
    assert await two.failed("freeze_account", account_no="clearing-USD") == "ACCOUNT_INTERNAL"


async def test_merchant_is_audited_suspended_and_closed(two: Two) -> None:
    for merchant_no in ("P1", "P2"):
        await asked(two, f"merchants/{merchant_no}/apply", APPLICATION)
        await asked(two, f"merchants/{merchant_no}/submit", {})
    assert await two.done("approve_merchant", merchant_no="P1") == {"status": "TO_BE_SIGNED"}
    profile = await asked(two, "merchants/P1/profile")
    assert profile["decided_by"] == "admin", "who has approved it"
    rejected = await two.done("reject_merchant", merchant_no="P2", reason="no such company")
    assert rejected == {"status": "REJECTED"}
    assert (await asked(two, "merchants/P2/profile"))["reason"] == "no such company"
    assert await two.done("suspend_merchant", merchant_no="M1") == {"status": "SUSPENDED"}
    assert await paid(two, "O2") == "MERCHANT_SUSPENDED"
    assert await two.done("activate_merchant", merchant_no="M1") == {"status": "ACTIVE"}
    assert await paid(two, "O3") == "SUCCEEDED"
    closed = await two.done("close_merchant", merchant_no="M1")
    assert closed["status"] in {"CLOSING", "CLOSED"}
    told = await two.agreed("suspend_merchant", merchant_no="P2")
    assert (told["status"], told["outcome"]["code"]) == ("FAILED", "STATE_CONFLICT")
    assert told["outcome"]["facts"] == {"current": "REJECTED", "allowed": "ACTIVE, SUSPENDED"}


@pytest.mark.one_shard
async def test_certificates_are_revoked_once_and_for_ever(two: Two) -> None:
    node = two.guarded.ops.running.node
    await node.ask("merchant/M1", registering("C1", "ab"))
    await node.ask(BANK, RegisterBankCertificate("B1", "cd" * 32, issued("cd")))
    asked_for = {"merchant_no": "M1", "serial": "ab", "reason": "keyCompromise"}
    first = await two.done("revoke_certificate", **asked_for)
    assert first["state"] == "REVOKED"
    assert await two.done("revoke_certificate", **asked_for) == first
    assert (await asked(two, "merchants/M1/certificates/C1"))["reason"] == "keyCompromise"
    assert (await two.done("revoke_bank_certificate", serial="cd"))["state"] == "REVOKED"
    missing = {"merchant_no": "M1", "serial": "ef"}
    assert await two.failed("revoke_certificate", **missing) == "CERTIFICATE_NOT_FOUND"


async def test_certificate_of_a_quarantined_merchant_is_revoked(two: Two, poison: Any) -> None:
    """A stolen key does not stay good because something else of the merchant's has failed: what
    is parked stays where it is, and has its turn later."""
    node = two.guarded.ops.running.node
    await node.ask("merchant/M1", registering("C1", "ab"))
    mend = poison(MERCHANT, PaymentDebited)
    assert await paid(two, "O2") == "OUTCOME_UNKNOWN"
    assert await paid(two, "O3") == "ACTOR_QUARANTINED"
    for _ in range(2):
        facts = await two.done("revoke_certificate", merchant_no="M1", serial="ab")
        assert facts["state"] == "REVOKED"
    assert state_of(node, CERTIFICATE, "ab").status == "REVOKED", "what the gate reads"
    assert (await asked(two, "merchants/M1/certificates/C1"))["state"] == "REVOKED"
    assert await paid(two, "O3") == "ACTOR_QUARANTINED"
    mend()
    assert await two.done("release_actor", address="merchant/M1") == {"taken": 1, "left": 0}
    assert (await two.done("verify_store"))["ok"] is True


@pytest.mark.one_shard
async def test_revocation_waits_for_what_is_parked_for_the_certificate_itself(
    two: Two, poison: Any
) -> None:
    """It is told so, and has its turn with the release."""
    node = two.guarded.ops.running.node
    await node.ask("merchant/M1", registering("C1", "ab"))
    mend = poison(CERTIFICATE, WithdrawCertificate)
    for _ in range(2):
        told = await two.agreed("revoke_certificate", merchant_no="M1", serial="ab")
        assert (told["status"], told["outcome"]["code"]) == ("UNKNOWN", "OUTCOME_UNKNOWN")
    assert state_of(node, CERTIFICATE, "ab").status == "ACTIVE"
    mend()
    assert await two.done("release_actor", address="certificate/ab") == {"taken": 2, "left": 0}
    assert state_of(node, CERTIFICATE, "ab").status == "REVOKED"


@pytest.mark.one_shard
async def test_events_are_sent_once_more(two: Two) -> None:
    node = two.guarded.ops.running.node
    missing = await two.failed("redeliver_events", merchant_no="M1", first=1, last=1)
    assert missing == "WEBHOOK_NOT_FOUND"
    await node.ask("webhook/M1", SetWebhook("M1", "http://127.0.0.1:9/", 1))
    for _ in range(2):
        facts = await two.done("redeliver_events", merchant_no="M1", first=1, last=1)
        assert facts == {"status": "ENABLED", "pending": 1}
    for first, last in ((2, 1), (1, 201)):
        action = {"type": "redeliver_events", "merchant_no": "M1", "first": first, "last": last}
        refused = await two.post("", {"action": action, "reason": WHY}, Role.OPERATOR, 422)
        assert refused["code"] == "INVALID_REQUEST"


async def test_backup_is_written_where_the_node_says(two: Two, tmp_path: Path) -> None:
    told = await two.agreed("take_backup")
    out = tmp_path / "backups" / told["proposal_id"]
    assert told["outcome"]["facts"]["folder"] == str(out)
    with closing(Folder(tmp_path / "restored", create=True)) as folder:
        folder.restore(out)
    report = await trio.to_thread.run_sync(perform, tmp_path / "restored", Verify())
    assert report["ok"], report["violations"]
    assert report["journal_rows"] > 0
    for more in ({"out": "/tmp"}, {"folder": "x"}):
        body = {"action": {"type": "take_backup", **more}, "reason": WHY}
        assert (await two.post("", body, Role.OPERATOR, 422))["code"] == "INVALID_REQUEST"


@pytest.mark.one_shard
async def test_backup_that_cannot_be_written_has_failed(two: Two, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("a file stands in the way")
    assert await two.failed("take_backup") == "BACKUP_FAILED"


async def test_day_is_cut_once(two: Two) -> None:
    cut = await two.done("cut_day", business_date="2026-01-05")
    assert cut == {"state": "CLOSED", "next_date": "2026-01-06"}
    assert await two.done("cut_day", business_date="2026-01-05") == cut
    assert await two.failed("cut_day", business_date="2026-01-09") == "DATE_NOT_OPEN"
    assert two.guarded.ops.running.node.business_date() == "2026-01-06"


async def test_store_is_verified_beside_the_load(two: Two) -> None:
    facts = await two.done("verify_store")
    assert (facts["ok"], facts["violations"]) == (True, 0)
    assert facts["journal_rows"] > 0


def test_every_action_is_tried_here_and_has_its_place_in_the_documentation() -> None:
    """Whoever adds one adds its test: its name stands in this file."""
    text = Path(__file__).read_text("utf-8")
    page = (Path(__file__).parents[3] / "docs/ops/README.md").read_text("utf-8")
    for action in Action.__args__:
        tag = action.__struct_config__.tag
        assert f'"{tag}"' in text
        assert f"`{tag}`" in page
    assert _CALLS.keys() <= {*Action.__args__}
    for code in OutcomeCode:
        assert f"`{code}`" in page


@pytest.mark.one_shard
async def test_only_who_may_act_proposes_and_decides(two: Two) -> None:
    proposal = await two.propose("freeze_account", account_no=PAYER)
    path = f"/{proposal['proposal_id']}"
    body = {"action": {"type": "verify_store"}, "reason": WHY}
    for who in (Role.VIEWER, Role.AUDITOR):
        for there, given in (
            ("", body),
            (f"{path}/approve", {"digest": proposal["digest"]}),
            (f"{path}/reject", {"reason": WHY}),
            (f"{path}/withdraw", None),
        ):
            assert (await two.post(there, given, who, 403))["code"] == "RIGHT_MISSING"
        page = await two.guarded.look("/ops/proposals?status=PENDING", who)
        assert page["items"] == [proposal]
    assert await paid(two, "O2") == "SUCCEEDED"


@pytest.mark.one_shard
async def test_two_who_approve_at_once_have_it_done_once(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.guarded.take_on(Role.OPERATOR, "duty-3")
    done: list[str] = []
    do = Hands.do

    async def counted(self: Hands, proposal: Proposal) -> Done:
        done.append(proposal.decided_by)
        return await do(self, proposal)

    monkeypatch.setattr(Hands, "do", counted)
    proposal = await two.propose("freeze_account", account_no=PAYER)
    statuses: dict[str, int] = {}

    async def approve(who: str) -> None:
        path = f"/{proposal['proposal_id']}/approve"
        answer = await two.send(who, path, {"digest": proposal["digest"]})
        statuses[who] = answer.status_code
        assert answer.status_code == 200 or answer.json()["code"] == "PROPOSAL_DECIDED"

    async with trio.open_nursery() as nursery:
        for who in ("admin", "duty-3"):
            nursery.start_soon(approve, who)
    assert sorted(statuses.values()) == [200, 409]
    told = await two.look(proposal)
    assert [told["decided_by"]] == done
    assert statuses[told["decided_by"]] == 200
    assert told["status"] == "DONE"


@pytest.mark.one_shard
async def test_decision_that_was_made_stands(two: Two) -> None:
    """Approved after a withdrawal, after a rejection, with another's digest: nothing is done."""
    withdrawn, rejected, other = [
        await two.propose("freeze_account", account_no=PAYER) for _ in range(3)
    ]
    await two.post(f"/{withdrawn['proposal_id']}/withdraw", None, Role.OPERATOR)
    told = await two.post(f"/{rejected['proposal_id']}/reject", {"reason": "not today"})
    assert (told["status"], told["decision_reason"]) == ("REJECTED", "not today")
    for proposal in (withdrawn, rejected):
        assert (await two.approve(proposal, status=409))["code"] == "PROPOSAL_DECIDED"
    mixed = {**other, "digest": rejected["digest"]}
    assert (await two.approve(mixed, status=409))["code"] == "PROPOSAL_DIGEST_WRONG"
    assert await paid(two, "O2") == "SUCCEEDED"


@pytest.mark.one_shard
async def test_operator_sent_away_in_between_neither_approves_nor_is_approved(two: Two) -> None:
    await two.guarded.take_on(Role.OPERATOR, "duty-3")
    proposal = await two.propose("freeze_account", account_no=PAYER)
    await two.guarded.shell(DisableOperator("duty-3"))
    assert (await two.approve(proposal, "duty-3", 401))["code"] == "NO_SESSION"
    await two.guarded.shell(DisableOperator("operator"))
    assert (await two.approve(proposal, status=409))["code"] == "PROPOSER_GONE"
    assert await paid(two, "O2") == "SUCCEEDED"


@pytest.mark.one_shard
async def test_operator_who_leaves_ends_nothing(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the node's from the approval on; who asks meanwhile sees APPROVED."""
    goes_on = trio.Event()
    do = Hands.do

    async def held(self: Hands, proposal: Proposal) -> Done:
        await goes_on.wait()
        return await do(self, proposal)

    monkeypatch.setattr(Hands, "do", held)
    left = await two.propose("freeze_account", account_no=PAYER)
    slow = await two.propose("verify_store")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(two.approve, left)
        with trio.fail_after(LIMIT_S):
            while (await two.look(left))["status"] == "PENDING":
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    monkeypatch.setattr(clerk, "WAIT_S", 0.01)
    told = await two.approve(slow, status=202)
    assert told["status"] in {"PENDING", "APPROVED"}  # the disk may take longer than that
    assert told["outcome"] is None
    goes_on.set()
    with trio.fail_after(LIMIT_S):
        for proposal in (left, slow):
            while (await two.look(proposal))["status"] in {"PENDING", "APPROVED"}:
                await trio.lowlevel.checkpoint()
            assert (await two.look(proposal))["status"] == "DONE"


@pytest.mark.one_shard
async def test_node_that_ends_in_good_order_writes_down_what_it_has_begun(
    tmp_path: Path, disk: threading.Event
) -> None:
    """It was told to stop while the commit of what was approved was under way."""
    master_key = new_master_key()
    async with watched(tmp_path, master_key=master_key) as ops:
        guarded = Guarded(ops, tmp_path, master_key)
        for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
            await guarded.take_on(role)
        await guarded.commands(*OPENING)
        two = Two(guarded)
        proposal = await two.propose("freeze_account", account_no=PAYER)
        disk.clear()
        async with trio.open_nursery() as nursery:

            async def approve() -> None:
                with suppress(httpx2.TransportError):  # its connection may be gone by then
                    await two.approve(proposal)

            nursery.start_soon(approve)
            (shard,) = ops.running.node.shards
            with trio.fail_after(LIMIT_S):
                while not shard.stage.asks:
                    await trio.lowlevel.checkpoint()
            assert (await two.look(proposal))["status"] == "APPROVED"
            ops.running.stop()
            disk.set()
    with closing(Office(tmp_path, time.time_ns)) as office:
        found = Proposals(office).get(proposal["proposal_id"])
    assert found.status is Status.DONE


@pytest.mark.one_shard
async def test_node_that_does_not_serve_approves_nothing(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = await two.propose("freeze_account", account_no=PAYER)
    for phase in (Phase.RECOVERING, Phase.STOPPING, Phase.FAILED):
        with monkeypatch.context() as patched:
            patched.setattr(Health, "phase", phase)
            assert (await two.approve(proposal, status=503))["code"] == "NODE_NOT_SERVING"
    assert await two.look(proposal) == proposal


@pytest.mark.one_shard
async def test_action_that_fails_in_no_foreseen_way_is_unknown_and_ends_nobody(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Hands, proposal: Proposal) -> Done:
        raise LookupError

    proposal = await two.propose("verify_store")
    with monkeypatch.context() as patched:
        patched.setattr(Hands, "do", fails)
        told = await two.approve(proposal)
    assert (told["status"], told["outcome"]["code"]) == ("UNKNOWN", "INTERNAL")
    assert (await two.done("verify_store"))["ok"] is True


@pytest.mark.one_shard
async def test_what_is_no_action_is_not_proposed(two: Two) -> None:
    for action in (
        {},
        {"type": "drop_tables"},
        {"type": "freeze_account"},
        {"type": "freeze_account", "account_no": "A1", "also": "A2"},
        {"type": "freeze_account", "account_no": "../merchants/M1/close?"},
        {"type": "release_actor", "address": "merchant/"},
        {"type": "release_actor", "address": "merchant/M1\n"},
        {"type": "revoke_certificate", "merchant_no": "M1", "serial": "../../M2"},
        {"type": "cut_day", "business_date": "today"},
    ):
        answer = await two.send(Role.OPERATOR, "", {"action": action, "reason": WHY})
        assert answer.status_code in {400, 422}, answer.text
    assert (await two.guarded.look("/ops/proposals"))["items"] == []
