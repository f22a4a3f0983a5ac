"""Mutual TLS at the ops port: nobody is heard without a certificate, and nobody let in by it."""

import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.ca import ceremony
from gateway.ca.master_key import new_master_key
from gateway.cli import run
from gateway.exits import INPUT
from gateway.front import ports
from gateway.listener.address import ListenError
from gateway.listener.tls import MutualTlsFiles, TlsFileError, subject_of
from gateway.ops.listener import BOUNDS
from gateway.ops.office import VerifyAudit
from gateway.ops.operators import Role
from gateway.server import _read_again_on_signal
from storage.folder import Folder
from tests.gateway.certificates import Signer
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.house import MORNING, PASSWORD
from tests.gateway.ops.operators import LIMIT_S, Ops
from tests.gateway.serving import serving
from tests.gateway.signed_desk import new_bank

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

PROBES = ("/healthz", "/readyz", "/metrics", "/ops/openapi.json")


class Place:
    """A folder with a bank's own authority for its operators, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = Signer(folder)
        self.files = MutualTlsFiles(*self.signer.sign("server"), self.signer.file)

    def context(self, name: str | None) -> ssl.SSLContext:
        """Return the context of an operator's machine, with a certificate of this name or none."""
        return self.signer.client(None if name is None else self.signer.sign(name))

    @asynccontextmanager
    async def node(self, listen: str = "127.0.0.1:0") -> AsyncIterator[Guarded]:
        """Serve a node; the client has a certificate for `laptop-1`."""
        data, master_key = self.folder / "bank", new_master_key()
        context = self.context("laptop-1")
        async with (
            serving(data, ops_listen=listen, ops_tls=self.files, master_key=master_key) as running,
            httpx2.AsyncClient(timeout=LIMIT_S, verify=context) as client,
        ):
            yield Guarded(Ops(running, client), data, master_key)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_nobody_is_heard_who_shows_no_certificate_of_the_right_authority(
    place: Place, tmp_path: Path
) -> None:
    """Not even a probe is answered; TLS 1.2 is not spoken, nor plain HTTP."""
    stranger = Signer(tmp_path, "stranger")
    other = place.context(None)
    other.load_cert_chain(*stranger.sign("laptop-9"))
    old = place.context("laptop-1")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with place.node() as guarded:
        for context in (place.context(None), other, old):
            async with httpx2.AsyncClient(timeout=LIMIT_S, verify=context) as client:
                for path in PROBES:
                    with pytest.raises(httpx2.TransportError):
                        await client.get(f"{guarded.address}{path}")
        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            with pytest.raises(httpx2.TransportError):
                await client.get(guarded.address.replace("https:", "http:") + "/healthz")
        for path in PROBES:
            answer = await guarded.ops.client.get(f"{guarded.address}{path}")
            assert answer.status_code == 200


async def test_certificate_lets_nobody_in_by_itself(place: Place) -> None:
    async with place.node() as guarded:
        answer = await guarded.ops.client.get(f"{guarded.address}/ops/shards")
        assert (answer.status_code, answer.json()["code"]) == (401, "NO_SESSION")


async def test_entries_of_a_connection_have_its_certificates_subject(place: Place) -> None:
    """Also where a login or a look is refused; a shell's have none."""
    async with place.node() as guarded:
        for role in (Role.VIEWER, Role.AUDITOR):
            await guarded.take_on(role)
        wrong = {"name": "viewer", "password": f"not {PASSWORD}"}
        await guarded.ops.client.post(f"{guarded.address}/ops/sessions", json=wrong)
        await guarded.look("/ops/shards")
        await guarded.look("/ops/audit", status=403)
        found = await guarded.entries()
        assert {each["certificate"] for each in found if each["role"]} == {"CN=laptop-1"}
        assert {each["certificate"] for each in found if not each["role"]} == {""}
        assert [(each["action"], each["outcome"]) for each in found][-3:] == [
            ("log_in", "LOGIN_REFUSED"),
            ("list_shards", "200"),
            ("list_audit_entries", "RIGHT_MISSING"),
        ]
        assert (await guarded.shell(VerifyAudit()))["ok"]


async def test_session_is_worth_nothing_with_another_certificate(place: Place) -> None:
    """Whoever has stolen a token needs the machine that it was given to; a new certificate of the
    same name goes on with it."""
    async with place.node() as guarded:
        await guarded.take_on(Role.VIEWER)
        headers = {"authorization": f"Bearer {guarded.tokens[Role.VIEWER]}"}
        for name, status in (("laptop-2", 401), ("laptop-1", 200)):
            context = place.context(name)
            async with httpx2.AsyncClient(timeout=LIMIT_S, verify=context) as client:
                answer = await client.get(f"{guarded.address}/ops/session", headers=headers)
                assert answer.status_code == status


