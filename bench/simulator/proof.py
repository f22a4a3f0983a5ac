"""Proof: after how many steps which checker finds each deliberate bug.

A bug that trips over itself has not been found by a checker, so a seed that ends with an exception
does not count, and the next one is tried. What comes of it is a table for people.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from bench.simulator.failure import EXCEPTIONS
from bench.simulator.mutants import MUTANTS, Mutant, applied
from bench.simulator.simulation import Result, Settings, simulate

SEEDS_MAX: Final = 300
"""Seeds that a mutant is given to show itself."""


class Found(Struct, frozen=True):
    """The first run in which a checker found a deliberate bug.

    Attributes:
        settings, result: of that run.
        seeds: how many runs it took.
        steps: how many steps of clients they had, all together.
    """

    settings: Settings
    result: Result
    seeds: int
    steps: int

    @property
    def checker(self) -> str:
        """Which one it was."""
        assert self.result.failure is not None
        return self.result.failure.checker


def find(mutant: Mutant, seeds: int = SEEDS_MAX, steps: int = 300) -> Found | None:
    """Run seed after seed from 1 on until a checker finds a bug; None if none does."""
    taken = 0
    with applied(mutant):
        for seed in range(1, seeds + 1):
            settings = Settings(seed, steps, mutant.shards)
            result = simulate(settings)
            taken += result.failure.step if result.failure else result.steps
            if result.failure is not None and result.failure.checker not in EXCEPTIONS:
                return Found(settings, result, seed, taken)
    return None


def table(mutants: Iterable[Mutant] = tuple(MUTANTS.values())) -> Iterator[str]:
    """Yield the lines of a Markdown table of deliberate bugs and what finds them."""
    yield "| deliberate bug | what goes wrong | found by | after steps (seeds) |"
    yield "|---|---|---|---|"
    for mutant in mutants:
        found = find(mutant)
        by, after = ("nobody", "-") if found is None else _told(found)
        yield f"| `{mutant.name}` | {mutant.what} | {by} | {after} |"


def _told(found: Found) -> tuple[str, str]:
    return f"`{found.checker}`", f"{found.steps:,} ({found.seeds})"


def main() -> None:
    """Print the table, line by line as it comes."""
    for line in table():
        print(line, flush=True)


if __name__ == "__main__":
    main()
