"""Screenshots of the console's main pages, into docs/ops/screenshots: `./just screenshots`.

They are of a town like that of the tests, at work: households buy while a page is looked
at. Each picture stays below 200 KB, so that whoever clones the repository can bear it.
"""

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, Literal

import pytest
from msgspec import Struct
from playwright.sync_api import Browser, sync_playwright

from gateway.ops import passwords
from gateway.ops.operators import Role
from tests.console.town import HOUSEHOLDS, POISONED, STORES, Town, town
from tests.console.visitor import NARROW, WIDE, Language, visiting
from tests.gateway.ops.house import QUICK

INTO: Final = Path(__file__).parents[2] / "docs/ops/screenshots"
BYTES_MAX: Final = 200_000
WATCHED_MS: Final = 45_000
"""For how long the overview's plots are filled."""
_HOUSEHOLD: Final = "household-1005"


class Shot(Struct, frozen=True):
    """One picture: of which page, for whom."""

    name: str
    path: str
    language: Language = "en"
    width: int = WIDE
    theme: Literal["light", "dark"] = "light"
    wait_ms: int = 500


def shots(made: Town) -> list[Shot]:
    """Return all of them."""
    store, order, _ = made.last[_HOUSEHOLD]
    why = "reason=ticket+4711"
    return [
        Shot("overview", "/console", wait_ms=WATCHED_MS),
        Shot("telephone", "/console", "zh", NARROW, "dark", WATCHED_MS),
        Shot("actors", "/console/actors?kind=merchant&sort=turn_time", "zh"),
        Shot("account", f"/console/actors/account/{_HOUSEHOLD}?{why}"),
        Shot("payment", f"/console/payments/{store}/{order}?{why}", theme="dark"),
        Shot("quarantined", f"/console/actors/merchant/{POISONED}"),
        Shot("approvals", "/console/approvals", "zh"),
    ]


@contextmanager
def trade(made: Town) -> Iterator[None]:
    """Have households buy all the while, but for the one that is looked at."""
    over = threading.Event()

    def buy() -> None:
        for number in count():
            if over.wait(0.05):
                return
            orders = [
                made.order(f"household-{1006 + (number + each) % (HOUSEHOLDS - 6)}",
                           f"store-{(number + each) % STORES}", f"basket-{number}.{each}", 25)
                for each in range(number * 7 % 40)
            ]  # fmt: skip
            if orders:
                made.commands(*orders)

    thread = threading.Thread(target=buy)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def take(browser: Browser, made: Town, shot: Shot) -> None:
    """Take a picture."""
    made.commands(made.purchase(_HOUSEHOLD, "store-2", f"basket-{shot.name}"))
    with visiting(browser, made, Role.ADMIN, shot.language, shot.width, shot.theme) as visitor:
        visitor.open(shot.path)
        visitor.page.wait_for_timeout(shot.wait_ms)
        file = INTO / f"{shot.name}.png"
        visitor.page.screenshot(path=file)
        size = file.stat().st_size
        assert size <= BYTES_MAX, (shot.name, size)
        sys.stdout.write(f"{file} {size:,} bytes\n")


def main() -> None:
    """Take all pictures."""
    INTO.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    assert chromium is not None, "there is no chromium: apt-get install chromium"
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as data,
        sync_playwright() as playwright,
    ):
        patch.setattr(passwords, "_HASHER", QUICK)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with town(Path(data)) as made:
            for action in (
                {"type": "release_actor", "address": f"merchant/{POISONED}"},
                {"type": "freeze_account", "account_no": "household-1007"},
                {"type": "take_backup"},
            ):
                made.propose(action, "ticket 4711")
            with trade(made):
                for shot in shots(made)[:2]:
                    take(browser, made, shot)
            # Of what was bought while others traded the turns may be forgotten.
            made.commands(made.purchase(_HOUSEHOLD, "store-2", "basket-pictured"))
            for shot in shots(made)[2:]:
                take(browser, made, shot)
        browser.close()


if __name__ == "__main__":
    main()
