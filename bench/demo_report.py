"""What the demo's client reports to its parent: one JSON object a line, told apart by `event`."""

import msgspec
from msgspec import Struct

from bench.journey import Basket


class Report(Struct, frozen=True, tag_field="event"):
    """Base of all reports."""


class Planned(Report, frozen=True, tag="planned"):
    """What the replay comes to, sent once the node has said where it stands.

    Attributes:
        start: the node's business date; what is before it has been replayed already.
        last_date: date of the last basket: it stays open.
        baskets: all that are to be replayed, those of zero (`skipped_zero`) included.
        purchases_before: payments and captures before `start`.
    """

    start: str
    last_date: str
    baskets: int
    purchases_before: int
    payments: int
    holds: int
    skipped_zero: int
    amount_minor: int


class Progressed(Report, frozen=True, tag="progressed"):
    """One array has been carried out.

    Attributes:
        purchases: payments and captures in it.
        commands: in it, clock moves not counted.
        latency_ms: from sending it to having all of its answer.
        refused: commands refused so far in this run.
    """

    business_date: str
    purchases: int
    commands: int
    latency_ms: float
    refused: int


class Finished(Report, frozen=True, tag="finished"):
    """All is done; the figures are those of this run alone.

    Attributes:
        seconds: from the first request to the last answer.
        purchases: payments and captures that were answered.
        replayed: commands that had been carried out before this run.
        refused: code → count.
        p50_ms, p99_ms: of commands; each waited as long as its array did. None without any.
    """

    seconds: float
    purchases: int
    replayed: int
    refused: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None


class Failed(Report, frozen=True, tag="failed"):
    """The client gives up, for the reason given, and ends with this exit code."""

    exit_code: int
    message: str


AnyReport = Planned | Progressed | Finished | Failed

decode_report = msgspec.json.Decoder(AnyReport).decode


def plan(baskets: list[Basket], start: str) -> Planned:
    """Return what the replay of these baskets (one at least) comes to."""
    paid = [basket for basket in baskets if basket.amount_minor]
    holds = sum(basket.fuel for basket in paid)
    return Planned(
        start=start,
        last_date=baskets[-1].date,
        baskets=len(baskets),
        purchases_before=sum(basket.date < start for basket in paid),
        payments=len(paid) - holds,
        holds=holds,
        skipped_zero=len(baskets) - len(paid),
        amount_minor=sum(basket.amount_minor for basket in paid),
    )
