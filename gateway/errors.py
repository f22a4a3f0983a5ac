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
    INVALID_UTF8 = "INVALID_UTF8"
    BYTE_ORDER_MARK = "BYTE_ORDER_MARK"
    NESTED_TOO_DEEPLY = "NESTED_TOO_DEEPLY"
    DUPLICATE_MEMBER = "DUPLICATE_MEMBER"
    NUMBER_NOT_INTEGER = "NUMBER_NOT_INTEGER"
    NUMBER_NOT_FINITE = "NUMBER_NOT_FINITE"
    NUMBER_TOO_LARGE = "NUMBER_TOO_LARGE"
    CONTROL_CHARACTER = "CONTROL_CHARACTER"
    LONE_SURROGATE = "LONE_SURROGATE"
    NONCHARACTER = "NONCHARACTER"
    TEXT_NOT_NFC = "TEXT_NOT_NFC"
    INVALID_REQUEST = "INVALID_REQUEST"
    MALFORMED_PATH = "MALFORMED_PATH"
    MALFORMED_QUERY = "MALFORMED_QUERY"
    DUPLICATE_PARAMETER = "DUPLICATE_PARAMETER"
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
    UPGRADE_REQUIRED = "UPGRADE_REQUIRED"
    HANDSHAKE_REFUSED = "HANDSHAKE_REFUSED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    UNSUPPORTED_CONTENT_ENCODING = "UNSUPPORTED_CONTENT_ENCODING"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NO_SUCH_CERTIFICATE = "NO_SUCH_CERTIFICATE"
    NO_SUCH_PROFILE = "NO_SUCH_PROFILE"
    NO_SUCH_OPERATION = "NO_SUCH_OPERATION"
    NO_SUCH_TRANSFER = "NO_SUCH_TRANSFER"
    NO_SUCH_DAY_CUT = "NO_SUCH_DAY_CUT"
    DATE_NOT_OPEN = "DATE_NOT_OPEN"
    CLOCK_NOT_MOVABLE = "CLOCK_NOT_MOVABLE"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    SIGNATURE_MALFORMED = "SIGNATURE_MALFORMED"
    SIGNATURE_OLD = "SIGNATURE_OLD"
    SIGNATURE_WRONG = "SIGNATURE_WRONG"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    SIGNER_UNKNOWN = "SIGNER_UNKNOWN"
    SIGNER_NOT_VALID = "SIGNER_NOT_VALID"
    SIGNER_REVOKED = "SIGNER_REVOKED"
    NONCE_USED = "NONCE_USED"
    SIGNED_BEFORE_START = "SIGNED_BEFORE_START"
    NOT_FOR_MERCHANTS = "NOT_FOR_MERCHANTS"
    FOREIGN_PAGE = "FOREIGN_PAGE"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    CERTIFIED_TOO_OFTEN = "CERTIFIED_TOO_OFTEN"
    CSR_REFUSED = "CSR_REFUSED"
    NO_CERTIFICATE_AUTHORITY = "NO_CERTIFICATE_AUTHORITY"
    NO_SUCH_DELIVERY = "NO_SUCH_DELIVERY"
    WEBHOOKS_OFF = "WEBHOOKS_OFF"
    WEBHOOK_URL_REFUSED = "WEBHOOK_URL_REFUSED"
    WEBHOOK_UNPROVED = "WEBHOOK_UNPROVED"


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
_CORRECT = "Correct the number; a command that was refused takes a new one of its own, too."
_LATER = "Nothing happened: send the same command again after Retry-After."
_LOOK = "Look the original up; `allowed` names the states in which this can be done."
_NEW_HOLD = "Place a new authorization."

