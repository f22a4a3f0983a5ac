"""The console without a browser: who may ask it what, from where, and what goes with answers."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway.console.assets import VENDORED, address_of, asset_at
from gateway.console.table import PAGES
from gateway.ops import cookie
from gateway.ops.operators import Role
from tests.console.town import LIMIT_S, NOWHERE, Town
from tests.gateway.ops.house import PASSWORD

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def client(the_town: Town) -> Iterator[httpx2.Client]:
    """Somebody with nothing but an address."""
    with httpx2.Client(base_url=the_town.ops, timeout=LIMIT_S) as made:
        yield made


def own(the_town: Town, role: Role = Role.VIEWER) -> dict[str, str]:
    """Return what a browser sends with a form of the console's own page, in a session."""
    return {
        **FORM,
        "cookie": f"{cookie.NAME}={the_town.tokens[role]}",
        "origin": the_town.ops,
        "sec-fetch-site": "same-origin",
    }


def test_every_guarded_page_sends_a_stranger_to_log_in(client: httpx2.Client) -> None:
    for page in PAGES:
        path = page.path.replace("{", "").replace("}", "")
        if page.guarded and page.method == "GET":
            answer = client.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/console/login"), path


def test_every_answer_forbids_what_a_page_does_not_need(
    client: httpx2.Client, the_town: Town
) -> None:
    session = {"cookie": f"{cookie.NAME}={the_town.tokens[Role.ADMIN]}"}
    for path in ("/console/login", "/console", "/console/nothing", address_of("console.js")):
        answer = client.get(path, headers=session)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert ("immutable" in answer.headers["cache-control"]) == (path.startswith("/console/as"))
        if "html" in answer.headers["content-type"]:
            assert answer.headers["cache-control"] == "no-store"
            assert " style=" not in answer.text
            assert "<style" not in answer.text
            assert "onclick" not in answer.text


def test_login_cookie_is_for_this_site_and_no_script(client: httpx2.Client, the_town: Town) -> None:
    form = f"name=viewer&password={PASSWORD.replace(' ', '+')}&code=&back=%2Fconsole%2Fshards"
    answer = client.post("/console/login", content=form, headers={**FORM, "origin": the_town.ops})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/shards")
    value, *attributes = answer.headers["set-cookie"].split("; ")
    assert {*attributes} == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    seen = client.get("/ops/session", headers={"cookie": value})
    assert seen.json()["operator"] == "viewer"
    headers = {**FORM, "cookie": value, "origin": the_town.ops}
    over = client.post("/console/logout", headers=headers)
    assert "Max-Age=0" in over.headers["set-cookie"]
    assert client.get("/ops/session", headers={"cookie": value}).status_code == 401


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
def test_form_of_another_page_does_nothing(
    client: httpx2.Client, the_town: Town, sent: dict[str, str]
) -> None:
    """Another port of this host is the same site to a browser, and sends the cookie with it."""
    session = f"{cookie.NAME}={the_town.tokens[Role.OPERATOR]}"
    for path, form in (
        ("/console/logout", ""),
        ("/console/preferences", "piaohao_theme=dark"),
        ("/console/login", "name=viewer&password=x"),
    ):
        answer = client.post(path, content=form, headers={**FORM, "cookie": session, **sent})
        assert answer.status_code == 403, path
        assert "set-cookie" not in answer.headers
    answer = client.post("/ops/session/end", headers={"cookie": session, **sent})
    assert (answer.status_code, answer.json()["code"]) == (401, "NO_SESSION")
    assert client.get("/ops/session", headers={"cookie": session}).status_code == 200


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_look_that_another_page_has_sent_has_no_session(
    client: httpx2.Client, the_town: Town, site: str
) -> None:
    headers = {"cookie": f"{cookie.NAME}={the_town.tokens[Role.VIEWER]}", "sec-fetch-site": site}
    assert client.get("/ops/shards", headers=headers).status_code == 401
    assert client.get("/console/shards", headers=headers).status_code == 303


