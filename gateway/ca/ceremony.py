"""Ceremonies: how the bank's own certificates come into being and are renewed.

A CA is made once, whole, in a folder that gets its name at the end. Later ceremonies add a pair
beside the one in use and change nothing that is there; the root's private key is wanted only for
a new issuing certificate. The issuing CA keeps its key when it is renewed, so that whatever it
has signed, and one revocation list, go on being good.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.ca import authority
from gateway.ca.authority import Authority, new_root
from gateway.ca.errors import IssueError, IssueReason
from gateway.ca.master_key import MasterKey
from gateway.ca.vault import Place, Role, Settings, Vault, new_vault


def found(
    path: Path,
    bank: str,
    master_key: MasterKey,
    *,
    now: datetime,
    crl_url: str | None = None,
) -> Vault:
    """Make a bank's CA in a new folder: root, issuing CA, and the key that signs messages.

    Args:
        path: the folder; not there yet, or empty.
        bank: the bank's name, which every certificate bears.
        master_key: encrypts the private keys.
        now: the instant from which all is valid.
        crl_url: where the revocation list will be; certificates name it. None: they name none.

    Raises:
        KeysError: EXISTS.
        IssueError: NAME: the bank's name or the URL cannot stand in a certificate.
        OSError: the folder cannot be written.
    """
    settings = Settings(None if crl_url is None else _proper_url(crl_url))
    root = new_root(bank, now=now)
    with new_vault(path) as vault:
        vault.write_settings(settings)
        vault.write(Place(Role.ROOT, 0), root.certificate, root.private_key, master_key)
        _add_issuing(vault, root, _new_key(), master_key, now=now)
        renew_signing(vault, master_key, now=now)
    return Vault(path)


def add_tls(
    vault: Vault,
    master_key: MasterKey,
    hosts: Sequence[str],
    *,
    now: datetime,
    valid: timedelta = authority.TLS_VALID,
) -> Place:
    """Make a key and certificate for a TLS server; they take the place of an earlier one's.

    Raises:
        KeysError: the issuing CA cannot be used.
        IssueError: NAME, VALIDITY, ISSUER_NOT_VALID.
        OSError: they cannot be written.
    """
    issuing = open_issuing(vault, master_key)
    key = _new_key()
    certificate = issuing.sign_tls(key.public_key(), hosts, now=now, valid=valid)
    place = vault.next(Role.TLS)
    # A TLS server sends its certificate with the issuing CA's; clients need only know the root.
    vault.write(place, certificate, key, master_key, chain=[issuing.certificate])
    return place


def renew_signing(
    vault: Vault,
    master_key: MasterKey,
    *,
    now: datetime,
    valid: timedelta = authority.SIGNING_VALID,
) -> Place:
    """Make a new key and certificate for the bank's messages; the old certificate stays.

    Raises:
        KeysError: the issuing CA cannot be used.
        IssueError: VALIDITY, ISSUER_NOT_VALID.
        OSError: they cannot be written.
    """
    issuing = open_issuing(vault, master_key)
    key = _new_key()
    certificate = issuing.sign_signing(key.public_key(), now=now, valid=valid)
    place = vault.next(Role.SIGNING)
    vault.write(place, certificate, key, master_key)
    return place


def renew_tls(
    vault: Vault,
    master_key: MasterKey,
    *,
    now: datetime,
    valid: timedelta = authority.TLS_VALID,
) -> Place:
    """Make a new key and certificate for the TLS server, with the names of the one in use.

    Raises:
        KeysError: MISSING: there is none yet; or the issuing CA cannot be used.
        IssueError: VALIDITY, ISSUER_NOT_VALID.
        OSError: they cannot be written.
    """
    in_use = vault.certificate(vault.current(Role.TLS))
    return add_tls(vault, master_key, hosts_of(in_use), now=now, valid=valid)


def renew_issuing(
    vault: Vault,
    master_key: MasterKey,
    *,
    now: datetime,
    valid: timedelta = authority.ISSUING_VALID,
) -> Place:
    """Make a new certificate for the issuing CA's key; it takes the root's private key.

    Raises:
        KeysError: MISSING: the root's key is not in the folder; or another cannot be used.
        IssueError: ISSUER_NOT_VALID: the root has expired.
        OSError: it cannot be written.
    """
    root_pair = vault.pair(vault.current(Role.ROOT), master_key)
    root = Authority(root_pair.certificate, root_pair.key)
    key = open_issuing(vault, master_key).private_key
    return _add_issuing(vault, root, key, master_key, now=now, valid=valid)


def open_issuing(vault: Vault, master_key: MasterKey) -> Authority:
    """Return the issuing CA, able to sign.

    Raises:
        KeysError: its key or a certificate cannot be used.
    """
    pair = vault.pair(vault.current(Role.ISSUING), master_key)
    return Authority(pair.certificate, pair.key, crl_url=vault.settings().crl_url)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses of a TLS server's certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in names]


def _add_issuing(
    vault: Vault,
    root: Authority,
    key: ec.EllipticCurvePrivateKey,
    master_key: MasterKey,
    *,
    now: datetime,
    valid: timedelta = authority.ISSUING_VALID,
) -> Place:
    place = vault.next(Role.ISSUING)
    certificate = root.sign_issuing(key.public_key(), now=now, valid=valid)
    vault.write(place, certificate, key, master_key)
    return place


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _proper_url(url: str) -> str:
    """Return a URL as a certificate may name it; http, as lists are signed (RFC 5280 §8)."""
    try:
        parts = urlsplit(url)
        proper = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        proper = False
    if not proper or not all("!" <= each <= "~" for each in url):
        raise IssueError(IssueReason.NAME, f"not a URL for revocation lists: {url!r}")
    return url
