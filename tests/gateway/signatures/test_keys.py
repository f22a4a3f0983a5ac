"""Keys: each has its one algorithm, weak ones are refused, and no bytes make verifying raise."""

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.signatures.keys import PrivateKey, PublicKey, UnfitKeyError
from tests.gateway.signatures.signers import KEYS

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

BY_ALG = pytest.mark.parametrize("alg", KEYS)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _raw(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@BY_ALG
def test_key_verifies_what_it_signed_and_nothing_else(alg: str) -> None:
    key = KEYS[alg]
    signature = key.sign(b"base")
    assert len(signature) == (256 if alg == "rsa-pss-sha512" else 64)
    public = PublicKey.from_spki(key.public.spki)
    assert public.alg == key.alg == key.public.alg == alg
    assert public.spki == key.public.spki
    assert public.verify(signature, b"base")
    assert not public.verify(signature, b"bass")
    for other in KEYS.values():
        assert other is key or not other.public.verify(signature, b"base")


@BY_ALG
def test_signature_with_any_bit_flipped_is_refused(alg: str) -> None:
    public, signature = KEYS[alg].public, KEYS[alg].sign(b"base")
    step = 1 if len(signature) == 64 else 5
    for bit in range(0, 8 * len(signature), step):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not public.verify(bytes(flipped), b"base")


@BY_ALG
@given(signature=st.binary(max_size=300), base=st.binary(max_size=20))
def test_verifying_any_bytes_answers_no(alg: str, signature: bytes, base: bytes) -> None:
    assert KEYS[alg].public.verify(signature, base) is False


@BY_ALG
@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 96, 128, 255, 257, 512])
def test_signature_of_another_length_is_refused(alg: str, length: int) -> None:
    signature = (KEYS[alg].sign(b"base") * 9)[:length]
    assert not KEYS[alg].public.verify(signature, b"base")


def test_ecdsa_signature_in_der_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.sign(b"base", ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    public = PublicKey(key.public_key())
    assert public.verify(_raw(r, s), b"base")
    assert not public.verify(der, b"base")


def test_ecdsa_signature_with_zeros_in_between_is_refused() -> None:
    """The same two numbers, in more bytes than they have to have."""
    key = KEYS["ecdsa-p256-sha256"]
    signature = key.sign(b"base")
    assert not key.public.verify(signature[:32] + b"\0" + signature[32:], b"base")
    assert not key.public.verify(signature[:32] + bytes(32) + signature[32:], b"base")


@pytest.mark.parametrize("r", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
def test_ecdsa_signature_out_of_range_is_refused(r: int, s: int) -> None:
    assert not KEYS["ecdsa-p256-sha256"].public.verify(_raw(r, s), b"base")


def test_ecdsa_signature_with_short_r_is_padded() -> None:
    """One signature in 256 begins with a zero byte; it still has 64 bytes and verifies."""
    key = KEYS["ecdsa-p256-sha256"]
    for number in range(10_000):
        base = b"%d" % number
        signature = key.sign(base)
        if signature[0] == 0:
            assert len(signature) == 64
            assert key.public.verify(signature, base)
            return
    raise AssertionError("10,000 signatures, and none begins with a zero")


SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_ed25519_key_of_order_one_would_verify_a_signature_of_nobody() -> None:
    """Why such keys are refused: this fits every message, and no private key made it."""
    identity = bytes.fromhex(SMALL_ORDER[1])
    key = ed25519.Ed25519PublicKey.from_public_bytes(identity)
    for base in (b"one", b"another"):
        key.verify(identity + bytes(32), base)
    with pytest.raises(UnfitKeyError):
        PublicKey(key)


@pytest.mark.parametrize("sign", [0x00, 0x80])
@pytest.mark.parametrize("point", SMALL_ORDER)
def test_ed25519_key_of_small_order_is_refused(point: str, sign: int) -> None:
    raw = bytearray.fromhex(point)
    raw[31] |= sign
    with pytest.raises(UnfitKeyError):
        PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(bytes(raw)))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(rsa.generate_private_key(65_537, 1_024), id="rsa-1024"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="p-384"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(ed448.Ed448PrivateKey.generate(), id="ed448"),
        pytest.param(dsa.generate_private_key(1_024), id="dsa"),
    ],
)
def test_key_of_another_kind_is_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | dsa.DSAPrivateKey,
) -> None:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnfitKeyError):
        PublicKey.from_spki(spki)
    with pytest.raises(UnfitKeyError):
        PrivateKey.from_pem(pem)


@pytest.mark.parametrize("bits", [2_047, 4_097])
def test_rsa_key_of_unfit_size_is_refused(bits: int) -> None:
    """Public numbers alone: making a key of 4,097 bits takes seconds."""
    with pytest.raises(UnfitKeyError):
        PublicKey(rsa.RSAPublicNumbers(65_537, 2 ** (bits - 1) + 1).public_key())


def test_rsa_key_with_another_exponent_is_refused() -> None:
    for exponent in (3, 65_539, 2**31 - 1):
        with pytest.raises(UnfitKeyError):
            PublicKey(rsa.RSAPublicNumbers(exponent, 2**2_047 + 1).public_key())


def test_private_key_in_encrypted_pem_wants_its_password() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    assert PrivateKey.from_pem(pem, b"open").public.spki == PrivateKey(key).public.spki
    for password in (None, b"shut"):
        with pytest.raises(UnfitKeyError):
            PrivateKey.from_pem(pem, password)


@pytest.mark.parametrize("text", [b"", b"\x30\x00", b"-----BEGIN PRIVATE KEY-----", b"\xff" * 99])
def test_text_that_is_no_key_is_refused(text: bytes) -> None:
    with pytest.raises(UnfitKeyError):
        PrivateKey.from_pem(text)
    with pytest.raises(UnfitKeyError):
        PublicKey.from_spki(text)
