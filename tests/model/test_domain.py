"""Whatever is done to the bank, it does what the model says, and what must hold holds."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Domain
from tests.model.sharded import ShardedWorld

_settings = settings(
    stateful_step_count=40,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)


def test_bank_does_what_the_model_says() -> None:
    run_state_machine_as_test(Domain, settings=settings(_settings, max_examples=150))


class ShardedDomain(Domain):
    """The same on three shards."""

    make_world = ShardedWorld
    leaps = False


def test_bank_on_three_shards_does_what_the_model_says() -> None:
    run_state_machine_as_test(ShardedDomain, settings=settings(_settings, max_examples=100))


@pytest.mark.long
def test_bank_on_three_shards_does_what_the_model_says_for_long() -> None:
    run_state_machine_as_test(ShardedDomain, settings=settings(_settings, max_examples=5_000))


@pytest.mark.long
def test_bank_does_what_the_model_says_for_long() -> None:
    """Thousands of examples; Hypothesis prints what reproduces a failure."""
    run_state_machine_as_test(Domain, settings=settings(_settings, max_examples=10_000))
