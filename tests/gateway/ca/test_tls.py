"""Handshakes over real sockets: OpenSSL's view of what the CA has made."""

import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.ca import ceremony, profile
from gateway.ca.algorithm import PrivateKey, PublicKey
from gateway.ca.authority import Authority, RevocationReason, Revoked
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import new_csr, new_key, read_csr
from gateway.ca.master_key import MasterKey
from gateway.ca.vault import Vault
from gateway.signatures.keys import Algorithm
from tests.gateway.ca.founded import Client, Founded, issue

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

PATIENCE_S = 20
FOREIGN = "server: .*certificate signature failure|server: .*unable to get local issuer"
PURPOSE = "server: .*(unsupported|unsuitable) certificate purpose"
"""What OpenSSL says; its versions differ a little."""


def _server(bank: BankKeys, clients: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
    assert bank.tls is not None
    return bank.tls.context(clients)


def _trusting(bank: BankKeys) -> ssl.SSLContext:
    """A client that knows the bank's root and nothing else."""
    root = bank.root.public_bytes(Encoding.PEM).decode()
    return ssl.create_default_context(cadata=root)


def _with(
    context: ssl.SSLContext, key: PrivateKey, certificate: bytes, folder: Path
) -> ssl.SSLContext:
    """Give a client its key and certificate, as a merchant keeps them."""
    path = folder / "client.pem"
    path.write_bytes(
        certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context.load_cert_chain(path)
    return context


def _client(bank: BankKeys, client: Client, folder: Path) -> ssl.SSLContext:
    """A merchant that knows the bank's root and has a certificate."""
    return _with(_trusting(bank), client.key, client.issued.pem, folder)


class RefusedError(Exception):
    """A side refused the handshake; the message is what OpenSSL said of it there."""


async def _handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> str | None:
    """Shake hands over a socket; returns the client's CN as the server saw it, None without one.

    Raises:
        RefusedError: one of the two refused.
    """
    refusals: list[str] = []
    told: bytes | bytearray = b""
    with trio.fail_after(PATIENCE_S):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery, listeners[0]:
            nursery.start_soon(_answer, listeners[0], server, refusals)
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                secure = trio.SSLStream(stream, client, server_hostname=host)
                try:
                    # In TLS 1.3 a client is through before the server has looked at it.
                    await secure.do_handshake()
                    told = await secure.receive_some(100)
                except trio.BrokenResourceError as error:
                    refusals.append(f"client: {error.__cause__}")
    if refusals:
        raise RefusedError("; ".join(refusals))
    return told.decode().removeprefix("CN=") or None


async def _answer(
    listener: trio.SocketListener, context: ssl.SSLContext, refusals: list[str]
) -> None:
    """Tell one client who it is, or refuse it."""
    async with await listener.accept() as stream:
        secure = trio.SSLStream(stream, context, server_side=True)
        try:
            await secure.do_handshake()
            der = secure.getpeercert(binary_form=True)
            name = ""
            if der:
                subject = x509.load_der_x509_certificate(der).subject
                name = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
            await secure.send_all(f"CN={name}".encode())
        except trio.BrokenResourceError as error:
            refusals.append(f"server: {error.__cause__}")


@pytest.mark.parametrize("host", ["localhost", "pay.example", "127.0.0.1"])
async def test_client_that_knows_the_root_trusts_the_server(founded: Founded, host: str) -> None:
    """The server sends the issuing CA's certificate along; its key was never in the clear."""
    assert await _handshake(_server(founded.bank), _trusting(founded.bank), host) is None


async def test_files_of_the_server_serve_a_listener_that_takes_paths(founded: Founded) -> None:
    """Hypercorn, for one, makes its context by itself: the chain has to be in the file."""
    tls = founded.bank.tls
    assert tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    password = tls.master_key.password().decode()
    context.load_cert_chain(tls.certificate_path, tls.key_path, password)
    assert await _handshake(context, _trusting(founded.bank)) is None


async def test_client_refuses_the_server_under_another_name(founded: Founded) -> None:
    with pytest.raises(RefusedError, match=r"client: .*Hostname mismatch"):
        await _handshake(_server(founded.bank), _trusting(founded.bank), "evil.example")


async def test_client_that_knows_another_root_refuses_the_server(
    founded: Founded, tmp_path: Path, now: datetime
) -> None:
    other = _other_bank(founded, tmp_path, now)
    with pytest.raises(RefusedError, match=r"client: .*certificate verify failed"):
        await _handshake(_server(founded.bank), _trusting(other))


def _other_bank(founded: Founded, folder: Path, now: datetime) -> BankKeys:
    """A CA of the same name: who trusts by name alone is deceived."""
    name = founded.bank.issuing.bank
    vault = ceremony.found(folder / "other", name, founded.master_key, now=now)
    ceremony.add_tls(vault, founded.master_key, ["localhost"], now=now)
    return BankKeys.load(vault.path, founded.master_key)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_mutual_tls_tells_the_server_which_merchant_it_is(
    algorithm: Algorithm, version: ssl.TLSVersion, founded: Founded, now: datetime, tmp_path: Path
) -> None:
    bank = founded.bank
    client = _client(bank, issue(bank, now, "M1002", algorithm), tmp_path)
    client.maximum_version = version
    assert await _handshake(_server(bank, ssl.CERT_REQUIRED), client) == "M1002"


async def test_mutual_tls_refuses_a_client_without_a_certificate(founded: Founded) -> None:
    with pytest.raises(RefusedError, match="peer did not return a certificate"):
        await _handshake(_server(founded.bank, ssl.CERT_REQUIRED), _trusting(founded.bank))
    server = _server(founded.bank, ssl.CERT_OPTIONAL)
    assert await _handshake(server, _trusting(founded.bank)) is None


@pytest.mark.parametrize("clients", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
async def test_mutual_tls_refuses_a_foreign_certificate(
    clients: ssl.VerifyMode, founded: Founded, tmp_path: Path, now: datetime
) -> None:
    """Another CA's of the same name, for a merchant of the same number."""
    other = _other_bank(founded, tmp_path, now)
    client = _client(founded.bank, issue(other, now, "M1"), tmp_path)
    with pytest.raises(RefusedError, match=FOREIGN):
        await _handshake(_server(founded.bank, clients), client)
    client = _client(founded.bank, issue(founded.bank, now, "M1"), tmp_path)
    assert await _handshake(_server(founded.bank, clients), client) == "M1"


def _for_a_server(issuing: Authority, key: PublicKey, now: datetime) -> x509.Certificate:
    return issuing.sign_tls(key, ["localhost"], now=now)


def _for_messages(issuing: Authority, key: PublicKey, now: datetime) -> x509.Certificate:
    return issuing.sign_signing(key, now=now)


@pytest.mark.parametrize("sign", [_for_a_server, _for_messages])
async def test_mutual_tls_refuses_certificates_that_are_for_other_things(
    sign: Callable[[Authority, PublicKey, datetime], x509.Certificate],
    founded: Founded,
    tmp_path: Path,
    now: datetime,
) -> None:
    key = new_key(Algorithm.ECDSA_P256)
    certificate = sign(founded.bank.issuing, key.public_key(), now)
    client = _with(_trusting(founded.bank), key, certificate.public_bytes(Encoding.PEM), tmp_path)
    with pytest.raises(RefusedError, match=PURPOSE):
        await _handshake(_server(founded.bank, ssl.CERT_REQUIRED), client)


@pytest.mark.parametrize(
    ("made_days_ago", "why"),
    [(10, "server: .*certificate has expired"), (-1, "server: .*certificate is not yet valid")],
    ids=["expired", "not valid yet"],
)
async def test_mutual_tls_refuses_a_certificate_at_the_wrong_time(
    made_days_ago: int,
    why: str,
    tmp_path: Path,
    master_key: MasterKey,
    now: datetime,
) -> None:
    vault = ceremony.found(tmp_path / "keys", "Bank", master_key, now=now - timedelta(days=20))
    ceremony.add_tls(vault, master_key, ["localhost"], now=now)
    bank = BankKeys.load(vault.path, master_key)
    key = new_key()
    issued = bank.issuing.issue(
        read_csr(new_csr(key, "M1")),
        profile.merchant("M1"),
        now=now - timedelta(days=made_days_ago),
        valid=timedelta(days=9),
    )
    server = _server(bank, ssl.CERT_REQUIRED)
    with pytest.raises(RefusedError, match=why):
        await _handshake(server, _client(bank, Client(key, issued), tmp_path))
    in_time = _client(bank, issue(bank, now), tmp_path)
    assert await _handshake(server, in_time) == "M1"


async def test_openssl_reads_the_crl_and_refuses_whom_it_names(
    founded: Founded, tmp_path: Path, now: datetime
) -> None:
    bank = founded.bank
    gone, there = issue(bank, now, "M1"), issue(bank, now, "M2")
    crl = bank.issuing.make_crl(
        [Revoked(gone.issued.keyid, gone.issued.not_before_ns, RevocationReason.KEY_COMPROMISE)],
        number=1,
        now=now,
    )
    (tmp_path / "crl.pem").write_bytes(crl.pem)
    server = _server(bank, ssl.CERT_REQUIRED)
    server.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    server.load_verify_locations(tmp_path / "crl.pem")
    with pytest.raises(RefusedError, match=r"server: .*certificate revoked"):
        await _handshake(server, _client(bank, gone, tmp_path))
    assert await _handshake(server, _client(bank, there, tmp_path)) == "M2"


async def test_openssl_accepts_the_crl_and_old_certificates_after_the_issuing_ca_was_renewed(
    vault: Vault, founded: Founded, tmp_path: Path, now: datetime
) -> None:
    """It keeps its key: one list is good for all that it has signed, before and after."""
    before = issue(founded.bank, now, "M1"), issue(founded.bank, now, "M2")
    ceremony.renew_issuing(vault, founded.master_key, now=now)
    bank = BankKeys.load(vault.path, founded.master_key)
    crl = bank.issuing.make_crl([Revoked(before[1].issued.keyid, 0)], number=2, now=now)
    (tmp_path / "crl.pem").write_bytes(crl.pem)
    server = _server(bank, ssl.CERT_REQUIRED)
    server.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    server.load_verify_locations(tmp_path / "crl.pem")
    for client in (before[0], issue(bank, now, "M1")):
        assert await _handshake(server, _client(bank, client, tmp_path)) == "M1"
    with pytest.raises(RefusedError, match=r"server: .*certificate revoked"):
        await _handshake(server, _client(bank, before[1], tmp_path))


async def test_old_versions_of_tls_are_refused(founded: Founded) -> None:
    """A client that would put up with TLS 1.1, and asks OpenSSL to."""
    client = _trusting(founded.bank)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    # Where OpenSSL was built without it, the client does not even ask.
    with pytest.raises(RefusedError, match=r"unsupported protocol|no protocols available"):
        await _handshake(_server(founded.bank), client)
