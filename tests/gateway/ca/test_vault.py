"""The keys folder: real files, real permissions, and what is refused."""

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.errors import KeysError, KeysReason
from gateway.ca.master_key import MasterKey, new_master_key
from gateway.ca.vault import Role, Vault
from tests.gateway.ca.founded import Founded, give_away, refused

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

LOADED = ("issuing-1.key", "signing-1.key", "tls-1.key")
"""The keys that a node loads: all but the root's."""


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o704, 0o740, 0o720, 0o755, 0o777])
def test_folder_that_others_may_use_isrefused(mode: int, keys: Path, founded: Founded) -> None:
    keys.chmod(mode)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.OPEN_TO_OTHERS
    with pytest.raises(KeysError, match=f"mode {mode:04o}.*chmod 700"):
        Vault(keys)


@pytest.mark.parametrize("name", LOADED)
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620, 0o660, 0o644])
def test_key_that_others_may_use_isrefused(
    name: str, mode: int, keys: Path, founded: Founded
) -> None:
    (keys / name).chmod(mode)
    with pytest.raises(KeysError, match=f"{name} has mode {mode:04o}.*chmod 600") as caught:
        BankKeys.load(keys, founded.master_key)
    assert caught.value.reason is KeysReason.OPEN_TO_OTHERS


@pytest.mark.parametrize("name", ["root.crt", "issuing-1.crt", "signing-1.crt", "tls-1.crt"])
def test_certificate_may_be_read_by_others_and_not_written(
    name: str, keys: Path, founded: Founded
) -> None:
    (keys / name).chmod(0o644)
    BankKeys.load(keys, founded.master_key)
    (keys / name).chmod(0o664)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.OPEN_TO_OTHERS


@pytest.mark.parametrize("name", [".", *LOADED, "root.crt", "signing-1.crt", "ca.json"])
def test_folder_or_file_of_another_user_isrefused(
    name: str, keys: Path, founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_away(keys / name, monkeypatch)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.NOT_OURS


@pytest.mark.parametrize("name", ["issuing-1.key", "signing-1.crt"])
def test_thing_that_is_no_plain_file_is_refused_at_once(
    name: str, keys: Path, founded: Founded
) -> None:
    """A link could lead anywhere, and a pipe would be waited for."""
    path, aside = keys / name, keys.parent / "aside"
    path.rename(aside)
    path.symlink_to(aside)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.NOT_A_FILE
    path.unlink()
    os.mkfifo(path, 0o600)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.NOT_A_FILE
    path.unlink()
    path.mkdir(0o700)
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.NOT_A_FILE


def test_keys_folder_that_is_none_isrefused(
    tmp_path: Path, founded: Founded, master_key: MasterKey
) -> None:
    with pytest.raises(KeysError, match="piaohao ca init") as caught:
        BankKeys.load(tmp_path / "nowhere", master_key)
    assert caught.value.reason is KeysReason.MISSING
    (tmp_path / "file").write_text("", "ascii")
    assert refused(Vault, tmp_path / "file") is KeysReason.NOT_A_FILE
    (tmp_path / "empty").mkdir(mode=0o700)
    assert refused(BankKeys.load, tmp_path / "empty", master_key) is KeysReason.MISSING


def test_wrong_master_key_opens_nothing(founded: Founded) -> None:
    for _ in range(20):
        reason = refused(BankKeys.load, founded.folder, new_master_key())
        assert reason is KeysReason.WRONG_MASTER_KEY


@pytest.mark.parametrize("role", [Role.ISSUING, Role.SIGNING, Role.TLS])
def test_key_of_another_certificate_isrefused(role: Role, keys: Path, founded: Founded) -> None:
    other = "signing-1.key" if role is not Role.SIGNING else "tls-1.key"
    shutil.copy2(founded.folder / other, keys / f"{role}-1.key")
    assert refused(BankKeys.load, keys, founded.master_key) is KeysReason.KEY_MISMATCH


def test_key_that_lies_there_in_the_clear_isrefused(vault: Vault, founded: Founded) -> None:
    path = vault.path / "signing-1.key"
    path.write_bytes(
        founded.bank.signing.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert refused(BankKeys.load, vault.path, founded.master_key) is KeysReason.MALFORMED


@pytest.mark.parametrize("name", ["root.crt", "issuing-1.crt", "signing-1.crt", "tls-1.crt"])
def test_certificate_of_another_ca_isrefused(
    name: str, keys: Path, founded: Founded, tmp_path: Path, now: datetime
) -> None:
    """Also of one that was made for the same bank, under the same master key."""
    other = ceremony.found(
        tmp_path / "other", founded.bank.issuing.bank, founded.master_key, now=now
    )
    ceremony.add_tls(other, founded.master_key, ["pay.example"], now=now)
    for ending in ("crt", "key"):
        file = name.replace("crt", ending)
        shutil.copy2(other.path / file, keys / file)
    reason = refused(BankKeys.load, keys, founded.master_key)
    assert reason is KeysReason.FOREIGN_CERTIFICATE


@pytest.mark.parametrize("name", [*LOADED, "root.crt", "issuing-1.crt", "signing-1.crt", "ca.json"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100, b" " * (65 << 10)])
def test_damaged_file_is_named(name: str, content: bytes, keys: Path, founded: Founded) -> None:
    (keys / name).write_bytes(content)
    with pytest.raises(KeysError, match=name) as caught:
        BankKeys.load(keys, founded.master_key)
    assert caught.value.reason is KeysReason.MALFORMED


@pytest.mark.parametrize("name", LOADED)
def test_missing_key_is_named(name: str, keys: Path, founded: Founded) -> None:
    (keys / name).unlink()
    with pytest.raises(KeysError, match=name) as caught:
        BankKeys.load(keys, founded.master_key)
    assert caught.value.reason is KeysReason.MISSING


@pytest.mark.parametrize("name", LOADED)
def test_key_with_a_bit_flipped_is_refused_or_is_the_same_key(
    name: str, keys: Path, founded: Founded
) -> None:
    """The encryption has no checksum; what comes out is compared with the certificate."""
    path = keys / name
    whole = path.read_bytes()
    body = whole.index(b"\n") + 1
    for place in range(body, len(whole) - 40, 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            bank = BankKeys.load(keys, founded.master_key)
        except KeysError:
            continue
        assert bank.signing.key.private_numbers() == founded.bank.signing.key.private_numbers()
