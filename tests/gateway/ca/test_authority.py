"""What the CA signs, as `cryptography`'s own verifier and RFC 5280 see it."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ca import profile
from gateway.ca.authority import (
    Authority,
    RevocationReason,
    Revoked,
    new_root,
)
from gateway.ca.csr import new_csr, new_key, read_csr
from gateway.ca.errors import IssueError, IssueReason
from gateway.signatures.keys import Algorithm
from tests.gateway.ca.founded import Founded, issue

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

REQUEST = read_csr(new_csr(new_key(), "whatever it says"))
SECOND = 1_000_000_000


def _verify(
    bank: Founded, leaf: x509.Certificate, purpose: x509.ObjectIdentifier, at: datetime
) -> list[x509.Certificate]:
    """Verify a chain to the root at an instant, for one purpose; only the root is trusted."""

    def has_purpose(_: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
        if list(usage) != [purpose]:
            raise ValueError(f"it is for {list(usage)}")

    ends = ExtensionPolicy.permit_all().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, has_purpose
    )
    verifier = (
        PolicyBuilder()
        .store(Store([bank.bank.root]))
        .time(at)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ends)
        .build_client_verifier()
    )
    return verifier.verify(leaf, [bank.bank.issuing.certificate]).chain


def _names(certificate: x509.Certificate) -> dict[str, str]:
    return {each.rfc4514_attribute_name: str(each.value) for each in certificate.subject}


def _criticals(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, bool]:
    return {each.oid: each.critical for each in certificate.extensions}


def _usage(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    return {
        name
        for name in (*every, "key_agreement", "key_cert_sign", "crl_sign")
        if getattr(usage, name)
    }


def _issuing(now: datetime, **validity: timedelta) -> Authority:
    """An issuing CA of its own, with a certificate of the given validity."""
    root = new_root("Example Bank", now=now)
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(root.sign_issuing(key.public_key(), now=now, **validity), key)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_client_certificate_says_who_and_what_for(
    algorithm: Algorithm, founded: Founded, now: datetime
) -> None:
    client = issue(founded.bank, now, "M1002", algorithm)
    issued = client.issued
    certificate = x509.load_der_x509_certificate(issued.der)
    assert _names(certificate) == {"O": "示例银行 Example Bank", "OU": "merchant", "CN": "M1002"}
    assert certificate.issuer == founded.bank.issuing.certificate.subject
    assert certificate.version is x509.Version.v3
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert _usage(certificate) == {"digital_signature"}
    assert _criticals(certificate) == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
    }
    assert _verify(founded, certificate, ExtendedKeyUsageOID.CLIENT_AUTH, now)[2] == (
        founded.bank.root
    )

    assert (issued.holder, issued.name) == ("merchant/M1002", "M1002")
    assert issued.algorithm is algorithm
    assert issued.keyid == f"{certificate.serial_number:x}"
    assert issued.spki == client.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert x509.load_pem_x509_certificate(issued.pem) == certificate
    whole = now.replace(microsecond=0)
    assert issued.not_before_ns == int((whole - timedelta(minutes=5)).timestamp()) * SECOND
    assert issued.not_after_ns == int((whole + timedelta(days=730)).timestamp()) * SECOND


def test_certificate_of_the_banks_own_system_has_bank_as_its_holder(
    founded: Founded, now: datetime
) -> None:
    issued = founded.bank.issuing.issue(REQUEST, profile.bank("till 七"), now=now)
    assert (issued.holder, issued.name) == ("bank", "till 七")
    names = _names(x509.load_der_x509_certificate(issued.der))
    assert (names["OU"], names["CN"]) == ("bank", "till 七")


def test_csr_says_nothing_about_its_holder(founded: Founded, now: datetime) -> None:
    """Whatever subject and extensions a request has, none of it gets into the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    from_merchant = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "M-another")])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(from_merchant)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pay.example")]), critical=False)
        .sign(key, profile.digest_for(key))
    )
    request = read_csr(csr.public_bytes(Encoding.PEM))
    issued = founded.bank.issuing.issue(request, profile.merchant("M1"), now=now)
    certificate = x509.load_der_x509_certificate(issued.der)
    assert _names(certificate)["CN"] == "M1"
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (False, None)
    assert ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in _criticals(certificate)