async def test_port_goes_by_the_hosts_of_its_certificate(place: Place) -> None:
    """On whichever of the machine's addresses it was reached; by no other name."""
    async with place.node("0.0.0.0:0") as guarded:
        port = guarded.address.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1"):
            answer = await guarded.ops.client.get(f"https://{host}:{port}/healthz")
            assert answer.status_code == 200
        for host in ("evil.example", f"evil.example:{port}", f"0.0.0.0:{port}", "localhost"):
            headers = {"host": host}
            answer = await guarded.ops.client.get(
                f"https://127.0.0.1:{port}/healthz", headers=headers
            )
            assert (answer.status_code, answer.json()["code"]) == (421, "MISDIRECTED_REQUEST")


async def test_handshakes_that_do_not_end_keep_no_operator_out(place: Place) -> None:
    async with place.node() as guarded:
        port = int(guarded.address.rpartition(":")[2])
        stalled = [
            await trio.open_tcp_stream("127.0.0.1", port)
            for _ in range(BOUNDS.connections_max + 10)
        ]
        answer = await guarded.ops.client.get(f"{guarded.address}/healthz")
        assert answer.status_code == 200
        for each in stalled:
            await trio.aclose_forcefully(each)


def test_address_for_all_wants_hosts_in_the_certificate() -> None:
    """A wildcard is none: nobody can be addressed by it."""

    def opened(*hosts: str) -> Any:
        with ports(
            "127.0.0.1:0", None, (), "http", anywhere=False, ops_listen="0.0.0.0:0", ops_hosts=hosts
        ) as found:
            return found.ops

    with pytest.raises(ListenError, match="needs hosts in --ops-cert"):
        opened("*.bank.example")
    ops = opened("*.bank.example", "Ops.Bank.Example", "[::1]")
    port = ops.address.rpartition(":")[2]
    assert ops.names.authorities == {f"ops.bank.example:{port}", f"[::1]:{port}"}


def _given(place: Place, *names: str) -> list[str]:
    certificate, key = place.signer.sign("server")
    files = {"--ops-cert": certificate, "--ops-key": key, "--ops-client-ca": place.signer.file}
    return [each for name in names for each in (name, str(files[name]))]


CERT, KEY, CA = "--ops-cert", "--ops-key", "--ops-client-ca"
BEYOND = ("--ops-listen", "192.0.2.1:9090")


