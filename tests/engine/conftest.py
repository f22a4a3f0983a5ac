"""What every test of the engine begins with: purses that are broken until a test mends them."""

import pytest

from tests.engine.purses import Mending


@pytest.fixture(autouse=True)
def _broken_again() -> None:
    Mending.mended = False
