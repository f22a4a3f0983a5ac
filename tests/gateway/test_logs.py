"""Logs: each entry is one line of its own making, and says nothing of a customer."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.commands import OpenAccount
from actors.kinds import ACCOUNT
from gateway.exits import CommandError
from gateway.logs import LogFormat, configure
from storage.errors import CorruptRowError
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs/ops/LOGS.md"
PACKAGES: Final = ("engine", "actors", "storage", "gateway")
LEVELS: Final = {each: each for each in ("debug", "info", "warning", "error", "critical")} | {
    "exception": "error"
}
FORMS: Final[tuple[LogFormat, ...]] = ("text", "json")
NUMBER: Final = "6217001234567890"
SECRET: Final = "c2VjcmV0LXNpZ25hdHVyZQ=="
ENTRY_BYTES: Final = 64 << 10

log = logging.getLogger("piaohao.gateway")

FORGED: Final = (
    "x\n2026-01-05 08:00:00,000 CRITICAL piaohao.gateway: fail-stop: forged",
    "x\r\n    gateway/server.py:1 forged",
    'x"}\n{"event": "fail-stop: forged", "level": "critical"}',
    'x", "level": "critical", "template": "forged',
    "x\x85forged\u2028forged\u2029forged\x0bforged\x0cforged\x1cforged",
    "\x1b[2J\x1b[Hforged\x9b31m\x07\x00\x7f",
    "\u202edegrof\ud800\U0001f600",
    "%s %d %(levelname)s {event}",
)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook


def written(form: LogFormat, do: Callable[[], object]) -> list[str]:
    """Return the lines that reach standard error."""
    logging.getLogger().handlers.clear()  # pytest's would write megabytes of tracebacks
    configure(form)
    with redirect_stderr(io.StringIO()) as said:
        do()
    text = said.getvalue()
    assert text.isascii()
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


def entries(form: LogFormat, lines: list[str]) -> list[Any]:
    """Return the entries among lines: objects, or in text their first lines."""
    if form == "json":
        return [json.loads(line) for line in lines]
    return [line for line in lines if not line.startswith("    ")]


def logged() -> set[tuple[str, str, str]]:
    """Return (event, logger, level) of all that the code logs."""
    found = set()
    for file in (each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        text = file.read_text("utf-8")
        if "logging" not in text:
            continue
        tree = ast.parse(text)
        loggers = {
            assigned.targets[0].id: assigned.value.args[0].value
            for assigned in tree.body
            if isinstance(assigned, ast.Assign)
            and isinstance(assigned.targets[0], ast.Name)
            and isinstance(assigned.value, ast.Call)
            and ast.unparse(assigned.value.func) == "logging.getLogger"
            and isinstance(assigned.value.args[0], ast.Constant)
        }
        for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
            if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
                continue
            of = ast.unparse(call.func.value)
            assert of != "logging", f"{file}:{call.lineno} logs as nobody"
            if of not in loggers:
                continue
            template = call.args[0]
            assert isinstance(template, ast.Constant), f"{file}:{call.lineno} cannot be listed"
            found.add((str(template.value), str(loggers[of]), LEVELS[call.func.attr]))
    return found


def test_page_lists_every_event_that_there_is_and_no_other() -> None:
    row = re.compile(r"^\| `([^`]+)` \| `([a-z.]+)` \| ([a-z]+) \|", re.MULTILINE)
    listed = row.findall(PAGE.read_text("utf-8"))
    assert len(listed) == len(set(listed))
    assert {*listed} == logged()
    assert len(listed) > 20, "this would have found them"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("forged", FORGED)
def test_entry_is_one_whatever_is_said_in_it(form: LogFormat, forged: str) -> None:
    """As a value, as something else that is known, and by an exception of any kind."""

    def say() -> None:
        log.warning("the webhook of %s has a URL that is none now", forged)
        log.info("known", extra={"request_id": forged, "merchant_no": forged})
        log.critical("fail-stop: %s%s", CommandError(2, forged), forged)
        for error in (CommandError(2, forged), ValueError(forged), OSError(5, forged)):
            try:
                raise error
            except (CommandError, ValueError, OSError):
                log.exception("%s failed", forged)

    lines = written(form, say)
    found = entries(form, lines)
    assert len(found) == 6
    if form == "json":
        assert len(lines) == 6
        assert [each["level"] for each in found[:3]] == ["warning", "info", "critical"]
        assert {each["template"] for each in found[3:]} == {"%s failed"}
    else:
        assert all(re.match(r"[0-9-]{10} [0-9:,]{12} [A-Z]+ piaohao\.gateway: ", x) for x in found)


@settings(max_examples=60, deadline=None)
@given(st.text(), st.sampled_from(FORMS))
def test_entry_is_one_for_any_text(text: str, form: LogFormat) -> None:
    def say() -> None:
        log.warning("TLS' files are used as they were: %s %s", CommandError(2, text), text)
        log.error("failed", exc_info=CommandError(2, text), extra={"request_id": text})

    assert len(entries(form, written(form, say))) == 2


@pytest.mark.parametrize("form", FORMS)
def test_entry_is_bounded_however_much_is_said(form: LogFormat) -> None:
    """A text of megabytes, a recursion without end, a group of a thousand."""
    long = "long" * 1_000_000

    def deeper(level: int) -> None:
        if level:
            deeper(level - 1)
        raise CommandError(2, long)

    def say() -> None:
        log.warning("%s", long, extra={"merchant_no": long})
        try:
            deeper(500)
        except CommandError as error:
            log.error("failed", exc_info=error)  # noqa: TRY400 -- as those do who were given it
            many = [ExceptionGroup(long, [error] * 1_000)] * 1_000
            log.error("failed", exc_info=ExceptionGroup(long, many))  # noqa: TRY400

    lines = written(form, say)
    assert len(entries(form, lines)) == 3
    assert len("\n".join(lines)) < 3 * ENTRY_BYTES
    assert len(lines) <= 3 + 2 * 60


@pytest.mark.parametrize("form", FORMS)
def test_account_is_not_told_by_its_number(form: LogFormat) -> None:
    """The last four figures are enough to find the entry by, and to know nobody by."""
    key = b"\0\1account/" + NUMBER.encode()

    def say() -> None:
        log.error("a turn of %s at %s failed", "DebitPayment", f"account/{NUMBER}")
        log.critical("fail-stop: %s%s", CorruptRowError("actors", key, "checksum"), "")
        log.critical("fail-stop: %s%s", KeyError(NUMBER), "")
        log.error("failed", exc_info=ValueError(f"no funds in {NUMBER}"))

    said = "\n".join(written(form, say))
    assert NUMBER not in said
    assert "at account/****7890 failed" in said
    assert "fail-stop: corrupt row in actors, key " in said
    assert "fail-stop: KeyError" in said
    assert "ValueError" in said


@pytest.mark.parametrize("form", FORMS)
async def test_turn_that_fails_says_where_and_not_about_whom(
    form: LogFormat,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither what was asked for, nor what lay in the turn's variables, nor what the exception
    says of either."""

    def fails(turn: Any, message: Any) -> None:
        signature = SECRET
        raise RuntimeError(f"{message} {signature}")

    handlers: dict[Any, Any] = ACCOUNT.handlers
    monkeypatch.setitem(handlers, OpenAccount, fails)
    configure(form)
    async with serving(tmp_path) as running, httpx2.AsyncClient() as client:
        account = {"account_no": NUMBER, "currency": "USD"}
        answer = await client.post(f"{running.address}/v1/accounts", json=account)
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    said = capsys.readouterr().err
    for each in (NUMBER, SECRET, "signature", "USD"):
        assert each not in said
    assert "the first turn of OpenAccount at account/****7890 failed" in said
    assert "test_logs.py:" in said, "the line that has raised is named"
    assert "RuntimeError" in said


@pytest.mark.parametrize("form", FORMS)
def test_process_that_ends_by_a_fault_says_so_in_an_entry(form: LogFormat) -> None:
    def end() -> None:
        try:
            int(NUMBER + "!")
        except ValueError as error:
            sys.excepthook(type(error), error, error.__traceback__)

    lines = written(form, end)
    (found,) = entries(form, lines)
    assert "the process ends by a fault of its own" in str(found)
    assert "ValueError" in "\n".join(lines)
    assert NUMBER not in "\n".join(lines)
