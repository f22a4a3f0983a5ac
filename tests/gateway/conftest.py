"""Both listeners: what holds at one door of a node holds at the other."""

import pytest

from tests.gateway.serving import Door


@pytest.fixture(scope="module", params=["main", "express"])
def door(request: pytest.FixtureRequest) -> Door:
    """Have a test run against either listener."""
    door: Door = request.param
    return door
