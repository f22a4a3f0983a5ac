"""Ceremonies: a CA is made whole and once, renewed beside itself, without the root if may be."""

import base64
import os
import shutil
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
)

from gateway.ca import ceremony, private_files, profile
from gateway.ca.authority import Authority
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import new_csr, new_key, read_csr
from gateway.ca.errors import IssueError, KeysError, KeysReason
from gateway.ca.master_key import MasterKey
from gateway.ca.vault import Place, Role, Vault
from tests.gateway.ca.founded import Founded, issue, refused

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

KEYS = ("root.key", "issuing-1.key", "signing-1.key", "tls-1.key")


def test_folder_and_every_file_in_it_belong_to_the_owner_alone(founded: Founded) -> None:
    assert stat.S_IMODE(founded.folder.stat().st_mode) == 0o700
    files = sorted(founded.folder.iterdir())
    assert [each.name for each in files] == sorted(
        ["ca.json", *KEYS, *(each.replace("key", "crt") for each in KEYS)]
    )
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


def test_folder_is_closed_whatever_the_umask(
    tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    mask = os.umask(0)
    try:
        ceremony.found(tmp_path / "keys", "Bank", master_key, now=now)
        master_key.write(tmp_path / "master.key")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    files = [tmp_path / "master.key", *(tmp_path / "keys").iterdir()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


@pytest.mark.parametrize("name", KEYS)
def test_private_key_is_encrypted_by_a_public_standard(name: str, founded: Founded) -> None:
    """PKCS#8 with PBES2, PBKDF2 and AES-256: any tool opens it with the text of the master key."""
    pem = (founded.folder / name).read_bytes()
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    for oid in (
        "2a864886f70d01050d",  # PBES2
        "2a864886f70d01050c",  # PBKDF2
        "60864801650304012a",  # AES-256-CBC
    ):
        assert bytes.fromhex(oid) in der
    key = load_pem_private_key(pem, founded.master_key.password())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    scalar = key.private_numbers().private_value.to_bytes(key.curve.key_size // 8)
    for each in founded.folder.iterdir():
        assert scalar not in each.read_bytes()
        assert founded.master_key.password() not in each.read_bytes()


def test_ca_is_made_whole_or_not_at_all(
    tmp_path: Path, master_key: MasterKey, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its files cannot be written, nothing of it is left."""
    write, written = private_files.write_new, 0
    for failing in range(7):
        count = 0

        def write_some(path: Path, content: bytes, failing: int = failing) -> None:
            nonlocal count
            if count == failing:
                raise OSError(28, "No space left on device")
            count += 1
            write(path, content)

        monkeypatch.setattr(private_files, "write_new", write_some)
        with pytest.raises(OSError, match="No space"):
            ceremony.found(tmp_path / "keys", "Bank", master_key, now=now)
        assert list(tmp_path.iterdir()) == []
        written += count
    assert written == sum(range(7))
    monkeypatch.setattr(private_files, "write_new", write)
    ceremony.found(tmp_path / "keys", "Bank", master_key, now=now)
    BankKeys.load(tmp_path / "keys", master_key)


def test_ca_is_never_made_over_another(
    keys: Path, tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    before = {each.name: each.read_bytes() for each in keys.iterdir()}
    (tmp_path / "file").write_text("", "ascii")
    (tmp_path / "link").symlink_to(keys)
    for taken in (keys, tmp_path / "file", tmp_path / "link"):
        assert refused(ceremony.found, taken, "Bank", master_key, now=now) is KeysReason.EXISTS
    assert {each.name: each.read_bytes() for each in keys.iterdir()} == before
    assert {each.name for each in tmp_path.iterdir()} == {"keys", "file", "link"}


def test_ca_that_another_makes_meanwhile_is_not_overwritten(
    tmp_path: Path, master_key: MasterKey, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that begin at once one ends; the other is told, and takes nothing with it."""
    path, sign = tmp_path / "keys", ceremony.renew_signing

    def interrupted(vault: Vault, key: MasterKey, *, now: datetime) -> Place:
        monkeypatch.setattr(ceremony, "renew_signing", sign)
        ceremony.found(path, "First Bank", master_key, now=now)
        return sign(vault, key, now=now)

    monkeypatch.setattr(ceremony, "renew_signing", interrupted)
    assert refused(ceremony.found, path, "Second Bank", master_key, now=now) is KeysReason.EXISTS
    assert BankKeys.load(path, master_key).issuing.bank == "First Bank"
    assert list(tmp_path.iterdir()) == [path]


def test_ca_is_made_in_an_empty_folder_and_in_one_that_is_not_there(
    tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "keys"):
        ceremony.found(path, "Bank", master_key, now=now)
        assert BankKeys.load(path, master_key).issuing.bank == "Bank"


@pytest.mark.parametrize("url", ["ftp://x/crl", "pay.example/crl", "http://", "http://x/ y", "h\n"])
def test_crl_url_that_is_none_is_refused_before_anything_is_made(
    url: str, tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    with pytest.raises(IssueError):
        ceremony.found(tmp_path / "keys", "Bank", master_key, now=now, crl_url=url)
    assert list(tmp_path.iterdir()) == []


def test_crl_url_is_remembered_for_every_later_certificate(
    tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    url = "http://pay.example/v1/crl"
    vault = ceremony.found(tmp_path / "keys", "Bank", master_key, now=now, crl_url=url)
    ceremony.renew_signing(vault, master_key, now=now)
    bank = BankKeys.load(vault.path, master_key)
    issued = x509.load_der_x509_certificate(issue(bank, now).issued.der)
    for certificate in (*bank.signing_certificates, issued):
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
        assert url in repr(points.value)


def test_everything_but_the_issuing_ca_goes_on_when_the_root_key_was_taken_offline(
    vault: Vault, master_key: MasterKey, now: datetime
) -> None:
    (vault.path / "root.key").unlink()
    ceremony.renew_signing(vault, master_key, now=now)
    ceremony.renew_tls(vault, master_key, now=now)
    ceremony.add_tls(vault, master_key, ["other.example"], now=now)
    bank = BankKeys.load(vault.path, master_key)
    issue(bank, now)
    bank.issuing.make_crl([], number=1, now=now)
    before = sorted(vault.path.iterdir())
    with pytest.raises(KeysError, match=r"root\.key is not there") as caught:
        ceremony.renew_issuing(vault, master_key, now=now)
    assert caught.value.reason is KeysReason.MISSING
    assert sorted(vault.path.iterdir()) == before


def test_signing_key_is_renewed_and_its_old_certificate_stays_published(
    vault: Vault, founded: Founded, now: datetime
) -> None:
    old = founded.bank.signing
    place = ceremony.renew_signing(vault, founded.master_key, now=now, valid=timedelta(days=9))
    assert place.stem == "signing-2"
    bank = BankKeys.load(vault.path, founded.master_key)
    assert bank.signing.keyid != old.keyid
    assert bank.signing.key.private_numbers() != old.key.private_numbers()
    assert bank.signing_certificates == (bank.signing.certificate, old.certificate)
    assert bank.signing.certificate.not_valid_after_utc == (
        now.replace(microsecond=0) + timedelta(days=9)
    )
    # The old private key has no use any more.
    (vault.path / "signing-1.key").unlink()
    assert BankKeys.load(vault.path, founded.master_key).signing_certificates == (
        bank.signing_certificates
    )


def test_signing_keys_are_taken_in_the_order_of_their_numbers(
    vault: Vault, master_key: MasterKey, now: datetime
) -> None:
    """The tenth comes after the ninth, however names are sorted."""
    for number in range(2, 12):
        assert ceremony.renew_signing(vault, master_key, now=now) == Place(Role.SIGNING, number)
    bank = BankKeys.load(vault.path, master_key)
    newest = vault.certificate(Place(Role.SIGNING, 11))
    assert bank.signing.certificate == newest
    assert len(bank.signing_certificates) == 11


def test_tls_certificate_is_renewed_with_its_names(
    vault: Vault, founded: Founded, now: datetime
) -> None:
    ceremony.renew_tls(vault, founded.master_key, now=now)
    bank = BankKeys.load(vault.path, founded.master_key)
    assert bank.tls is not None
    assert founded.bank.tls is not None
    assert bank.tls.certificate_path.name == "tls-2.crt"
    hosts = ["pay.example", "localhost", "127.0.0.1"]
    assert ceremony.hosts_of(bank.tls.certificate) == hosts
    assert bank.tls.certificate.public_key() != founded.bank.tls.certificate.public_key()


def test_tls_certificate_cannot_be_renewed_before_there_is_one(
    tmp_path: Path, master_key: MasterKey, now: datetime
) -> None:
    vault = ceremony.found(tmp_path / "keys", "Bank", master_key, now=now)
    assert BankKeys.load(vault.path, master_key).tls is None
    assert refused(ceremony.renew_tls, vault, master_key, now=now) is KeysReason.MISSING


def test_issuing_ca_is_renewed_and_all_it_has_signed_stays_good(
    vault: Vault, founded: Founded, now: datetime
) -> None:
    """It keeps its key and its name, so old certificates lead to the new one as well."""
    old = founded.bank
    client = x509.load_der_x509_certificate(issue(old, now).issued.der)
    later = now + timedelta(days=9 * 365)
    ceremony.renew_issuing(vault, founded.master_key, now=later)
    bank = BankKeys.load(vault.path, founded.master_key)
    renewed = bank.issuing.certificate
    assert renewed.serial_number != old.issuing.certificate.serial_number
    assert renewed.not_valid_after_utc > old.issuing.certificate.not_valid_after_utc
    client.verify_directly_issued_by(renewed)
    assert bank.signing.certificate == old.signing.certificate
    crl = x509.load_der_x509_crl(bank.issuing.make_crl([], number=1, now=later).der)
    key = old.issuing.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)


def test_renewal_that_was_broken_off_changes_nothing_and_is_simply_done_again(
    vault: Vault, founded: Founded, now: datetime
) -> None:
    """A key without its certificate does not count, and keeps its number."""
    shutil.copy2(vault.path / "signing-1.key", vault.path / "signing-2.key")
    shutil.copy2(vault.path / "signing-1.key", vault.path / ".signing-3.key.0123")
    bank = BankKeys.load(vault.path, founded.master_key)
    assert bank.signing.certificate == founded.bank.signing.certificate
    assert ceremony.renew_signing(vault, founded.master_key, now=now).stem == "signing-3"
    bank = BankKeys.load(vault.path, founded.master_key)
    assert bank.signing.certificate == vault.certificate(Place(Role.SIGNING, 3))


def test_pair_is_never_written_over_another(vault: Vault, founded: Founded, now: datetime) -> None:
    before = {each.name: each.read_bytes() for each in vault.path.iterdir()}
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = founded.bank.issuing.sign_signing(key.public_key(), now=now)
    place = Place(Role.SIGNING, 1)
    assert refused(vault.write, place, certificate, key, founded.master_key) is KeysReason.EXISTS
    assert {each.name: each.read_bytes() for each in vault.path.iterdir()} == before


def test_expired_issuing_ca_renews_nothing(vault: Vault, founded: Founded, now: datetime) -> None:
    before = sorted(vault.path.iterdir())
    late = now + timedelta(days=11 * 365)
    with pytest.raises(IssueError):
        ceremony.renew_signing(vault, founded.master_key, now=late)
    with pytest.raises(IssueError):
        ceremony.renew_tls(vault, founded.master_key, now=late)
    assert sorted(vault.path.iterdir()) == before


def test_bank_keys_say_what_is_not_valid_or_will_soon_not_be(
    founded: Founded, now: datetime
) -> None:
    bank = founded.bank
    assert bank.lapses(now) == []
    # TLS after 397 days, the signature after two years, the issuing CA after ten.
    after = [len(bank.lapses(now + timedelta(days=days))) for days in (366, 368, 701, 3621, 7271)]
    assert after == [0, 1, 2, 3, 4]
    assert "the tls certificate expires on" in bank.lapses(now + timedelta(days=368))[0]
    assert "the tls certificate expired on" in bank.lapses(now + timedelta(days=398))[0]
    assert len(bank.lapses(now - timedelta(days=1))) == 4
    assert "the root certificate is not valid before" in bank.lapses(now - timedelta(days=1))[0]


def test_chain_holds_the_root_and_the_issuing_ca(founded: Founded) -> None:
    bank = founded.bank
    chain = x509.load_pem_x509_certificates(bank.chain_pem)
    assert chain == [bank.root, bank.issuing.certificate]


def test_authority_from_the_folder_signs_for_its_bank(founded: Founded, now: datetime) -> None:
    opened = ceremony.open_issuing(Vault(founded.folder), founded.master_key)
    assert isinstance(opened, Authority)
    request = read_csr(new_csr(new_key(), "x"))
    issued = opened.issue(request, profile.merchant("M1"), now=now)
    x509.load_der_x509_certificate(issued.der).verify_directly_issued_by(opened.certificate)
