"""`piaohao demo` and a newcomer with a browser: what it prints is all that they have."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.bench.receipts import receipts
from tests.e2e.session import Session

pytestmark = pytest.mark.one_shard

LIMIT = 400


def test_newcomer_finds_a_households_last_purchase_while_the_demo_runs(
    browser: Browser, tmp_path: Path
) -> None:
    """Its turns and its postings too: log in, search, and it is there."""
    among = receipts()[:LIMIT]
    last = next(each for each in reversed(among) if each.amount_minor and not each.fuel)
    household = f"household-{last.household_id}"
    demo = Session("demo", tmp_path / "bank", "--limit", str(LIMIT), "--json")
    context = browser.new_context(locale="en-GB")
    try:
        inside = r"^look inside: (\S+) \(log in as (\S+), password (\S+)\)$"
        found = demo.until(lambda: re.search(inside, demo.said(), re.MULTILINE))
        demo.until(lambda: "The node stays up" in demo.said())
        page = context.new_page()
        odd: list[str] = []
        page.on("console", lambda message: odd.append(message.text))
        page.goto(found[1])
        page.get_by_label("Name").fill(found[2])
        page.get_by_label("Password").fill(found[3])
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_be_attached()
        page.locator(".find input").fill(household)
        page.keyboard.press("Enter")
        dollars = f"{last.amount_minor / 100:,.2f}\N{NO-BREAK SPACE}USD"
        expect(page.locator(".last")).to_contain_text(dollars)
        expect(page.locator("main")).to_contain_text("DebitPayment")
        expect(page.locator("main")).to_contain_text(f"\N{MINUS SIGN}{dollars}")
        assert odd == []
    finally:
        context.close()
        demo.process.kill()
        demo.process.communicate()
