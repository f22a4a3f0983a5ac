"""Logs: what a node writes to standard error, as text for people or as JSON for machines.

An entry is one line, in printable ASCII and not too long, whatever is said in it: nobody can end it
and begin another. In text, lines that belong to the entry above them begin with four blanks. A line
of JSON has `event`, `template` (the same before anything was put in, as docs/ops/LOGS.md lists all
that there are), `level`, `logger`, `timestamp` and what else is known, such as `request_id`.

Nothing of a request's headers, body or path goes into a log but the row of the table that it
belongs to: account numbers stay out, and signatures too. An exception that is not of our own making
may quote any of that, so it is named, with the lines of code that it came through, and not cited.
"""

import logging
import re
import secrets
import string
import sys
import traceback
from collections import deque
from collections.abc import MutableMapping
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from gateway.exits import CommandError
from storage.errors import StorageError

log = logging.getLogger("piaohao")

LogFormat = Literal["text", "json"]

REQUEST_ID: Final = "x-request-id"
"""The header that names a request: the caller's own if it fits, else one that was drawn."""
_ID_MAX: Final = 64
_ID_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "._-")

TEXT_MAX: Final = 2_000
"""Characters of one text in an entry."""
_LINES_MAX: Final = 60
"""Lines about an exception."""
_LINE_MAX: Final = 300
_FRAMES_MAX: Final = 20
_CHAIN_MAX: Final = 3
_GROUP_MAX: Final = 5
_CITED: Final = (StorageError, CommandError, OSError)
"""What these say is about files, rows and options."""
_ACCOUNT: Final = re.compile(r"account/([A-Za-z0-9](?:[A-Za-z0-9._:@+-]{0,62}[A-Za-z0-9])?)")
_LAST: Final = 4
_LONG: Final = 8
"""Of a number that is shorter, the last four figures would be half of it."""


def configure(form: LogFormat) -> None:
    """Have everything that is logged go to standard error in one form, and what ends the process
    by a fault of its own as well."""
    handler = _StandardError()
    handler.setFormatter(_Text() if form == "text" else _Json())
    root = logging.getLogger()
    for each in list(root.handlers):
        if type(each) in (logging.StreamHandler, _StandardError):
            root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    sys.excepthook = _uncaught


def plain(text: str, characters_max: int = TEXT_MAX) -> str:
    """Return a text in printable ASCII, cut to so many characters; what is neither is escaped."""
    if len(text) <= characters_max and text.isascii() and text.isprintable() and "\\" not in text:
        return text  # as nearly all are: 0.2 µs instead of 2
    escaped = text[: characters_max + 1].encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= characters_max else f"{escaped[:characters_max]}..."


def request_id(given: str | None) -> str:
    """Return the name of a request: the one that the caller gave it, if it may stand in a log."""
    if given and len(given) <= _ID_MAX and _ID_LETTERS.issuperset(given):
        return given
    return secrets.token_hex(8)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the moment, as `logging.lastResort` does: it may be
    another one by then."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Text(logging.Formatter):
    """A line for people, and below it where an exception came from."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        event = _said(_told(record).getMessage())
        line = f"{self.formatTime(record)} {record.levelname} {plain(record.name)}: {event}"
        return "\n    ".join([line, *_trace_of(record)])


class _Json(logging.Formatter):
    """An object on a line, for machines."""

    def __init__(self) -> None:
        super().__init__()
        # It loads all of rich for tracebacks in colour: 0.1 s that lines of text do without.
        import structlog  # noqa: PLC0415

        self._inner = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.ExtraAdder(),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _bounded,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return self._inner.format(_told(record))


def _bounded(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make what is known of an entry fit for a line; a processor of structlog's."""
    record = event["_record"]
    event.pop("exc_info", None)
    event.pop("stack_info", None)
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _said(value)
    event["template"] = plain(str(record.msg))
    trace = _trace_of(record)
    if trace:
        event["exception"] = trace
    return event


def _told(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record that cites no exception that is not to be cited."""
    args = record.args
    if isinstance(args, tuple) and any(isinstance(each, BaseException) for each in args):
        record = logging.makeLogRecord(record.__dict__)
        record.args = tuple(
            _cited(each) if isinstance(each, BaseException) else each for each in args
        )
    return record


def _said(text: str, characters_max: int = TEXT_MAX) -> str:
    """Return a text as it may stand in a log."""
    if "account/" in text:
        text = _ACCOUNT.sub(_masked, text[: characters_max + 1])
    return plain(text, characters_max)


def _masked(found: re.Match[str]) -> str:
    number = found[1]
    return f"account/****{number[-_LAST:] if len(number) >= _LONG else ''}"


def _cited(error: BaseException) -> str:
    """Return what an exception says if that is no customer's affair, else what it is."""
    return str(error) if isinstance(error, _CITED) else type(error).__name__


def _name(error: BaseException) -> str:
    """Return what an exception is, and what it says if that is no customer's affair."""
    name = type(error).__name__
    return f"{name}: {_said(str(error), _LINE_MAX)}" if isinstance(error, _CITED) else name


def _trace_of(record: logging.LogRecord) -> list[str]:
    """Return the lines about a record's exception, none where it has none."""
    error = record.exc_info[1] if record.exc_info else None
    return [] if error is None else _trace(error)[-_LINES_MAX:]


def _trace(error: BaseException, depth: int = 0) -> list[str]:
    """Return where an exception came from, its innermost frame last, and then what it is."""
    lines = []
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is not None and depth < _CHAIN_MAX:
        lines += [*_trace(cause, depth + 1), "after which:"]
    for frame, line in deque(traceback.walk_tb(error.__traceback__), _FRAMES_MAX):
        code = frame.f_code
        lines.append(f"{'/'.join(PurePath(code.co_filename).parts[-3:])}:{line} {code.co_name}")
    lines.append(_name(error))
    if isinstance(error, BaseExceptionGroup) and depth < _CHAIN_MAX:
        for each in error.exceptions[:_GROUP_MAX]:
            lines += ["of which:", *_trace(each, depth + 1)]
    return lines


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        log.critical("the process ends by a fault of its own", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)
