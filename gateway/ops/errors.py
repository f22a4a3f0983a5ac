"""What operators can be told instead of what they asked for, beside the codes of `gateway.errors`.

Merchants never meet these, so they are not in the API's table; they have the same form (RFC 9457).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.errors import Meaning, Problem


class OpsCode(StrEnum):
    """A code of the ops listener's own."""

    NO_SESSION = "NO_SESSION"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    LOGIN_LOCKED = "LOGIN_LOCKED"
    LOGINS_BUSY = "LOGINS_BUSY"
    RIGHT_MISSING = "RIGHT_MISSING"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"


OPS_CODES: Final[Mapping[OpsCode, Meaning]] = {
    OpsCode.NO_SESSION: Meaning(
        401,
        "No session goes by this token, or none was given.",
        "Log in: POST /ops/sessions; then Authorization: Bearer TOKEN.",
    ),
    OpsCode.LOGIN_REFUSED: Meaning(
        401,
        "Name, password and one-time code do not belong together.",
        "Try again; a code is taken once. After ten wrong tries nothing is tried for 30 minutes.",
    ),
    OpsCode.LOGIN_LOCKED: Meaning(
        429,
        "There were ten wrong tries one after the other; nothing is tried now.",
        "Wait as long as Retry-After says, or have an admin run: piaohao operator reset.",
    ),
    OpsCode.LOGINS_BUSY: Meaning(
        503, "Too many want to log in at this moment.", "Try again after Retry-After."
    ),
    OpsCode.RIGHT_MISSING: Meaning(
        403, "The role does not allow this.", "Ask somebody whose role does."
    ),
    OpsCode.AUDIT_UNAVAILABLE: Meaning(
        503,
        "The audit log cannot be written, and nothing is shown that is not written there.",
        "See the node's log: the disk of its data folder is full, or failing.",
    ),
}


class OpsError(Exception):
    """The operator is refused.

    Attributes:
        problem: what the operator is told.
    """

    def __init__(self, code: OpsCode, detail: str = "", retry_after_s: int | None = None) -> None:
        meaning = OPS_CODES[code]
        self.code = code
        self.problem = Problem(
            f"/ops/errors#{code}",
            meaning.title,
            meaning.status,
            str(code),
            detail or meaning.advice,
            retry_after_s=retry_after_s,
        )
        super().__init__(detail or meaning.title)
