"""Outcomes: what has come of an action that was approved, as it is kept and shown.

    PENDING ─► APPROVED ─► DONE | FAILED | UNKNOWN
         └───► REJECTED | WITHDRAWN | EXPIRED

It is said in codes, a sentence and a few figures, without personal data: whoever may look at all
sees it, and it is kept for good.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

Fact = str | int | bool


class Status(StrEnum):
    """Where a proposal is."""

    PENDING = "PENDING"
    """It waits for somebody else."""
    APPROVED = "APPROVED"
    """It is being carried out."""
    DONE = "DONE"
    """It was carried out."""
    FAILED = "FAILED"
    """It was refused or has failed: nothing happened, or no more than the outcome says."""
    UNKNOWN = "UNKNOWN"
    """It may have been carried out, or not; it is not tried again."""
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"


OPEN = frozenset({Status.PENDING, Status.APPROVED})
"""What something is still to come of."""


class OutcomeCode(StrEnum):
    """Codes of outcomes beside those of the API (`gateway.errors`)."""

    OK = "OK"
    TURN_FAILED = "TURN_FAILED"
    """A dead letter's turn has failed anew; it is where it was, and those behind it too."""
    DEAD_LETTER_NOT_FIRST = "DEAD_LETTER_NOT_FIRST"
    """It is not there any more, or another of its actor stands before it. Nothing happened."""
    RELEASE_ONLY = "RELEASE_ONLY"
    """What a dead letter tells has happened, or has to happen: it is not given up, it is released
    once there is a program that can handle it. Nothing happened."""
    UNREADABLE = "UNREADABLE"
    """Nobody knows what a dead letter says: it is not given up. Nothing happened."""
    TARGET_CHANGED = "TARGET_CHANGED"
    """What it is about is in another state than when it was proposed. Nothing happened."""
    BACKUP_FAILED = "BACKUP_FAILED"
    """The backup could not be written; there is none."""
    OPERATORS_NOT_WHOLE = "OPERATORS_NOT_WHOLE"
    """The backup was written, and operators or their log are not whole in it."""
    VERIFICATION_FAILED = "VERIFICATION_FAILED"
    """The store could not be looked through."""
    VIOLATIONS_FOUND = "VIOLATIONS_FOUND"
    """The store was looked through, and something that must hold does not."""
    NODE_ENDED = "NODE_ENDED"
    """The node ended before it was known what came of it."""


class Outcome(Struct, frozen=True):
    """What has come of an action.

    Attributes:
        code: OK; the API's code by which it was refused; or one of those in docs/ops/README.md.
        detail: the same in words.
        facts: figures of it, by their names.
    """

    code: str
    detail: str
    facts: dict[str, Fact]


class Done(Struct, frozen=True):
    """What is left to be written down of an action: DONE, FAILED or UNKNOWN, and its outcome."""

    status: Status
    outcome: Outcome


def done(detail: str, facts: Mapping[str, Fact], code: str = OutcomeCode.OK) -> Done:
    """Return what came of an action that was carried out."""
    return _kept(Status.DONE, code, detail, facts)


def failed(code: str, detail: str, facts: Mapping[str, Fact] | None = None) -> Done:
    """Return what came of an action that was not carried out, or only as far as `facts` say."""
    return _kept(Status.FAILED, code, detail, facts)


def unknown(code: str, detail: str, facts: Mapping[str, Fact] | None = None) -> Done:
    """Return what is known of an action that may have been carried out."""
    return _kept(Status.UNKNOWN, code, detail, facts)


def _kept(status: Status, code: str, detail: str, facts: Mapping[str, Fact] | None) -> Done:
    """Return an outcome as it can be written down: a path, say, may be no text at all."""
    told = {
        name: _text(each) if isinstance(each, str) else each for name, each in (facts or {}).items()
    }
    return Done(status, Outcome(str(code), _text(detail), told))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
