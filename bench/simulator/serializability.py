"""Could one object that does one thing at a time have given the answers that clients saw?

A history is what clients know of one account or one merchant: what was asked, when it was first
asked, when its outcome was first known, and what that was. `check` looks for an order in which
every operation takes effect at one instant between the two, and every answer is right. That is
strict serializability of each object by itself (linearizability, Herlihy and Wing 1990); nothing is
said here about two objects at once. It knows nothing of the engine: the rules of both kinds of
object are written down here once more, in a few lines.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final, Literal

from msgspec import Struct

from bench.simulator.linearization import Step, UndecidedError, first_impossible

Outcome = Literal["OK", "SHORT", "EXCEEDS", "NOTHING", "UNKNOWN"]


class Operation(Struct, frozen=True):
    """What a client knows of something it asked of one account or merchant.

    Attributes:
        name: what the client calls it; repetitions under one number are one operation.
        kind: see `ACCOUNT` and `MERCHANT`.
        amount_minor: what it moves; of a read, what it saw posted.
        began: when it was first asked. Two operations overlap unless one's `ended` is less than
            the other's `began`, so give times that tell apart whatever is known to be apart.
        ended: when its outcome was first known; without meaning if it never was.
        outcome: OK; SHORT, refused for funds; EXCEEDS, refused for what is left of the payment;
            NOTHING, refused otherwise: no effect, and nothing is concluded; UNKNOWN: it may
            have taken effect, at any time since it began, or never will.
        held_minor: of a capture, by how much it lowers what the hold reserves; of a read, what
            it saw held.
        fee_minor: of a payment and its reversal, what of it is the merchant's fee.
        payment: which payment a merchant's operation is about.
    """

    name: str
    kind: str
    amount_minor: int
    began: float
    ended: float = inf
    outcome: Outcome = "OK"
    held_minor: int = 0
    fee_minor: int = 0
    payment: str = ""


class Specification(Struct, frozen=True):
    """One kind of object.

    Attributes:
        numbers: operation → what it adds to which number; of a read, what it saw there.
        funds: the number of which SHORT says that there is too little.
        unguarded: numbers that may fall below zero.
    """

    numbers: Callable[[Operation], dict[str, int]]
    funds: str
    unguarded: frozenset[str] = frozenset()


class Verdict(Struct, frozen=True):
    """What became of a history.

    Attributes:
        ok: None if it was not decided within the limit.
        reason: for people; empty if it is ok.
        operation: the first one whose answer no order explains.
        core: operations that cannot be explained by themselves, that one among them; those that
            had ended before are summed up in the reason.
    """

    ok: bool | None
    reason: str = ""
    operation: Operation | None = None
    core: tuple[Operation, ...] = ()


def _account(operation: Operation) -> dict[str, int]:
    amount, held = operation.amount_minor, operation.held_minor
    match operation.kind:
        case "credit":
            return {"available": amount, "posted": amount}
        case "debit":
            return {"available": -amount, "posted": -amount}
        case "hold":
            return {"available": -amount}
        case "capture":  # More than was reserved needs funds; less gives the rest back.
            return {"available": held - amount, "posted": -amount}
        case "release":  # A void or an expiry too.
            return {"available": amount}
        case "read":
            return {"available": amount - held, "posted": amount}
    raise ValueError(f"no account knows {operation.kind}")


def _merchant(operation: Operation) -> dict[str, int]:
    amount, net = operation.amount_minor, operation.amount_minor - operation.fee_minor
    refundable = f"refundable of {operation.payment}"
    match operation.kind:
        case "credit":
            return {"posted": amount}
        case "debit":
            return {"posted": -amount}
        case "payment":  # A capture too, which makes more of its authorization refundable.
            return {"posted": net, refundable: amount}
        case "reversal":
            return {"posted": -net, refundable: -amount}
        case "refund":
            return {"posted": -amount, refundable: -amount}
        case "restore":  # A refund that the payer's account could not take comes back.
            return {"posted": amount, refundable: amount}
        case "read":
            return {"posted": amount}
    raise ValueError(f"no merchant knows {operation.kind}")


ACCOUNT: Final = Specification(_account, "available", frozenset({"posted"}))
"""credit, debit, hold, capture, release, read: of what is posted, and what of it is available."""
MERCHANT: Final = Specification(_merchant, "posted")
"""credit, debit, payment, reversal, refund, restore, read: of what is posted, and what of each
payment is refundable."""


def _step(place: int, operation: Operation, specification: Specification) -> Step | None:
    """Return what an operation is to the search; None if it says nothing."""
    outcome, reads = operation.outcome, operation.kind == "read"
    numbers = specification.numbers(operation)
    funds, guarded = specification.funds, numbers.keys() - specification.unguarded
    effect: dict[str, int] = {}
    window: dict[str, tuple[float, float]] = {}
    if operation.ended < operation.began:
        raise ValueError(f"{operation.name} ended before it began")
    if outcome == "NOTHING" or (reads and outcome == "UNKNOWN"):
        return None
    if reads:
        window = {key: (number, number) for key, number in numbers.items()}
    elif outcome == "SHORT":
        window = {funds: (-inf, -numbers[funds] - 1)}
    elif outcome == "EXCEEDS":
        window = {key: (-inf, -numbers[key] - 1) for key in guarded - {funds}}
        if not window:
            raise ValueError(f"{operation.kind} exceeds nothing")
    else:
        effect = {key: number for key, number in numbers.items() if number}
        window = {key: (-effect[key], inf) for key in guarded if effect.get(key, 0) < 0}
        if window and any(effect.get(key, 0) > 0 for key in guarded):
            raise ValueError(f"{operation.kind} both raises and lowers guarded numbers")
    return Step(
        place,
        operation.began,
        inf if outcome == "UNKNOWN" else operation.ended,
        tuple(sorted(effect.items())),
        # An observation holds only where the guarded numbers may be at all.
        tuple(
            (key, max(low, 0) if key in guarded else low, high)
            for key, (low, high) in sorted(window.items())
        ),
    )


TOLD_MAX: Final = 12
"""How many operations a reason names; a verdict's core has them all."""


