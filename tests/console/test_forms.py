"""Forms in a real browser: whatever can be proposed is proposed where one would look for it."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import Browser, expect

from gateway.console import page as pages
from gateway.ops.actions import Action
from gateway.ops.operators import Role
from tests.console.town import APPLICANTS, Town
from tests.console.visitor import Language, Visitor, visiting

REASON = {"en": "Reason, for who approves it", "zh": "理由（供审批人查看）"}
WHY = "ticket 4711"


def proposed(
    visitor: Visitor, path: str, label: str, language: Language = "en", **more: str
) -> dict[str, Any]:
    """Fill in the form with this button on a page, and send it; returns the proposal.

    Args:
        more: members of the action → what is put in.
    """
    visitor.open(path)
    form = visitor.page.locator("form.propose", has=visitor.page.get_by_role("button", name=label))
    for name, value in more.items():
        field = form.locator(f"[name='action.{name}']")
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    form.get_by_placeholder(REASON[language], exact=True).fill(WHY)
    form.get_by_role("button").click()
    expect(visitor.page.locator("h1")).to_contain_text("提案" if language == "zh" else "Proposal")
    found = visitor.town.look(f"/ops/proposals/{visitor.path.rpartition('/')[2]}")
    assert (found["status"], found["reason"]) == ("PENDING", WHY)
    assert isinstance(found, dict)
    return found


def test_every_action_has_a_form() -> None:
    """What somebody adds to the actions is proposed from a page too."""
    folder = Path(pages.__file__).parent / "templates"
    forms = "".join(each.read_text("utf-8") for each in folder.rglob("*.html"))
    said = set(re.findall(r'propos\w+\(visit, (?:_\("[^"]*"\), )?"(\w+)"', forms))
    assert said == {each.__struct_config__.tag for each in get_args(Action)}


def test_what_concerns_the_whole_bank_is_proposed_on_its_page(
    browser: Browser, the_town: Town
) -> None:
    """The day is cut once another operator has approved it, and the page shows the next date."""
    today = the_town.look("/ops/bank")["business_date"]
    (own,) = the_town.look("/ops/bank/certificates")["items"]
    with visiting(browser, the_town, Role.OPERATOR, "zh") as first:
        told = proposed(first, "/console/bank", "提议日切", "zh")
        assert told["action"] == {"type": "cut_day", "business_date": today}
        taken_back = proposed(first, "/console/bank", "提议吊销", "zh", reason="keyCompromise")
        assert taken_back["action"] == {
            "type": "revoke_bank_certificate", "serial": own["serial"], "reason": "keyCompromise"
        }  # fmt: skip
    with visiting(browser, the_town, Role.ADMIN) as second:
        for each in (told, taken_back):
            second.open(f"/console/approvals/{each['proposal_id']}")
            second.page.get_by_role("button", name="Approve and carry out").click()
            expect(second.page.locator("main h2 .state")).to_have_text("Done")
        second.open("/console/bank")
        assert the_town.look("/ops/bank")["business_date"] > today
        assert second.page.locator("[type=date]").input_value() > today
        assert "Revoked" in second.text("main table")
        assert "its key is known to others" in second.text("main table")
        assert second.page.locator("select").count() == 0


def test_application_is_approved_or_rejected_on_the_merchants_page(
    browser: Browser, the_town: Town
) -> None:
    """By who approves the proposal; once it is decided nothing of the kind is offered."""
    one, other = APPLICANTS
    with visiting(browser, the_town, Role.OPERATOR) as first:
        approval = proposed(first, f"/console/merchants/{one}", "Propose to approve")
        assert approval["action"] == {
            "type": "approve_merchant",
            "merchant_no": one,
            "seen": "AUDITING/1",
        }
        why = "no licence"
        refusal = proposed(first, f"/console/merchants/{other}", "Propose to reject", reason=why)
        assert refusal["action"] == {
            "type": "reject_merchant", "merchant_no": other, "reason": why, "seen": "AUDITING/1"
        }  # fmt: skip
    with visiting(browser, the_town, Role.ADMIN) as second:
        for each, merchant, status in (
            (approval, one, "To be signed"),
            (refusal, other, "Rejected"),
        ):
            second.open(f"/console/approvals/{each['proposal_id']}")
            second.page.get_by_role("button", name="Approve and carry out").click()
            expect(second.page.locator("main h2 .state")).to_have_text("Done")
            second.open(f"/console/merchants/{merchant}?reason=ticket+4711")
            assert status in second.text(".strip")
            assert "admin" in second.text("main .columns")
            assert second.page.get_by_role("button", name="Propose to approve").count() == 0


def test_events_are_sent_again_by_their_numbers(browser: Browser, the_town: Town) -> None:
    """Too many at once are refused in the reader's language, with the figures as they came."""
    with visiting(browser, the_town, Role.OPERATOR, "zh") as first:
        path, label = "/console/webhooks/store-0", "提议重新投递这些事件"
        told = proposed(first, path, label, "zh", first="1", last="2")
        assert told["action"] == {
            "type": "redeliver_events", "merchant_no": "store-0", "first": 1, "last": 2
        }  # fmt: skip
        first.open(path)
        first.page.get_by_placeholder("起始事件").fill("1")
        first.page.get_by_placeholder("结束事件").fill("900")
        form = first.page.locator("form.propose", has=first.page.get_by_role("button", name=label))
        form.get_by_placeholder(REASON["zh"], exact=True).fill(WHY)
        form.get_by_role("button").click()
        expect(first.page.locator("h1")).to_have_text("没有执行")
        assert "422 INVALID_REQUEST 请求不符合其格式。" in first.text()
        assert "199" in first.text("main [lang=en]")
        assert all("422" in each for each in first.odd)
        first.odd.clear()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_can_be_proposed_for_a_merchant_is_what_its_status_permits(
    browser: Browser, the_town: Town, language: Language
) -> None:
    labels = {"en": ["Propose to suspend", "Propose to close"], "zh": ["提议暂停", "提议关闭"]}
    with visiting(browser, the_town, Role.OPERATOR, language) as visitor:
        for path in ("/console/merchants/store-3", "/console/actors/merchant/store-3"):
            visitor.open(path)
            assert visitor.page.locator(".proposals button").all_inner_texts() == labels[language]
