"""Traces of captures and refunds in a real browser: from wherever a posting of theirs stands."""

from playwright.sync_api import Browser

from gateway.ops.operators import Role
from tests.console.town import FUELLED, Town
from tests.console.visitor import visiting


def test_capture_is_traced_from_its_payers_postings(browser: Browser, the_town: Town) -> None:
    """With what else was done to the authorization."""
    the_town.fuel("pump-3", "refund-3")
    with visiting(browser, the_town, Role.ADMIN) as visitor:
        visitor.open(f"/console/actors/account/{FUELLED}?reason=ticket+4711")
        visitor.page.get_by_role("link", name="capture/store-0/pump-3/pump-3-1").first.click()
        assert visitor.text("h1").split() == ["Authorization", "store-0/pump-3"]
        assert "31.25" in visitor.text(".strip")
        messages = visitor.page.locator(".fall .what > code:first-child").all_inner_texts()
        begun = [each for each in messages if each.endswith("Authorization")]
        assert begun == ["CreateAuthorization", "CaptureAuthorization", "RefundAuthorization"]
        assert {"PlaceHold", "CaptureHold", "CreditRefund"} <= {*messages}
        postings = visitor.text("main .columns")
        assert "\N{MINUS SIGN}31.25\N{NO-BREAK SPACE}USD" in postings
        assert "+5.25\N{NO-BREAK SPACE}USD" in postings
        visitor.page.get_by_role("link", name="refund/store-0/refund-3").first.click()
        assert visitor.text("h1").split() == ["Refund", "store-0/refund-3"]


def test_refund_is_traced_from_its_merchants_page(browser: Browser, the_town: Town) -> None:
    """By a viewer, who is not told whose money it was."""
    the_town.fuel("pump-4", "refund-4")
    with visiting(browser, the_town, Role.VIEWER, "zh") as visitor:
        visitor.open("/console/merchants/store-0")
        visitor.page.get_by_role("link", name="全部分录").click()
        visitor.page.get_by_role("link", name="refund/store-0/refund-4").first.click()
        assert visitor.text("h1").split() == ["退款", "store-0/refund-4"]
        assert "5.25" in visitor.text(".strip")
        assert "CreditRefund" in visitor.text(".fall")
        assert FUELLED not in visitor.page.content()
        visitor.page.get_by_role("link", name="store-0/pump-4", exact=True).first.click()
        assert visitor.text("h1").split() == ["预授权", "store-0/pump-4"]


def test_numbers_of_holds_and_refunds_are_found_as_those_of_payments_are(
    browser: Browser, the_town: Town
) -> None:
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open("/console")
        for number, heading in (("pump-1", "Authorization"), ("refund-1", "Refund")):
            visitor.find(f"store-0/{number}")
            assert visitor.text("h1").split() == [heading, f"store-0/{number}"]
