"""`piaohao serve`: run a node on a store, until SIGTERM or Ctrl-C."""

import resource
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators

from gateway.exits import INPUT, CommandError

LogFormat = Literal["text", "json"]

if TYPE_CHECKING:
    from gateway.ca.bank_keys import BankKeys
    from gateway.ca.master_key import MasterKey
    from gateway.listener.tls import MutualTlsFiles, TlsFiles
    from gateway.server import Serving

app = App(name="piaohao serve", version_flags=())


@app.default
def serve(
    *,
    data: Path,
    keys: Path | None = None,
    master_key: Path | None = None,
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    listen: str = "127.0.0.1:8080",
    express_listen: str | None = None,
    ops_listen: str | None = None,
    ops_cert: Path | None = None,
    ops_key: Path | None = None,
    ops_client_ca: Path | None = None,
    ops_crl: Path | None = None,
    backups: Path | None = None,
    name: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
    plain: Annotated[bool, Parameter(negative=())] = False,
    log: LogFormat = "text",
    log_requests: Annotated[bool, Parameter(negative=())] = False,
    rate: Annotated[float, Parameter(validator=validators.Number(gte=0.01, lte=1e6))] = 500.0,
    connections: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 4_096,
    connections_per_peer: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 256,
    webhook_allow: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    clock: Literal["wall", "domain"] = "wall",
    timeout_s: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=60))] = 10.0,
) -> None:
    """Run a node on a store, until SIGTERM or Ctrl-C.

    It prints one line with its address once it answers, and one each with those of its express and
    ops listeners if it has them. When told to stop it finishes what it has admitted. If a commit
    fails it ends at once with code 74; nothing of that commit has been acknowledged, and the node
    can be started again.

    Example: piaohao serve --data bank --listen 127.0.0.1:8080

    Parameters
    ----------
    data:
        Folder of the store; `piaohao init` makes one.
    keys:
        Folder of the bank's keys (`piaohao ca init` makes one); `keys` in the store's folder if
        absent. Requests have to be signed, and answers are.
    master_key:
        File of the master key that opens them; PIAOHAO_MASTER_KEY if absent. Operators' one-time
        codes need it too, also on an unsigned node.
    unsigned:
        Anybody may ask for anything, on loopback only. For laboratories; wants no keys, and with
        `--keys` it can certify.
    listen:
        Address and port; port 0 takes a free one.
    express_listen:
        The same for a second port, on which payments, authorizations, refunds and arrays of
        commands are served for a third of the work, and nothing else is (docs/API.md).
    ops_listen:
        The same for a port by which operators and their tools look at the node: /healthz, /readyz,
        /metrics and what is behind a login (docs/ops/). It answers while the node still recovers.
        On loopback only, but with the three that follow.
    ops_cert:
        PEM file of the ops port's own certificate and those between it and a root; the port goes by
        the hosts in it. It is read again on SIGHUP, and so is the key.
    ops_key:
        PEM file of its key.
    ops_client_ca:
        PEM file of those who sign operators' certificates, and nobody else's: who shows none of
        theirs gets no connection. What is asked for at a session's login is asked for all the same.
    ops_crl:
        PEM file of what they have taken back: a list of revoked certificates (RFC 5280) of each of
        them that takes any back. Whose certificate is on it gets no connection, and loses one that
        it has. It is read again on SIGHUP; while a list is over nobody is let in.
    backups:
        Folder for backups that operators take by the ops port; `backups` in the store's folder if
        absent, and so on the same disk.
    name:
        HOST or HOST:PORT by which callers may address the node, as often as it has names; without
        any it goes by the address that it listens on. The express port goes by the same hosts.
    tls_certificate:
        PEM file of the node's certificate and those between it and a root. It is read again on
        SIGHUP, and so is the key.
    tls_key:
        PEM file of its key. Without these two, the certificate that `piaohao ca tls` has made.
    tls_client_ca:
        PEM file of those who sign clients' certificates; a client need not show one.
    plain:
        No TLS, though there is a certificate: behind a proxy that ends it.
    log:
        How log lines look on standard error: `text` or `json`.
    log_requests:
        Log every request, by its row of the table and without anything that it says.
    rate:
        Requests a second that a merchant may send; 0.01 to 1,000,000.
    connections:
        Connections at a time; fewer where not as many files may be open (the hard limit counts).
    connections_per_peer:
        Of one IPv4 address or one IPv6 network of 64 bits; loopback is not counted.
    webhook_allow:
        HOST:PORT or network (10.1.0.0/16) that webhooks may reach beside public addresses, as often
        as there are; on loopback by http too. For development.
    clock:
        `wall`, or `domain` for sandboxes: it stands still until commands move it.
    timeout_s:
        Seconds that callers wait who do not say how long (Request-Timeout-S).
    """
    import trio

    from gateway.listener.address import address_of
    from gateway.listener.bounds import Bounds
    from gateway.listener.names import named
    from gateway.logs import configure
    from gateway.operator import open_folder
    from gateway.server import serve_until_signalled
    from gateway.webhooks.reach import Reach

    configure(log)
    named(name, "http")
    Reach(webhook_allow)
    for each in filter(None, (listen, express_listen)):
        address_of(each, anywhere=not unsigned)
    ops_tls = _ops_tls(ops_listen, ops_cert, ops_key, ops_client_ca, ops_crl)
    files = _given_tls(
        tls_certificate, tls_key, tls_client_ca, plain=plain, own=not unsigned or keys is not None
    )
    _raise_open_files()
    bounds = Bounds(connections_max=connections, connections_per_peer=connections_per_peer)

    def announce(serving: "Serving") -> None:
        sys.stdout.write(f"piaohao serves {data} on {serving.address}\n")
        if serving.express_address is not None:
            sys.stdout.write(f"piaohao serves {data} express on {serving.express_address}\n")
        if serving.ops_address is not None:
            sys.stdout.write(f"piaohao serves {data} ops on {serving.ops_address}\n")
        sys.stdout.flush()

    with closing(open_folder(data)) as folder:
        # Unsigned, it wants keys only to certify with.
        bank = None if unsigned and keys is None else _keys(data, keys, master_key)
        codes = None if ops_listen is None else _key_of_codes(master_key)
        if ops_tls is not None and bank is not None:
            ops_tls.refuse_authorities(bank.root, bank.issuing.certificate)
        if files is None and not plain:
            files = _own_tls(bank, tls_client_ca)
            if files is None:
                for each in filter(None, (listen, express_listen)):
                    _check_loopback(each)
        trio.run(
            partial(
                serve_until_signalled,
                folder,
                announce,
                files,
                ops_tls,
                keys=bank,
                signed=not unsigned,
                rate_per_s=rate,
                log_requests=log_requests,
                listen=listen,
                express_listen=express_listen,
                ops_listen=ops_listen,
                names=name,
                bounds=bounds,
                webhook_allow=webhook_allow,
                master_key=codes,
                backups=backups,
                clock=clock,
                timeout_s=timeout_s,
            )
        )


