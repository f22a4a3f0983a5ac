"""Access: who may ask for what, and that nothing is seen or done without an entry of it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from gateway.exits import CommandError
from gateway.operations import Call, Cut, Discard, Release
from gateway.operator import act
from gateway.ops import audit_rows, office
from gateway.ops.actions import Action
from gateway.ops.errors import OPS_CODES, OpsCode
from gateway.ops.office import DisableOperator
from gateway.ops.operators import RIGHTS, Role
from gateway.ops.table import ROWS
from storage.cabinet import Cabinet
from storage.errors import CabinetError, StorageError
from tests.gateway.ops.guarded import QUERIES, WHOLE, Guarded, filled, row_of
from tests.gateway.ops.house import PASSWORD

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

TAGS = [str(each.__struct_config__.tag) for each in Action.__args__]
GUARDED = [row for row in WHOLE if row.right is not None]
PATHS = {row.name: row.path for row in GUARDED}


async def test_each_row_is_answered_to_roles_that_have_its_right_alone(guarded: Guarded) -> None:
    """Whoever is refused for a role is in the log as well."""
    for row in GUARDED:
        if row.name == "log_out":
            continue
        for role in Role:
            query = QUERIES.get(row.name, "")
            answer = await guarded.ask(row, role, query)
            allowed = row.right in RIGHTS[role]
            # What is looked for by name need not be there, and nothing was said to be done.
            assert answer.status_code in ({200, 404, 422} if allowed else {403}), (row.name, role)
            outcome = answer.json().get("code", "200")
            assert (outcome == OpsCode.RIGHT_MISSING) != allowed
            *_, entry = await guarded.entries("?limit=5")
            assert (entry["operator"], entry["role"]) == (role, role)
            assert (entry["action"], entry["subject"]) == (row.name, filled(row.path) + query)
            assert entry["outcome"] == outcome


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic dmlld2VyOnB3"},
        {"authorization": f"Bearer {'A' * 43}"},
        {"authorization": f"Bearer {'A' * 5_000}"},
        {"cookie": "token=x"},
    ],
)
async def test_without_a_session_there_is_nothing_to_see(
    guarded: Guarded, headers: dict[str, str]
) -> None:
    # Of one connection they would be heard one after the other, later and later.
    headers = {**headers, "connection": "close"}
    for row in GUARDED:
        answer = await guarded.ops.client.request(
            row.method, f"{guarded.address}{filled(row.path)}", headers=headers
        )
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == OpsCode.NO_SESSION
        assert answer.headers["www-authenticate"] == "Bearer"


def test_no_role_takes_an_operator_on() -> None:
    """Whoever could would be the second of two themselves: it takes the data folder."""
    acting = {row.name for row in ROWS if row.method != "GET"}
    steps = {"propose_action", "approve_proposal", "reject_proposal", "withdraw_proposal"}
    assert acting == {"log_in", "log_out", *steps}
    assert not [tag for tag in TAGS if "operator" in tag]


async def test_token_is_worth_nothing_after_logging_out_or_being_sent_away(
    guarded: Guarded,
) -> None:
    who = row_of("get_session")
    assert (await guarded.ask(row_of("log_out"), Role.VIEWER)).status_code == 200
    assert (await guarded.ask(who, Role.VIEWER)).status_code == 401
    await guarded.shell(DisableOperator("operator"))
    assert (await guarded.ask(who, Role.OPERATOR)).status_code == 401
    assert (await guarded.ask(who, Role.AUDITOR)).status_code == 200
    actions = [(each["operator"][:5], each["action"]) for each in await guarded.entries("?limit=3")]
    assert actions[:2] == [("viewe", "log_out"), ("shell", "disable_operator")]


async def test_what_cannot_be_written_down_is_not_shown(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CabinetError("the disk is gone")

    monkeypatch.setattr(Cabinet, "write", fails)
    for row in GUARDED:  # logging out comes before what goes by the same session
        if row.name == "log_out":
            continue
        answer = await guarded.ask(row, Role.ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (503, OpsCode.AUDIT_UNAVAILABLE)
        assert "items" not in answer.text
    assert (await guarded.ops.get("/readyz"))[0] == 200, "nobody who pays is concerned"


@pytest.mark.parametrize(("every_s", "complaints"), [(60.0, 1), (0.0, 6)])
async def test_whoever_asks_in_vain_does_not_fill_the_nodes_log(
    guarded: Guarded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    every_s: float,
    complaints: int,
) -> None:
    """The disk may be full just then, and who asks, or tries to log in, may do so without end."""

    def fails(*_: object) -> None:
        raise CabinetError("the disk is nearly full")

    monkeypatch.setattr(office, "COMPLAINT_S", every_s)
    monkeypatch.setattr(Cabinet, "write", fails)
    given = {"name": "viewer", "password": PASSWORD}
    for _ in range(3):
        await guarded.ask(row_of("get_session"), Role.VIEWER)
        answer = await guarded.ops.client.post(f"{guarded.address}/ops/sessions", json=given)
        assert answer.json()["code"] == OpsCode.AUDIT_UNAVAILABLE
    assert sum(each.levelname == "CRITICAL" for each in caplog.records) == complaints


async def test_reason_is_one_that_can_be_seen(guarded: Guarded) -> None:
    """Blanks and what has no width are no reason to look into anybody's affairs."""
    for reason, status in (
        ("    ", 422),
        ("\u200b\u200b\u200b\u200b", 422),
        (" a \u2060 b \u200e c ", 422),
        ("\u8bef\u51bb \u7968 \u53f7", 200),
        ("ticket 4711", 200),
    ):
        query = f"?reason={quote(reason)}"
        answer = await guarded.ask(row_of("list_dead_letters"), Role.AUDITOR, query)
        assert answer.status_code == status, reason


