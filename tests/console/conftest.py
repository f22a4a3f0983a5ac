"""What all tests of the console share: a town, and a browser that stands no nonsense."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from gateway.ops import passwords
from tests.console.town import LIMIT_S, Town, town
from tests.gateway.ops.house import QUICK


@pytest.fixture(scope="session")
def the_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", QUICK)
        passwords.nobodys_hash.cache_clear()
        with town(tmp_path_factory.mktemp("town")) as made:
            yield made
    passwords.nobodys_hash.cache_clear()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; playwright's own would be another download."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    expect.set_options(timeout=1e3 * LIMIT_S)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()
