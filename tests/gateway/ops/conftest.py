"""What all tests of the ops listener share."""

import pytest

from gateway.ops import passwords
from tests.gateway.ops.house import QUICK


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", QUICK)
    passwords.nobodys_hash.cache_clear()
