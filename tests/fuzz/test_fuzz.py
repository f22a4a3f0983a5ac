"""Every target holds: for its seeds, for what has ever failed, and for what is near to them."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

EXAMPLES = int(os.environ.get("PIAOHAO_EXAMPLES", "40"))


@pytest.mark.parametrize("name", TARGETS)
def test_seed_of_target_lets_nothing_out(name: str) -> None:
    """What has ever failed is among the seeds."""
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        target.run(seed)
    target.run(b"")


@pytest.mark.parametrize("name", TARGETS)
def test_input_near_a_seed_lets_nothing_out(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=EXAMPLES)
    @given(mutated(target) | st.binary(max_size=40))
    def run(data: bytes) -> None:
        target.run(data)

    run()
