"""Codes: everything a caller can be told instead of what it asked for, in one table.

Three sources, one namespace: the domain's refusals (`actors.refusal`), the runtime's faults
(`engine.fault`), and what the gateway itself finds wrong with a request. Each code has an HTTP
status, a meaning and what to do about it; callers see them as problem details (RFC 9457).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import Refused
from actors.refusal import Refusal
from engine.fault import Fault, FaultCode


class RequestCode(StrEnum):
    """What the gateway itself finds wrong with a request; nothing has happened."""

    MALFORMED_JSON = "MALFORMED_JSON"
    INVALID_REQUEST = "INVALID_REQUEST"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    ARRAY_TOO_LONG = "ARRAY_TOO_LONG"
    BODY_TIMEOUT = "BODY_TIMEOUT"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    HEADERS_TIMEOUT = "HEADERS_TIMEOUT"
    TARGET_TOO_LONG = "TARGET_TOO_LONG"
    MISDIRECTED_REQUEST = "MISDIRECTED_REQUEST"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    TRANSFER_CODING = "TRANSFER_CODING"
    HTTP_VERSION = "HTTP_VERSION"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NO_SUCH_OPERATION = "NO_SUCH_OPERATION"
    NO_SUCH_TRANSFER = "NO_SUCH_TRANSFER"
    NO_SUCH_DAY_CUT = "NO_SUCH_DAY_CUT"
    DATE_NOT_OPEN = "DATE_NOT_OPEN"
    CLOCK_NOT_MOVABLE = "CLOCK_NOT_MOVABLE"


Code = Refusal | FaultCode | RequestCode


class Meaning(Struct, frozen=True):
    """One row of the table.

    Attributes:
        status: the HTTP status that goes with the code.
        title: what it means, the same for every occurrence.
        advice: what the caller should do.
        status_named: the status where the thing that is missing is only named by the command
            (a payment's payer) and not what the command is addressed to; 0 for no difference.
    """

    status: int
    title: str
    advice: str
    status_named: int = 0


_NEW_NUMBER = "Correct the command and send it under a new number."
_LATER = "Nothing happened: send the same command again after Retry-After."
_LOOK = "Look the original up; the command cannot be carried out in its state."

CODES: Final[Mapping[Code, Meaning]] = {
    # What is addressed does not exist.
    RequestCode.NOT_FOUND: Meaning(404, "There is nothing at this path.", "See docs/API.md."),
    Refusal.MERCHANT_NOT_FOUND: Meaning(
        404, "No merchant has this number.", "Open the merchant first, or correct the number."
    ),
    Refusal.ACCOUNT_NOT_FOUND: Meaning(
        404, "No account has this number.", "Open the account first, or correct the number.", 422
    ),
    Refusal.AGREEMENT_NOT_FOUND: Meaning(
        404,
        "The payer has signed no agreement with the merchant.",
        "Have the payer sign one, then pay under a new number.",
        422,
    ),
    Refusal.NO_SUCH_PAYMENT: Meaning(
        404, "The merchant has no payment of this number.", "Correct the number."
    ),
    Refusal.NO_SUCH_HOLD: Meaning(
        404, "The merchant has no authorization of this number.", "Correct the number."
    ),
    Refusal.NO_SUCH_REFUND: Meaning(
        404, "The merchant has no refund of this number.", "Correct the number."
    ),
    Refusal.NO_SUCH_AGREEMENT: Meaning(
        404, "The account has no agreement of this number.", "Correct the number."
    ),
    Refusal.NO_SUCH_FREEZE: Meaning(
        404, "No amount of the account was frozen under this number.", "Correct the number."
    ),
    RequestCode.NO_SUCH_OPERATION: Meaning(
        404, "The original has no operation of this number.", "Correct the number."
    ),
    RequestCode.NO_SUCH_TRANSFER: Meaning(
        404,
        "The account has no transfer, funding or withdrawal of this number.",
        "Correct the number; a funding in another currency than the account's needs ?currency=.",
    ),
    RequestCode.NO_SUCH_DAY_CUT: Meaning(
        404, "This business date has not been cut.", "Correct the date, or cut it."
    ),
    # Something speaks against it as things stand.
    Refusal.NUMBER_USED: Meaning(
        409, "The number names a command with other content.", "Use a new number."
    ),
    Refusal.MERCHANT_CLOSED: Meaning(
        409, "The merchant does no business any more.", "There is nothing to be done."
    ),
    Refusal.MERCHANT_SUSPENDED: Meaning(
        409,
        "The merchant may give money back, but not take any.",
        "Ask the bank; the number may be used again.",
    ),
    Refusal.IN_FLIGHT: Meaning(
        409,
        "The original has an operation under way.",
        "Send the same command again when it is over; nothing is bound to the number.",
    ),
    Refusal.PAYMENT_NOT_SUCCEEDED: Meaning(409, "The payment failed, or was reversed.", _LOOK),
    Refusal.HOLD_EXPIRED: Meaning(
        409, "The hold's time ran out before anything was captured.", "Place a new one."
    ),
    Refusal.HOLD_ALREADY_VOIDED: Meaning(409, "The hold was given back.", "Place a new one."),
    Refusal.HOLD_ALREADY_CAPTURED: Meaning(
        409, "The hold was captured in full, or its rest was released.", "Place a new one."
    ),
    Refusal.HOLD_PARTLY_CAPTURED: Meaning(
        409,
        "Only an untouched hold can be voided or incremented.",
        "Release what is left of it instead.",
    ),
    Refusal.STATE_CONFLICT: Meaning(
        409, "The command is not legal in the original's state.", _LOOK
    ),
    Refusal.REVERSAL_WINDOW_PASSED: Meaning(
        409, "The payment's business date is over.", "Refund it instead."
    ),
    Refusal.REFUND_WINDOW_PASSED: Meaning(
        409, "More than 365 days have passed since the money was taken.", "Pay it out otherwise."
    ),
    Refusal.REVERSAL_NOT_FULL: Meaning(
        409, "Something of the payment was, or is being, refunded.", "Refund the rest instead."
    ),
    Refusal.ACCOUNT_CLOSED: Meaning(409, "The account was closed.", "Use another account."),
    Refusal.ACCOUNT_FROZEN: Meaning(
        409, "Nothing new may leave the account.", "Ask the account's bank to unfreeze it."
    ),
    Refusal.HOLDS_OPEN: Meaning(
        409, "The account has open holds.", "Wait until they are captured, voided or expired."
    ),
    Refusal.OPEN_LIABILITIES: Meaning(
        409,
        "Something of the account or merchant is not settled yet.",
        "Close it when nothing is frozen, open, under way or owed any more.",
    ),
    Refusal.AGREEMENT_IN_FORCE: Meaning(
        409,
        "The payer has an agreement with the merchant already.",
        "Change that one, or cancel it and sign under a new number.",
    ),
    Refusal.AGREEMENT_CANCELLED: Meaning(
        409,
        "The payer's agreement with the merchant was cancelled.",
        "Have the payer sign a new one, then pay under a new number.",
    ),
    Refusal.ACCOUNT_NOT_EMPTY: Meaning(409, "The account has money in it.", "Withdraw it first."),
    RequestCode.DATE_NOT_OPEN: Meaning(
        409,
        "The date is neither the current business date nor one that was cut.",
        "Cut the current one: see GET /v1/node.",
    ),
    RequestCode.CLOCK_NOT_MOVABLE: Meaning(
        409, "The node runs on wall time.", "Serve with --clock domain to move the clock."
    ),
    # Amounts, limits, funds, and input that is not valid.
    RequestCode.MALFORMED_JSON: Meaning(400, "The body is not JSON.", "Correct the body."),
    RequestCode.INVALID_REQUEST: Meaning(
        422, "The request does not fit its schema.", "Correct what the detail names."
    ),
    Refusal.RESERVED_NUMBER: Meaning(
        422, "Customers' accounts may not be named like internal ones.", "Use another number."
    ),
    Refusal.CURRENCY_MISMATCH: Meaning(
        422, "The account, or the merchant, is kept in another currency.", _NEW_NUMBER
    ),
    Refusal.ACCOUNT_INTERNAL: Meaning(
        422, "Internal accounts are not a caller's to use.", _NEW_NUMBER
    ),
    Refusal.SAME_ACCOUNT: Meaning(
        422, "A transfer goes to another account than it comes from.", _NEW_NUMBER
    ),
    Refusal.CAPTURE_LIMIT: Meaning(422, "50 captures of this hold are done.", "Place a new hold."),
    Refusal.INCREMENT_LIMIT: Meaning(
        422, "10 increments of this hold are done.", "Place a new hold."
    ),
    Refusal.REFUND_COUNT_LIMIT: Meaning(
        422, "50 refunds of this original are done or under way.", "Pay the rest out otherwise."
    ),
    Refusal.CAPTURE_EXCEEDS_HOLD: Meaning(
        422, "It is more than may be captured under the hold.", _NEW_NUMBER
    ),
    Refusal.REFUND_EXCEEDS_REMAINING: Meaning(
        422, "It is more than is left to refund.", _NEW_NUMBER
    ),
    Refusal.MERCHANT_BALANCE_INSUFFICIENT: Meaning(
        422,
        "The merchant's receivable does not cover it.",
        "Refund later under a new number, or with wait_for_funds.",
    ),
    Refusal.PAYMENT_LIMIT_EXCEEDED: Meaning(
        422, "It is above the agreement's limit for one payment.", _NEW_NUMBER
    ),
    Refusal.DAILY_LIMIT_EXCEEDED: Meaning(
        422, "It is above the agreement's limit for the business date.", _NEW_NUMBER
    ),
    Refusal.METHOD_LIMIT_EXCEEDED: Meaning(
        422, "It is above the account's own limit for this method of paying.", _NEW_NUMBER
    ),
    Refusal.INSUFFICIENT_FUNDS: Meaning(
        422, "The account's available funds do not cover it.", _NEW_NUMBER
    ),
    Refusal.BALANCE_LIMIT: Meaning(
        422, "The currency would have more than 10^18 in circulation.", _NEW_NUMBER
    ),
    # How HTTP was spoken. What the listener finds wrong ends the connection.
    RequestCode.MALFORMED_REQUEST: Meaning(
        400, "The request is not framed as HTTP/1.1 wants it.", "Correct what the detail names."
    ),
    RequestCode.METHOD_NOT_ALLOWED: Meaning(
        405, "The path knows other methods.", "Use one that the Allow header names."
    ),
    RequestCode.BODY_TIMEOUT: Meaning(
        408, "The body did not arrive in time.", "Send the request again."
    ),
    RequestCode.HEADERS_TIMEOUT: Meaning(
        408, "The request's header fields did not arrive in time.", "Send the request again."
    ),
    RequestCode.BODY_TOO_LARGE: Meaning(
        413, "The body is larger than this path takes.", "Send less at once."
    ),
    RequestCode.ARRAY_TOO_LONG: Meaning(
        413, "The array has more than 1,000 commands; none was started.", "Send shorter arrays."
    ),
    RequestCode.TARGET_TOO_LONG: Meaning(
        414, "The request's first line is longer than 8 KiB.", "Ask for less at once."
    ),
    RequestCode.MISDIRECTED_REQUEST: Meaning(
        421,
        "Nobody of the name in Host is here.",
        "Address the node by one of its own names, over the scheme that it serves.",
    ),
    RequestCode.HEADERS_TOO_LARGE: Meaning(
        431, "The header has more than 16 KiB, or more than 100 fields.", "Send fewer fields."
    ),
    RequestCode.TRANSFER_CODING: Meaning(
        501, "The body has a transfer coding other than chunked.", "Send it without."
    ),
    RequestCode.HTTP_VERSION: Meaning(
        505, "The node speaks HTTP/1.1, and 1.0 to those who do.", "Speak HTTP/1.1."
    ),
    # The runtime's own: nothing happened, except where the outcome is unknown.
    FaultCode.ACTOR_BUSY: Meaning(
        429, "The merchant or account has as many commands under way as it may.", _LATER
    ),
    FaultCode.NODE_BUSY: Meaning(
        503, "The node has as many commands under way as it takes.", _LATER
    ),
    FaultCode.DISK_NEARLY_FULL: Meaning(
        503, "The node has no room for new work; reads go on.", _LATER
    ),
    FaultCode.STOPPING: Meaning(503, "The node is shutting down.", _LATER),
    FaultCode.ACTOR_QUARANTINED: Meaning(
        503, "The merchant or account waits for an operator.", _LATER
    ),
    FaultCode.TIMEOUT: Meaning(
        504,
        "The deadline passed before the command began.",
        "Nothing happened: send the same command again.",
    ),
    FaultCode.OUTCOME_UNKNOWN: Meaning(
        504,
        "The command began, and its outcome is not known here.",
        "Query it by its number, or send the very same command again; never assume that it failed.",
    ),
    FaultCode.INTERNAL: Meaning(
        500,
        "The node failed on this command; nothing happened.",
        "Tell the bank; the number may be used again.",
    ),
}
"""Every code there is; `tests/gateway/test_errors.py` holds it to that."""


class Problem(Struct, frozen=True, omit_defaults=True):
    """Problem details (RFC 9457); members that do not apply are left out.

    `number` is the refused command's own; `current` and `allowed` are given for an illegal
    transition; `retry_after_s` repeats the Retry-After header, which items of an array lack.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    number: str = ""
    current: str | None = None
    allowed: tuple[str, ...] = ()
    retry_after_s: int | None = None


def _problem(code: Code, status: int) -> Problem:
    meaning = CODES[code]
    return Problem(f"/v1/errors#{code}", meaning.title, status, str(code), meaning.advice)


_PROBLEMS: Final = {code: _problem(code, meaning.status) for code, meaning in CODES.items()}
_PROBLEMS_NAMED: Final = {
    code: _problem(code, meaning.status_named or meaning.status) for code, meaning in CODES.items()
}


def problem(code: Code, detail: str = "") -> Problem:
    """Return the problem of a code; without a detail of its own it says what to do."""
    found = _PROBLEMS[code]
    return replace(found, detail=detail) if detail else found


def refused(refusal: Refused, *, named: bool = False) -> Problem:
    """Return the problem that a refusal is.

    Args:
        named: accounts and agreements are only named by the command, not addressed
            (`Meaning.status_named`).
    """
    found = (_PROBLEMS_NAMED if named else _PROBLEMS)[refusal.code]
    return replace(found, number=refusal.number, current=refusal.current, allowed=refusal.allowed)


def faulted(fault: Fault) -> Problem:
    """Return the problem that a fault is."""
    found = _PROBLEMS[fault.code]
    if fault.retry_after_s is None:
        return found
    return replace(found, retry_after_s=fault.retry_after_s)


class RequestError(Exception):
    """The request itself is not acceptable.

    Attributes:
        problem: what the caller is told.
        allow: the methods of the path, for METHOD_NOT_ALLOWED.
    """

    def __init__(self, code: RequestCode, detail: str = "", allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail or code)
        self.problem = problem(code, detail)
        self.allow = allow
