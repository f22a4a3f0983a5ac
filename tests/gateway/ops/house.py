"""An office with operators, quick passwords and a clock that tests move."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyotp
from argon2 import PasswordHasher

from gateway.ca.master_key import MasterKey, new_master_key
from gateway.ops import passwords
from gateway.ops.audit_log import Audited, Entry, entries
from gateway.ops.office import AddOperator, Office, VerifyAudit
from gateway.ops.operators import Role

SECOND: Final = 1_000_000_000
MORNING: Final = 1_767_600_000 * SECOND
PASSWORD: Final = "a password of some length"
QUICK: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""A guess takes 0.1 ms: tests make hundreds."""
SHELL: Final = "shell/uid-1000"


class House:
    """An office.

    Attributes:
        now_ns: what its clock says; tests move it.
        secrets: name → secret of the one-time codes.
    """

    def __init__(self, data: Path, now_ns: int = MORNING) -> None:
        self.now_ns = now_ns
        self.office = Office(data, lambda: self.now_ns)
        self.master_key: MasterKey = new_master_key()
        self.secrets: dict[str, str] = {}

    def take_on(self, name: str, role: Role) -> None:
        """Take an operator on, with the one password."""
        sealed = b""
        if role is not Role.VIEWER:
            self.secrets[name] = passwords.new_secret()
            sealed = passwords.sealed(self.master_key, name, self.secrets[name])
        asked = AddOperator(name, role, QUICK.hash(PASSWORD), sealed)
        self.office.administer(asked, SHELL)

    def code(self, name: str, off_s: int = 0) -> str:
        """Return the one-time code that an operator's app shows, its clock being off by so much."""
        secret = self.secrets.get(name)
        return "" if secret is None else pyotp.TOTP(secret).at(self.now_ns // SECOND + off_s)

    def log(self) -> list[Entry]:
        """Return the audit log, oldest first."""
        snapshot = self.office.cabinet.snapshot()
        try:
            return list(entries(snapshot, 1 << 62))[::-1]
        finally:
            snapshot.close()

    def verified(self) -> Audited:
        """Return what a verification of the audit log finds."""
        found = self.office.administer(VerifyAudit(), SHELL)
        assert isinstance(found, Audited)
        return found


@contextmanager
def house(data: Path) -> Iterator[House]:
    """Give a house whose cabinet is closed in the end."""
    made = House(data)
    try:
        yield made
    finally:
        made.office.close()
