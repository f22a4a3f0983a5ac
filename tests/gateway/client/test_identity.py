"""Identities are read, written and never shown."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.ca.csr import new_key
from gateway.client import BankClient, Client, Identity
from tests.gateway.client.bank import Bank, pem

pytestmark = pytest.mark.one_shard

BANK = Bank()


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512"])
@pytest.mark.parametrize("password", [None, b"open sesame"])
def test_identity_that_was_written_is_read_again(
    tmp_path: Path, algorithm: str, password: bytes | None
) -> None:
    """Its key is for its owner alone, and is never written over."""
    identity = BANK.certify("M1", algorithm)
    key, certificate = tmp_path / "m1.key", tmp_path / "m1.pem"
    identity.write(key=key, certificate=certificate, password=password)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in key.read_bytes()) is (password is not None)
    again = Identity.read(key=key, certificate=certificate, password=password)
    assert (again.keyid, again.merchant_no) == (identity.keyid, "M1")
    assert again.key.alg == algorithm
    assert identity.key.public.verify(again.key.sign(b"x"), b"x")
    with pytest.raises(FileExistsError):
        identity.write(key=key, certificate=tmp_path / "other.pem")


def test_key_and_certificate_have_to_belong_together() -> None:
    with pytest.raises(ValueError, match="not of this private key"):
        Identity(new_key(), pem(BANK.certify("M1").certificate))
    certificate = pem(BANK.certify("M1").certificate)
    for key in (b"nothing", certificate):
        with pytest.raises(ValueError, match="the private key cannot be used"):
            Identity(key, certificate)


def test_nothing_shows_a_key() -> None:
    """Neither an identity nor a client, nor the error about a password that is wrong."""
    identity = BANK.certify("M1")
    raw = identity._raw.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secret = raw.splitlines()[1]
    with Client("https://bank.example", identity, BANK.root_pem) as client:
        for each in (identity, client, vars(client), client.calls, client._core):
            assert secret not in repr(each)
    assert repr(identity) == f"<Identity of merchant M1, keyid {identity.keyid}>"


@pytest.mark.parametrize(
    ("address", "signed", "rooted", "why"),
    [
        ("https://bank.example", False, False, "on loopback only"),
        ("http://192.0.2.1:8080", False, True, "on loopback only"),
        ("https://bank.example", True, False, "root certificate is needed"),
        ("bank.example", True, True, "not an address"),
        ("ftp://bank.example", True, True, "not an address"),
        ("https://bank.example/v1", True, True, "not an address"),
    ],
)
def test_client_that_could_not_be_safe_is_not_made(
    address: str, signed: bool, rooted: bool, why: str
) -> None:
    identity = BANK.certify("M1") if signed else None
    with pytest.raises(ValueError, match=why):
        BankClient(address, identity, BANK.root_pem if rooted else None)


def test_merchant_has_to_be_named_where_the_certificate_does_not() -> None:
    with pytest.raises(ValueError, match="merchant_no is needed"):
        Client("http://127.0.0.1:1")
    with Client("http://127.0.0.1:1", merchant_no="M7") as client:
        assert client.calls.merchant_no == "M7"
    with Client("https://bank.example", BANK.certify("M1"), BANK.root_pem) as client:
        assert client.calls.merchant_no == "M1"
