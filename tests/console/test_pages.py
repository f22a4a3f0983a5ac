"""The console in a real browser: every page, in both languages, on a desk and on a telephone."""

import re
from itertools import count

import pytest
from playwright.sync_api import Browser, expect

from gateway.ops.feeds import Feeds
from gateway.ops.operators import Role
from tests.console.town import APPLICANTS, POISONED, Town
from tests.console.visitor import NARROW, WIDE, Language, visiting
from tests.gateway.ops.house import PASSWORD

HOUSEHOLD = "household-1005"
WHY = "reason=ticket+4711"
PAGES = {
    "/console": ("Overview", "总览"),
    "/console/actors": ("Actors", "执行体"),
    "/console/actors?prefix=nobody": ("Actors", "执行体"),
    f"/console/actors/account/{HOUSEHOLD}": ("Account", "账户"),
    "/console/actors/account/household-1001?reason=ticket+4711": ("Account", "账户"),
    "/console/actors/merchant/store-0": ("Merchant", "商户"),
    f"/console/actors/merchant/{POISONED}": ("Merchant", "商户"),
    "/console/shards": ("Shards and links", "分片与链路"),
    "/console/commits?shard=0": ("Commits of shard 0", "分片 0 的提交"),
    "/console/dead-letters": ("Dead letters", "死信"),
    "/console/merchants": ("Merchants", "商户"),
    "/console/merchants/store-0": ("Merchant", "商户"),
    f"/console/merchants/{APPLICANTS[0]}": ("Merchant", "商户"),
    "/console/bank": ("Bank", "银行"),
    "/console/authorizations/store-0/pump-1": ("Authorization", "预授权"),
    f"/console/refunds/store-0/refund-1?{WHY}": ("Refund", "退款"),
    "/console/merchants/store-0/postings": ("Postings", "分录"),
    "/console/webhooks": ("Webhooks", "回调"),
    "/console/webhooks/store-0": ("What became of the events of", "事件投递情况"),
    "/console/accounts/household-1005/postings": ("Postings", "分录"),
    "/console/approvals": ("Approvals", "审批"),
    "/console/audit?verify=1": ("Audit log", "审计日志"),
    "/console/operators": ("Operators", "操作员"),
}
"""Address → heading in English and in Chinese."""

