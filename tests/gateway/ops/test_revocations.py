"""Operators' certificates that were taken back: no connection, and no list that is not good."""

import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
import trio
from cryptography import x509

from gateway.ca.master_key import new_master_key
from gateway.cli import run
from gateway.exits import INPUT
from gateway.listener.revocations import Revocations
from gateway.listener.tls import MutualTlsFiles, TlsFileError
from gateway.ops.operators import Role
from gateway.server import _read_again_on_signal
from tests.gateway.certificates import Signer
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S, Ops
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

GONE = (httpx2.TransportError, httpx2.StreamError)
HOUR = timedelta(hours=1)


class Lodge:
    """A folder with an authority, a list of what it has taken back, and two machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = Signer(folder)
        self.own = self.signer.sign("server")
        self.first, self.second = self.signer.sign("laptop-1"), self.signer.sign("laptop-2")
        self.crl = self.signer.take_back()
        self.files = MutualTlsFiles(*self.own, self.signer.file, self.crl)

    @asynccontextmanager
    async def node(self) -> AsyncIterator[Guarded]:
        """Serve a node; the client has the first machine's certificate."""
        data, master_key = self.folder / "bank", new_master_key()
        async with (
            serving(
                data, ops_listen="127.0.0.1:0", ops_tls=self.files, master_key=master_key
            ) as running,
            self.client(self.first) as client,
        ):
            yield Guarded(Ops(running, client), data, master_key)

    def client(self, files: tuple[Path, Path]) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=LIMIT_S, verify=self.signer.client(files))


@pytest.fixture
def lodge(tmp_path: Path) -> Lodge:
    return Lodge(tmp_path)


