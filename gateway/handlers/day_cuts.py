"""Day cuts: a business date is closed, and new commands carry the next one."""

from typing import Annotated, Final

import trio
from msgspec import Meta, Struct

from actors.answers import instant, instant_if
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState
from engine.fault import OUTCOME_UNKNOWN, Fault
from gateway.answer import Answer, failed
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode, faulted, problem
from gateway.lookup import found

BusinessDate = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="ISO 8601")
]


class DayCut(Struct, frozen=True, forbid_unknown_fields=True):
    """Which business date."""

    business_date: BusinessDate


class DayCutView(Struct, frozen=True, tag_field="object", tag="day_cut"):
    """A date that was cut; `sums` are its posting sums by currency at its close, all zero.

    While something of it is parked its state is CLOSING and `closed_at` None.
    """

    business_date: str
    state: DateState
    next_date: str
    cut_at: str
    closed_at: str | None
    sums: dict[str, int]


def view_day_cut(date: ClosedDate) -> DayCutView:
    """Return what operators see of a date that was cut."""
    return DayCutView(
        business_date=date.business_date,
        state=date.state,
        next_date=date.next_date,
        cut_at=instant(date.cut_ns),
        closed_at=instant_if(date.closed_ns),
        sums=date.sums,
    )


async def cut_day(desk: Desk, caller: Caller, cut: DayCut) -> Answer:
    """Close a business date; cutting it again gives the first outcome."""
    first = desk.business_date() == cut.business_date
    outcome: ClosedDate | DateNotOpen | Fault = OUTCOME_UNKNOWN
    with trio.move_on_after(caller.timeout_s):
        outcome = await desk.node.ask_control(CutDay(cut.business_date), mark=caller.mark)
    if isinstance(outcome, Fault):
        return failed(faulted(outcome))
    if isinstance(outcome, DateNotOpen):
        detail = f"the current business date is {outcome.current}"
        return failed(problem(RequestCode.DATE_NOT_OPEN, detail))
    return Answer(201, view_day_cut(outcome), replayed=not first)


async def get_day_cut(desk: Desk, caller: Caller, cut: DayCut) -> Answer:
    """Return a date that was cut."""
    date = desk.node.closed_date(cut.business_date)
    return found(None if date is None else view_day_cut(date), RequestCode.NO_SUCH_DAY_CUT)


ENDPOINTS: Final = (
    # Operators have a lane of their own: they are heard when nobody else is.
    act(
        "/v1/day-cuts",
        DayCut,
        cut_day,
        "bank",
        DayCutView,
        RequestCode.DATE_NOT_OPEN,
        takes_slots=False,
    ),
    read(
        "/v1/day-cuts/{business_date}",
        DayCut,
        get_day_cut,
        "bank",
        DayCutView,
        RequestCode.NO_SUCH_DAY_CUT,
    ),
)
