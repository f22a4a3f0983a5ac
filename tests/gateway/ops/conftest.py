"""What all tests of the ops listener share."""

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.ca.master_key import new_master_key
from gateway.ops import passwords
from gateway.ops.operators import Role
from storage.lmdb_store import LmdbStore
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.house import QUICK
from tests.gateway.ops.operators import watched


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", QUICK)
    passwords.nobodys_hash.cache_clear()


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    master_key = new_master_key()
    async with watched(tmp_path, master_key=master_key) as ops:
        made = Guarded(ops, tmp_path, master_key)
        for role in Role:
            await made.take_on(role)
        yield made


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Commits wait in their thread while the event is not set."""
    goes_on = threading.Event()
    goes_on.set()
    commit = LmdbStore._commit

    def held(self: LmdbStore, *arguments: object) -> object:
        goes_on.wait()
        return commit(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LmdbStore, "_commit", held)
    yield goes_on
    goes_on.set()
