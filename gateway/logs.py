"""Logs: what a node writes to standard error, as text for people or as JSON for machines.

A line of JSON has `event`, `level`, `logger`, `timestamp` and whatever else is known, such as
`request_id`. Nothing of a request's headers, body or path goes into a log but the row of the table
that it belongs to: account numbers stay out, and signatures too.
"""

import logging
import secrets
import string
import sys
from typing import Final, Literal, TextIO

LogFormat = Literal["text", "json"]

REQUEST_ID: Final = "x-request-id"
"""The header that names a request: the caller's own if it fits, else one that was drawn."""
_ID_MAX: Final = 64
_ID_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "._-")

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(form: LogFormat) -> None:
    """Have everything that is logged go to standard error in one form."""
    handler = _StandardError()
    handler.setFormatter(logging.Formatter(_TEXT) if form == "text" else _json())
    root = logging.getLogger()
    for each in list(root.handlers):
        if type(each) in (logging.StreamHandler, _StandardError):
            root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the moment, as `logging.lastResort` does: it may be
    another one by then."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def request_id(given: str | None) -> str:
    """Return the name of a request: the one that the caller gave it, if it may stand in a log."""
    if given and len(given) <= _ID_MAX and _ID_LETTERS.issuperset(given):
        return given
    return secrets.token_hex(8)


def _json() -> logging.Formatter:
    # It loads all of rich for tracebacks in colour: 0.1 s that lines of text do without.
    import structlog  # noqa: PLC0415

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
    )