def test_cas_may_sign_certificates_and_lists_and_nothing_else(founded: Founded) -> None:
    root, issuing = founded.bank.root, founded.bank.issuing.certificate
    for certificate, path_length in ((root, 1), (issuing, 0)):
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.value.ca, basic.value.path_length, basic.critical) == (
            True,
            path_length,
            True,
        )
        assert _usage(certificate) == {"key_cert_sign", "crl_sign"}
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    root_key = root.public_key()
    assert isinstance(root_key, ec.EllipticCurvePublicKey)
    assert root_key.curve.name == "secp384r1"


def test_key_identifiers_lead_from_each_certificate_to_the_one_above(
    founded: Founded, now: datetime
) -> None:
    bank = founded.bank
    client = x509.load_der_x509_certificate(issue(bank, now).issued.der)
    root, issuing, signing = bank.root, bank.issuing.certificate, bank.signing.certificate
    for below, above in ((client, issuing), (signing, issuing), (issuing, root), (root, root)):
        extensions = below.extensions
        identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        own = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert identifier.key_identifier == own.digest


def test_each_certificate_is_good_for_its_own_purpose_only(founded: Founded, now: datetime) -> None:
    """A merchant's certificate cannot pass for the bank's signature, nor for its server."""
    bank = founded.bank
    assert bank.tls is not None
    certificates = {
        ExtendedKeyUsageOID.CLIENT_AUTH: x509.load_der_x509_certificate(
            issue(bank, now).issued.der
        ),
        profile.MESSAGE_SIGNING: bank.signing.certificate,
        ExtendedKeyUsageOID.SERVER_AUTH: bank.tls.certificate,
    }
    for own, certificate in certificates.items():
        for purpose in certificates:
            if purpose == own:
                assert len(_verify(founded, certificate, purpose, now)) == 3
            else:
                with pytest.raises(VerificationError):
                    _verify(founded, certificate, purpose, now)


