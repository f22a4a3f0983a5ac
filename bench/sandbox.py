"""A sandbox: what makes the node of a demo a bank with keys, TLS and a client that may act for it.

All of it is made once in a folder beside the store, and used again by whoever goes on there. The
master key lies next to what it opens, so this is for play: a bank keeps the two apart
(docs/CERTIFICATES.md).
"""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct

from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.ca.master_key import find_master_key, new_master_key
from gateway.client import Identity
from gateway.counter import Counter
from gateway.exits import STORE, CommandError
from gateway.listener.tls import TlsFiles

SANDBOX: Final = "sandbox"
"""The folder of it, in the store's."""
BANK: Final = "Sandbox Bank"
CLIENT: Final = "sandbox"
"""How the name of the client's certificate begins."""
_KEY: Final = "client.key"
_CERTIFICATE: Final = "client.crt"


class Sandbox(Struct, frozen=True):
    """The files of a sandbox.

    Attributes:
        folder: where they are.
        keys: the bank's.
        tls: of a server on loopback.
    """

    folder: Path
    keys: BankKeys
    tls: TlsFiles

    async def admit_client(self, counter: Counter) -> None:
        """Have the node certify the client's key; done before, it is the same certificate.

        Raises:
            CommandError: it does not.
        """
        key = load_pem_private_key((self.folder / _KEY).read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        # A store that was restored elsewhere has another sandbox there, and another client.
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name = f"{CLIENT}-{hashlib.sha256(spki).hexdigest()[:16]}"
        body = {"certificate_no": name, "csr": body_of(new_csr(key, name))}
        answer = await counter.answer_operator(
            "POST", "/v1/bank/certificates", b"", msgspec.json.encode(body)
        )
        view = msgspec.json.decode(answer.body)
        if answer.status >= 400:
            detail = f"the client in {self.folder} cannot act for the bank"
            raise CommandError(STORE, f"{detail}: {view['code']}")
        (self.folder / _CERTIFICATE).write_text(view["pem"], "ascii")


def credentials(folder: Path) -> tuple[Identity, Path]:
    """Return the client's identity, and the file of the bank's root certificate.

    Raises:
        OSError: there is no sandbox, or no client was admitted yet.
    """
    identity = Identity.read(key=folder / _KEY, certificate=folder / _CERTIFICATE)
    return identity, folder / "keys" / "root.crt"


def open_sandbox(folder: Path) -> Sandbox:
    """Open the sandbox in a folder, or make one there.

    Raises:
        CommandError, OSError: what is there cannot be used.
    """
    now = datetime.now(UTC)
    master, keys, client = folder / "master.key", folder / "keys", folder / _KEY
    folder.mkdir(mode=0o700, exist_ok=True)
    if not client.exists():
        # The client's key comes last: where there is one, all the rest is whole.
        master.unlink(missing_ok=True)
        for each in keys.glob("*"):
            each.unlink()
        new_master_key().write(master)
        vault = ceremony.found(keys, BANK, find_master_key(master), now=now)
        ceremony.add_tls(vault, find_master_key(master), ["localhost", "127.0.0.1"], now=now)
        _write_key(client)
    bank = BankKeys.load(keys, find_master_key(master))
    assert bank.tls is not None
    tls = TlsFiles(
        bank.tls.certificate_path, bank.tls.key_path, password=bank.tls.master_key.password()
    )
    return Sandbox(folder, bank, tls)


def _write_key(path: Path) -> None:
    key = new_key("ecdsa-p256-sha256")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        os.fsync(file.fileno())
    unfinished.rename(path)
