"""Sessions: they end when they should, and a token is all that names one."""

import pytest
from msgspec.structs import replace

from gateway.ops.operators import Operator, Role
from gateway.ops.sessions import IDLE_NS, LONGEST_NS, PER_OPERATOR_MAX, Sessions
from tests.gateway.ops.house import MORNING, SECOND

NOW = MORNING + SECOND
ONE, OTHER = (Operator(name, Role.VIEWER, "", b"", MORNING) for name in ("duty-1", "duty-2"))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions({each.name: each for each in (ONE, OTHER)}.get)


def test_session_that_is_used_goes_on_until_it_is_twelve_hours_old(sessions: Sessions) -> None:
    begun, now = sessions.begin(ONE, NOW), NOW
    while now + IDLE_NS - 1 < NOW + LONGEST_NS:
        now += IDLE_NS - 1
        assert sessions.find(begun.token, now) is begun.session
    assert sessions.find(begun.token, NOW + LONGEST_NS) is None
    assert sessions.find(begun.token, now) is None, "it is over for good"


def test_session_that_is_idle_for_half_an_hour_is_over(sessions: Sessions) -> None:
    begun = sessions.begin(ONE, NOW)
    assert sessions.find(begun.token, NOW + IDLE_NS) is None


def test_token_is_worth_nothing_once_its_session_has_ended(sessions: Sessions) -> None:
    one, other = (sessions.begin(ONE, NOW) for _ in range(2))
    sessions.end(one.token)
    assert sessions.find(one.token, NOW) is None
    assert sessions.find(other.token, NOW) is other.session
    sessions.end("no token")


def test_session_of_a_role_that_its_operator_has_no_more_is_over(sessions: Sessions) -> None:
    begun = sessions.begin(replace(ONE, role=Role.ADMIN), NOW)
    assert sessions.find(begun.token, NOW) is None


def test_ninth_session_ends_the_oldest_of_the_same_operator(sessions: Sessions) -> None:
    others = sessions.begin(OTHER, NOW)
    first, *rest = (sessions.begin(ONE, NOW) for _ in range(PER_OPERATOR_MAX + 1))
    assert sessions.find(first.token, NOW) is None
    assert all(sessions.find(each.token, NOW) for each in (others, *rest))
    assert len({first.token, others.token, *(each.token for each in rest)}) == PER_OPERATOR_MAX + 2


def test_session_that_is_only_looked_at_goes_by(sessions: Sessions) -> None:
    begun = sessions.begin(ONE, NOW)
    for now in range(NOW, NOW + IDLE_NS, IDLE_NS // 4):
        assert sessions.standing(begun.token, now) is begun.session
    assert sessions.standing(begun.token, NOW + IDLE_NS) is None
