"""The page of codes, docs/ERRORS.md: made from `gateway.errors`, for people.

`just errors` writes it; a test compares it, so that the page is never older than the code.
Programs find the same table at GET /v1/errors.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from gateway.errors import CODES, Code, Meaning

_HEAD: Final = """\
# Codes

Generated from `gateway/errors.py` by `./just errors`: change the table there, never this page.

Whoever asks for what cannot be done gets problem details (RFC 9457, `application/problem+json`):

| member | |
|---|---|
| `type` | `/v1/errors#` and the code; `GET /v1/errors` is this table, for programs |
| `title` | what the code means, the same each time |
| `status` | the HTTP status; an item of an array has its own |
| `code` | stable: what programs should look at |
| `detail` | what is wrong in this case, or what to do; for people |
| `number` | the command's own, where it was refused |
| `current`, `allowed` | the state of the original, and those in which it could be done |
| `retry_after_s` | repeats the header `Retry-After` |

A command of which a code says that it was refused or that nothing happened has moved no money. The
refusals among these codes also stand in `code` of what has come to be `FAILED`, as of a payment
that its payer's account declined.
"""

_ABOUT: Final = {
    400: """\
The text of the request, before anything looks at what it says. Nothing happened and no number is
bound: correct what makes the requests, as none like this one will ever be taken.""",
    404: """\
What the request is addressed to does not exist. Where the table says 422 as well, that is the
status if a command only names it, as a payment names its payer.""",
    409: """\
Something speaks against it as things stand. What an active merchant or an open account has
decided is bound to the command's number for ever, and another attempt takes a new number. Nothing
is bound by `NUMBER_USED` and `IN_FLIGHT`, or where the command is addressed to a merchant or an
account that is suspended, frozen or closed.""",
    422: """\
What the request says does not fit. Nothing is bound by `INVALID_REQUEST`; the others are decisions,
bound to the command's number.""",
    429: "Nothing happened; `Retry-After` says when to come again.",
    500: "A fault of the bank's.",
    503: "Nothing happened; `Retry-After` says when to come again.",
    504: "Whether anything has happened is what tells these two apart.",
}


# As RFC 9110 has them; Python renamed its own between versions.
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}


def error_page() -> str:
    """Return the whole page."""
    statuses = sorted({meaning.status for meaning in CODES.values()})
    return "\n".join([_HEAD, *("\n".join(_section(status)) + "\n" for status in statuses)])


def _section(status: int) -> Iterator[str]:
    yield f"## {status} {_PHRASES.get(status) or HTTPStatus(status).phrase}\n"
    about = _ABOUT.get(status)
    if about is not None:
        yield f"{about}\n"
    yield "| code | meaning | what to do |"
    yield "|---|---|---|"
    for code, meaning in CODES.items():
        if meaning.status == status:
            yield _row(code, meaning)


def _row(code: Code, meaning: Meaning) -> str:
    named = f", {meaning.status_named}" if meaning.status_named else ""
    anchor = f'<a id="{code}"></a>`{code}`{named}'
    return f"| {anchor} | {meaning.title} | {meaning.advice} |"
