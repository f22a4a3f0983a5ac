"""Linearization: is there an instant for every step, so that all of them are possible?

A step is what the search sees of an operation: when it began, when it is due, and either what it
*changes* (numbers, by fixed amounts) or what it *observes* (that numbers lie within a window). Some
numbers are guarded: no change may leave them below zero, and a change raises or lowers guarded
numbers, never both.

The search is that of Wing and Gong (1993) as Lowe made it fast ("Testing for linearizability",
2017): events in the order of time, nothing takes effect before a step that is due makes it
necessary, a configuration that was met before is not entered again. What our steps add to that, and
why nothing is missed by it:

1. A set of changes has a legal order if, and only if, it leaves every number that it lowers and
   that is guarded at zero or more: those that raise go first. The numbers after it are always the
   same.
2. An observation may be made as soon as it is true. It changes nothing, so earlier is never worse.
3. Between two observations, and before a change that is due, there is thus a set of changes. Let S
   be the set before a goal (an observation, or the change that is due), and S' a part of it after
   which the goal is possible too. Then the rest of S may come after the goal: the numbers are the
   same after both, so by 1 it has a legal order there; and nothing of it is due before the goal. So
   only sets need be tried of which no part would do, and none at all if the goal is possible as it
   is.
4. Such a set holds only what moves a number towards the goal, or a guarded number up that another
   of the set lowers: without the others every bound would be kept as well.
5. Of two changes with equal effects that are both open, the one that is due first goes first: if
   they are the other way round in an explanation, exchange them. One without known outcome is never
   due.

The rest is the order in which things are tried, which decides how soon an explanation is found, and
not whether. Changes of unknown outcome are the danger: thirty of them come to almost any sum, so
they could explain away every wrong choice for a long time. Therefore each of them that is made use
of counts as much as going back by `UNKNOWN_COST` events.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from math import inf
from operator import add
from typing import Final

Effect = tuple[tuple[str, int], ...]
Window = tuple[tuple[str, float, float], ...]
Bounds = dict[str, tuple[float, float]]

UNKNOWN_COST: Final = 100
"""How many events one goes back before one more change of unknown outcome is made use of."""
SUMS_MAX: Final = 1 << 15
"""How many sums of open changes are kept in mind: enough for fifteen of any amounts, and for any
number of them whose amounts are round."""
SUMS_A_BRANCH: Final = 8
"""How many sums take as long to find as a branch to look at, as far as the limit is concerned."""


class Step:
    """What happens at one instant.

    Attributes:
        began: it happens at this moment or later.
        due: it happens at this moment or before; if that is infinite, it need not happen.
        effect: number → what is added to it; nothing, if the step observes.
        window: number → the least and the most that it may be just before; of a change, exactly
            that the guarded numbers that it lowers stay at zero or more.
        name: what it is to whoever made it.
    """

    __slots__ = ("began", "bit", "due", "effect", "name", "window")

    def __init__(self, name: int, began: float, due: float, effect: Effect, window: Window) -> None:
        self.name = name
        self.began = began
        self.due = due
        self.effect = effect
        self.window = window
        self.bit = 0


class UndecidedError(Exception):
    """The limit was reached before it was clear whether there is an explanation."""


def first_impossible(steps: Sequence[Step], start: Mapping[str, int], limit: int) -> Step | None:
    """Return the first step that has no instant whichever the others get, None if all have one.

    Args:
        steps: in any order.
        start: the numbers before all steps, where they are not zero.
        limit: of the branches that are looked at.

    Raises:
        UndecidedError: the limit was reached.
    """
    return _Search(steps, start, limit).run()


class _Place:
    """Where the search had a choice: before an event at which a pending step is due.

    It is reached from another place by the moves of `way`: (step, whether it is done now; else it
    has become pending).
    """

    __slots__ = ("before", "choices", "depth", "event", "unknown", "way")

    def __init__(
        self, before: "_Place | None", way: list[tuple[Step, bool]], event: int, unknown: int
    ) -> None:
        self.before = before
        self.way = way
        self.event = event
        self.unknown = unknown
        self.depth: int = before.depth + 1 if before else 0
        self.choices: Iterator[tuple[int, list[Step] | None]] = iter(())


class _Search:
    """A tree of places, and the configuration at one of them."""

    def __init__(self, steps: Sequence[Step], start: Mapping[str, int], limit: int) -> None:
        self._left = limit
        self._numbers = defaultdict(int, start)
        self._pending: dict[Step, None] = {}  # Open and not done.
        self._mask = 0  # The bits of what is pending: with the event, all that matters.
        self._here = _Place(None, [], 0, 0)
        events = [(step.began, False, step) for step in steps]
        events += [(step.due, True, step) for step in steps if step.due < inf]
        events.sort(key=lambda event: event[:2])  # At one moment steps begin before others are due.
        self._events = events
        free: list[int] = []
        used = 0
        for _, due, step in events:  # No two that are open together share a bit.
            if due:
                heappush(free, step.bit)
            elif free:
                step.bit = heappop(free)
            else:
                step.bit = 1 << used
                used += 1

    def run(self) -> Step | None:
        furthest = 0
        seen: set[tuple[int, int]] = set()
        places: list[tuple[int, int, _Place]] = []

        def reach(place: _Place) -> None:
            self._here = place
            if (place.event, self._mask) not in seen:
                seen.add((place.event, self._mask))
                place.choices = self._choices(self._events[place.event][2])
                heappush(places, (place.unknown * UNKNOWN_COST - place.event, -len(seen), place))

        place = self._go_on(self._here, [], 0)
        while place.event < len(self._events):
            furthest = max(furthest, place.event)
            reach(place)
            while places:
                value, tie, place = places[0]
                self._move(place)
                unknown, steps = next(place.choices, (0, None))
                if steps is not None:
                    place = self._go_on(place, steps, unknown)
                    break
                heappop(places)
                if unknown:
                    value = (place.unknown + unknown) * UNKNOWN_COST - place.event
                    heappush(places, (value, tie, place))
            else:
                return self._events[furthest][2]
        return None

    def _go_on(self, place: _Place, done: list[Step], unknown: int) -> _Place:
        """Do some steps, and go on to the next event at which one is due that is pending."""
        way = [(step, True) for step in done]
        for step in done:
            self._turn(step, True, 1)
        for step in [step for step in self._pending if not step.effect and self._holds(step)]:
            way.append((step, True))
            self._turn(step, True, 1)
        for event in range(place.event, len(self._events)):
            _, due, step = self._events[event]
            if due:
                if step in self._pending:
                    break
            elif step.effect or not self._holds(step):
                way.append((step, False))
                self._turn(step, False, 1)
        else:
            event = len(self._events)
        return _Place(place, way, event, place.unknown + unknown)

    def _turn(self, step: Step, done: bool, sign: int) -> None:
        """Make one move of a way, or (with sign −1) take it back."""
        self._mask ^= step.bit
        if done == (sign > 0):
            del self._pending[step]
        else:
            self._pending[step] = None
        if done:
            for key, change in step.effect:
                self._numbers[key] += sign * change

    def _move(self, goal: _Place) -> None:
        """Take the configuration from one place of the tree to another."""
        here = self._here
        ahead: list[_Place] = []
        target = goal
        while here is not target:
            if here.depth >= target.depth:
                for step, done in reversed(here.way):
                    self._turn(step, done, -1)
                assert here.before
                here = here.before
            else:
                ahead.append(target)
                assert target.before
                target = target.before
        for place in reversed(ahead):
            for step, done in place.way:
                self._turn(step, done, 1)
        self._here = goal

    def _holds(self, step: Step) -> bool:
        numbers = self._numbers
        return all(low <= numbers[key] <= high for key, low, high in step.window)

    def _choices(self, due: Step) -> Iterator[tuple[int, list[Step] | None]]:
        """Yield what may be done next, now that a step is due: that one, or an observation first.

        Together with how many changes of unknown outcome are made use of, and without steps where
        it goes on with more of them.
        """
        now = due.due
        goals = [due, *(step for step in self._pending if not step.effect and step is not due)]
        choices: list[_Choice] = []
        for unknown in range(MANY + 1):
            if unknown:
                yield unknown, None
            for place, goal in enumerate(goals):
                if place == len(choices):
                    changes = [step for step in self._pending if step.effect and step is not goal]
                    choices.append(_Choice(goal, changes, self._numbers, now, self._spend))
                for steps in choices[place].sets(unknown):
                    # An observation that has become possible is made by itself.
                    yield unknown, [*steps, goal] if goal.effect else list(steps)
            if all(choice.unknown <= unknown for choice in choices):
                return

    def _spend(self, cost: int = 1) -> None:
        self._left -= cost
        if self._left < 0:
            raise UndecidedError


MANY: Final = 3
"""From so many changes of unknown outcome on, sets with more are not put off any longer."""


class _Choice:
    """The sets of pending changes after which a goal is possible: see 3 to 5 above.

    Those of unknown outcome come first, the newest of them foremost, then those that are due,
    soonest first. A branch ends where what is left cannot bring some number far enough, or (where
    numbers have to be hit exactly) where what is missing is not among the sums that the rest comes
    to.

    Attributes:
        unknown: how many changes of unknown outcome there are to choose from.
    """

    def __init__(
        self,
        goal: Step,
        changes: list[Step],
        numbers: Mapping[str, int],
        now: float,
        spend: Callable[..., None],
    ) -> None:
        bounds = {key: (low - numbers[key], high - numbers[key]) for key, low, high in goal.window}
        self._spend = spend
        self._steps: list[Step] = []
        self._next: list[int] = []  # Where the next group of equal effects begins.
        self.unknown = 0
        groups: list[list[Step]] = []
        if not all(low <= 0 <= high for low, high in bounds.values()):
            groups = _useful(changes, bounds, numbers)
        for group in groups:
            self._steps += group
            self._next += [len(self._steps)] * len(group)
            self.unknown += len(group) if group[0].due == inf else 0
        self._now = now
        self._bounds = tuple(bounds.values())
        exact = {key: low for key, (low, high) in bounds.items() if low == high}
        self._wanted = _code(exact, exact)
        self._changes = []
        self._codes = []
        for step in self._steps:
            effect = dict(step.effect)
            self._changes.append(tuple(effect.get(key, 0) for key in bounds))
            self._codes.append(_code(effect, exact))
        # What the changes from each place on can come to: the least, the most, the exact sums.
        self._least = [[0] * len(bounds)]
        self._most = [[0] * len(bounds)]
        for each in reversed(self._changes):
            self._least.append([*map(_fall, self._least[-1], each)])
            self._most.append([*map(_rise, self._most[-1], each)])
        self._least.reverse()
        self._most.reverse()
        self._sums: list[set[int] | None] = [None for _ in self._steps]
        self._sums.append({0} if exact else None)
        self._sum_up(len(self._steps), self.unknown)

    def _sum_up(self, above: int, down_to: int) -> None:
        """Find the sums from each of some places on, as far down as they are not too many."""
        for place in range(above - 1, down_to - 1, -1):
            sums = self._sums[place + 1]
            if sums is None or len(sums) > SUMS_MAX // 2:
                return
            self._spend(len(sums) // SUMS_A_BRANCH)
            self._sums[place] = sums | {known + self._codes[place] for known in sums}

    def sets(self, unknown: int) -> Iterator[tuple[Step, ...]]:
        """Yield the sets with so many changes of unknown outcome, or with `MANY` and more.

        A set that holds another one found on the same branch is left out.
        """
        bounds, sums, first_known = self._bounds, self._sums, self.unknown
        if unknown > first_known:
            return
        if unknown == MANY:
            self._sum_up(first_known, 0)
        branches: list[tuple[int, tuple[int, ...], int, tuple[Step, ...]]]
        branches = [(0, (0,) * len(bounds), self._wanted, ())]
        while branches:
            place, totals, missing, taken = branches.pop()
            self._spend()
            if len(taken) == unknown < MANY:
                place = max(place, first_known)
            elif place >= first_known and len(taken) < unknown:
                continue
            if all(low <= total <= high for total, (low, high) in zip(totals, bounds, strict=True)):
                if len(taken) >= unknown and self._soonest(taken):
                    yield taken
                continue
            if place == len(self._steps):
                continue
            if (known := sums[place]) is not None and missing not in known:
                continue
            if any(
                total + most < low or total + least > high
                for total, least, most, (low, high) in zip(
                    totals, self._least[place], self._most[place], bounds, strict=True
                )
            ):
                continue
            step = self._steps[place]
            without = (self._next[place], totals, missing, taken)
            totals = tuple(map(add, totals, self._changes[place]))
            within = (place + 1, totals, missing - self._codes[place], (*taken, step))
            likely = step.due == inf or 2 * self._now > step.began + step.due
            branches += (without, within) if likely else (within, without)

    def _soonest(self, taken: tuple[Step, ...]) -> bool:
        """Whether none is taken before one of equal effect that is due sooner."""
        effects = {step.effect for step in taken if step.due == inf}
        known = self._steps[self.unknown :]
        return not effects or not any(
            step.effect in effects and step not in taken for step in known
        )


def _useful(changes: list[Step], bounds: Bounds, numbers: Mapping[str, int]) -> list[list[Step]]:
    """Return the changes that may serve to bring numbers within bounds, those alike together.

    Bounds are added: that guarded numbers, which such a change lowers, do not fall below zero.
    """
    groups: dict[tuple[bool, Effect], list[Step]] = {}
    changes = sorted(changes, key=lambda step: (step.due, -step.began))
    while moving := [step for step in changes if _moves(step, bounds)]:
        changes = [step for step in changes if step not in moving]
        for step in moving:
            groups.setdefault((step.due == inf, step.effect), []).append(step)
            for key, _, _ in step.window:
                bounds.setdefault(key, (-numbers[key], inf))
    unknown = [group for (never_due, _), group in groups.items() if never_due]
    return [*unknown, *(group for (never_due, _), group in groups.items() if not never_due)]


def _moves(step: Step, bounds: Bounds) -> bool:
    """Whether a change moves a number in a direction in which that is bound to go."""
    for key, change in step.effect:
        low, high = bounds.get(key, (-inf, inf))
        if (low > -inf) if change > 0 else (high < inf):
            return True
    return False


def _fall(total: int, change: int) -> int:
    return total + change if change < 0 else total


def _rise(total: int, change: int) -> int:
    return total + change if change > 0 else total


def _code(numbers: Mapping[str, float], keys: Iterable[str]) -> int:
    """Return some numbers, each within 64 bits, as one; sums of codes are codes of sums."""
    return sum(int(numbers.get(key, 0)) << 64 * place for place, key in enumerate(keys))
