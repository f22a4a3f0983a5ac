"""Backups: operators and their log are in them, and are let in again by what is restored."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from gateway.ca.master_key import MasterKey, new_master_key
from gateway.cli import run
from gateway.exits import CHECK_FAILED, OK
from gateway.operations import Backup
from gateway.operator import administer, perform
from gateway.ops.actions import UnfreezeAccount
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.logins import Logins
from gateway.ops.office import VerifyAudit
from gateway.ops.operators import Role
from gateway.ops.outcome import Status
from gateway.ops.proposals import NODE, Proposals
from gateway.ops.sessions import Session, Sessions
from storage.folder import Folder
from tests.gateway.ops.guarded import Guarded, row_of
from tests.gateway.ops.house import MORNING, PASSWORD, House, house
from tests.gateway.ops.tampering import Rows, tamper

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[tuple[Path, House]]:
    """A store with an operator of each role, and the house that has taken them on."""
    data = tmp_path / "bank"
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", MORNING)
    with house(data) as at:
        for role in Role:
            at.take_on(str(role), role)
        at.office.close()  # the next to need it opens it
        yield data, at


async def outcome(data: Path, at: House, master_key: MasterKey) -> object:
    """Return what an admin is answered who logs in at a node on `data`: a role, or a code."""
    with house(data) as there:
        logins = Logins(there.office, Sessions(there.office.operator), master_key)
        try:
            return (await logins.log_in("admin", PASSWORD, at.code("admin"))).session.role
        except OpsError as error:
            return error.code


async def test_operators_are_let_in_by_what_is_restored(
    bank: tuple[Path, House], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same passwords, codes and master key; by another one as little as before."""
    data, at = bank
    copy, again = str(tmp_path / "copy"), tmp_path / "again"
    assert run(["backup", "--data", str(data), "--out", copy, "--json"]) == OK
    made = json.loads(capsys.readouterr().out)
    assert run(["restore", "--backup", copy, "--data", str(again), "--json"]) == OK
    restored = json.loads(capsys.readouterr().out)
    assert made["audit"] == restored["audit"]
    assert (made["fault"], restored["fault"], made["audit"]["rows"]) == ("", "", len(Role))
    kept = f"{made['audit']['rows']}:{made['audit']['head']}"
    assert run(["audit", "verify", "--data", str(again), "--kept", kept]) == OK
    assert await outcome(again, at, new_master_key()) == OpsCode.LOGIN_REFUSED
    assert await outcome(again, at, at.master_key) is Role.ADMIN


def test_nobody_approves_what_was_proposed_before_a_restore(
    bank: tuple[Path, House], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have been withdrawn since the backup, and who has withdrawn it thinks it is."""
    data, at = bank
    session = Session("operator", Role.OPERATOR, 0, MORNING, 0, 0)
    made = Proposals(at.office).propose(session, UnfreezeAccount("A1"), "ticket 4711")
    at.office.close()
    copy, again = str(tmp_path / "copy"), tmp_path / "again"
    assert run(["backup", "--data", str(data), "--out", copy, "--json"]) == OK
    rows = json.loads(capsys.readouterr().out)["audit"]["rows"]
    assert run(["restore", "--backup", copy, "--data", str(again), "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["audit"]["rows"] == rows + 1
    with house(again) as there:
        found = Proposals(there.office).get(made.proposal_id)
        assert (found.status, found.decided_by) == (Status.EXPIRED, "")
        assert "restored" in found.decision_reason
        last = there.log()[-1]
        assert (last.operator, last.action) == (NODE, "proposal_expired")
        other = Session("admin", Role.ADMIN, 0, MORNING, 0, 0)
        with pytest.raises(OpsError) as refused:
            Proposals(there.office).approve(other, made.proposal_id, made.digest())
        assert refused.value.code is OpsCode.PROPOSAL_EXPIRED
    with house(data) as before:
        assert Proposals(before.office).get(made.proposal_id) == made, "a backup is only read"


async def test_all_that_operators_were_answered_before_a_backup_is_in_it(
    guarded: Guarded, tmp_path: Path
) -> None:
    """The node writes it, and goes on looking and being looked at."""
    for number in range(3):
        await guarded.ask(row_of("list_shards"), Role.VIEWER)
        (newest,) = await guarded.entries("?limit=1")
        made = await trio.to_thread.run_sync(
            perform, guarded.data, Backup(str(tmp_path / f"copy-{number}"))
        )
        assert made["audit"]["rows"] > newest["sequence"], "the look at the log is one more"
        with closing(Folder(tmp_path / f"again-{number}", create=True)) as folder:
            assert folder.restore(Path(made["out"])) == ""
        found = administer(tmp_path / f"again-{number}", VerifyAudit())
        assert (found["ok"], found["rows"], found["head"]) == (
            True,
            made["audit"]["rows"],
            made["audit"]["head"],
        )


async def test_node_that_never_had_an_operator_gets_no_cabinet_by_a_backup(tmp_path: Path) -> None:
    data = tmp_path / "bank"
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", MORNING)
    made = perform(data, Backup(str(tmp_path / "copy")))
    assert (made["audit"], made["fault"]) == (None, "")
    assert not (data / "ops").exists()
    assert not (tmp_path / "copy" / "ops").exists()


def test_damaged_operators_hold_up_neither_a_backup_nor_a_restore_and_are_named(
    bank: tuple[Path, House], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says so, for whoever runs backups at night."""
    data, _ = bank
    copy, again = str(tmp_path / "copy"), str(tmp_path / "again")

    def take_one_out(rows: Rows) -> None:
        del rows[min(rows)]

    tamper(data / "ops", take_one_out)
    assert run(["backup", "--data", str(data), "--out", copy]) == OK, "a copy checks no chain"
    capsys.readouterr()
    assert run(["restore", "--backup", copy, "--data", again]) == CHECK_FAILED
    said = capsys.readouterr().out
    assert f"restored {again} from {copy}" in said
    assert "0 entries that are sound, then: entry 1 is missing" in said
    (data / "ops" / "data.mdb").write_bytes(b"damaged" * 9_000)
    other = str(tmp_path / "other")
    assert run(["backup", "--data", str(data), "--out", other]) == CHECK_FAILED
    assert "not whole in it: cannot open" in capsys.readouterr().out
    assert run(["restore", "--backup", other, "--data", str(tmp_path / "bank-2")]) == OK
