"""Certificate signing requests: what they prove is taken, all else is ignored or refused."""

import base64
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.ca.algorithm import PrivateKey
from gateway.ca.csr import MAX_BYTES, new_csr, new_key, read_csr
from gateway.ca.errors import CsrError, CsrReason
from gateway.signatures.keys import Algorithm

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

ED25519 = new_key(Algorithm.ED25519)
GOOD = new_csr(ED25519, "M1")
DER = x509.load_pem_x509_csr(GOOD).public_bytes(Encoding.DER)
VERSION = bytes.fromhex("020100")


def _refused(text: bytes) -> CsrReason:
    with pytest.raises(CsrError) as caught:
        read_csr(text)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def _request(key: object, digest: object = None) -> bytes:
    """A request that `new_csr` would not make."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "M1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, digest).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def _tlv(tag: int, *contents: bytes) -> bytes:
    """One element of DER."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_csr_of_a_new_key_proves_the_key_and_its_algorithm(algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    request = read_csr(new_csr(key, "any name"))
    assert request.algorithm is algorithm
    assert request.spki == _spki(key)
    assert request.public_key == key.public_key()


def test_csr_of_the_smallest_rsa_key_is_taken() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert read_csr(new_csr(key, "M1")).algorithm is Algorithm.RSA_PSS


def test_csr_with_words_around_it_or_an_old_label_is_taken() -> None:
    """`openssl req -text` writes words before it, older tools write NEW, editors add lines."""
    for text in (
        b"Certificate Request:\n    Data:\n" + GOOD + b"\n\n",
        _pem(DER, "NEW CERTIFICATE REQUEST"),
        GOOD.replace(b"\n", b"\r\n"),
    ):
        assert read_csr(text).spki == _spki(ED25519)


def test_csr_with_a_point_in_another_form_gives_the_usual_one() -> None:
    """Two encodings of one key are one key to us: a P-256 point may come compressed."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = _spki(key)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    named = plain[2 : 2 + 21]  # the algorithm, P-256
    spki = _tlv(0x30, named, _tlv(0x03, b"\0", point))
    info = _tlv(0x30, VERSION, _tlv(0x30), spki, _tlv(0xA0))
    ecdsa_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    signature = _tlv(0x03, b"\0", key.sign(info, ec.ECDSA(hashes.SHA256())))
    request = read_csr(_pem(_tlv(0x30, info, ecdsa_sha256, signature)))
    assert request.spki == plain


def test_csr_in_der_is_refused() -> None:
    assert _refused(DER) is CsrReason.NOT_PEM


@pytest.mark.parametrize("text", [b"", b"\0", b"hello", GOOD[:-20], GOOD[30:], b"\xff" * 100])
def test_csr_that_is_no_pem_is_refused(text: bytes) -> None:
    assert _refused(text) is CsrReason.NOT_PEM


def test_csr_of_a_megabyte_is_refused_and_16_kib_are_read() -> None:
    assert _refused(GOOD + b" " * (1 << 20)) is CsrReason.TOO_LARGE
    padding = b" " * (MAX_BYTES - len(GOOD))
    assert read_csr(GOOD + padding).spki == _spki(ED25519)
    assert _refused(GOOD + padding + b" ") is CsrReason.TOO_LARGE


def test_several_csrs_are_refused() -> None:
    """Also where the second is no request: which block a parser takes is nobody's business."""
    assert _refused(GOOD + new_csr(new_key(), "M2")) is CsrReason.SEVERAL
    assert _refused(GOOD + GOOD) is CsrReason.SEVERAL
    assert _refused(_pem(b"x", "CERTIFICATE") + GOOD) is CsrReason.SEVERAL
    assert _refused(b"-----BEGIN" + GOOD) is CsrReason.SEVERAL


def test_csr_with_its_private_key_is_refused_and_the_key_not_repeated() -> None:
    pem = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in (pem + GOOD, GOOD + pem, pem):
        with pytest.raises(CsrError, match="throw that key away") as caught:
            read_csr(text)
        assert caught.value.reason is CsrReason.PRIVATE_KEY
        assert pem.splitlines()[1].decode() not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        _pem(DER[:-1]),
        _pem(DER + b"\0"),
        _pem(b""),
        _pem(b"\x30\x03\x02\x01\x00"),
        _pem(b"A" * 300),
        _pem(DER.replace(VERSION, bytes.fromhex("020101"), 1)),
        GOOD.replace(b"\n-----END", b"=\n-----END"),
    ],
)
def test_csr_with_damaged_content_is_refused(text: bytes) -> None:
    assert _refused(text) is CsrReason.MALFORMED


def test_csr_with_a_certificate_in_its_place_is_refused() -> None:
    assert _refused(_pem(DER, "CERTIFICATE")) is CsrReason.NOT_PEM


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512()),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
        (ed448.Ed448PrivateKey.generate(), None),
    ],
    ids=["P-384", "P-521", "secp256k1", "Ed448"],
)
def test_csr_with_a_key_of_another_type_is_refused(key: object, digest: object) -> None:
    assert _refused(_request(key, digest)) is CsrReason.KEY_TYPE


