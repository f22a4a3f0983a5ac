"""Which certificates make a key the bank's, and which do not."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.ca import profile
from gateway.ca.authority import Authority
from gateway.ca.profile import Draft
from gateway.client.trust import Trust
from tests.gateway.client.bank import Bank, pem

pytestmark = pytest.mark.one_shard

BANK = Bank()
NOW = BANK.now.timestamp()
YEAR_S = 365 * 86_400


def _learned(listed: bytes, keyid: str, root: bytes = BANK.root_pem, now: float = NOW) -> bool:
    trust = Trust(root)
    trust.learn(listed, now)
    return trust.key(keyid, now) is not None


def test_key_in_the_list_is_the_banks() -> None:
    assert _learned(BANK.listed(), BANK.keyid)
    assert not _learned(BANK.listed(), "1234")


def test_key_is_the_banks_only_while_its_chain_is_valid() -> None:
    """It is learned whenever it is valid, and forgotten when it is not."""
    trust = Trust(BANK.root_pem)
    trust.learn(BANK.listed(), NOW)
    assert trust.key(BANK.keyid, NOW + YEAR_S) is not None
    for now in (NOW - YEAR_S, NOW + 3 * YEAR_S):
        assert trust.key(BANK.keyid, now) is None


def _made(
    purposes: tuple[x509.ObjectIdentifier, ...] = profile.SIGNING,
    path_length: int | None = None,
    by: Bank = BANK,
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = profile.subject(by.issuing.bank, "bank", "Message signing")
    ends = BANK.now + timedelta(days=100)
    begins = profile.begin(BANK.now)
    draft = Draft(subject, key.public_key(), begins, ends, path_length, purposes)
    return profile.sign(draft, by.issuing.certificate.subject, by.issuing.private_key)


@pytest.mark.parametrize(
    "foreign",
    [
        lambda: BANK.certify("M1").certificate,
        lambda: _made(profile.SERVER),
        lambda: _made(()),
        lambda: _made(path_length=0),
        lambda: _made(by=Bank("Another bank")),
        lambda: _made(by=Bank("Bank of Tests")),
        lambda: BANK.issuing.certificate,
        lambda: BANK.root.certificate,
    ],
    ids=[
        "a merchant's",
        "a TLS server's",
        "for nothing",
        "a CA's",
        "another bank's",
        "another bank's of that name",
        "the issuing CA's own",
        "the root's own",
    ],
)
def test_other_certificate_in_the_list_is_passed_over(
    foreign: Callable[[], x509.Certificate],
) -> None:
    certificate = foreign()
    trust = Trust(BANK.root_pem)
    trust.learn(BANK.listed(certificate, BANK.signers[0]), NOW)
    assert trust.key(profile.keyid(certificate), NOW) is None
    assert trust.key(BANK.keyid, NOW) is not None, "the good one beside it counts"


def test_issuing_ca_that_the_root_has_not_signed_vouches_for_nobody() -> None:
    """Its list is whole in itself, and its root is another one."""
    assert not _learned(Bank("Bank of Tests").listed(), BANK.keyid)
    other = Bank("Bank of Tests", BANK.now)
    assert not _learned(other.listed(), other.keyid)
    assert _learned(other.listed(), other.keyid, BANK.root_pem + other.root_pem)


@pytest.mark.parametrize("by", [BANK.issuing, BANK.root], ids=["the issuing CA", "the root"])
def test_holder_of_an_end_certificate_is_no_ca(by: Authority) -> None:
    """Whoever has signed it: in the place of the issuing CA's it vouches for nobody."""
    begins, ends = profile.begin(BANK.now), BANK.now + timedelta(days=1)
    theirs, forged = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    holder = profile.subject("Bank of Tests", "merchant", "M1")
    end = Draft(holder, theirs.public_key(), begins, ends, purposes=profile.CLIENT)
    theirs_certified = profile.sign(end, by.certificate.subject, by.private_key)
    subject = profile.subject("Bank of Tests", "bank", "Message signing")
    draft = Draft(subject, forged.public_key(), begins, ends, purposes=profile.SIGNING)
    signer = profile.sign(draft, holder, theirs)
    item = {"serial": profile.keyid(signer), "pem": pem(signer).decode()}
    listed = {"items": [item], "issuing_pem": pem(theirs_certified).decode()}
    assert not _learned(msgspec.json.encode(listed), profile.keyid(signer))


@pytest.mark.parametrize(
    "listed",
    [b"", b"<html>", b"{}", b'{"items":[],"issuing_pem":""}', b'{"items":[{"pem":"x"}],'],
)
def test_list_that_is_none_teaches_nothing(listed: bytes) -> None:
    assert not _learned(listed, BANK.keyid)


@pytest.mark.parametrize("root", [b"", b"bank", b"-----BEGIN CERTIFICATE-----\nx"])
def test_root_has_to_be_a_certificate(root: bytes) -> None:
    with pytest.raises(ValueError, match="no certificate"):
        Trust(root)


def test_root_has_to_be_a_ca() -> None:
    with pytest.raises(ValueError, match="not a CA's"):
        Trust(pem(BANK.signers[0]))
    with pytest.raises(ValueError, match="PEM"):
        Trust(b"nothing")