CODES: Final[Mapping[Code, Meaning]] = {
    # Who asks is not proved: docs/SIGNATURES.md says how to sign.
    RequestCode.SIGNATURE_MISSING: Meaning(
        401, "The request is not signed.", "Sign it as docs/SIGNATURES.md says."
    ),
    RequestCode.SIGNATURE_MALFORMED: Meaning(
        401,
        "Signature-Input, Signature or Content-Digest does not have its one form.",
        "Follow docs/SIGNATURES.md to the letter: order, spaces and case count.",
    ),
    RequestCode.SIGNER_UNKNOWN: Meaning(
        401, "No certificate has this serial.", "Sign with a certificate that the bank has issued."
    ),
    RequestCode.SIGNER_REVOKED: Meaning(
        401, "The certificate was revoked.", "Sign with another, or ask the bank for one."
    ),
    RequestCode.SIGNER_NOT_VALID: Meaning(
        401, "The certificate has expired, or is not valid yet.", "Sign with one that is valid."
    ),
    RequestCode.SIGNATURE_OLD: Meaning(
        401,
        "The signature was made more than 300 seconds from now, by the node's clock.",
        "Set your clock, and sign each request when you send it.",
    ),
    RequestCode.DIGEST_MISMATCH: Meaning(
        401,
        "Content-Digest is not the digest of the body that came.",
        "Take the digest of the very bytes that you send; of an empty body too.",
    ),
    RequestCode.SIGNATURE_WRONG: Meaning(
        401,
        "The signature is not the certificate's over this request.",
        "Compare your signature base with the one that docs/SIGNATURES.md makes.",
    ),
    RequestCode.SIGNED_BEFORE_START: Meaning(
        401,
        "The request was signed before the node was up, so it may have come before.",
        "Nothing happened: sign it again and send it.",
    ),
    RequestCode.NONCE_USED: Meaning(
        401,
        "A request with this nonce has come before.",
        "Sign every try with a new nonce; the command's number stays the same.",
    ),
    RequestCode.NOT_FOR_MERCHANTS: Meaning(
        403, "Only the bank itself may ask for this.", "Ask the bank."
    ),
    RequestCode.FOREIGN_PAGE: Meaning(
        403,
        "A page of another site has a browser ask, and on this node nothing is signed.",
        "Ask from a program; pages have no business with a node that knows nobody.",
    ),
    # What is addressed does not exist.
    RequestCode.NOT_FOUND: Meaning(
        404, "There is nothing at this path.", "Correct the path; docs/API.md has all there are."
    ),
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
        404, "The merchant has no payment of this `order_no`.", _CORRECT
    ),
    Refusal.NO_SUCH_HOLD: Meaning(
        404, "The merchant has no authorization of this `hold_no`.", _CORRECT
    ),
    Refusal.NO_SUCH_REFUND: Meaning(
        404, "The merchant has no refund of this `refund_no`.", _CORRECT
    ),
    Refusal.NO_SUCH_AGREEMENT: Meaning(
        404, "The account has no agreement of this `agreement_no`.", _CORRECT
    ),
    Refusal.NO_SUCH_FREEZE: Meaning(
        404, "No amount of the account was frozen under this `freeze_no`.", _CORRECT
    ),
    Refusal.WEBHOOK_NOT_FOUND: Meaning(
        404, "The merchant has no webhook.", "Set one: POST /v1/merchants/{merchant_no}/webhook."
    ),
    RequestCode.NO_SUCH_DELIVERY: Meaning(
        404,
        "The merchant has no event of this sequence, or the log has forgotten it.",
        "Correct the sequence; an event that was forgotten may be delivered again.",
    ),
    Refusal.CERTIFICATE_NOT_FOUND: Meaning(
        404, "The merchant has no certificate of this serial.", "Correct the serial."
    ),
    RequestCode.NO_SUCH_CERTIFICATE: Meaning(
        404, "The merchant has no certificate of this number.", "Correct the number."
    ),
    RequestCode.NO_SUCH_PROFILE: Meaning(
        404, "The merchant was opened without having applied.", "There is nothing to be done."
    ),
    RequestCode.NO_SUCH_OPERATION: Meaning(
        404,
        "The payment, authorization, refund or agreement has no operation of this number.",
        "Correct the number, or the one of what it was done to.",
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
        409,
        "The number was given to a command with other content.",
        "Send a new command under a new number; to repeat the first, send just what it was.",
    ),
    Refusal.MERCHANT_CLOSED: Meaning(
        409,
        "The merchant is closed for ever.",
        "Look-ups go on; nothing else can be done under this merchant.",
    ),
    Refusal.MERCHANT_NOT_ACTIVE: Meaning(
        409,
        "The merchant has not been activated.",
        "Ask the bank; the number may be used again.",
    ),
    Refusal.MERCHANT_CLOSING: Meaning(
        409,
        "The merchant comes to its end: it takes nothing new.",
        "Refunds, captures, voids and releases go on; for the rest there is nothing to be done.",
    ),
    Refusal.MERCHANT_SUSPENDED: Meaning(
        409,
        "The merchant may give money back, but not take any.",
        "Ask the bank to lift the suspension, then send the same command again.",
    ),
    Refusal.IN_FLIGHT: Meaning(
        409,
        "The original has another operation under way.",
        "Send the same command again when that one is over; nothing is bound to the number.",
    ),
    Refusal.PAYMENT_NOT_SUCCEEDED: Meaning(
        409, "The payment failed, or was reversed: there is nothing to give back.", _LOOK
    ),
    Refusal.HOLD_EXPIRED: Meaning(
        409, "The authorization's time ran out before anything was captured.", _NEW_HOLD
    ),
    Refusal.HOLD_ALREADY_VOIDED: Meaning(409, "The authorization was voided.", _NEW_HOLD),
    Refusal.HOLD_ALREADY_CAPTURED: Meaning(
        409, "The authorization was captured in full, or its rest was released.", _NEW_HOLD
    ),
    Refusal.HOLD_PARTLY_CAPTURED: Meaning(
        409,
        "Some of the authorization was captured; only an untouched one is voided or incremented.",
        "Release what is left of it, or place a new authorization for more.",
    ),
    Refusal.STATE_CONFLICT: Meaning(
        409, "The original is not in a state in which this can be done.", _LOOK
    ),
    Refusal.CERTIFICATE_MISSING: Meaning(
        409,
        "The merchant has no valid certificate yet.",
        "Have a certificate signed, then activate the merchant.",
    ),
    Refusal.CERTIFICATE_REVOKED: Meaning(
        409,
        "The certificate to be renewed was revoked.",
        "Have one signed under a new number, without renewing.",
    ),
    Refusal.CERTIFICATE_ENDED: Meaning(
        409,
        "The time of the certificate to be renewed is over.",
        "Have one signed under a new number, without renewing.",
    ),
    Refusal.CERTIFICATE_LIMIT: Meaning(
        409,
        "As many certificates are valid as may be: 10 of a merchant.",
        "Revoke one, then have one signed under a new number.",
    ),
    Refusal.CERTIFICATE_EXISTS: Meaning(
        409, "A certificate has this serial already.", "Have one signed under a new number."
    ),
    Refusal.WEBHOOK_BACKLOG: Meaning(
        409,
        "1,000 events of the merchant are under way to its webhook.",
        "Nothing happened: order these again when some of the others have been delivered.",
    ),
    RequestCode.WEBHOOKS_OFF: Meaning(
        409,
        "The node sends no webhooks: it was started without the bank's keys.",
        "Start it with the keys: nobody could believe what is not signed.",
    ),
    Refusal.REVERSAL_WINDOW_PASSED: Meaning(
        409,
        "The payment's business date is over.",
        "Refund the payment instead; its fee is kept then.",
    ),
    Refusal.REFUND_WINDOW_PASSED: Meaning(
        409,
        "More than 365 days have passed since the money was taken.",
        "Give the money back in another way; this payment takes no refund any more.",
    ),
    Refusal.REVERSAL_NOT_FULL: Meaning(
        409,
        "Something of the payment was, or is being, refunded.",
        "Refund what is left of it instead.",
    ),
    Refusal.ACCOUNT_CLOSED: Meaning(
        409, "The account is closed for ever.", "Use another account, under a new number."
    ),
    Refusal.ACCOUNT_FROZEN: Meaning(
        409,
        "The account is frozen: nothing new may leave it.",
        "Have the account's bank unfreeze it, or use another account.",
    ),
    Refusal.HOLDS_OPEN: Meaning(
        409,
        "The account has open authorizations.",
        "Close it once they are captured, voided or expired.",
    ),
    Refusal.OPEN_LIABILITIES: Meaning(
        409,
        "Something of the account is not settled yet.",
        "Close it once nothing is frozen or under way any more.",
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
    Refusal.ACCOUNT_NOT_EMPTY: Meaning(
        409, "The account has money in it.", "Withdraw or transfer all of it, then close it."
    ),
    RequestCode.DATE_NOT_OPEN: Meaning(
        409,
        "The date is neither the current business date nor one that was cut.",
        "Cut the current one: see GET /v1/node.",
    ),
    RequestCode.CLOCK_NOT_MOVABLE: Meaning(
        409, "The node runs on wall time.", "Serve with --clock domain to move the clock."
    ),
    # The text of the request, before anything looks at what it says.
    RequestCode.MALFORMED_JSON: Meaning(
        400, "The body is not JSON.", "Correct the body where the detail says; see RFC 8259."
    ),
    RequestCode.INVALID_UTF8: Meaning(
        400, "The request is not valid UTF-8.", "Encode all text in UTF-8."
    ),
    RequestCode.BYTE_ORDER_MARK: Meaning(
        400,
        "The body begins with a byte order mark.",
        "Send it without the mark: the body begins with its first bracket.",
    ),
    RequestCode.NESTED_TOO_DEEPLY: Meaning(
        400,
        "The body has more than 16 arrays and objects within one another.",
        "Send what the schema names; nothing there is nested as deeply.",
    ),
    RequestCode.DUPLICATE_MEMBER: Meaning(
        400,
        "An object has the same member twice.",
        "Send each member once; an escaped name is the same name.",
    ),
    RequestCode.NUMBER_NOT_INTEGER: Meaning(
        400,
        "A number has a fraction or an exponent.",
        "Send integers of minor units: 12.50 USD is 1250.",
    ),
    RequestCode.NUMBER_NOT_FINITE: Meaning(
        400, "NaN and Infinity are no numbers in JSON.", "Send integers, or leave the member out."
    ),
    RequestCode.NUMBER_TOO_LARGE: Meaning(
        400, "A number does not fit 64 bits.", "Send amounts of 1 to 10^13 minor units."
    ),
    RequestCode.CONTROL_CHARACTER: Meaning(
        400,
        "A text has a character that controls how text is shown.",
        "Leave out line ends, tabs, NUL and other controls, and what reverses text.",
    ),
    RequestCode.LONE_SURROGATE: Meaning(
        400,
        "A text has one half of a surrogate pair.",
        "Send both halves or the character itself; do not cut texts inside of a pair.",
    ),
    RequestCode.NONCHARACTER: Meaning(
        400,
        "A text has a code point that Unicode will never make a character.",
        "Leave it out: U+FFFE, U+FFFF and their like mean nothing to anybody else.",
    ),
    RequestCode.TEXT_NOT_NFC: Meaning(
        400,
        "A text is not in Unicode's normal form NFC.",
        "Normalise texts to NFC before sending: it keeps one text from being two.",
    ),
    RequestCode.MALFORMED_PATH: Meaning(
        400,
        "The path is not properly percent-encoded, or a number in it has a slash.",
        "Send %XX for what is no letter, figure or one of . _ : @ + - in a number.",
    ),
    RequestCode.MALFORMED_QUERY: Meaning(
        400,
        "The query is not made of name=value pairs in percent-encoding.",
        "Join the pairs by &, with %XX for % and for what is not ASCII; + is a blank.",
    ),
    RequestCode.DUPLICATE_PARAMETER: Meaning(
        400, "A parameter of the query is given twice.", "Send each parameter once."
    ),
    # Amounts, limits, funds, and what does not fit its schema.
    RequestCode.INVALID_REQUEST: Meaning(
        422,
        "The request does not fit its schema.",
        "Correct what the detail names; the number may be used again.",
    ),
    Refusal.RESERVED_NUMBER: Meaning(
        422,
        "Numbers that begin like those of internal accounts are the bank's own.",
        "Open the account under another number.",
    ),
    Refusal.CURRENCY_MISMATCH: Meaning(
        422, "The account, or the merchant, is kept in another currency.", _NEW_NUMBER
    ),
    Refusal.ACCOUNT_INTERNAL: Meaning(
        422, "The account is one of the bank's internal ones.", _NEW_NUMBER
    ),
    Refusal.SAME_ACCOUNT: Meaning(
        422, "The transfer goes to the account that it comes from.", _NEW_NUMBER
    ),
    Refusal.CAPTURE_LIMIT: Meaning(422, "50 captures of this authorization are done.", _NEW_HOLD),
    Refusal.INCREMENT_LIMIT: Meaning(
        422, "10 increments of this authorization are done.", _NEW_HOLD
    ),
    Refusal.REFUND_COUNT_LIMIT: Meaning(
        422,
        "50 refunds of this original are done or under way.",
        "Give the rest back in another way.",
    ),
    Refusal.CAPTURE_EXCEEDS_HOLD: Meaning(
        422,
        "The amount is more than may still be captured under the authorization.",
        "Look the authorization up and capture less, under a new number.",
    ),
    Refusal.REFUND_EXCEEDS_REMAINING: Meaning(
        422,
        "The amount is more than is left to refund.",
        "Look the original up and refund less, under a new number.",
    ),
    Refusal.MERCHANT_BALANCE_INSUFFICIENT: Meaning(
        422,
        "The merchant's receivable does not cover the amount.",
        "Refund later under a new number, or with wait_for_funds.",
    ),
    Refusal.PAYMENT_LIMIT_EXCEEDED: Meaning(
        422,
        "The amount is above the agreement's limit for one payment.",
        "Ask the payer to raise the limit, or take less; either under a new number.",
    ),
    Refusal.DAILY_LIMIT_EXCEEDED: Meaning(
        422,
        "The amount is above what the agreement's limit leaves for this business date.",
        "Try again on the next business date, or take less; either under a new number.",
    ),
    Refusal.METHOD_LIMIT_EXCEEDED: Meaning(
        422,
        "The amount is above the account's own limit for this method of paying.",
        "Ask the payer for another method or a higher limit, and use a new number.",
    ),
    Refusal.INSUFFICIENT_FUNDS: Meaning(
        422,
        "The account's available funds do not cover the amount.",
        "Try another account, a smaller amount or another day, under a new number.",
    ),
    Refusal.BALANCE_LIMIT: Meaning(
        422, "The currency would have more than 10^18 minor units in circulation.", _NEW_NUMBER
    ),
    Refusal.MESSAGE_DISCARDED: Meaning(
        422,
        "Something failed inside the bank, whose operators have given it up: it came to nothing.",
        "Try again under a new number; what money had moved for it is back, or the bank has it.",
    ),
    # How HTTP was spoken. What the listener finds wrong ends the connection.
    RequestCode.MALFORMED_REQUEST: Meaning(
        400, "The request is not framed as HTTP/1.1 wants it.", "Correct what the detail names."
    ),
    RequestCode.HANDSHAKE_REFUSED: Meaning(
        400,
        "The request would make a WebSocket, but not one that the node speaks.",
        "Correct what the detail names; docs/STREAM.md has an example.",
    ),
    RequestCode.METHOD_NOT_ALLOWED: Meaning(
        405, "The path knows other methods.", "Use one that the Allow header names."
    ),
    RequestCode.BODY_TIMEOUT: Meaning(
        408, "The body did not arrive within 10 seconds.", "Send the request again, all at once."
    ),
    RequestCode.HEADERS_TIMEOUT: Meaning(
        408, "The request's header fields did not arrive in time.", "Send the request again."
    ),
    RequestCode.BODY_TOO_LARGE: Meaning(
        413,
        "The body is larger than this path takes: 64 KiB, or 1 MiB at /v1/commands.",
        "Send less at once.",
    ),
    RequestCode.ARRAY_TOO_LONG: Meaning(
        413, "The array has more than 1,000 commands; none was started.", "Send shorter arrays."
    ),
    RequestCode.TARGET_TOO_LONG: Meaning(
        414, "The request's first line is longer than 8 KiB.", "Ask for less at once."
    ),
    RequestCode.UNSUPPORTED_MEDIA_TYPE: Meaning(
        415,
        "The body does not say that it is JSON.",
        "Send Content-Type: application/json, with no charset but utf-8.",
    ),
    RequestCode.UNSUPPORTED_CONTENT_ENCODING: Meaning(
        415, "The body is compressed, or says so.", "Send it as it is, without Content-Encoding."
    ),
    RequestCode.MISDIRECTED_REQUEST: Meaning(
        421,
        "Nobody of the name in Host is here, or this port of the node does not serve the path.",
        "Address the node by one of its own names, over the scheme that it serves; where there is "
        "an `address`, send the request there.",
    ),
    RequestCode.UPGRADE_REQUIRED: Meaning(
        426,
        "This path is a WebSocket, of version 13.",
        "Ask for the upgrade with HTTP/1.1, as docs/STREAM.md shows.",
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
    RequestCode.RATE_LIMITED: Meaning(
        429, "The merchant has sent more requests than it may.", _LATER
    ),
    RequestCode.TOO_MANY_STREAMS: Meaning(
        429,
        "The merchant has as many streams as it may: 64.",
        "Close one, or use those that there are.",
    ),
    RequestCode.CERTIFIED_TOO_OFTEN: Meaning(
        429, "The merchant has had more certificates made than it may in a day.", _LATER
    ),
    RequestCode.WEBHOOK_URL_REFUSED: Meaning(
        422,
        "The URL is not one to which webhooks are sent.",
        "Give one of https, with a name or a public address, on port 443 or 1024 and above.",
    ),
    RequestCode.WEBHOOK_UNPROVED: Meaning(
        422,
        "The server at the URL has not shown that it wants to be sent the merchant's events.",
        "Have it answer the challenge that it is sent (docs/WEBHOOKS.md), and set the URL again.",
    ),
    RequestCode.CSR_REFUSED: Meaning(
        422,
        "The signing request is not one that the bank's CA signs.",
        "Make a PKCS #10 request for an Ed25519, P-256 or RSA key of 2,048 bits or more.",
    ),
    RequestCode.NO_CERTIFICATE_AUTHORITY: Meaning(
        409,
        "The node has no CA: it was started without the bank's keys, or its certificate has ended.",
        "Renew it, or start the node with the keys: docs/CERTIFICATES.md.",
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
        503,
        "The merchant or account waits for an operator of the bank.",
        "Nothing happened: send the same command again later; if it lasts, tell the bank.",
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
    transition; `retry_after_s` repeats the Retry-After header, which items of an array lack;
    `address` is where a request belongs that another port of the node serves.
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
    address: str | None = None


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

    def __init__(
        self,
        code: Code,
        detail: str = "",
        allow: tuple[str, ...] = (),
        retry_after_s: int | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.problem = problem(code, detail)
        if retry_after_s is not None:
            self.problem = replace(self.problem, retry_after_s=retry_after_s)
        if address is not None:
            self.problem = replace(self.problem, address=address)
        self.allow = allow
