"""Logins: who is let in, what wrong tries come to, and what nobody learns from being refused."""

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from gateway.ca.master_key import new_master_key
from gateway.ops import passwords
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.logins import LOCKED_NS, TRIES_MAX, WAITING_MAX, Logins
from gateway.ops.office import DisableOperator, ResetOperator
from gateway.ops.operators import Role
from gateway.ops.sessions import Sessions
from storage.cabinet import Cabinet
from storage.errors import StorageError
from storage.row import OPERATORS
from tests.gateway.ops.house import PASSWORD, QUICK, SECOND, SHELL, House, house
from tests.gateway.ops.operators import LIMIT_S

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

REFUSED, LOCKED = OpsCode.LOGIN_REFUSED, OpsCode.LOGIN_LOCKED


class Door:
    """Logins at a house, and what they are answered."""

    def __init__(self, at: House) -> None:
        self.house = at
        self.sessions = Sessions(at.office.operator)
        self.logins = Logins(at.office, self.sessions, at.master_key)

    async def answer(self, name: str, password: str = PASSWORD, code: str | None = None) -> Any:
        """Return the role of the session, or the code of the refusal; by default all is right."""
        try:
            begun = await self.logins.log_in(
                name, password, self.house.code(name) if code is None else code
            )
        except OpsError as error:
            return error.code
        session = self.sessions.find(begun.token)
        assert session is begun.session
        return session.role

    async def fail(self, name: str, times: int) -> None:
        """Try wrong passwords, all of which are refused as such."""
        for _ in range(times):
            assert await self.answer(name, "a wrong password") == REFUSED


@pytest.fixture
def at(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as made:
        for role in Role:
            made.take_on(str(role), role)
        yield made


@pytest.fixture
async def door(at: House) -> Door:
    return Door(at)


@pytest.mark.parametrize("role", Role)
async def test_right_name_password_and_code_begin_a_session(door: Door, role: Role) -> None:
    assert await door.answer(str(role)) == role
    last = door.house.log()[-1]
    assert (last.operator, last.role, last.action, last.outcome) == (role, role, "log_in", "OK")


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.AUDITOR, Role.ADMIN])
async def test_password_without_its_code_is_not_enough(door: Door, role: Role) -> None:
    right = door.house.code(role)
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    for code in ("", wrong, right[:5]):
        assert await door.answer(str(role), code=code) == REFUSED


async def test_code_is_taken_once(door: Door) -> None:
    """Somebody who looks over a shoulder is no better off; nor with an older one."""
    code, older = door.house.code("admin"), door.house.code("admin", -30)
    assert await door.answer("admin", code=code) == Role.ADMIN
    assert await door.answer("admin", code=code) == REFUSED
    assert await door.answer("admin", code=older) == REFUSED
    door.house.now_ns += 30 * SECOND
    assert await door.answer("admin") == Role.ADMIN


@pytest.mark.parametrize(("off_s", "in_time"), [(-30, True), (30, True), (-90, False), (90, False)])
async def test_code_of_a_clock_that_is_half_a_minute_off_is_taken(
    door: Door, off_s: int, in_time: bool
) -> None:
    code = door.house.code("admin", off_s)
    assert await door.answer("admin", code=code) == (Role.ADMIN if in_time else REFUSED)


@pytest.mark.parametrize("name", ["viewer", "admin", "nobody"])
async def test_ten_wrong_tries_lock_a_name_for_half_an_hour(door: Door, name: str) -> None:
    """Names that nobody has are treated alike, so that nobody learns which there are."""
    await door.fail(name, TRIES_MAX)
    right = REFUSED if name == "nobody" else Role(name)
    assert await door.answer(name) == LOCKED
    door.house.now_ns += LOCKED_NS - 1
    assert await door.answer(name) == LOCKED
    with pytest.raises(OpsError) as refused:
        await door.logins.log_in(name, PASSWORD, "")
    assert refused.value.problem.retry_after_s == 1
    door.house.now_ns += 1
    assert await door.answer(name) == right


async def test_tries_are_counted_over_restarts(door: Door, tmp_path: Path) -> None:
    await door.fail("viewer", TRIES_MAX - 1)
    door.house.office.close()
    again = Door(door.house)
    await again.fail("viewer", 1)
    assert await again.answer("viewer") == LOCKED
    door.house.office.close()
    assert await Door(door.house).answer("viewer") == LOCKED


async def test_right_try_makes_wrong_ones_forgotten(door: Door) -> None:
    for _ in range(3):
        await door.fail("viewer", TRIES_MAX - 1)
        assert await door.answer("viewer") == Role.VIEWER


