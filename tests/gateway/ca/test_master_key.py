"""The master key: read from a file or the environment, and shown to nobody."""

import base64
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ca.errors import KeysError, KeysReason
from gateway.ca.master_key import VARIABLE, find_master_key, new_master_key
from tests.gateway.ca.founded import Founded, give_away, refused

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough


@given(st.binary(min_size=32, max_size=32))
def test_master_key_is_read_from_each_of_its_texts(secret: bytes) -> None:
    for text in (secret.hex(), secret.hex().upper(), base64.b64encode(secret).decode()):
        for around in ("", "\n", " \r\n"):
            found = find_master_key(None, {VARIABLE: text + around})
            assert found.password() == secret.hex().encode()


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "ab" * 31,
        "ab" * 33,
        "zz" * 32,
        "QUJD",
        "é" * 32,
        "ab" * 16 + "\n" + "ab" * 16,
        "\udcff",
    ],
)
def test_text_that_is_no_master_key_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    for file in (path, None):
        with pytest.raises(KeysError) as caught:
            find_master_key(file, {VARIABLE: text})
        assert caught.value.reason is KeysReason.MASTER_KEY_MALFORMED
        assert text not in str(caught.value)


def test_master_key_in_a_file_is_what_was_written_and_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = new_master_key(), new_master_key()
    path = tmp_path / "master.key"
    one.write(path)
    assert path.read_bytes() == one.password() + b"\n"
    monkeypatch.setenv(VARIABLE, other.password().decode())
    assert find_master_key(path).password() == one.password()
    assert find_master_key(None).password() == other.password()
    assert refused(other.write, path) is KeysReason.EXISTS
    assert find_master_key(path).password() == one.password()


def test_master_key_behind_a_link_is_checked_where_it_lies(tmp_path: Path) -> None:
    """Container platforms mount secrets as links."""
    key, link = tmp_path / "..data", tmp_path / "master.key"
    new_master_key().write(key)
    link.symlink_to(key)
    find_master_key(link)
    key.chmod(0o640)
    assert refused(find_master_key, link) is KeysReason.OPEN_TO_OTHERS


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o660, 0o644, 0o666])
def test_master_key_file_that_others_may_use_isrefused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    new_master_key().write(path)
    path.chmod(mode)
    assert refused(find_master_key, path) is KeysReason.OPEN_TO_OTHERS


def test_master_key_file_of_another_user_or_of_none_isrefused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.key"
    assert refused(find_master_key, path) is KeysReason.MISSING
    assert refused(find_master_key, tmp_path) is KeysReason.NOT_A_FILE
    new_master_key().write(path)
    give_away(path, monkeypatch)
    assert refused(find_master_key, path) is KeysReason.NOT_OURS


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_no_master_key_is_refused_with_both_ways_to_give_one(environment: dict[str, str]) -> None:
    with pytest.raises(KeysError, match=f"--master-key FILE, or {VARIABLE}") as caught:
        find_master_key(None, environment)
    assert caught.value.reason is KeysReason.NO_MASTER_KEY


def test_secret_shows_itself_in_no_text(founded: Founded) -> None:
    key = founded.master_key
    secrets = {key.password().decode(), key._secret.hex(), repr(key._secret)[2:-1]}
    private = founded.bank.signing.key.private_numbers().private_value
    secrets |= {str(private), f"{private:x}"}
    for shown in (key, founded.bank, founded.bank.tls, founded.bank.signing, founded.bank.issuing):
        for text in (repr(shown), str(shown), f"{shown}"):
            assert not any(secret in text for secret in secrets)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert not hasattr(key, "__dict__")
