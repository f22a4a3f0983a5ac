"""Sessions: who has logged in, by a token that only they have.

    begun ─► over: its operator ends it; it is idle for 30 minutes, or 12 hours old; its operator's
                   row changes (reset, disabled, another role); the node ends

They are in memory alone, by the token's hash: nothing on disk lets anybody in, a restart ends all,
and each can be ended at once. They are few: an operator's ninth takes the place of its oldest. How
old they are goes by a clock that nobody can set.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from gateway.ops.operators import RIGHTS, Operator, Right, Role

IDLE_NS: Final = 30 * 60 * 1_000_000_000
LONGEST_NS: Final = 12 * 3_600 * 1_000_000_000
PER_OPERATOR_MAX: Final = 8
_TOKEN_BYTES: Final = 32


def ticks_ns() -> int:
    """Return the time since the machine was started, also while it slept: nobody sets it back."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Session(Struct):
    """A session.

    Attributes:
        generation: its operator's when they had proved who they are.
        begun_at_ns: when that was, by the node's clock, for people to read.
        begun_ns, used_ns: when that was, and when it was last asked for something, by `ticks_ns`.
        certificate: the subject of the certificate with which it was begun, empty where there is no
            TLS; it goes with no other.
    """

    operator: str
    role: Role
    generation: int
    begun_at_ns: int
    begun_ns: int
    used_ns: int
    certificate: str = ""

    def may(self, right: Right) -> bool:
        """Return whether its role allows this."""
        return right in RIGHTS[self.role]

    def ends_ns(self) -> int:
        """Return when it is over if nothing more is asked for, by `ticks_ns`."""
        return min(self.begun_ns + LONGEST_NS, self.used_ns + IDLE_NS)

    def ends_at_ns(self) -> int:
        """Return the same for people to read."""
        return self.begun_at_ns + self.ends_ns() - self.begun_ns


def stands(session: Session, operator: Operator | None) -> bool:
    """Return whether a session is still good, by its operator's row as it is now."""
    return (
        operator is not None
        and not operator.disabled
        and operator.role is session.role
        and session.generation == operator.generation
    )


class Begun(Struct, frozen=True):
    """A session that has just begun, and its token, which is told once."""

    token: str
    session: Session


class Sessions:
    """The sessions of one node.

    Args:
        operator_of: returns an operator as its row is now.
        now_ns: the clock that they go by.
    """

    def __init__(
        self, operator_of: Callable[[str], Operator | None], now_ns: Callable[[], int] = ticks_ns
    ) -> None:
        self._operator_of = operator_of
        self._now_ns = now_ns
        self._by_hash: dict[bytes, Session] = {}

    def begin(self, operator: Operator, at_ns: int, certificate: str = "") -> Begun:
        """Begin a session of an operator who has proved who they are.

        Args:
            operator: as the row was then: where it has changed since, the session is over at once.
            at_ns: when they had, by the node's clock.
        """
        now_ns = self._now_ns()
        self._by_hash = {
            key: each for key, each in self._by_hash.items() if now_ns < each.ends_ns()
        }
        theirs = [key for key, each in self._by_hash.items() if each.operator == operator.name]
        for key in theirs[: max(0, len(theirs) - PER_OPERATOR_MAX + 1)]:
            del self._by_hash[key]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        session = Session(
            operator.name, operator.role, operator.generation, at_ns, now_ns, now_ns, certificate
        )
        self._by_hash[_hash(token)] = session
        return Begun(token, session)

    def find(self, token: str) -> Session | None:
        """Return the session of a token that is used now, None where there is none, or it is over.

        Raises:
            StorageError: its operator's row cannot be read.
        """
        session = self.standing(token)
        if session is not None:
            session.used_ns = self._now_ns()
        return session

    def standing(self, token: str) -> Session | None:
        """Return the same without its being used: what goes on by itself keeps no session alive.

        Raises:
            StorageError: its operator's row cannot be read.
        """
        key = _hash(token)
        session = self._by_hash.get(key)
        if session is None:
            return None
        operator = self._operator_of(session.operator)
        if not stands(session, operator) or self._now_ns() >= session.ends_ns():
            del self._by_hash[key]
            return None
        return session

    def end(self, token: str) -> None:
        """End a session, if it is there."""
        self._by_hash.pop(_hash(token), None)


def _hash(token: str) -> bytes:
    # Looked up by its hash, a token is not compared character by character with those there are.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
