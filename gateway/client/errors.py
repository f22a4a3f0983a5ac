"""Errors of the client: what may come of a call instead of what was asked for.

All are `PiaohaoError`s. What matters to a caller is whether something has happened: a
`RefusedError` says that nothing did, an `OutcomeUnknownError` that something may have, and for
every one of them the same command may be given again under the same number. No message holds a
key, a signature or a body.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct


class Problem(Struct, frozen=True):
    """What a client reads of a problem document (RFC 9457); what is missing stays empty."""

    code: str = ""
    title: str = ""
    detail: str = ""
    number: str = ""
    current: str | None = None
    allowed: tuple[str, ...] = ()
    retry_after_s: float | None = None


_decode = msgspec.json.Decoder(Problem).decode

NOT_A_PROBLEM = "NOT_A_PROBLEM_DOCUMENT"
"""The code where an answer that should be a problem document is none."""


def problem_in(body: msgspec.Raw | bytes) -> Problem:
    """Return what a body that should be a problem document says."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(NOT_A_PROBLEM)


def _words(problem: Problem) -> str:
    return f"{problem.title} {problem.detail}".strip()


class PiaohaoError(Exception):
    """The base of all that the client raises on purpose."""


class RefusedError(PiaohaoError):
    """The bank will not do it, and nothing has changed.

    Attributes:
        status: HTTP's.
        code: stable, to be compared with members of `Refusal` or with plain text.
        title: what the code means.
        detail: what is wrong in this case, or what to do.
        number: the refused command's own, empty where it has none.
        current: the state of the original, where the command is not legal in it.
        allowed: the states in which the command is legal.
    """

    def __init__(self, status: int, problem: Problem) -> None:
        about = f" ({problem.number})" if problem.number else ""
        super().__init__(f"{problem.code}{about}: {_words(problem)}".rstrip(": "))
        self.status = status
        self.code = problem.code
        self.title = problem.title
        self.detail = problem.detail
        self.number = problem.number
        self.current = problem.current
        self.allowed: Sequence[str] = problem.allowed


class NotAcceptedError(RefusedError):
    """The bank did not get as far as to know whose request it was.

    The signature did not hold, the certificate was revoked or has expired, the clock is off, or
    the request was too large or malformed. Such an answer is tied to no request, so it is no
    proof: where it matters, look the command up.
    """


class BusyError(PiaohaoError):
    """The bank put it off for as long as the client was patient; nothing has happened.

    Attributes:
        code: why, for example `NODE_BUSY`.
        retry_after_s: when to come again, if the bank said so.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {_words(problem)}".rstrip(": "))
        self.code = problem.code
        self.retry_after_s = problem.retry_after_s


class FailedError(PiaohaoError):
    """The bank failed on it (a 500), and says that nothing has happened.

    Attributes:
        code: for example `INTERNAL`.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {_words(problem)}".rstrip(": "))
        self.code = problem.code


class OutcomeUnknownError(PiaohaoError):
    """The command may have been carried out: look it up, or give the very same command again.

    What stood in the way of knowing is its `__cause__` where that is an error of its own.
    """


class UnreachableError(PiaohaoError):
    """The bank did not answer for as long as the client was patient; no command got through."""


class UntrustedAnswerError(PiaohaoError):
    """An answer was not the bank's: its signature is missing, wrong, or of another request.

    Or nobody was asked, as the root does not vouch for the TLS certificate of whoever is there.
    Nothing of it is believed. Where it came for a command, that may have been carried out: give
    the very same command again once the way to the bank is safe.
    """


class StreamEndedError(PiaohaoError):
    """The bank has ended a stream, and the same again would end the same way.

    Attributes:
        close_code: WebSocket's, as docs/STREAM.md has them: 4401, the certificate is no longer
            good; 4409, the bank has no such event yet; others, the bank did not understand.
        reason: what the bank says.
    """

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(f"the stream was closed with {close_code}: {reason}".rstrip(": "))
        self.close_code = close_code
        self.reason = reason


class BrokenSequenceError(PiaohaoError):
    """An event was missing from a stream, or came twice; it and what follows were not handed out.

    Attributes:
        expected: the sequence that was next.
        came: the one that came.
    """

    def __init__(self, expected: int, came: int) -> None:
        super().__init__(f"event {came} came where {expected} was next")
        self.expected = expected
        self.came = came


class UntrustedWebhookError(PiaohaoError):
    """What came to your endpoint is not a webhook of the bank's; answer 401, and do nothing of it.

    Attributes:
        unknown_key: it is signed by a key that is not known; the bank may have a new one.
    """

    def __init__(self, detail: str, *, unknown_key: bool = False) -> None:
        super().__init__(detail)
        self.unknown_key = unknown_key


class UnreadableAnswerError(PiaohaoError):
    """The bank said yes in words that this client does not know; it may be too old."""
