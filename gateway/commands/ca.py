"""`piaohao ca`: make, show and renew the bank's own certificates and keys."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from gateway.commands.whole import whole
from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from gateway.ca.vault import Place, Vault

app = App(
    name="piaohao ca",
    help="Make, show and renew the bank's own certificates and keys.",
    version_flags=(),
)

Json = Annotated[bool, Parameter(negative=())]
Days = Annotated[
    int | None, Parameter(converter=whole, validator=validators.Number(gte=1, lte=3650))
]


@app.default
def nothing() -> None:
    """Refuse to do nothing."""
    raise CommandError(
        INPUT, "say what to do: piaohao ca master-key|init|tls|renew|show|chain; see --help"
    )


@app.command(name="master-key")
def master_key(*, out: Path) -> None:
    """Make a master key: 32 random bytes, in a new file that only its owner may read.

    Example: piaohao ca master-key --out /etc/piaohao/master.key

    Parameters
    ----------
    out:
        The new file. Keep it apart from the keys, and a copy of it in a safe.
    """
    from gateway.ca.master_key import new_master_key
    from gateway.commands.printing import give

    new_master_key().write(out)
    give(f"made a master key in {out}; without it the bank's keys cannot be opened")


@app.command
def init(
    *,
    keys: Path,
    bank: str,
    master_key: Path | None = None,
    crl_url: str | None = None,
    json: Json = False,
) -> None:
    """Make the bank's CA in a new folder: root, issuing CA, and the key that signs messages.

    Example: piaohao ca init --keys bank-keys --bank "Example Bank" --master-key master.key

    Parameters
    ----------
    keys:
        The new folder.
    bank:
        The bank's name; every certificate bears it.
    master_key:
        File of the master key; PIAOHAO_MASTER_KEY if absent.
    crl_url:
        Where the revocation list will be; certificates name it. None is named if absent.
    json:
        Print one JSON object, as `piaohao ca show` does.
    """
    from gateway.ca.ceremony import found
    from gateway.ca.master_key import find_master_key
    from gateway.commands.printing import give

    vault = found(keys, bank, find_master_key(master_key), now=datetime.now(UTC), crl_url=crl_url)
    _show(vault, json)
    if not json:
        give(
            f"Now take {keys / 'root.key'} away, to a safe place that is offline: only renewing "
            "the issuing CA needs it."
        )


@app.command
def tls(
    *,
    keys: Path,
    name: list[str],
    master_key: Path | None = None,
    days: Days = None,
    json: Json = False,
) -> None:
    """Make a key and certificate for a TLS server, in the place of an earlier one's.

    Example: piaohao ca tls --keys bank-keys --name pay.example --name 127.0.0.1

    Parameters
    ----------
    keys:
        Folder of the bank's keys.
    name:
        A DNS name or IP address of the server; may be given several times.
    master_key:
        File of the master key; PIAOHAO_MASTER_KEY if absent.
    days:
        How long it is valid, 397 days if absent.
    json:
        Print one JSON object.
    """
    from gateway.ca.authority import TLS_VALID
    from gateway.ca.ceremony import add_tls
    from gateway.ca.master_key import find_master_key
    from gateway.ca.vault import Vault

    vault = Vault(keys)
    valid = TLS_VALID if days is None else timedelta(days)
    key = find_master_key(master_key)
    _show_one(vault, add_tls(vault, key, name, now=datetime.now(UTC), valid=valid), json)


@app.command
def renew(
    which: Literal["signing", "tls", "issuing"],
    /,
    *,
    keys: Path,
    master_key: Path | None = None,
    days: Days = None,
    json: Json = False,
) -> None:
    """Make a new certificate; the one before it stays in the folder. Nodes take it when they start.

    The signing and the TLS certificate get a new key. The issuing CA keeps its own, and needs the
    root's private key in the folder.

    Example: piaohao ca renew signing --keys bank-keys --master-key master.key

    Parameters
    ----------
    which:
        `signing`, `tls` (with the same names) or `issuing`.
    keys:
        Folder of the bank's keys.
    master_key:
        File of the master key; PIAOHAO_MASTER_KEY if absent.
    days:
        How long it is valid; as the first one if absent.
    json:
        Print one JSON object.
    """
    from gateway.ca import authority, ceremony
    from gateway.ca.master_key import find_master_key
    from gateway.ca.vault import Vault

    renewing, usual = {
        "signing": (ceremony.renew_signing, authority.SIGNING_VALID),
        "tls": (ceremony.renew_tls, authority.TLS_VALID),
        "issuing": (ceremony.renew_issuing, authority.ISSUING_VALID),
    }[which]
    vault = Vault(keys)
    valid = usual if days is None else timedelta(days)
    place = renewing(vault, find_master_key(master_key), now=datetime.now(UTC), valid=valid)
    _show_one(vault, place, json)


@app.command
def show(*, keys: Path, json: Json = False) -> None:
    """Show the bank's certificates: validity, fingerprints, and whether the keys are there.

    No key is opened, so the master key is not wanted.

    Example: piaohao ca show --keys bank-keys

    Parameters
    ----------
    keys:
        Folder of the bank's keys.
    json:
        Print one JSON object.
    """
    from gateway.ca.vault import Vault

    _show(Vault(keys), json)


@app.command
def chain(*, keys: Path) -> None:
    """Print the certificates that merchants trust: the root's and the issuing CA's, in PEM.

    Example: piaohao ca chain --keys bank-keys > bank-ca.pem

    Parameters
    ----------
    keys:
        Folder of the bank's keys.
    """
    from gateway.ca.bank_keys import pem
    from gateway.ca.vault import Role, Vault
    from gateway.commands.printing import give

    vault = Vault(keys)
    certificates = (vault.certificate(vault.current(each)) for each in (Role.ROOT, Role.ISSUING))
    give(pem(*certificates).decode().rstrip("\n"))


def _show(vault: "Vault", as_json: bool) -> None:
    from gateway.ca import profile
    from gateway.ca.vault import Role
    from gateway.commands.printing import give, give_json

    rows = [_row(vault, place) for role in Role for place in vault.places(role)]
    bank = profile.organization(vault.certificate(vault.current(Role.ROOT)))
    crl_url = vault.settings().crl_url
    if as_json:
        shown = {"keys": str(vault.path), "bank": bank, "crl_url": crl_url}
        give_json(shown | {"certificates": rows})
        return
    give(f"{bank}: {vault.path}")
    give(f"revocation list: {crl_url or 'no certificate names one'}")
    for row in rows:
        give("")
        _give_row(row)


def _show_one(vault: "Vault", place: "Place", as_json: bool) -> None:
    from gateway.commands.printing import give_json

    row = _row(vault, place)
    if as_json:
        give_json(row)
    else:
        _give_row(row)


def _row(vault: "Vault", place: "Place") -> dict[str, Any]:
    from cryptography.hazmat.primitives import hashes

    from gateway.ca import profile
    from gateway.ca.bank_keys import NOTICE
    from gateway.ca.ceremony import hosts_of

    certificate = vault.certificate(place)
    return {
        "name": place.stem,
        "in_use": place == vault.current(place.role),
        "keyid": profile.keyid(certificate),
        "subject": certificate.subject.rfc4514_string(),
        "hosts": hosts_of(certificate),
        "not_before": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "standing": profile.standing(certificate, datetime.now(UTC), NOTICE),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "private_key": vault.key_path(place).exists(),
    }


def _give_row(row: dict[str, Any]) -> None:
    from gateway.commands.printing import give

    said = [row["standing"]] if row["standing"] else []
    said += [] if row["in_use"] else ["no longer in use"]
    said += [] if row["private_key"] else ["its key is not here"]
    give(f"{row['name']}{': ' + ', '.join(said) if said else ''}")
    give(f"  subject  {row['subject']}")
    if row["hosts"]:
        give(f"  hosts    {', '.join(row['hosts'])}")
    give(f"  valid    {row['not_before']} to {row['not_after']}")
    give(f"  keyid    {row['keyid']}")
    give(f"  sha256   {row['sha256']}")
