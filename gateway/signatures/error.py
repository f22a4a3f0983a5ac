"""Why a signature is not accepted: one exception, and a reason that a caller can act on.

A reason says which step failed; the sentence beside it says what exactly, and never repeats
what the other side sent, so that it can be logged and answered as it is.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Which step of verifying failed."""

    MISSING = "MISSING"
    """A header that has to be there is not."""

    MALFORMED = "MALFORMED"
    """A header does not have the one form that is accepted, or a value cannot be signed."""

    DIGEST = "DIGEST"
    """Content-Digest is not the digest of the body."""

    OLD = "OLD"
    """`created` is too far from now, on either side."""

    ALG = "ALG"
    """`alg` is not the algorithm of the key."""

    WRONG = "WRONG"
    """The signature is not this key's over this message."""


class SignatureError(Exception):
    """A signature, or what goes with it, is not accepted."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