def _keys(data: Path, keys: Path | None, master_key: Path | None) -> "BankKeys":
    from gateway.ca.bank_keys import BankKeys
    from gateway.ca.master_key import find_master_key

    folder = keys or data / "keys"
    if not folder.exists():
        raise CommandError(
            INPUT,
            f"there are no keys in {folder}; make some with: piaohao ca init --keys {folder} "
            "--bank NAME; or let anybody ask for anything, on loopback, with --unsigned",
        )
    return BankKeys.load(folder, find_master_key(master_key))


def _key_of_codes(path: Path | None) -> "MasterKey | None":
    """Return the master key, under which the secrets of operators' one-time codes are; None where
    a node without the bank's keys was given none."""
    from gateway.ca.errors import KeysError, KeysReason
    from gateway.ca.master_key import find_master_key

    try:
        return find_master_key(path)
    except KeysError as error:
        if error.reason is not KeysReason.NO_MASTER_KEY:
            raise
        return None


def _given_tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None, *, plain: bool, own: bool
) -> "TlsFiles | None":
    """Return TLS by the files that were given.

    Args:
        own: the bank may have a certificate of its own, so that none need be given.
    """
    from gateway.listener.tls import TlsFiles

    if plain and (certificate or key or client_ca):
        raise CommandError(INPUT, "--plain means no TLS, and takes none of its files")
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    if certificate or key or (client_ca and not own):
        raise CommandError(INPUT, "TLS takes both --tls-certificate and --tls-key")
    return None


def _raise_open_files() -> None:
    """Allow as many open files as may be allowed.

    The usual soft limit of 1,024 is for programs that use select(2). Under it a node has fewer
    connections than it can serve, and they, webhooks and look-ups take one another's files.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the kernel allows less, what was allowed stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _ops_tls(
    listen: str | None,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    crl: Path | None,
) -> "MutualTlsFiles | None":
    """Return mutual TLS for the ops port; None where there is none, and the port is on loopback."""
    from gateway.listener.address import check_ops_address
    from gateway.listener.tls import MutualTlsFiles

    given = [each for each in (certificate, key, client_ca, crl) if each is not None]
    if listen is None:
        if given:
            raise CommandError(
                INPUT, "--ops-cert, --ops-key, --ops-client-ca and --ops-crl are for --ops-listen"
            )
        return None
    if certificate is None or key is None or client_ca is None:
        if given:
            raise CommandError(
                INPUT, "mutual TLS takes --ops-cert, --ops-key and --ops-client-ca, all three"
            )
        check_ops_address(listen)
        return None
    check_ops_address(listen, encrypted=True)
    return MutualTlsFiles(certificate, key, client_ca, crl)


def _own_tls(bank: "BankKeys | None", client_ca: Path | None) -> "TlsFiles | None":
    """Return TLS by the certificate that the bank's CA has made, if it has."""
    from gateway.listener.tls import TlsFiles

    if bank is not None and bank.tls is not None:
        own = bank.tls
        password = own.master_key.password()
        return TlsFiles(own.certificate_path, own.key_path, client_ca, password=password)
    if client_ca:
        raise CommandError(INPUT, "--tls-client-ca takes a certificate of the node's own as well")
    return None


def _check_loopback(listen: str) -> None:
    """Refuse to speak in clear text to the world by mistake."""
    from gateway.listener.address import ListenError, address_of

    try:
        address_of(listen)
    except ListenError:
        raise CommandError(
            INPUT,
            f"--listen {listen!r}: without TLS only on loopback; make a certificate with "
            "piaohao ca tls, give one with --tls-certificate, or say --plain behind a proxy",
        ) from None
