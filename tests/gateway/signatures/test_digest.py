"""Content-Digest: which headers are a digest of a body, and which are refused for what."""

import base64
import hashlib

import pytest

from gateway.signatures.digest import Algorithm, check_digest, make_digest
from gateway.signatures.error import Reason, SignatureError

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

BODY = b'{"hello": "world"}'
SHA256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
SHA512 = (
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew"
    "==:"
)
MD5 = "md5=:BuzK42gZ2EQz8Ds/o5ZYrQ==:"
OTHER_256, OTHER_512 = make_digest(b"other"), make_digest(b"other", "sha-512")


def test_digest_of_a_body_is_as_rfc_9530_prints_it() -> None:
    assert make_digest(BODY) == SHA256
    assert make_digest(BODY, "sha-512") == SHA512
    assert make_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 40])
def test_digest_that_was_made_is_accepted(algorithm: Algorithm, body: bytes) -> None:
    header = make_digest(body, algorithm)
    digest = hashlib.new(algorithm.replace("-", ""), body).digest()
    assert header == f"{algorithm}=:{base64.b64encode(digest).decode()}:"
    assert check_digest(header, body) == header


@pytest.mark.parametrize(
    "header",
    [
        SHA256,
        SHA512,
        f"{SHA256}, {SHA512}",
        f"{SHA512}, {SHA256}",
        f"{MD5}, {SHA256}",
        f"{SHA512}, {MD5}",
        f"{SHA256}, *x_y.z=::",
    ],
)
def test_digest_with_a_known_algorithm_is_accepted(header: str) -> None:
    check_digest(header, BODY)


@pytest.mark.parametrize(
    "header",
    [
        OTHER_256,
        OTHER_512,
        f"{SHA256}, {OTHER_512}",
        f"{OTHER_256}, {SHA512}",
        f"{MD5}, {OTHER_256}",
        "sha-256=::",
        f"sha-256={SHA512.partition('=')[2]}",
        f"sha-512={SHA256.partition('=')[2]}",
    ],
)
def test_digest_of_another_body_is_refused(header: str) -> None:
    """Every known digest has to match, not one of them."""
    with pytest.raises(SignatureError) as refused:
        check_digest(header, BODY)
    assert refused.value.reason is Reason.DIGEST


@pytest.mark.parametrize(
    "header",
    [
        "",
        MD5,
        "sha-256",
        "sha-256=?1",
        "sha-256=1",
        f"{SHA256},{SHA512}",
        f"{SHA256} , {SHA512}",
        f"{SHA256},  {SHA512}",
        f"{SHA256}, ",
        f", {SHA256}",
        f" {SHA256}",
        f"{SHA256} ",
        f"{SHA256}\n",
        f"{SHA256};a=1",
        f"{SHA256}, {SHA256}",
        f"{MD5}, {MD5}, {SHA256}",
        SHA256.upper(),
        SHA256.replace("sha-256", "SHA-256"),
        SHA256.replace("=:", "= :", 1),
        SHA256.replace("PE=", "PE"),
        SHA256.replace("PE=", "PE=="),
        SHA256.replace("PE=", "PF="),
        SHA256.replace("=:", "-_", 1),
        SHA256.replace("X4", "X\n4"),
        f"{SHA256}, md5=:Bg=:",
        f"{SHA256}, md5=abc",
        "sha-256=\uff1aX48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
    ],
)
def test_digest_in_another_form_is_refused(header: str) -> None:
    with pytest.raises(SignatureError) as refused:
        check_digest(header, BODY)
    assert refused.value.reason is Reason.MALFORMED


def test_digest_that_is_not_there_is_missing() -> None:
    with pytest.raises(SignatureError) as refused:
        check_digest(None, b"")
    assert refused.value.reason is Reason.MISSING