def check(
    history: Sequence[Operation],
    specification: Specification,
    *,
    start: Mapping[str, int] | None = None,
    limit: int = 1_000_000,
) -> Verdict:
    """Judge the history of one object.

    Args:
        history: operations of one account or one merchant, in any order.
        specification: `ACCOUNT` or `MERCHANT`.
        start: numbers that are not zero before all operations, such as `available` and `posted`.
        limit: how many steps the search may take; about a million a second or two.

    Raises:
        ValueError: the specification does not know an operation, or a time is impossible.
    """
    found = (_step(place, each, specification) for place, each in enumerate(history))
    steps = [step for step in found if step is not None]
    numbers = dict(start or {})
    try:
        failed = first_impossible(steps, numbers, limit)
    except UndecidedError:
        return Verdict(None, f"not decided within {limit:,} branches")
    if failed is None:
        return Verdict(True)
    core, numbers, failed = _core(steps, numbers, failed, limit)
    operation = history[failed.name]
    others = [history[step.name] for step in core if step is not failed]
    told = [*map(_told, others[:TOLD_MAX])]
    if len(others) > TOLD_MAX:
        told.append(f"and {len(others) - TOLD_MAX} more")
    settled = ", ".join(f"{key} {number}" for key, number in sorted(numbers.items()) if number)
    reason = (
        f"no order explains {_told(operation)}; before: {settled or 'nothing'}; "
        f"open then: {'; '.join(told) or 'nothing'}"
    )
    return Verdict(False, reason, operation, tuple(history[step.name] for step in core))


def _core(
    steps: Sequence[Step], start: Mapping[str, int], failed: Step, limit: int
) -> tuple[list[Step], dict[str, int], Step]:
    """Return steps that cannot be explained, few of many; the numbers before them; the first."""
    until = failed.due

    def failing(core: Sequence[Step], numbers: Mapping[str, int]) -> Step | None:
        try:
            return first_impossible(core, numbers, limit)
        except UndecidedError:
            return None

    def bad_since(moment: float) -> bool:
        return failing(*_cut(steps, start, moment, until)) is not None

    # The later the cut the fewer the demands, so the last cut that is still bad can be bisected.
    moments = sorted({step.began for step in steps if step.began <= failed.began}, reverse=True)
    last = bisect_left(moments, True, key=bad_since)
    core, numbers = _cut(steps, start, moments[min(last, len(moments) - 1)], until)
    failed = failing(core, numbers) or failed
    for step in core if len(core) <= 100 else ():
        fewer = [other for other in core if other is not step]
        if not step.effect and (other := failing(fewer, numbers)) is not None:
            core, failed = fewer, other
    return core, numbers, failed


def _cut(
    steps: Sequence[Step], start: Mapping[str, int], since: float, until: float
) -> tuple[list[Step], dict[str, int]]:
    """Return what a history demands between two moments, and nothing that it does not demand.

    Changes due before are summed up. Those that were open at the first moment may happen at it:
    whichever had happened by then, the numbers are the same. Those still open at the last one need
    not happen, and observations not made in between are forgotten.
    """
    numbers = defaultdict(int, start)
    core = []
    for step in sorted(steps, key=lambda step: (step.began, step.due)):
        if step.effect and step.due < since:
            for key, change in step.effect:
                numbers[key] += change
        elif step.effect and step.began <= until:
            due = step.due if step.due <= until else inf
            core.append(Step(step.name, step.began, due, step.effect, step.window))
        elif since <= step.began and step.due <= until:
            core.append(step)
    return core, numbers


def _told(operation: Operation) -> str:
    about = f" of payment {operation.payment}" if operation.payment else ""
    held = f", {operation.held_minor} held" if operation.held_minor else ""
    ended = "" if operation.outcome == "UNKNOWN" else f" to {operation.ended}"
    return (
        f"{operation.kind} {operation.name}{about} ({operation.amount_minor}{held}, "
        f"{operation.outcome}, {operation.began}{ended})"
    )