@pytest.mark.parametrize(
    "value",
    ["", "x", "A" * 43, "A" * 42, "A" * 44, '"' + "A" * 43 + '"', "%00", "=" * 43],
)
def test_cookie_that_is_none_of_ours_is_nobody(client: httpx2.Client, value: str) -> None:
    headers = {"cookie": f"other=1; {cookie.NAME}={value}; more=2"}
    assert client.get("/ops/session", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("back", "target"),
    [
        ("%2Fconsole%2Factors%3Fprefix%3D1", "/console/actors?prefix=1"),
        ("https%3A%2F%2Fevil.example", "/console"),
        ("%2F%2Fevil.example", "/console"),
        ("%2Fconsole.evil.example", "/console"),
        ("%2Fconsole%2F%5C%5Cevil.example", "/console"),
        ("%2Fops%2Fsession", "/console"),
        ("", "/console"),
    ],
)
def test_nobody_is_sent_elsewhere(
    client: httpx2.Client, the_town: Town, back: str, target: str
) -> None:
    form = f"piaohao_language=zh&back={back}"
    answer = client.post("/console/preferences", content=form, headers=own(the_town))
    assert (answer.status_code, answer.headers["location"]) == (303, target)
    assert answer.headers["set-cookie"].startswith("piaohao_language=zh; Path=/console;")


def test_preference_that_is_none_is_not_remembered(client: httpx2.Client, the_town: Town) -> None:
    for form in ("piaohao_language=xx", "piaohao_theme=%3Cscript%3E", "other=zh", ""):
        answer = client.post("/console/preferences", content=form, headers=own(the_town))
        assert answer.status_code == 303
        assert "set-cookie" not in answer.headers
    odd = {"cookie": "piaohao_language=xx; piaohao_theme=blue", "accept-language": "zh-TW,en;q=0.8"}
    text = client.get("/console/login", headers=odd).text
    assert 'lang="zh-Hans"' in text
    assert "data-theme" not in text


def test_body_that_is_no_form_is_refused(client: httpx2.Client, the_town: Town) -> None:
    headers = own(the_town)
    for content, media_type, status in (
        ('{"name": "viewer"}', "application/json", 415),
        ("name=%zz", FORM["content-type"], 400),
        ("name=1&name=2", FORM["content-type"], 400),
        ("x" * 20_000, FORM["content-type"], 413),
    ):
        given = {**headers, "content-type": media_type}
        answer = client.post("/console/login", content=content, headers=given)
        assert answer.status_code == status, content[:20]


def test_asset_is_kept_for_ever_at_an_address_that_its_content_makes(
    client: httpx2.Client,
) -> None:
    for name in ("console.css", "console.js", "htmx/htmx.min.js", "pico/pico.min.css"):
        address = address_of(name)
        found = asset_at(address)
        assert found is not None
        answer = client.get(address)
        assert (answer.status_code, answer.content) == (200, found.content)
    assert client.get("/console/assets/console-000000000000.css").status_code == 404


def test_vendored_assets_come_with_their_licences_and_versions() -> None:
    from gateway.console import assets  # noqa: PLC0415

    folders = {each.name for each in assets.STATIC.iterdir() if each.is_dir()}
    assert folders == VENDORED.keys()
    for folder in folders:
        assert (assets.STATIC / folder / "LICENSE").read_text("utf-8").strip()


