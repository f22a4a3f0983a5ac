"""Approvals in a real browser: one operator proposes, another approves what they see."""

from playwright.sync_api import Browser, expect

from gateway.ops.operators import Role
from tests.console.town import Town
from tests.console.visitor import visiting

REASON = "Reason, for who approves it"


def test_poisoned_actor_shows_up_and_is_released_by_two_operators(
    browser: Browser, the_town: Town
) -> None:
    """And the audit log has who did what, and verifies."""
    store = "store-poisoned-2"
    the_town.poison(store, "household-1013")
    with visiting(browser, the_town, Role.OPERATOR) as first:
        first.open("/console")
        first.page.locator("#live a.state.bad").click()
        first.page.get_by_role("link", name=f"merchant/{store}").click()
        release = first.page.locator("form.propose", has_text="Propose to release it")
        release.get_by_placeholder(REASON).fill("the bug is mended")
        release.get_by_role("button").click()
        expect(first.page.locator("h1")).to_contain_text("Proposal")
        number = first.path.rpartition("/")[2]
        assert first.page.get_by_role("button", name="Approve").count() == 0
        assert first.page.get_by_role("button", name="Withdraw it").count() == 1
    the_town.heal(store)
    with visiting(browser, the_town, Role.ADMIN) as second:
        second.open("/console")
        second.page.get_by_role("link", name="Approvals").click()
        second.page.get_by_role("link", name=number).click()
        expect(second.page.locator("main")).to_contain_text("the bug is mended")
        assert f"merchant/{store}" in second.text()
        second.page.get_by_role("button", name="Approve and carry out").click()
        expect(second.page.locator("main h2 .state")).to_have_text("Done")
        second.open(f"/console/actors/merchant/{store}")
        assert second.page.locator(".alarm").count() == 0
        assert "12.34" in second.text()
        second.open("/console/audit?verify=1")
        assert "The chain holds" in second.text(".notice")
        log = second.text("main table")
        assert "propose_action" in log
        assert "approve_proposal" in log


def test_proposal_can_be_withdrawn_and_rejected(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town, Role.OPERATOR, "zh") as first:
        for index in range(2):
            first.open("/console/actors/account/household-1014")
            first.page.get_by_placeholder("理由（供审批人查看）").fill("客户挂失")
            first.page.get_by_role("button", name="提议冻结").click()
            expect(first.page.locator("h1")).to_contain_text("提案")
            if not index:
                first.page.get_by_role("button", name="撤回").click()
                expect(first.page.locator("main h2 .state")).to_have_text("已撤回")
            assert "提出时的状态 正常 此前已变更 0 次" in " ".join(first.text().split())
        number = first.path.rpartition("/")[2]
    with visiting(browser, the_town, Role.ADMIN) as second:
        second.open(f"/console/approvals/{number}")
        assert "Its state when it was proposed Open" in " ".join(second.text().split())
        second.page.get_by_placeholder("Why not").fill("nobody has called")
        second.page.get_by_role("button", name="Reject").click()
        expect(second.page.locator("main h2 .state")).to_have_text("Rejected")
        second.open("/console/actors/account/household-1014")
        assert "Open" in second.text(".strip")


def test_viewer_sees_proposals_and_no_button(browser: Browser, the_town: Town) -> None:
    with visiting(browser, the_town, Role.VIEWER) as visitor:
        for path in ("/console/approvals", "/console/actors/account/household-1014"):
            visitor.open(path)
            assert visitor.page.locator("main button").count() == 0
