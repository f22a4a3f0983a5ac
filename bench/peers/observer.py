"""The observer: sees every round of a comparison, and has those repeated that others disturbed.

A round in which others took more than a tenth of the machine says more about them than about
either side. It is measured again, a few times at the most, and of its attempts the one counts in
which others took least: what they took decides, never what the round came to. All of it goes
into the result, as does raw fdatasync between the rounds.
"""

import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from statistics import median
from typing import Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from bench.engine_bench import fdatasync_times_ms
from bench.peers.machine_time import Reading, load, reading
from bench.peers.profiler import Profiler
from bench.peers.result import Round, Syncs, Unit

DISTURBED: Final = 0.1
"""Others' share of the machine from which on a round is disturbed."""
ATTEMPTS_MAX: Final = 3
_TOO_SHORT_S: Final = 0.05
_LOOK_S: Final = 0.25
_CALMS_WITHIN_S: Final = 2.0


class Measured(Struct, frozen=True):
    """What a round came to; see `bench.peers.result.Round`."""

    value: float
    more: dict[str, float] = {}
    unit: Unit = "payments/s"


class Observer:
    """Measures rounds, and remembers them.

    Args:
        folder: on the disk that both sides use.
        repeats: how many rounds may be measured again, in the whole run.
        names: of processes that are ours although we have not started them.
        say: told what people want to read.
        profiler: profiles each row; None to profile nothing.

    Attributes:
        rounds: all of them, those that do not count included.
        notes, left_out: what was said on the way.
    """

    def __init__(
        self,
        folder: Path,
        repeats: int,
        names: Collection[str] = (),
        say: Callable[[str], None] = print,
        profiler: Profiler | None = None,
    ) -> None:
        self._folder = folder
        self._repeats = repeats
        self._names = frozenset(names)
        self._say = say
        self._profiler = profiler
        self._syncs: list[float] = []
        self._last = self._read()
        self.rounds: list[Round] = []
        self.notes: list[str] = []
        self.left_out: list[str] = []

    def note(self, line: str) -> None:
        """Say something, and keep it for the result."""
        self.notes.append(line)
        self._say(line)

    def leave_out(self, line: str) -> None:
        """Say what is not measured, and why."""
        self.left_out.append(line)
        self._say(f"left out: {line}")

    def fdatasync_ms(self) -> float:
        """Measure raw fdatasync; returns the median, in ms."""
        times = fdatasync_times_ms(self._folder)
        self._syncs += times
        return median(times)

    def syncs(self) -> Syncs:
        """Return what raw fdatasync took, in the whole run so far; all 0 where it never did."""
        ordered = sorted(self._syncs) or [0.0]
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        figures = (round(each, 3) for each in (median(ordered), p99, ordered[-1]))
        return Syncs(len(self._syncs), *figures)

    async def round(
        self,
        group: str,
        side: str,
        pair: int,
        measure: Callable[[int], Awaitable[Measured]],
        *,
        again: bool = True,
    ) -> float:
        """Measure a round until nobody disturbs it, a few times at the most; returns its value.

        Args:
            group, side, pair: see `bench.peers.result.Round`.
            measure: makes the round, given the number of the attempt.
            again: whether it may be repeated; what others take does not change all figures.
        """
        attempts: list[Round] = []
        while True:
            attempts.append(await self._attempt(group, side, pair, len(attempts), measure))
            last = attempts[-1]
            over = not again or len(attempts) == ATTEMPTS_MAX or not self._repeats
            if over or not last.disturbed:
                break
            self._repeats -= 1
            sys.stderr.write(
                f"{group}, {side}, pair {pair + 1}: others took {last.during.others:.0%} of the "
                "machine; once more\n"
            )
            await self._calm()
        best = min(attempts, key=lambda each: each.during.others)
        self.rounds += [replace(each, kept=each is best) for each in attempts]
        return best.value

    async def profile(
        self, what: str, pid: int, measure: Callable[[int], Awaitable[Measured]]
    ) -> str | None:
        """Profile a process in a round that counts nowhere, where profiles are wanted.

        Args:
            what, pid, measure: see `bench.peers.profiler.Profiler.profile`.

        Returns the file's name; None where there is none.
        """
        if self._profiler is None:
            return None
        name = await self._profiler.profile(what, pid, measure)
        if name is None:
            self.note(f"no profile of {what}: py-spy could not look at the process")
        return name

    async def _attempt(
        self,
        group: str,
        side: str,
        pair: int,
        attempt: int,
        measure: Callable[[int], Awaitable[Measured]],
    ) -> Round:
        begun = self._read()
        before = None
        if begun.at_s - self._last.at_s >= _TOO_SHORT_S:
            before = load(self._last, begun)
        measured = await measure(attempt)
        self._last = self._read()
        during = load(begun, self._last)
        return Round(
            group=group,
            side=side,
            pair=pair,
            attempt=attempt,
            value=round(measured.value, 3),
            unit=measured.unit,
            seconds=round(self._last.at_s - begun.at_s, 3),
            before=before,
            during=during,
            disturbed=during.others > DISTURBED,
            kept=True,
            more={name: round(each, 3) for name, each in measured.more.items()},
        )

    async def _calm(self) -> None:
        """Wait until others leave the machine alone, but not for long."""
        with trio.move_on_after(_CALMS_WITHIN_S):
            while True:
                begun = self._read()
                await trio.sleep(_LOOK_S)
                if load(begun, self._read()).others <= DISTURBED:
                    return

    def disturbed(self, group: str, *sides: str) -> int:
        """Return how many rounds of these sides count although others disturbed them."""
        return sum(
            each.disturbed and each.kept
            for each in self.rounds
            if each.group == group and each.side in sides
        )

    def _read(self) -> Reading:
        return reading(self._names)