def test_page_fails_alone(
    client: httpx2.Client,
    the_town: Town,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in a page is a page that says so, and an entry of the node's log without customers."""
    from gateway.console import actors, overview  # noqa: PLC0415

    def fails(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(overview, "_sum", fails)
    answer = client.get("/console", headers=own(the_town))
    assert answer.status_code == 500
    assert "a bug" not in answer.text
    assert client.get("/console/shards", headers=own(the_town)).status_code == 200
    monkeypatch.setattr(actors, "rendered", fails)
    answer = client.get("/console/actors/account/household-1001", headers=own(the_town))
    assert answer.status_code == 500
    messages = [each.getMessage() for each in caplog.records if each.name == "piaohao.ops"]
    assert messages == [
        "the page /console failed",
        "the page /console/actors/{kind}/{number} failed",
    ]


def test_overview_says_what_is_held(client: httpx2.Client, the_town: Town) -> None:
    hold = {"command": "create_authorization", "merchant_no": "store-1", "hold_no": "held-1",
            "payer": "household-1011", "amount_minor": 4_321, "currency": "USD"}  # fmt: skip
    (held,) = the_town.commands(hold)
    assert held["status"] == 201, held
    (dollars,) = the_town.look("/ops/conservation")["currencies"]
    shown = client.get("/console", headers=own(the_town) | {"accept-language": "en"}).text
    (cell,) = re.findall('data-label="Held">([0-9,.]+)', shown)
    assert float(cell.replace(",", "")) * 100 == pytest.approx(dollars["held_minor"])
    assert dollars["held_minor"] >= 4_321
    (ended,) = the_town.commands(
        {"command": "void_authorization", "merchant_no": "store-1", "hold_no": "held-1",
         "void_no": "not-held-1"}
    )  # fmt: skip
    assert ended["status"] == 201, ended


def test_search_leads_to_what_is_meant(client: httpx2.Client, the_town: Town) -> None:
    for wanted, target in (
        ("household-1004", "/console/actors/account/household-1004"),
        ("store-3", "/console/actors/merchant/store-3"),
        ("household-10", "/console/actors?prefix=household-10"),
        ("merchant/store-3", "/console/actors/merchant/store-3"),
        ("store-3/basket%2B7", "/console/payments/store-3/basket%2B7"),
        ("A%2BB", "/console/actors?prefix=A%2BB"),
    ):
        answer = client.get(f"/console/search?q={wanted}", headers=own(the_town))
        assert (answer.status_code, answer.headers["location"]) == (303, target), wanted
    for nonsense in ("%20", "a%20b", "a/b/c", "%3Cscript%3E", "/"):
        answer = client.get(f"/console/search?q={nonsense}", headers=own(the_town))
        assert answer.status_code == 404, nonsense
        assert "<script>" not in answer.text


def test_text_that_would_be_markup_is_text(client: httpx2.Client, the_town: Town) -> None:
    """Of what callers can write the least harmless comes back: reasons, in a page and its log."""
    evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    path = f"/console/actors/account/household-1003?reason={evil}"
    answer = client.get(path, headers=own(the_town, Role.AUDITOR))
    assert answer.status_code == 200
    log = client.get("/console/audit", headers=own(the_town, Role.AUDITOR))
    for text in (answer.text, log.text):
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert(1)" not in text


def test_what_a_page_asks_is_in_the_audit_log(client: httpx2.Client, the_town: Town) -> None:
    """In the visitor's name, as if asked by a tool."""
    assert client.get("/console/actors/account/household-1007", headers=own(the_town)).is_success
    entries = the_town.look("/ops/audit?operator=viewer&limit=5")["items"]
    asked = {(each["action"], each["subject"]) for each in entries}
    assert ("get_actor", "/ops/actors/account/household-1007") in asked


def test_where_events_go_is_masked_until_somebody_gives_a_reason(the_town: Town) -> None:
    for role, query, url in (
        (Role.VIEWER, "", "••••"),
        (Role.AUDITOR, "", "••••"),
        (Role.AUDITOR, "?reason=ticket%204711", NOWHERE),
    ):
        (webhook,) = the_town.look(f"/ops/webhooks{query}", role)["items"]
        assert webhook["url"] == url
        assert the_town.look(f"/ops/merchants/store-0{query}", role)["webhook"]["url"] == url
    deliveries = the_town.look("/ops/merchants/store-0/deliveries")["items"]
    assert {each["state"] for each in deliveries} == {"PENDING"}
    assert {tried["error"] for each in deliveries for tried in each["log"]} <= {"••••"}
    (certificate,) = the_town.look("/ops/merchants/store-0/certificates")["items"]
    assert (certificate["certificate_no"], certificate["state"]) == ("till", "ACTIVE")


def test_part_of_a_page_whose_session_is_over_leads_to_the_login_and_back(
    client: httpx2.Client,
) -> None:
    for path, target in (
        ("/console/shards", "/console/login?back=%2Fconsole%2Fshards"),
        ("/console/actors?kind=bank", "/console/login?back=%2Fconsole%2Factors%3Fkind%3Dbank"),
        ("/console", "/console/login"),
    ):
        answer = client.get(path, headers={"hx-request": "true"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, target)