async def test_lock_holds_for_one_name_alone(door: Door) -> None:
    await door.fail("viewer", TRIES_MAX)
    assert await door.answer("admin") == Role.ADMIN


async def test_locked_tries_are_neither_tried_nor_written(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever knows a name could fill the disk and keep the processor busy."""
    await door.fail("viewer", TRIES_MAX)
    outcomes = [each.outcome for each in door.house.log() if each.action == "log_in"]
    assert outcomes == [REFUSED] * (TRIES_MAX - 1) + [LOCKED]
    monkeypatch.setattr(passwords, "fits", None)
    for _ in range(5):
        assert await door.answer("viewer") == LOCKED
    assert len(door.house.log()) == len(Role) + TRIES_MAX
    assert len(caplog.records) == 1
    assert door.house.verified().ok


async def test_many_at_once_are_tried_one_by_one_and_few_wait(door: Door) -> None:
    """However many connections guess, ten are counted and no more are tried."""
    answers = []

    async def guess() -> None:
        answers.append(await door.answer("nobody", "a wrong password"))

    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(guess)
    assert answers.count(OpsCode.LOGINS_BUSY) == 60 - 1 - WAITING_MAX
    assert answers.count(REFUSED) == 1 + WAITING_MAX


async def test_operators_are_let_in_however_many_guess(door: Door) -> None:
    """Whoever keeps every place taken, with new names each time, keeps no operator out."""
    names = (f"nobody-{number}" for number in count())
    busy = trio.Event()

    async def guess_on() -> None:
        while True:
            if await door.answer(next(names), "a wrong password") == OpsCode.LOGINS_BUSY:
                busy.set()
                await trio.lowlevel.checkpoint()

    async def let_in(role: Role) -> None:
        assert await door.answer(role) == role

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as guessing:
            for _ in range(WAITING_MAX + 3):
                guessing.start_soon(guess_on)
            await busy.wait()
            async with trio.open_nursery() as nursery:
                for role in Role:
                    nursery.start_soon(let_in, role)
            guessing.cancel_scope.cancel()


async def test_operators_name_has_one_place_of_its_own(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows a name may wait in it, and in no other's; afterwards it is free again."""
    goes_on = threading.Event()
    fits = passwords.fits

    def held(password_hash: str, password: str) -> bool:
        assert goes_on.wait(LIMIT_S)
        return fits(password_hash, password)

    monkeypatch.setattr(passwords, "fits", held)
    answers: list[Any] = []

    async def guess(name: str) -> None:
        answers.append((name, await door.answer(name, "a wrong password")))

    for _ in range(2):
        goes_on.clear()
        answers.clear()
        async with trio.open_nursery() as nursery:
            names = [f"nobody-{number}" for number in range(1 + WAITING_MAX)]
            for name in (*names, "viewer", "viewer", "admin", "nobody"):
                nursery.start_soon(guess, name)
                await trio.testing.wait_all_tasks_blocked()
            busy = [name for name, code in answers if code == OpsCode.LOGINS_BUSY]
            assert busy == ["viewer", "nobody"]
            assert len(answers) == len(busy)
            goes_on.set()
        assert sorted(name for name, code in answers if code == REFUSED) == sorted(
            [*names, "viewer", "admin"]
        )


async def test_who_was_sent_away_is_let_in_again_by_a_reset(door: Door) -> None:
    office = door.house.office
    begun = await door.logins.log_in("viewer", PASSWORD, "")
    office.administer(DisableOperator("viewer"), SHELL)
    assert door.sessions.find(begun.token) is None
    assert await door.answer("viewer") == REFUSED
    office.administer(ResetOperator("viewer", QUICK.hash("another password"), b""), SHELL)
    assert await door.answer("viewer") == REFUSED
    door.house.now_ns += SECOND
    assert await door.answer("viewer", "another password") == Role.VIEWER


@pytest.mark.parametrize("reset", [True, False])
async def test_password_that_is_taken_back_while_it_is_tried_lets_nobody_in(
    door: Door, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    """Hashing takes a tenth of a second, and a shell may be quicker."""
    fits = passwords.fits

    def slowly(password_hash: str, password: str) -> bool:
        asked = ResetOperator("viewer", QUICK.hash("another password"), b"")
        door.house.office.administer(asked if reset else DisableOperator("viewer"), SHELL)
        return fits(password_hash, password)

    monkeypatch.setattr(passwords, "fits", slowly)
    assert await door.answer("viewer") == REFUSED
    assert door.house.log()[-1].outcome == REFUSED


async def test_reset_just_after_a_right_try_ends_its_session(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The try is written in a thread, and the session begins in the event loop, somewhat later."""
    write = Cabinet.write

    def then_reset(self: Cabinet, change: Any) -> Any:
        written = write(self, change)
        monkeypatch.undo()
        door.house.now_ns += SECOND
        asked = ResetOperator("viewer", QUICK.hash("another password"), b"")
        door.house.office.administer(asked, SHELL)
        door.house.now_ns += SECOND
        return written

    monkeypatch.setattr(Cabinet, "write", then_reset)
    begun = await door.logins.log_in("viewer", PASSWORD, "")
    assert door.sessions.find(begun.token) is None


async def test_reset_ends_a_lock(door: Door) -> None:
    await door.fail("viewer", TRIES_MAX)
    door.house.office.administer(ResetOperator("viewer", QUICK.hash(PASSWORD), b""), SHELL)
    door.house.now_ns += SECOND
    assert await door.answer("viewer") == Role.VIEWER


@pytest.mark.parametrize("key", [None, new_master_key()])
async def test_codes_need_the_master_key_that_they_are_under(at: House, key: Any) -> None:
    door = Door(at)
    door.logins = Logins(at.office, door.sessions, key)
    assert await door.answer("admin") == REFUSED
    assert await door.answer("viewer") == Role.VIEWER


async def test_secret_of_one_operator_is_no_use_to_another(door: Door) -> None:
    """Whoever can write the file might give an admin the secret of their own codes."""
    office, key = door.house.office, door.house.master_key
    own = office.operator("operator")
    assert own is not None
    assert passwords.opened(key, "operator", own.totp_sealed) == door.house.secrets["operator"]
    assert passwords.opened(key, "admin", own.totp_sealed) is None


async def test_nothing_secret_is_in_the_file(door: Door, tmp_path: Path) -> None:
    assert await door.answer("admin") == Role.ADMIN
    begun = await door.logins.log_in("viewer", PASSWORD, "")
    door.house.office.close()
    held = (tmp_path / "ops/data.mdb").read_bytes()
    assert b"admin" in held
    for secret in (PASSWORD, begun.token, *door.house.secrets.values()):
        assert secret.encode() not in held
    assert (tmp_path / "ops/data.mdb").stat().st_mode & 0o077 == 0
    assert (tmp_path / "ops").stat().st_mode & 0o077 == 0


async def test_nobody_is_let_in_by_a_row_that_nobody_understands(door: Door) -> None:
    """A role, say, that a later program has; others are let in."""
    row = msgspec.msgpack.encode(["viewer", "director", "", b"", 0])
    door.house.office.cabinet.write(lambda writing: writing.put(OPERATORS, b"viewer", row))
    assert await door.answer("viewer") == OpsCode.AUDIT_UNAVAILABLE
    assert await door.answer("admin") == Role.ADMIN


async def test_nobody_is_let_in_whose_entry_cannot_be_written(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(Cabinet, "write", fails)
    assert await door.answer("viewer") == OpsCode.AUDIT_UNAVAILABLE
    assert not door.sessions._by_hash


def test_cabinet_that_two_threads_want_first_is_opened_once(tmp_path: Path) -> None:
    with house(tmp_path) as at:
        found: list[Cabinet] = []
        threads = [
            threading.Thread(target=lambda: found.append(at.office.cabinet)) for _ in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(found) == 8
        assert len({*map(id, found)}) == 1


@pytest.mark.parametrize("reset", [True, False])
async def test_session_ends_with_a_reset_though_the_clock_was_set_back(
    door: Door, reset: bool
) -> None:
    """A clock that was wrong by an hour is put right, and the operator is sent away just then."""
    office = door.house.office
    begun = await door.logins.log_in("viewer", PASSWORD, "")
    door.house.now_ns -= 3_600 * SECOND
    if not reset:
        office.administer(DisableOperator("viewer"), SHELL)
    office.administer(ResetOperator("viewer", QUICK.hash("another password"), b""), SHELL)
    assert door.sessions.find(begun.token) is None
    assert await door.answer("viewer", "another password") == Role.VIEWER


async def test_session_gets_no_older_by_a_clock_that_is_set_back(door: Door) -> None:
    """Nor over by one that is set forward: the time of day is for people to read."""
    begun = await door.logins.log_in("viewer", PASSWORD, "")
    assert begun.session.begun_at_ns == door.house.now_ns
    ends_ns = begun.session.ends_ns()
    for hours in (-24, 48):
        door.house.now_ns += hours * 3_600 * SECOND
        assert door.sessions.find(begun.token) is begun.session
        assert 0 <= begun.session.ends_ns() - ends_ns < 60 * SECOND
