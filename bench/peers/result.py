"""The result of a comparison: rows against their targets, and every round that they rest on.

`piaohao bench compare postgres --out FILE` writes one as JSON. It holds what a sceptic asks for:
the machine, versions and commit, what the peer had set, raw fdatasync, each round's own value
with what others took of the machine meanwhile, rounds that were measured again included, and what
was left out and why. A row whose target is a bound has the bound in the peer's place: its ratio
is how many times as good as the bound ours is, so that more is better in every row.
"""

from collections.abc import Sequence
from statistics import median
from typing import Final, Literal

from msgspec import Struct

from bench.load.machine import Machine
from bench.peers.plan import Settings, Target
from bench.statistics import paired

FORMAT: Final = 1
"""Of the file; another number is another form."""

Unit = Literal["payments/s", "ms", "MiB"]


class Load(Struct, frozen=True):
    """What the machine's CPUs did in some time, as shares of all that they could (0 to 1).

    Attributes:
        ours: this run, both sides: its processes, and the peer's server.
        others: everybody else on this machine, and what the hypervisor kept for others.
        stolen: the latter alone.
    """

    ours: float
    others: float
    stolen: float


class Round(Struct, frozen=True):
    """One round of one side.

    Attributes:
        group: what is measured with it in turn: `uniform, 100,000 accounts`.
        side: `ours`, or a form of the peer's; within a group it names one thing that is done.
        pair: counted from 0; rounds of one pair follow one another.
        attempt: 0, and one more each time when it was measured again.
        value: of the whole round, in `unit`.
        seconds: that it took, warming up included.
        before: the load since the last round ended; None where that was too short to tell.
        during: the load.
        disturbed: whether others took more than a tenth of the machine.
        kept: whether it counts. Of a pair's attempts that one does in which others took least.
        more: further figures of the round, by names that end in their unit.
    """

    group: str
    side: str
    pair: int
    attempt: int
    value: float
    unit: Unit
    seconds: float
    before: Load | None
    during: Load
    disturbed: bool
    kept: bool
    more: dict[str, float] = {}


class Row(Struct, frozen=True, rename={"passed": "pass"}):
    """One measure.

    Attributes:
        measure: what is measured, and against what.
        ours, peer: medians of all rounds, in `unit`; the peer's is the bound where there is one.
        ratio: by pair, ours to the peer's (`bench.statistics`), or the bound to ours.
        ci95: its 95 % interval; the upper end is None for a single pair, which shows nothing.
        target, aim: at least, and meant to be; None where there is none.
        passed: whether the ratio is the target's at least; None where there is none.
        fdatasync_ms: raw, beside each pair.
        pairs: both sides' values, in order.
        unit: of `ours`, `peer` and `pairs`.
        bound: whether the peer's place holds a bound.
        disturbed: how many of the rounds that it rests on are.
        profile: name of a flame graph's file in the folder that `--profile` names.
    """

    measure: str
    ours: float
    peer: float
    ratio: float
    ci95: tuple[float, float | None]
    target: float | None
    passed: bool | None
    aim: float | None
    fdatasync_ms: list[float]
    pairs: list[tuple[float, float]]
    unit: Unit = "payments/s"
    bound: bool = False
    disturbed: int = 0
    profile: str | None = None


class Syncs(Struct, frozen=True):
    """Raw fdatasync of 8 KiB, between the rounds of the whole run, in ms."""

    times: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Comparison(Struct, frozen=True, tag_field="kind", tag="comparison"):
    """A whole run.

    Attributes:
        begun: when, in UTC, ISO 8601.
        seconds: that it took.
        settings: the sizes, pairs, seconds and the seed, as they were.
        peer_settings: what its server has really set.
        notes: what was said on the way: how the peer's pool was chosen, what a store took.
        left_out: what was not measured, and why.
        repeated: rounds that were measured again because others disturbed them.
        disturbed: rounds that count although others disturbed them.
        unfinished: whether rows may be missing, and the large store has not been verified: the
            file of a run that is under way, or was broken off.
    """

    format: int
    peer: str
    begun: str
    seconds: float
    settings: Settings
    machine: Machine
    peer_settings: dict[str, str]
    fdatasync: Syncs
    rows: list[Row]
    rounds: list[Round]
    notes: list[str]
    left_out: list[str]
    repeated: int
    disturbed: int
    unfinished: bool = False


def row(
    measure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    fdatasync_ms: Sequence[float],
    target: Target | None,
    *,
    disturbed: int = 0,
    profile: str | None = None,
) -> Row:
    """Return the row of two sides that were measured in pairs."""
    found = paired(ours, peer)
    return Row(
        measure=measure,
        ours=round(median(ours), 1),
        peer=round(median(peer), 1),
        ratio=round(found.ratio, 3),
        ci95=_interval(found.low, found.high),
        target=target.at_least if target else None,
        passed=found.ratio >= target.at_least if target else None,
        aim=target.aim if target else None,
        fdatasync_ms=[round(each, 3) for each in fdatasync_ms],
        pairs=[(round(a, 1), round(b, 1)) for a, b in zip(ours, peer, strict=True)],
        disturbed=disturbed,
        profile=profile,
    )


def bound_row(
    measure: str,
    ours: Sequence[float],
    bound: float,
    aim: float,
    unit: Unit,
    fdatasync_ms: Sequence[float],
    *,
    disturbed: int = 0,
    profile: str | None = None,
) -> Row:
    """Return the row of what must not be more than a bound: its target is a ratio of 1.

    Args:
        ours: of each round.
        bound: that it may be, at the most.
        aim: that it is meant to be, at the most.
    """
    found = paired([bound] * len(ours), ours)
    return Row(
        measure=measure,
        ours=round(median(ours), 1),
        peer=round(bound, 1),
        ratio=round(found.ratio, 3),
        ci95=_interval(found.low, found.high),
        target=1.0,
        passed=found.ratio >= 1,
        aim=round(bound / aim, 3),
        fdatasync_ms=[round(each, 3) for each in fdatasync_ms],
        pairs=[(round(each, 1), round(bound, 1)) for each in ours],
        unit=unit,
        bound=True,
        disturbed=disturbed,
        profile=profile,
    )


def _interval(low: float, high: float) -> tuple[float, float | None]:
    return round(low, 3), None if high == float("inf") else round(high, 3)
