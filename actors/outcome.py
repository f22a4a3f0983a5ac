"""Outcomes: what is bound under a caller's own number, once and for ever.

Every command but the lifecycle ones leaves one record under its number, refused or not. The
same number with the same content gets the first outcome again, rebuilt from that record; with
other content it gets NUMBER_USED. While the first is still under way a repetition waits for it.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from actors import answers
from actors.answers import Refused, Replayed
from actors.refusal import Refusal
from engine.kind import RecordKind
from engine.message import Token
from engine.turn import Turn

JOINED_MAX: Final = 16
"""Repetitions that may wait for one command; the next one is told IN_FLIGHT."""


class Bound(Struct, frozen=True, array_like=True, gc=False):
    """Base of the records that bind an outcome to a number.

    Attributes:
        digest: SHA-256 of the command, then the caller's note, if any (`actors.note`).
        business_date: the date that the command was stamped with.
        created_ns: when its first turn ran.
        state: PROCESSING until there is an outcome.
        code: why it is FAILED, None otherwise.
        settled_ns: when it got its outcome, 0 while it has none.
        joined: the repetitions that wait for the outcome.
    """

    digest: bytes
    business_date: str
    created_ns: int
    state: str
    code: Refusal | None
    settled_ns: int
    joined: tuple[Token, ...]

    def undecided(self) -> bool:
        """Return whether there is no outcome yet, so that a repetition has to wait for it."""
        return self.state == "PROCESSING"


B = TypeVar("B", bound=Bound)


def repeat(
    turn: Turn[Any],
    kind: RecordKind[B],
    name: str,
    number: str,
    content: bytes,
    first: B,
    outcome: Callable[[str, str, B], answers.Outcome],
) -> None:
    """Answer a command whose number is taken: NUMBER_USED, the first outcome, or later.

    Args:
        name: the record's name, for most kinds the number itself.
        content: digest of the command that is asking.
        first: the record found under the number.
        outcome: rebuilds the first outcome from (actor's number, name, record).
    """
    if first.digest != content:
        turn.answer(Refused(Refusal.NUMBER_USED, number))
    elif not first.undecided():
        turn.answer(Replayed(outcome(turn.number, name, first)))
    elif len(first.joined) >= JOINED_MAX:
        turn.answer(Refused(Refusal.IN_FLIGHT, number))
    elif turn.token is not None:
        turn.put(kind, name, replace(first, joined=(*first.joined, turn.token)))


def bind(
    turn: Turn[Any], content: bytes, code: Refusal | None
) -> tuple[bytes, str, int, Literal["PROCESSING", "FAILED"], Refusal | None, int, tuple[()]]:
    """Return the first fields of a new record: under way, or FAILED with a code for ever."""
    if code is None:
        return content, turn.business_date, turn.now_ns, "PROCESSING", None, 0, ()
    return content, turn.business_date, turn.now_ns, "FAILED", code, turn.now_ns, ()


def decided(
    turn: Turn[Any], content: bytes, state: str, code: Refusal | None
) -> tuple[bytes, str, int, Any, Refusal | None, int, tuple[()]]:
    """Return the first fields of a record that has its outcome at once: a state, or FAILED."""
    now_ns = turn.now_ns
    return content, turn.business_date, now_ns, "FAILED" if code else state, code, now_ns, ()


def settle(
    turn: Turn[Any],
    kind: RecordKind[B],
    name: str,
    record: B,
    outcome: Callable[[str, str, B], answers.Outcome],
    **changes: Any,
) -> None:
    """Give a command its outcome: write the record with its changes, tell all who wait.

    Args:
        outcome: makes the answer from (actor's number, name, changed record).
    """
    joined = record.joined
    record = replace(record, settled_ns=turn.now_ns, joined=(), **changes)
    turn.put(kind, name, record)
    tell_all(turn, joined, outcome(turn.number, name, record))


def tell_all(turn: Turn[Any], joined: tuple[Token, ...], answer: answers.Outcome) -> None:
    """Answer a command's first caller, and the repetitions that have joined it."""
    turn.answer(answer)
    if joined:
        again = Replayed(answer)
        for token in joined:
            turn.answer(again, token)