async def test_certificate_that_was_taken_back_gets_no_connection(
    lodge: Lodge, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even a probe is answered; the log has it once, however often it is shown."""
    lodge.signer.take_back(lodge.second)
    lodge.files.read_again()
    async with lodge.node() as guarded, lodge.client(lodge.second) as other:
        for path in ("/healthz", "/metrics", "/console/login"):
            with pytest.raises(GONE):
                await other.get(f"{guarded.address}{path}")
            assert (await guarded.ops.client.get(f"{guarded.address}{path}")).status_code == 200
    told = [each for each in caplog.messages if "taken back is shown" in each]
    serial = x509.load_pem_x509_certificate(lodge.second[0].read_bytes()).serial_number
    assert told == [f"a certificate that was taken back is shown: serial {serial:x}"]


async def test_connection_ends_when_its_certificate_is_taken_back(lodge: Lodge) -> None:
    """Also one that is a feed's; the session is worth nothing without. Others go on."""
    async with (
        lodge.node() as guarded,
        lodge.client(lodge.second) as other,
        trio.open_nursery() as nursery,
    ):
        await guarded.take_on(Role.VIEWER)
        await nursery.start(_read_again_on_signal, [lodge.files])
        feed = f"{guarded.address}/ops/feed?topics=quarantines"
        headers = {"authorization": f"Bearer {guarded.tokens[Role.VIEWER]}"}
        assert (await other.get(f"{guarded.address}/healthz")).status_code == 200
        async with guarded.ops.client.stream("GET", feed, headers=headers) as followed:
            assert followed.status_code == 200
            lodge.signer.take_back(lodge.first)
            signal.raise_signal(signal.SIGHUP)
            with trio.fail_after(LIMIT_S), pytest.raises(GONE):
                async for _ in followed.aiter_bytes():
                    pass
        with pytest.raises(GONE):
            await guarded.ops.client.get(f"{guarded.address}/healthz")
        assert (await other.get(f"{guarded.address}/healthz")).status_code == 200
        nursery.cancel_scope.cancel()


def _expired(lodge: Lodge) -> None:
    lodge.signer.take_back(lodge.second, ends=-HOUR)


def _of_tomorrow(lodge: Lodge) -> None:
    lodge.signer.take_back(lodge.second, begun=HOUR)


def _strangers(lodge: Lodge) -> None:
    folder = lodge.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    # By the same name, so that the signature alone tells.
    lodge.crl.write_bytes(Signer(folder).take_back(lodge.second).read_bytes())


def _partly_strangers(lodge: Lodge) -> None:
    own = lodge.signer.take_back(lodge.second).read_bytes()
    _strangers(lodge)
    lodge.crl.write_bytes(own + lodge.crl.read_bytes())


def _delta(lodge: Lodge) -> None:
    lodge.signer.take_back(lodge.second, extension=x509.DeltaCRLIndicator(1))


def _empty(lodge: Lodge) -> None:
    lodge.crl.write_bytes(b"")


def _torn(lodge: Lodge) -> None:
    whole = lodge.signer.take_back(lodge.second).read_bytes()
    lodge.crl.write_bytes(whole[: len(whole) // 2])


def _gone(lodge: Lodge) -> None:
    lodge.crl.unlink()


BAD: dict[Callable[[Lodge], None], str] = {
    _expired: "it was good until",
    _of_tomorrow: "which is to come",
    _strangers: "not signed by an authority of operators",
    _partly_strangers: "not signed by an authority of operators",
    _delta: "a critical extension that is not known: 2.5.29.27",
    _empty: "no revocation list in it",
    _torn: "it cannot be read",
    _gone: "No such file or directory",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda each: each.__name__)
def test_list_that_cannot_be_trusted_refuses_to_start_in_a_line(
    lodge: Lodge, spoil: Callable[[Lodge], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(lodge)
    certificate, key = map(str, lodge.own)
    given = ["--ops-cert", certificate, "--ops-key", key, "--ops-client-ca", str(lodge.signer.file)]
    ops = ["--ops-listen", "127.0.0.1:0", *given, "--ops-crl", str(lodge.crl)]
    assert run(["serve", "--data", str(lodge.folder), "--unsigned", *ops]) == INPUT
    err = capsys.readouterr().err
    assert err.startswith("piaohao: ")
    assert err.count("\n") == 1
    assert BAD[spoil] in err
    assert str(lodge.crl) in err


@pytest.mark.parametrize("spoil", BAD, ids=lambda each: each.__name__)
def test_list_that_cannot_be_trusted_leaves_the_one_that_there_was(
    lodge: Lodge, spoil: Callable[[Lodge], None]
) -> None:
    """Nothing is let in by it, and nobody kept out."""
    lodge.signer.take_back(lodge.first)
    lodge.files.read_again()
    spoil(lodge)
    with pytest.raises(TlsFileError, match=BAD[spoil]):
        lodge.files.read_again()
    shown = [_der(each) for each in (lodge.first, lodge.second)]
    assert [lodge.files.admits(each) for each in shown] == [False, True]


async def test_signal_with_a_list_that_cannot_be_trusted_is_in_the_log(
    lodge: Lodge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _expired(lodge)
    async with trio.open_nursery() as nursery:
        await nursery.start(_read_again_on_signal, [lodge.files])
        signal.raise_signal(signal.SIGHUP)
        with trio.fail_after(LIMIT_S):
            while not caplog.messages:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    (told,) = caplog.messages
    assert told.startswith(f"TLS' files are used as they were: --ops-crl {lodge.crl}: it was good")


async def test_while_a_list_is_over_nobody_is_let_in(
    lodge: Lodge, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is connected stays so; a new list lets everybody in again."""
    assert lodge.files._revocations is not None
    async with lodge.node() as guarded, lodge.client(lodge.second) as other:
        assert (await guarded.ops.client.get(f"{guarded.address}/healthz")).status_code == 200
        lodge.files._revocations.use(Revocations(frozenset(), datetime.now(UTC) - HOUR))
        for _ in range(2):
            with pytest.raises(GONE):
                await other.get(f"{guarded.address}/healthz")
        assert (await guarded.ops.client.get(f"{guarded.address}/healthz")).status_code == 200
        lodge.files.read_again()
        assert (await other.get(f"{guarded.address}/healthz")).status_code == 200
    told = [each for each in caplog.messages if "list is over" in each]
    assert told == ["the operators' revocation list is over, and nobody is let in"]


def test_list_is_for_mutual_tls(lodge: Lodge, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone it says nothing: on loopback nobody shows a certificate."""
    arguments = ["serve", "--data", str(lodge.folder), "--unsigned", "--ops-crl", str(lodge.crl)]
    assert run(arguments) == INPUT
    assert "are for --ops-listen" in capsys.readouterr().err
    assert run([*arguments, "--ops-listen", "127.0.0.1:0"]) == INPUT
    assert "all three" in capsys.readouterr().err


def _der(files: tuple[Path, Path]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files[0].read_text("ascii"))


def test_list_of_an_authority_that_may_sign_none_is_refused(tmp_path: Path) -> None:
    """Its certificate says what its key is for (RFC 5280, section 4.2.1.3)."""
    for may in (True, False):
        signer = Signer(tmp_path, signs_lists=may)
        given = (*signer.sign("server"), signer.file, signer.take_back())
        if may:
            assert MutualTlsFiles(*given).hosts
        else:
            with pytest.raises(TlsFileError, match="not signed by an authority"):
                MutualTlsFiles(*given)
