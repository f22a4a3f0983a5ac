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
    NO_SUCH_PROPOSAL = "NO_SUCH_PROPOSAL"
    OWN_PROPOSAL = "OWN_PROPOSAL"
    ANOTHERS_PROPOSAL = "ANOTHERS_PROPOSAL"
    PROPOSAL_EXPIRED = "PROPOSAL_EXPIRED"
    PROPOSAL_DECIDED = "PROPOSAL_DECIDED"
    PROPOSAL_DIGEST_WRONG = "PROPOSAL_DIGEST_WRONG"
    PROPOSER_GONE = "PROPOSER_GONE"
    PROPOSALS_OPEN = "PROPOSALS_OPEN"
    NO_SUCH_DEAD_LETTER = "NO_SUCH_DEAD_LETTER"
    TARGET_CHANGED = "TARGET_CHANGED"
    NODE_NOT_SERVING = "NODE_NOT_SERVING"
    TOO_MANY_FEEDS = "TOO_MANY_FEEDS"


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
    OpsCode.NO_SUCH_PROPOSAL: Meaning(
        404, "No proposal goes by this number.", "Look for it: GET /ops/proposals."
    ),
    OpsCode.OWN_PROPOSAL: Meaning(
        403,
        "Nobody approves or rejects what they have proposed themselves.",
        "Have another operator decide, or withdraw it.",
    ),
    OpsCode.ANOTHERS_PROPOSAL: Meaning(
        403, "Only who has proposed it can withdraw it.", "Reject it."
    ),
    OpsCode.PROPOSAL_EXPIRED: Meaning(
        409, "Nobody has approved it in time.", "Propose it again, if it is still to be done."
    ),
    OpsCode.PROPOSAL_DECIDED: Meaning(
        409, "It was decided before.", "Look at the proposal: it says by whom and what came of it."
    ),
    OpsCode.PROPOSAL_DIGEST_WRONG: Meaning(
        409,
        "The digest is not that of this proposal's action.",
        "Look at the proposal, and approve what it says.",
    ),
    OpsCode.PROPOSER_GONE: Meaning(
        409,
        "Who has proposed it is no operator any more who may act.",
        "Reject it; propose it anew, if it is still to be done.",
    ),
    OpsCode.PROPOSALS_OPEN: Meaning(
        409,
        "So many proposals of one operator are undecided that there may be no more.",
        "Have some decided, or withdraw them.",
    ),
    OpsCode.NO_SUCH_DEAD_LETTER: Meaning(
        404, "No dead letter goes by this id.", "Look for it: GET /ops/dead-letters."
    ),
    OpsCode.TARGET_CHANGED: Meaning(
        409,
        "What it is about is in another state by now.",
        "Look at it, and propose what is to be done as it stands.",
    ),
    OpsCode.NODE_NOT_SERVING: Meaning(
        503,
        "The node recovers, or is about to end; nothing was approved.",
        "Try again once /readyz says 200.",
    ),
    OpsCode.TOO_MANY_FEEDS: Meaning(
        429,
        "There are as many feeds as there may be, of this operator or of all.",
        "End one that nobody looks at, then try again after Retry-After.",
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
