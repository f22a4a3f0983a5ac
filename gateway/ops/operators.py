"""Operators: who may look at a node and act on it, in which role, and how they prove who they are.

    may        viewer  operator  auditor  admin
    LOOK         ✓        ✓         ✓       ✓     what is there, personal data masked
    ACT                   ✓                 ✓     propose and approve
    AUDIT                           ✓       ✓     read the audit log
    UNMASK                          ✓       ✓     see personal data, for a reason
    ADMINISTER                              ✓     see who the operators are

All but viewers prove themselves by a one-time code as well. Rows are named by the operator's name
and never deleted: the audit log speaks of them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from storage.cabinet import opened
from storage.row import OPERATORS
from storage.store import Snapshot

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$(?!\n)")]
"""An operator's name."""


class Role(StrEnum):
    """What an operator is there for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Right(StrEnum):
    """One thing that a role may allow."""

    LOOK = "LOOK"
    ACT = "ACT"
    AUDIT = "AUDIT"
    UNMASK = "UNMASK"
    ADMINISTER = "ADMINISTER"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.VIEWER: frozenset({Right.LOOK}),
    Role.OPERATOR: frozenset({Right.LOOK, Right.ACT}),
    Role.AUDITOR: frozenset({Right.LOOK, Right.AUDIT, Right.UNMASK}),
    Role.ADMIN: frozenset(Right),
}


class Operator(Struct, frozen=True, array_like=True):
    """An operator's row.

    Attributes:
        password_hash: argon2id, in its own form with its costs and its salt.
        totp_sealed: the secret of the one-time codes, encrypted; empty for viewers.
        totp_step: the newest step whose code was taken: none is taken twice.
        tries: wrong tries one after the other since the last right one.
        locked_until_ns: until then nothing is tried.
        generation: goes up whenever its sessions are to end; those of an earlier one are over. No
            time would do, as a clock may be set back.
    """

    name: str
    role: Role
    password_hash: str
    totp_sealed: bytes
    created_ns: int
    totp_step: int = 0
    tries: int = 0
    locked_until_ns: int = 0
    generation: int = 0
    disabled: bool = False


_decode: Final = msgspec.msgpack.Decoder(Operator).decode
encode: Final = msgspec.msgpack.Encoder().encode


def operator_of(snapshot: Snapshot, name: str) -> Operator | None:
    """Return the row of an operator, None where there is nobody of that name."""
    key = name.encode()
    payload = snapshot.get(OPERATORS, key)
    return None if payload is None else opened(_decode, OPERATORS, key, payload)


def all_operators(snapshot: Snapshot) -> list[Operator]:
    """Return all there are, by name; they are few."""
    return [opened(_decode, OPERATORS, *row) for row in snapshot.scan(OPERATORS)]