@pytest.mark.parametrize(
    ("listen", "files", "said"),
    [
        (BEYOND, (), "without mutual TLS operators are served on loopback only"),
        (BEYOND, (CERT, KEY), "mutual TLS takes --ops-cert, --ops-key and --ops-client-ca"),
        (BEYOND, (CERT, CA), "all three"),
        (BEYOND, (CA,), "all three"),
        (("--ops-listen", "127.0.0.1:0"), (CERT, KEY), "all three"),
        ((), (CERT, KEY, CA), "are for --ops-listen"),
        (("--ops-listen", "nowhere"), (CERT, KEY, CA), "--ops-listen 'nowhere'"),
    ],
)
def test_options_that_are_not_whole_are_refused_in_a_line(
    place: Place,
    listen: tuple[str, ...],
    files: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["serve", "--data", str(place.folder), "--unsigned", *listen]
    assert run([*arguments, *_given(place, *files)]) == INPUT
    err = capsys.readouterr().err
    assert err.startswith("piaohao: ")
    assert err.count("\n") == 1
    assert said in err


def test_files_that_cannot_be_used_are_named_by_their_options(place: Place) -> None:
    certificate, key = place.signer.sign("server")
    _, other = place.signer.sign("other")
    empty = place.folder / "empty.pem"
    empty.touch()
    for files, said in [
        ((certificate, other, place.signer.file), "--ops-cert .* with --ops-key .*mismatch"),
        ((certificate, key, empty), "--ops-client-ca .*empty.pem"),
        ((place.folder / "none", key, place.signer.file), "none: No such file"),
    ]:
        with pytest.raises(TlsFileError, match=said):
            MutualTlsFiles(*files)


def test_banks_own_ca_is_no_authority_for_operators(place: Place, tmp_path: Path) -> None:
    """It certifies merchants: each of them would be let in."""
    keys = new_bank(tmp_path / "keys")
    own = (keys.root, keys.issuing.certificate)
    place.files.refuse_authorities(*own)
    for each in own:
        both = tmp_path / "both.pem"
        both.write_bytes(place.signer.file.read_bytes() + each.public_bytes(Encoding.PEM))
        files = MutualTlsFiles(*place.signer.sign("server"), both)
        with pytest.raises(TlsFileError, match="operators want one of their own"):
            files.refuse_authorities(*own)


def test_node_refuses_its_own_ca_as_the_operators_authority(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    master_key = new_master_key()
    master_key.write(tmp_path / "master.key")
    ceremony.found(tmp_path / "keys", "Example Bank", master_key, now=datetime.now(UTC))
    with closing(Folder(tmp_path / "bank", create=True)) as folder:
        folder.create("2026-01-05", MORNING)
    given = _given(place, CERT, KEY, CA)
    given[-1] = str(tmp_path / "keys" / "root.crt")
    keys = ["--keys", str(tmp_path / "keys"), "--master-key", str(tmp_path / "master.key")]
    data = ["--data", str(tmp_path / "bank"), "--plain", "--ops-listen", "127.0.0.1:0"]
    assert run(["serve", *data, *keys, *given]) == INPUT
    assert "operators want one of their own" in capsys.readouterr().err


async def test_files_are_read_again_on_a_signal_each_by_itself(place: Place) -> None:
    """One that cannot be used holds up no other."""
    broken = MutualTlsFiles(*place.signer.sign("broken"), place.signer.file)
    (place.folder / "broken.pem").write_bytes(b"")
    before = place.folder / "server.pem"
    old = before.read_bytes()
    async with place.node() as guarded, trio.open_nursery() as nursery:
        await nursery.start(_read_again_on_signal, [broken, place.files])
        place.signer.sign("server")
        assert before.read_bytes() != old
        signal.raise_signal(signal.SIGHUP)
        port = int(guarded.address.rpartition(":")[2])
        wanted = x509.load_pem_x509_certificate(before.read_bytes())
        with trio.fail_after(LIMIT_S):
            shown = None
            while shown != wanted:
                stream = await trio.open_ssl_over_tcp_stream(
                    "localhost", port, ssl_context=place.context("laptop-1")
                )
                await stream.do_handshake()
                shown = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))
                await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


def _certificate(*attributes: x509.NameAttribute[str]) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name(attributes)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_subject_is_plain_and_short_whatever_a_certificate_says() -> None:
    """It stands in the audit log, and on pages that show it."""
    named = NameOID.ORGANIZATIONAL_UNIT_NAME
    assert subject_of(None) == ""
    assert subject_of(_certificate(x509.NameAttribute(NameOID.COMMON_NAME, "duty-1"))) == (
        "CN=duty-1"
    )
    hostile = subject_of(_certificate(x509.NameAttribute(named, "a\nCN=duty-2\x1b[2J\u202e票")))
    assert hostile.isascii()
    assert hostile.isprintable()
    assert hostile.startswith("OU=a\\n")
    long = subject_of(_certificate(*[x509.NameAttribute(named, "x" * 60)] * 9))
    assert len(long) <= 203
    nobody = _certificate()
    assert subject_of(nobody).startswith("sha256:")
    assert subject_of(nobody) != subject_of(_certificate())


async def test_browser_over_tls_has_a_cookie_that_is_this_hosts_and_its_certificates(
    place: Place,
) -> None:
    """With another machine's certificate the same cookie is nobody's."""
    async with place.node() as guarded:
        await guarded.take_on(Role.VIEWER)
        form = {"name": "viewer", "password": PASSWORD, "back": "/console/shards"}
        own = {"origin": guarded.address}
        login = f"{guarded.address}/console/login"
        begun = await guarded.ops.client.post(login, data=form, headers=own)
        assert (begun.status_code, begun.headers["location"]) == (303, "/console/shards")
        value, *attributes = begun.headers["set-cookie"].split("; ")
        assert value.startswith("__Host-piaohao_session=")
        assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= {*attributes}
        shards = f"{guarded.address}/console/shards"
        seen = await guarded.ops.client.get(shards, headers={"cookie": value})
        assert seen.status_code == 200
        assert "Shards and links" in seen.text
        plain = {"cookie": value.removeprefix("__Host-")}
        async with httpx2.AsyncClient(timeout=LIMIT_S, verify=place.context("laptop-2")) as other:
            assert (await other.get(shards, headers={"cookie": value})).status_code == 303
            assert (await other.get(shards, headers=plain)).status_code == 303
