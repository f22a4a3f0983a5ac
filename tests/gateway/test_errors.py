"""The table of codes is whole, what docs/ERRORS.md shows, and made into RFC 9457's problems."""

from pathlib import Path

import msgspec
import pytest

from actors.answers import Refused
from actors.refusal import ABOUT_STATE, Refusal
from engine.fault import ACTOR_BUSY, NODE_BUSY, OUTCOME_UNKNOWN, TIMEOUT, FaultCode
from gateway.error_page import error_page
from gateway.errors import CODES, RequestCode, faulted, problem, refused

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

PAGE = Path(__file__).resolve().parents[2] / "docs/ERRORS.md"


def test_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == error_page(), "stale: run `./just errors`"


@pytest.mark.parametrize("code", CODES)
def test_page_shows_every_code_once_with_its_status(code: str) -> None:
    meaning = CODES[code]  # type: ignore[index]
    _, _, section = error_page().partition(f"\n## {meaning.status} ")
    section = section.partition("\n## ")[0]
    named = f", {meaning.status_named}" if meaning.status_named else ""
    row = f'| <a id="{code}"></a>`{code}`{named} | {meaning.title} | {meaning.advice} |'
    assert section.splitlines().count(row) == 1
    assert error_page().count(f'"{code}"') == 1


def test_table_holds_every_code_once() -> None:
    """A code that is raised somewhere and missing here would end in a KeyError, as a 500."""
    every = [*Refusal, *FaultCode, *RequestCode]
    assert set(CODES) == set(every)
    assert len({str(code) for code in every}) == len(every), "two sources share a code"


@pytest.mark.parametrize("code", CODES)
def test_code_has_meaning_and_advice_in_sentences(code: Refusal | FaultCode | RequestCode) -> None:
    meaning = CODES[code]
    assert 400 <= meaning.status < 600
    for text in (meaning.title, meaning.advice):
        assert text[0].isupper() or text[0].isdigit()
        assert text.endswith(".")


@pytest.mark.parametrize("code", Refusal)
def test_refusal_is_never_a_server_error(code: Refusal) -> None:
    """Refusals are 409 or 422; only what is addressed and missing is 404."""
    meaning = CODES[code]
    assert meaning.status in {409, 422} or (
        meaning.status == 404 and ("NOT_FOUND" in code or "NO_SUCH" in code)
    )
    assert meaning.status_named in {0, 422}


@pytest.mark.parametrize("code", sorted(ABOUT_STATE))
def test_illegal_transition_is_conflict(code: Refusal) -> None:
    assert CODES[code].status == 409


def test_timeout_and_unknown_outcome_are_told_apart() -> None:
    """Both are 504, but only one of them says that nothing happened."""
    timeout, unknown = faulted(TIMEOUT), faulted(OUTCOME_UNKNOWN)
    assert timeout.status == unknown.status == 504
    assert timeout.code != unknown.code
    assert "Nothing happened" in timeout.detail
    assert "number" in unknown.detail


@pytest.mark.parametrize(("fault", "status"), [(NODE_BUSY, 503), (ACTOR_BUSY, 429)])
def test_overload_says_when_to_come_again(fault: object, status: int) -> None:
    found = faulted(fault)  # type: ignore[arg-type]
    assert (found.status, found.retry_after_s) == (status, 1)


def test_problem_leaves_out_what_does_not_apply() -> None:
    found = msgspec.json.decode(msgspec.json.encode(problem(RequestCode.NOT_FOUND)))
    assert found == {
        "type": "/v1/errors#NOT_FOUND",
        "title": "There is nothing at this path.",
        "status": 404,
        "code": "NOT_FOUND",
        "detail": CODES[RequestCode.NOT_FOUND].advice,
    }


def test_refusal_of_a_transition_names_current_and_allowed_states() -> None:
    found = refused(Refused(Refusal.HOLD_EXPIRED, "C1", "EXPIRED", ("HELD",)))
    assert (found.number, found.current, found.allowed) == ("C1", "EXPIRED", ("HELD",))


def test_missing_account_is_404_where_addressed_and_422_where_named() -> None:
    refusal = Refused(Refusal.ACCOUNT_NOT_FOUND, "O1")
    assert refused(refusal).status == 404
    assert refused(refusal, named=True).status == 422
