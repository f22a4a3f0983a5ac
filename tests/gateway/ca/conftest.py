"""A bank whose CA was made once for all tests here, and copies of it to damage."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.master_key import MasterKey, new_master_key
from gateway.ca.vault import Vault
from tests.gateway.ca.founded import Founded


@pytest.fixture(scope="session")
def now() -> datetime:
    """The instant of the ceremony: the machine's, as OpenSSL looks at no other clock."""
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def master_key() -> MasterKey:
    return new_master_key()


@pytest.fixture(scope="session")
def founded(
    tmp_path_factory: pytest.TempPathFactory, master_key: MasterKey, now: datetime
) -> Founded:
    """A CA with a TLS server; nobody changes it."""
    keys = tmp_path_factory.mktemp("bank") / "keys"
    vault = ceremony.found(keys, "示例银行 Example Bank", master_key, now=now)
    ceremony.add_tls(vault, master_key, ["pay.example", "localhost", "127.0.0.1"], now=now)
    return Founded(keys, master_key, BankKeys.load(keys, master_key))


@pytest.fixture
def keys(founded: Founded, tmp_path: Path) -> Path:
    """A copy of the keys folder, to be damaged."""
    return Path(shutil.copytree(founded.folder, tmp_path / "keys"))


@pytest.fixture
def vault(keys: Path) -> Vault:
    return Vault(keys)