def test_csr_with_a_key_of_an_unknown_type_is_refused() -> None:
    ed, unknown = bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f")
    assert _refused(_pem(DER.replace(ed, unknown, 1))) is CsrReason.KEY_TYPE


def test_csr_that_nobody_signed_for_a_key_of_small_order_is_refused() -> None:
    """The point of order 1 with this signature verifies for every text, and so for a request."""
    point = (1).to_bytes(32, "little")
    der = DER.replace(_spki(ED25519)[-32:], point)
    forged = der[:-64] + point + bytes(32)
    assert x509.load_der_x509_csr(forged).is_signature_valid
    assert _refused(_pem(forged)) is CsrReason.SMALL_ORDER


@pytest.mark.parametrize("bits", [1024, 2047])
def test_csr_with_an_rsa_key_too_small_is_refused(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    assert _refused(_request(key, hashes.SHA256())) is CsrReason.RSA_SIZE


def test_csr_with_exponent_3_is_refused() -> None:
    key = rsa.generate_private_key(3, 2048)
    assert _refused(_request(key, hashes.SHA256())) is CsrReason.RSA_EXPONENT


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        (4096, CsrReason.WRONG_SIGNATURE),
        (4104, CsrReason.RSA_SIZE),
        (16384, CsrReason.RSA_SIZE),
    ],
)
def test_csr_with_a_huge_rsa_key_is_refused_before_its_signature_is_looked_at(
    bits: int, reason: CsrReason
) -> None:
    """Verifying with 16,384 bits takes long, so size comes first: the signature here is none."""
    modulus = _tlv(0x02, b"\0" + b"\xff" * (bits // 8))
    key = _tlv(0x03, b"\0", _tlv(0x30, modulus, bytes.fromhex("0203010001")))
    rsa_encryption = bytes.fromhex("300d06092a864886f70d0101010500")
    sha256_rsa = bytes.fromhex("300d06092a864886f70d01010b0500")
    info = _tlv(0x30, VERSION, _tlv(0x30), _tlv(0x30, rsa_encryption, key), _tlv(0xA0))
    assert _refused(_pem(_tlv(0x30, info, sha256_rsa, _tlv(0x03, b"\0none")))) is reason


def test_csr_over_a_weak_hash_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert _refused(_request(key, hashes.SHA224())) is CsrReason.SIGNATURE_HASH


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ECDSA_P256])
def test_csr_with_another_key_put_in_is_refused(algorithm: Algorithm) -> None:
    """Whoever does not hold a private key gets no certificate for its public one."""
    mine, theirs = new_key(algorithm), new_key(algorithm)
    der = x509.load_pem_x509_csr(new_csr(mine, "M1")).public_bytes(Encoding.DER)
    assert der.count(_spki(mine)) == 1
    assert _refused(_pem(der.replace(_spki(mine), _spki(theirs)))) is CsrReason.WRONG_SIGNATURE


def test_csr_with_a_tampered_signature_or_subject_is_refused() -> None:
    assert _refused(_pem(DER[:-1] + bytes([DER[-1] ^ 1]))) is CsrReason.WRONG_SIGNATURE
    assert DER.count(b"M1") == 1
    assert _refused(_pem(DER.replace(b"M1", b"M2"))) is CsrReason.WRONG_SIGNATURE


def test_csr_whose_signature_algorithm_belongs_to_another_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = x509.load_pem_x509_csr(_request(key, hashes.SHA256())).public_bytes(Encoding.DER)
    ecdsa_sha256, unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")
    assert _refused(_pem(der.replace(ecdsa_sha256, unknown))) is CsrReason.WRONG_SIGNATURE
    ed, ed448_oid = bytes.fromhex("06032b6570"), bytes.fromhex("06032b6571")
    head, _, tail = DER.rpartition(ed)  # the last one names the signature's
    assert _refused(_pem(head + ed448_oid + tail)) is CsrReason.WRONG_SIGNATURE


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), max_size=4))
def test_csr_with_any_bytes_changed_is_refused_by_a_reason_or_proves_the_same_key(
    changes: list[tuple[int, int]],
) -> None:
    der = bytearray(DER)
    for place, value in changes:
        der[place] = value
    try:
        request = read_csr(_pem(bytes(der)))
    except CsrError:
        return
    assert der == DER
    assert request.spki == _spki(ED25519)


@given(st.binary(max_size=600), st.booleans())
def test_csr_of_any_bytes_is_refused_by_a_reason(content: bytes, armoured: bool) -> None:
    _refused(_pem(content) if armoured else content)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_new_csr_with_a_name_of_no_proper_length_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="64"):
        new_csr(ED25519, name)


def test_new_key_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="hmac-sha256"):
        new_key("hmac-sha256")
    assert isinstance(new_key(), ed25519.Ed25519PrivateKey)


def test_module_for_merchants_needs_nothing_of_the_engine() -> None:
    """A merchant's program imports it alone."""
    code = (
        "import sys, gateway.ca.csr\n"
        "ours = {m for m in sys.modules if m.split('.')[0] in {'engine', 'actors', 'storage',"
        " 'lmdb', 'trio', 'quart'}}\nassert not ours, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
