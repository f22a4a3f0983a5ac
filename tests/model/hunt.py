"""Play random examples until one goes wrong: `python -m tests.model.hunt EXAMPLES [SEED]`.

Prints one JSON object: how many examples were played, and of what kind the first error was, with
its text; null where nothing went wrong. Nothing is shrunk: whoever hunts a seeded bug only wants
to know that it is found.
"""

import json
import sys
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import actors
from tests.model.machine import Domain

SEED = 20_260_105


def main(examples_max: int, from_seed: int = SEED) -> None:
    """Play up to so many examples and print what came of it."""
    played = 0

    @seed(from_seed)
    class Hunted(Domain):
        def __init__(self) -> None:
            nonlocal played
            played += 1
            super().__init__()

    limits = settings(
        max_examples=examples_max,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    found: dict[str, Any] = {"error": None, "text": ""}
    try:
        run_state_machine_as_test(Hunted, settings=limits)
    except Exception as error:
        found = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps({"examples": played, "sources": actors.__file__, **found}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