def test_tls_certificate_passes_the_rules_of_the_web_for_its_names_alone(
    founded: Founded, now: datetime
) -> None:
    bank = founded.bank
    assert bank.tls is not None
    policy = PolicyBuilder().store(Store([bank.root])).time(now)
    chain = [bank.issuing.certificate]
    for name in (
        x509.DNSName("pay.example"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ):
        policy.build_server_verifier(name).verify(bank.tls.certificate, chain)
    for other in (x509.DNSName("evil.example"), x509.DNSName("x.pay.example")):
        with pytest.raises(VerificationError):
            policy.build_server_verifier(other).verify(bank.tls.certificate, chain)


def test_certificate_is_valid_from_its_first_to_its_last_second(
    founded: Founded, now: datetime
) -> None:
    issued = founded.bank.issuing.issue(
        REQUEST, profile.merchant("M1"), now=now, valid=timedelta(days=1)
    )
    certificate = x509.load_der_x509_certificate(issued.der)
    purpose, second = ExtendedKeyUsageOID.CLIENT_AUTH, timedelta(seconds=1)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    # The issuing CA begins when this one does, so a second earlier neither is valid.
    for inside in (first, now, last):
        _verify(founded, certificate, purpose, inside)
    for outside in (first - second, last + second):
        with pytest.raises(VerificationError):
            _verify(founded, certificate, purpose, outside)


def test_certificate_of_another_bank_of_the_same_name_is_foreign(
    founded: Founded, now: datetime
) -> None:
    other = _issuing(now)
    issued = other.issue(REQUEST, profile.merchant("M1"), now=now)
    with pytest.raises(VerificationError):
        _verify(
            founded,
            x509.load_der_x509_certificate(issued.der),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            now,
        )


def test_end_certificate_signs_no_certificate(founded: Founded, now: datetime) -> None:
    """A merchant who signs certificates with its own is believed by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = founded.bank.issuing.issue(read_csr(new_csr(key, "M1")), profile.merchant("M1"), now=now)
    mine = x509.load_der_x509_certificate(own.der)
    forged = x509.load_der_x509_certificate(
        Authority(mine, key).issue(REQUEST, profile.merchant("M2"), now=now).der
    )
    verifier = PolicyBuilder().store(Store([founded.bank.root])).time(now)
    with pytest.raises(VerificationError):
        verifier.build_client_verifier().verify(forged, [mine, founded.bank.issuing.certificate])


def test_serials_are_random_positive_and_of_159_bits(founded: Founded, now: datetime) -> None:
    serials = {int(issue(founded.bank, now).issued.keyid, 16) for _ in range(50)}
    assert len(serials) == 50
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert any(serial >> 151 for serial in serials)
    assert {each & 1 for each in serials} == {0, 1}


def test_certificate_ends_with_its_issuer_at_the_latest() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issuing = _issuing(now, valid=timedelta(days=100))
    later = now + timedelta(days=99)
    issued = issuing.issue(REQUEST, profile.merchant("M1"), now=later)
    assert issued.not_after_ns == int((now + timedelta(days=100)).timestamp()) * SECOND
    signing = issuing.sign_signing(new_key().public_key(), now=later)
    assert signing.not_valid_after_utc == now + timedelta(days=100)
    earlier = now - timedelta(minutes=4)
    assert issuing.issue(REQUEST, profile.merchant("M1"), now=earlier).not_before_ns == (
        int((now - timedelta(minutes=5)).timestamp()) * SECOND
    )


@pytest.mark.parametrize("days", [-1, 101])
def test_ca_that_is_not_valid_signs_nothing(days: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issuing = _issuing(now, valid=timedelta(days=100))
    at = now + timedelta(days=days)
    key = new_key().public_key()
    for sign in (
        lambda: issuing.issue(REQUEST, profile.merchant("M1"), now=at),
        lambda: issuing.sign_signing(key, now=at),
        lambda: issuing.sign_tls(key, ["pay.example"], now=at),
        lambda: issuing.make_crl([], number=1, now=at),
    ):
        with pytest.raises(IssueError, match="valid from 2025-12-31 to 2026-04-11") as caught:
            sign()
        assert caught.value.reason is IssueReason.ISSUER_NOT_VALID


@pytest.mark.parametrize("valid", [timedelta(0), timedelta(days=-1), timedelta(days=3651)])
def test_validity_that_is_not_given_is_refused(
    valid: timedelta, founded: Founded, now: datetime
) -> None:
    with pytest.raises(IssueError) as caught:
        founded.bank.issuing.issue(REQUEST, profile.merchant("M1"), now=now, valid=valid)
    assert caught.value.reason is IssueReason.VALIDITY


def test_instant_may_come_from_any_time_zone() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issuing = _issuing(now)
    in_shanghai = now.astimezone(timezone(timedelta(hours=8)))
    one = issuing.issue(REQUEST, profile.merchant("M1"), now=in_shanghai)
    assert one.not_before_ns == int((now - timedelta(minutes=5)).timestamp()) * SECOND


@pytest.mark.parametrize(
    "text",
    ["", " ", "x ", " x", "a\nb", "a\0b", "x" * 65, "银" * 22, "e\u0301", "a\u200bb", "a\u202eb"],
)
def test_name_that_cannot_be_seen_as_it_is_gets_into_no_certificate(text: str) -> None:
    with pytest.raises(IssueError) as caught:
        profile.bank(text)
    assert caught.value.reason is IssueReason.NAME
    assert "\n" not in str(caught.value)
    with pytest.raises(IssueError):
        new_root(text, now=datetime.now(UTC))


@pytest.mark.parametrize("number", ["", "M/1", "M 1", "商户", "x" * 65, "M1\n"])
def test_merchant_whose_number_is_none_gets_no_certificate(number: str) -> None:
    with pytest.raises(IssueError) as caught:
        profile.merchant(number)
    assert caught.value.reason is IssueReason.NAME


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["*.pay.example"],
        ["pay..example"],
        ["-pay.example"],
        ["pay.example."],
        ["支付.example"],
        ["pay.example:443"],
        ["https://pay.example"],
        ["300.1.1.1"],
        ["x" * 64 + ".example"],
        [".".join(["x" * 50] * 6)],
        ["good.example", "bad name"],
    ],
)
def test_host_that_is_no_name_gets_no_certificate(
    hosts: Sequence[str], founded: Founded, now: datetime
) -> None:
    with pytest.raises(IssueError) as caught:
        founded.bank.issuing.sign_tls(new_key().public_key(), hosts, now=now)
    assert caught.value.reason is IssueReason.NAME


@settings(max_examples=50)
@given(st.text(max_size=70))
def test_name_is_refused_or_stands_in_the_certificate_as_it_is(text: str) -> None:
    try:
        holder = profile.bank(text)
    except IssueError:
        return
    subject = profile.subject("Example Bank", holder.unit, holder.name)
    assert x509.Name.from_rfc4514_string(subject.rfc4514_string()) == subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == text


def test_crl_names_what_was_revoked_and_is_signed_by_the_issuing_ca(
    founded: Founded, now: datetime
) -> None:
    issuing = founded.bank.issuing
    clients = [issue(founded.bank, now, f"M{n}").issued for n in range(6)]
    revoked = [
        Revoked(client.keyid, client.not_before_ns + n * SECOND, reason)
        for n, (client, reason) in enumerate(zip(clients, RevocationReason, strict=True))
    ]
    made = issuing.make_crl(revoked, number=7, now=now, valid=timedelta(hours=6))
    crl = x509.load_der_x509_crl(made.der)
    assert x509.load_pem_x509_crl(made.pem) == crl
    key = issuing.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)
    assert crl.issuer == issuing.certificate.subject
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier == x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    assert crl.last_update_utc == now.replace(microsecond=0) - timedelta(minutes=5)
    assert crl.next_update_utc == now.replace(microsecond=0) + timedelta(hours=6)
    assert crl.next_update_utc is not None
    assert made.next_update_ns == int(crl.next_update_utc.timestamp()) * SECOND
    assert len(crl) == 6
    for each in revoked:
        entry = crl.get_revoked_certificate_by_serial_number(int(each.keyid, 16))
        assert entry is not None
        assert int(entry.revocation_date_utc.timestamp()) == each.revoked_ns // SECOND
        if each.reason is RevocationReason.UNSPECIFIED:
            assert not list(entry.extensions), "RFC 5280: it should be left out"
        else:
            told = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
            assert told.name == each.reason


def test_empty_crl_is_a_list_too(founded: Founded, now: datetime) -> None:
    made = founded.bank.issuing.make_crl([], number=0, now=now)
    assert len(x509.load_der_x509_crl(made.der)) == 0
    with pytest.raises(IssueError):
        founded.bank.issuing.make_crl([], number=1, now=now, valid=timedelta(0))


def test_crl_url_stands_in_end_certificates_where_one_is_configured(
    founded: Founded, now: datetime
) -> None:
    url = "http://pay.example/v1/crl"
    issuing = founded.bank.issuing
    with_url = Authority(issuing.certificate, issuing.private_key, crl_url=url)
    certificate = x509.load_der_x509_certificate(
        with_url.issue(REQUEST, profile.merchant("M1"), now=now).der
    )
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [point.full_name for point in points] == [[x509.UniformResourceIdentifier(url)]]