async def test_what_a_shell_has_had_done_is_in_the_log(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes one person alone, so that it shows; and where it cannot be written it is done."""

    async def done(*asked: Any) -> None:
        for each in asked:
            with suppress(CommandError):  # it is refused
                await trio.to_thread.run_sync(act, guarded.data, each)

    opening = Call("POST", "/v1/accounts", '{"account_no": "A1", "currency": "USD"}')
    freeze = Call("POST", "/v1/accounts/A2/freeze")
    looks = Call("GET", "/v1/accounts/A1")
    shell = f"shell/uid-{os.getuid()}"
    await done(opening, freeze, looks, Release("merchant/M1"), Discard("merchant/M1"))
    await done(Cut("2026-01-09"), Cut("2026-01-05"))
    entries = await guarded.entries("?limit=6")
    assert {(each["operator"], each["role"]) for each in entries} == {(shell, "")}
    assert [(each["action"], each["subject"], each["outcome"]) for each in entries] == [
        ("call", "POST /v1/accounts", "201"),
        ("call", "POST /v1/accounts/A2/freeze", "ACCOUNT_NOT_FOUND"),
        ("release_parked", "merchant/M1", "OK"),
        ("discard_parked", "merchant/M1", "OK"),
        ("cut_day", "2026-01-09", "DATE_NOT_OPEN"),
        ("cut_day", "2026-01-05", "OK"),
    ]

    def fails(*_: object, **__: object) -> None:
        raise CabinetError("the disk is gone")

    monkeypatch.setattr(Cabinet, "write", fails)
    await done(Cut("2026-01-06"))
    assert guarded.ops.running.node.business_date() == "2026-01-07"
    assert "is not in the audit log" in caplog.text


async def test_log_is_read_page_by_page_without_a_gap(guarded: Guarded) -> None:
    who = row_of("get_session")
    for _ in range(12):
        await guarded.ask(who, Role.VIEWER)
    listing = row_of("list_audit_entries")
    newest = (await guarded.ask(listing, Role.AUDITOR, "?limit=1")).json()
    seen, cursor = [], newest["items"][0]["sequence"] + 1
    while cursor is not None:
        query = f"?limit=5&cursor={cursor}"
        page = (await guarded.ask(listing, Role.AUDITOR, query)).json()
        seen += [each["sequence"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert seen == list(range(newest["items"][0]["sequence"], 0, -1))
    own = (await guarded.ask(listing, Role.AUDITOR, "?operator=viewer&limit=200")).json()
    assert [each["action"] for each in own["items"]] == ["get_session"] * 12 + ["log_in"]


async def test_entries_of_one_who_is_rare_are_found_over_short_pages(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page looks through more entries than a millisecond allows: some pages are empty."""
    monkeypatch.setattr(audit_rows, "READ_MAX", 3)
    for _ in range(10):
        await guarded.ask(row_of("get_session"), Role.OPERATOR)
    listing = row_of("list_audit_entries")
    pages, cursor = [], 1 << 40
    while cursor is not None:
        query = f"?operator=viewer&cursor={cursor}"
        page = (await guarded.ask(listing, Role.AUDITOR, query)).json()
        pages.append([each["action"] for each in page["items"]])
        cursor = page["next_cursor"]
    assert [] in pages
    assert [each for page in pages for each in page] == ["log_in"]


async def test_refused_requests_are_written_with_their_code(guarded: Guarded) -> None:
    """Also what is no request at all: somebody has tried something."""
    asked = "?limit=0&operator=%E6%9D%8E"
    answer = await guarded.ask(row_of("list_audit_entries"), Role.AUDITOR, asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST")
    (entry,) = await guarded.entries("?limit=1")
    assert (entry["outcome"], entry["subject"]) == ("INVALID_REQUEST", f"/ops/audit{asked}")


async def test_address_that_is_written_otherwise_is_found_in_the_log(guarded: Guarded) -> None:
    """Or behind something long, where what the log keeps would end before it."""
    other = "".join(f"%{ord(each):x}" for each in "6217001234567890")
    await guarded.look(f"/ops/actors/account/{other}", Role.VIEWER, 404)
    cursor = "".join(f"%{ord(each):x}" for each in "A" * 160)
    await guarded.look(f"/ops/actors?cursor={cursor}&prefix={other}&only=%77aiting", status=422)
    first, second = (each["subject"] for each in await guarded.entries("?limit=2"))
    assert first == "/ops/actors/account/6217001234567890"
    assert second == f"/ops/actors?cursor={'A' * 160}&prefix=6217001234567890&only=waiting"


async def test_reason_however_long_leaves_room_for_whom_it_is_about(guarded: Guarded) -> None:
    """Sixty characters of Chinese are 540 in a query, and come before the account's number."""
    why = "\u7968" * 60
    for name in ("reason", "r%65ason"):
        query = f"?{name}={quote(why)}&account=6217001234567890"
        await guarded.ask(row_of("list_journal"), Role.AUDITOR, query)
        (entry,) = await guarded.entries("?limit=1")
        assert (entry["action"], entry["reason"]) == ("list_journal", why)
        assert entry["subject"] == "/ops/journal?account=6217001234567890"


async def test_log_of_everything_verifies_and_has_no_secret(guarded: Guarded) -> None:
    wrong = {"name": "admin", "password": "a wrong password", "code": "000000"}
    for given in (wrong, {**wrong, "name": "duty-2"}):
        answer = await guarded.ops.client.post(f"{guarded.address}/ops/sessions", json=given)
        assert (answer.status_code, answer.json()["code"]) == (401, OpsCode.LOGIN_REFUSED)
    text = (await guarded.ask(row_of("list_audit_entries"), Role.ADMIN, "?limit=200")).text
    for secret in (PASSWORD, "a wrong password", *guarded.tokens.values()):
        assert secret not in text
    found = (await guarded.ask(row_of("verify_audit_log"), Role.AUDITOR)).json()
    # Four taken on, four logins, two wrong ones, and the look at the list.
    assert (found["ok"], found["rows"], found["fault"]) == (True, 11, "")


def test_codes_of_the_ops_listener_are_on_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs/ops/README.md").read_text("utf-8")
    for code, meaning in OPS_CODES.items():
        assert f"| `{code}` | {meaning.status} | {meaning.title} | {meaning.advice} |" in page


async def test_cabinet_that_cannot_be_read_ends_looking_and_not_the_node(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of LMDB's places for readers may be taken, say by programs that died."""

    def full(self: Cabinet) -> None:
        raise StorageError("cannot begin to read: MDB_READERS_FULL")

    monkeypatch.setattr(Cabinet, "snapshot", full)
    answer = await guarded.ask(row_of("get_session"), Role.VIEWER)
    assert (answer.status_code, answer.json()["code"]) == (503, OpsCode.AUDIT_UNAVAILABLE)
    assert (await guarded.ops.get("/readyz"))[0] == 200
    monkeypatch.undo()
    assert (await guarded.ask(row_of("get_session"), Role.VIEWER)).status_code == 200