# Counts the pixels of each plot that have about the colour of one of its lines.
DRAWN = """() => [...document.querySelectorAll("[data-plot] canvas")].map((canvas) => {
  // Of a copy: of the plot's own canvas the browser warns when it is read often.
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const lines = [[31, 95, 168], [194, 87, 26]];
  let found = 0;
  for (let n = 0; n < data.length; n += 4) {
    const near = (each, part) => Math.abs(each - data[n + part]) < 24;
    if (data[n + 3] > 150 && lines.some((line) => line.every(near))) found++;
  }
  return found;
})"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_whole_in_either_language_at_either_width(
    browser: Browser, the_town: Town, language: Language
) -> None:
    """Nothing on the console, nothing from elsewhere, nothing that has to be scrolled sideways."""
    store, order, _ = the_town.last[HOUSEHOLD]
    trace = f"/console/payments/{store}/{order}"
    pages = {**PAGES, f"{trace}?{WHY}": ("Payment", "支付")}
    with visiting(browser, the_town, Role.ADMIN, language) as visitor:
        for path, headings in pages.items():
            visitor.open(path)
            heading = headings[language == "zh"]
            assert heading in visitor.text("h1"), path
            assert visitor.page.locator("html").get_attribute("lang") == (
                "en" if language == "en" else "zh-Hans"
            )
            for width in (NARROW, WIDE):
                visitor.resize(width)
                assert not visitor.overflows(), (path, width)
            assert visitor.odd == [], path


def test_newcomer_finds_a_households_last_purchase_its_turns_and_postings_in_three_clicks(
    browser: Browser, the_town: Town
) -> None:
    the_town.commands(the_town.purchase(HOUSEHOLD, "store-2", "basket-in-three-clicks"))
    store, order, cents = the_town.last[HOUSEHOLD]
    amount = f"{cents / 100:,.2f}\N{NO-BREAK SPACE}USD"
    with visiting(browser, the_town, Role.ADMIN) as visitor:
        visitor.open("/console")
        visitor.find(HOUSEHOLD)  # the first: Find
        assert amount in visitor.text(".last")
        turns = visitor.page.locator("section", has=visitor.page.get_by_text("Last turns"))
        assert "DebitPayment" in turns.first.inner_text()
        visitor.page.get_by_placeholder("Reason, for the audit log").fill("ticket 4711")
        visitor.page.get_by_role("button", name="Show personal data").click()  # the second
        visitor.page.locator(".last a").click()  # the third: what it was for
        visitor.page.wait_for_url("**/console/payments/**")
        assert visitor.text("h1").split() == ["Payment", f"{store}/{order}"]
        assert visitor.page.locator(".fall .what > code:first-child").all_inner_texts() == [
            "CreatePayment",
            "DebitPayment",
            "PaymentDebited",
        ]
        assert HOUSEHOLD in visitor.text(".fall")
        postings = visitor.text("main .columns")
        assert f"\N{MINUS SIGN}{amount}" in postings
        assert f"+{amount}" in postings
    entries = the_town.look("/ops/audit?limit=5")["items"]
    (shown,) = (each for each in entries if each["action"] == "get_payment_trace")
    assert shown["reason"] == "ticket 4711"


def test_purchase_whose_turns_are_forgotten_still_has_its_posting_and_commit(
    browser: Browser, the_town: Town
) -> None:
    household = "household-1009"
    for shard in the_town.running.node.shards:
        the_town.inside(shard.stage.history.clear)
    store, order, cents = the_town.last[household]
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open("/console")
        visitor.find(f"{store}/{order}")
        assert "Its turns are not known any more" in visitor.text()
        assert visitor.page.locator(".fall").count() == 0
        columns = visitor.text("main .columns")
        assert f"\N{MINUS SIGN}{cents / 100:,.2f}\N{NO-BREAK SPACE}USD" in columns
        assert "No commit of its is known" not in columns
        assert household not in visitor.page.content()


def test_viewer_sees_masked_data_and_nothing_to_do(browser: Browser, the_town: Town) -> None:
    store, order, _ = the_town.last[HOUSEHOLD]
    pages = [f"/console/actors/account/{HOUSEHOLD}", f"/console/payments/{store}/{order}",
             "/console/dead-letters", f"/console/actors/merchant/{POISONED}",
             "/console/merchants/store-0"]  # fmt: skip
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        for path in pages:
            visitor.open(path)
            assert "••••" in visitor.text(), path
            assert visitor.page.locator("main form").count() == 0, path
            assert visitor.page.locator("main button").count() == 0, path
            shown = visitor.page.content()
            assert (HOUSEHOLD in shown) == (HOUSEHOLD in path), path
            assert "household-1002" not in shown, path
        assert visitor.page.get_by_role("link", name="Audit log").count() == 0
        for path in (f"{pages[0]}?{WHY}", "/console/audit", "/console/operators"):
            answer = visitor.page.goto(f"{the_town.ops}{path}")
            assert answer is not None
            assert answer.status == 403, path
            assert "Your role does not allow this" in visitor.text()
        # Of a page that is refused the browser says so by itself.
        assert all("403" in each for each in visitor.odd)
        visitor.odd.clear()


def test_wrong_login_is_told_and_a_right_one_leads_back(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town) as visitor:
        visitor.open("/console/shards")
        assert visitor.path == "/console/login?back=%2Fconsole%2Fshards"
        page = visitor.page
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill("a wrong password")
        page.get_by_label("One-time code").fill(the_town.next_code(Role.ADMIN))
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("do not belong together")
        assert all("403" in each for each in visitor.odd)
        visitor.odd.clear()
        assert page.get_by_label("Name").input_value() == "admin"
        assert page.get_by_label("Password").input_value() == ""
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("One-time code").fill(the_town.next_code(Role.ADMIN))
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_have_text("Shards and links")
        assert visitor.path == "/console/shards"
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")
        visitor.open("/console/shards")
        assert visitor.path.startswith("/console/login")


def test_language_and_colours_are_remembered(browser: Browser, the_town: Town) -> None:
    """The first page comes in the browser's own, the rest as was chosen, also after logging out."""
    with visiting(browser, the_town, Role.VIEWER, "zh") as visitor:
        visitor.open("/console/actors?prefix=household-10")
        assert visitor.text("h1") == "执行体"
        visitor.page.get_by_role("button", name="English").click()
        expect(visitor.page.locator("h1")).to_have_text("Actors")
        assert visitor.path == "/console/actors?prefix=household-10"
        ground = "getComputedStyle(document.body).backgroundColor"
        light = visitor.page.evaluate(ground)
        visitor.page.get_by_role("button", name="Auto").click()
        expect(visitor.page.locator("html")).to_have_attribute("data-theme", "dark")
        assert visitor.page.evaluate(ground) != light
        visitor.context.clear_cookies(name="piaohao_session")
        visitor.open("/console")
        assert visitor.text("h1") == "Log in"
        expect(visitor.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_overview_lives(browser: Browser, the_town: Town) -> None:
    """Figures and plots follow the node's feed; what is shown of the money is right."""
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open("/console")
        assert "Yes: the difference is zero" in visitor.text()
        rate = visitor.page.locator("[data-vital=payments_per_s]")
        expect(rate).to_have_text("0")
        drawn: list[int] = [0]
        for number in count():
            if min(drawn) >= 5:
                break
            the_town.commands(
                *(the_town.order("household-1011", "store-1", f"basket-l{number}-{each}", 10)
                  for each in range(20))
            )  # fmt: skip
            expect(rate).to_have_text(re.compile(r"^[1-9]"))
            drawn = visitor.page.evaluate(DRAWN)
        assert len(drawn) == 6


def test_actor_lives(browser: Browser, the_town: Town) -> None:
    household = "household-1012"
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open(f"/console/actors/account/{household}")
        the_town.commands(the_town.purchase(household, "store-1", "basket-live"))
        expect(visitor.page.locator(".last")).to_contain_text("12.34")


def test_actors_are_found_as_one_types(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open("/console/actors")
        rows = visitor.page.locator("#live tbody tr")
        visitor.page.get_by_label("Number begins with").press_sequentially("household-102")
        expect(rows).to_have_count(10)
        visitor.page.get_by_label("Number begins with").fill("no one; nothing")
        expect(visitor.page.locator("#live .empty")).to_be_visible()
        visitor.page.get_by_label("Number begins with").fill("store-")
        expect(rows).not_to_have_count(0)
        visitor.page.get_by_label("Kind").select_option("certificate")
        expect(visitor.page.locator("#live .empty")).to_be_visible()
        visitor.page.get_by_label("Number begins with").fill("")
        expect(rows).to_have_count(2)  # a merchant's and one of the bank's own


def test_poisoned_actor_shows_up_from_the_overview(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town, Role.ADMIN) as visitor:
        visitor.open("/console")
        visitor.page.locator("#live a.state.bad").click()
        visitor.page.get_by_role("link", name=f"merchant/{POISONED}").click()
        expect(visitor.page.locator(".alarm")).to_contain_text("PaymentDebited")
        assert "an operator" in visitor.text(".strip")
        assert "household-1002" not in visitor.page.content()
        visitor.page.get_by_role("link", name="Dead letters").click()
        visitor.page.get_by_placeholder("Reason, for the audit log").fill("ticket 4711")
        visitor.page.get_by_role("button", name="Show personal data").click()
        expect(visitor.page.locator("#live")).to_contain_text(
            "cannot credit basket-of-store-poisoned of account/household-1002"
        )


def test_page_of_a_session_that_is_over_leads_to_the_login(
    browser: Browser, the_town: Town
) -> None:
    """An open page notices by itself: what it shows must not look as if it were of now."""
    with visiting(browser, the_town) as visitor:
        visitor.open("/console/login")
        visitor.page.get_by_label("Name").fill("viewer")
        visitor.page.get_by_label("Password").fill(PASSWORD)
        visitor.page.get_by_role("button", name="Log in").click()
        expect(visitor.page.locator("h1")).to_have_text("Overview")
        (cookie,) = (
            each["value"] for each in visitor.context.cookies() if each["name"] == "piaohao_session"
        )
        the_town.end(cookie)
        expect(visitor.page.locator("h1")).to_have_text("Log in")
        assert all("401" in each for each in visitor.odd)
        visitor.odd.clear()


def test_page_that_was_not_looked_at_asks_for_what_it_has_missed(
    browser: Browser, the_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed tells who is quarantined from now on; of who is not any more it says nothing."""
    monkeypatch.setattr(Feeds, "_quarantined", lambda self: {})
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        with visitor.page.expect_response(lambda answer: "/ops/feed" in answer.url):
            visitor.open("/console/dead-letters")
        visitor.hide(hidden=True)
        the_town.poison("store-poisoned-3", "household-1015")
        assert "store-poisoned-3" not in visitor.text()
        visitor.hide(hidden=False)
        expect(visitor.page.locator("#live")).to_contain_text("store-poisoned-3")
    the_town.heal("store-poisoned-3")


def test_overview_that_gets_no_feed_says_so(
    browser: Browser, the_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures would look as if they were of now."""
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        visitor.open("/console")
        rate = visitor.page.locator("[data-vital=payments_per_s]")
        expect(rate).not_to_have_text("–")
        expect(visitor.page.locator("#unfed")).to_be_hidden()
        monkeypatch.setattr(Feeds, "_full", lambda *_: True)
        visitor.hide(hidden=True)
        visitor.hide(hidden=False)
        expect(visitor.page.locator("#unfed")).to_be_visible()
        expect(rate).to_have_text("–")
        assert all("429" in each for each in visitor.odd)
        visitor.odd.clear()


def test_pages_without_a_script_say_what_they_lack(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town, Role.VIEWER, scripts=False) as visitor:
        visitor.open("/console")
        assert "piaohao top" in visitor.text(".notice")
        assert "Yes: the difference is zero" in visitor.text()
        for empty in (".plots", ".strip"):
            assert not visitor.page.locator(empty).is_visible()
        visitor.open("/console/actors")
        visitor.page.get_by_label("Number begins with").fill("store-1")
        visitor.page.get_by_role("button", name="Show").click()
        expect(visitor.page.locator("#live tbody tr")).to_have_count(1)


def test_telephone_shows_in_the_row_of_pages_which_one_it_is(
    browser: Browser, the_town: Town
) -> None:
    """The row is longer than the screen is wide."""
    with visiting(browser, the_town, Role.ADMIN, width=NARROW) as visitor:
        visitor.open("/console/audit")
        expect(visitor.page.locator(".places [aria-current]")).to_be_in_viewport(ratio=1)


def test_telephone_shows_together_what_belongs_together(browser: Browser, the_town: Town) -> None:
    """Who did something, and in which role: on the right both, and the label on the left."""
    gap = """() => {
      const role = document.querySelector("main td small");
      const name = document.createRange();
      name.selectNode(role.previousSibling);
      return role.getBoundingClientRect().left - name.getBoundingClientRect().right;
    }"""
    with visiting(browser, the_town, Role.ADMIN, width=NARROW) as visitor:
        visitor.open("/console/audit?operator=admin")
        assert 0 <= visitor.page.evaluate(gap) < 10
