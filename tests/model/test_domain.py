"""Whatever is done to the bank, it does what the model says, and what must hold holds."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.effort import effort
from tests.model.machine import Domain
from tests.model.sharded import ShardedWorld

_settings = settings(
    stateful_step_count=40,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.first
def test_bank_does_what_the_model_says() -> None:
    limits = settings(_settings, max_examples=effort(45, 150))
    run_state_machine_as_test(Domain, settings=limits)


class ShardedDomain(Domain):
    """The same on three shards."""

    make_world = ShardedWorld
    leaps = False


@pytest.mark.first
def test_bank_on_three_shards_does_what_the_model_says() -> None:
    limits = settings(_settings, max_examples=effort(35, 100))
    run_state_machine_as_test(ShardedDomain, settings=limits)


@pytest.mark.long
def test_bank_on_three_shards_does_what_the_model_says_for_long() -> None:
    run_state_machine_as_test(ShardedDomain, settings=settings(_settings, max_examples=5_000))


@pytest.mark.long
def test_bank_does_what_the_model_says_for_long() -> None:
    """Thousands of examples; Hypothesis prints what reproduces a failure."""
    run_state_machine_as_test(Domain, settings=settings(_settings, max_examples=10_000))
