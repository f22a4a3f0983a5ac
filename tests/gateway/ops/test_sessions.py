"""Sessions: they end when they should, and a token is all that names one."""

import pytest
from msgspec.structs import replace

from gateway.ops.operators import Operator, Role
from gateway.ops.sessions import IDLE_NS, LONGEST_NS, PER_OPERATOR_MAX, Begun, Sessions
from tests.gateway.ops.house import MORNING

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ONE, OTHER = (Operator(name, Role.VIEWER, "", b"", MORNING) for name in ("duty-1", "duty-2"))


class Desk:
    """Sessions of two viewers, and a clock that tests move.

    Attributes:
        ticks_ns: what the clock says; it is no time of day.
    """

    def __init__(self) -> None:
        self.ticks_ns = 1
        operators = {each.name: each for each in (ONE, OTHER)}
        self.sessions = Sessions(operators.get, lambda: self.ticks_ns)
        self.find = self.sessions.find

    def begin(self, operator: Operator = ONE) -> Begun:
        return self.sessions.begin(operator, MORNING)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_session_that_is_used_goes_on_until_it_is_twelve_hours_old(desk: Desk) -> None:
    begun = desk.begin()
    while desk.ticks_ns + IDLE_NS - 1 < 1 + LONGEST_NS:
        desk.ticks_ns += IDLE_NS - 1
        assert desk.find(begun.token) is begun.session
    before, desk.ticks_ns = desk.ticks_ns, 1 + LONGEST_NS
    assert desk.find(begun.token) is None
    desk.ticks_ns = before
    assert desk.find(begun.token) is None, "it is over for good"


def test_session_that_is_idle_for_half_an_hour_is_over(desk: Desk) -> None:
    begun = desk.begin()
    assert begun.session.ends_at_ns() == MORNING + IDLE_NS
    desk.ticks_ns += IDLE_NS
    assert desk.find(begun.token) is None


def test_token_is_worth_nothing_once_its_session_has_ended(desk: Desk) -> None:
    one, other = desk.begin(), desk.begin()
    desk.sessions.end(one.token)
    assert desk.find(one.token) is None
    assert desk.find(other.token) is other.session
    desk.sessions.end("no token")


def test_session_of_a_role_that_its_operator_has_no_more_is_over(desk: Desk) -> None:
    begun = desk.begin(replace(ONE, role=Role.ADMIN))
    assert desk.find(begun.token) is None


def test_ninth_session_ends_the_oldest_of_the_same_operator(desk: Desk) -> None:
    others = desk.begin(OTHER)
    first, *rest = (desk.begin() for _ in range(PER_OPERATOR_MAX + 1))
    assert desk.find(first.token) is None
    assert all(desk.find(each.token) for each in (others, *rest))
    assert len({first.token, others.token, *(each.token for each in rest)}) == PER_OPERATOR_MAX + 2


def test_session_that_is_only_looked_at_goes_by(desk: Desk) -> None:
    begun = desk.begin()
    for _ in range(4):
        assert desk.sessions.standing(begun.token) is begun.session
        desk.ticks_ns += IDLE_NS // 4
    assert desk.sessions.standing(begun.token) is None
