"""Pages of actors: all of them, one of them as the engine knows it, and where to find somebody."""

import re
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from engine.address import NUMBER_PATTERN
from gateway.console.figures import Figures
from gateway.console.page import Page, redirected, rendered
from gateway.console.visit import HOME, ToldError, Visit, path_of
from gateway.counter import Response

KINDS: Final = ("account", "merchant", "certificate", "webhook", "bank")
_EMPTY: Final[dict[str, Any]] = {"items": [], "next_cursor": None}
_PREFIX: Final = re.compile(r"[A-Za-z0-9._:@+-]{0,64}")
_NUMBER: Final = re.compile(NUMBER_PATTERN)
_FOUND: Final = ("account", "merchant")
"""Kinds that are looked for by a number alone, in this order."""


async def search(visit: Visit) -> Response:
    """Go to the account or merchant of a number, to an actor by its address, or to a payment by its
    merchant and order; where there is nobody of that number, to those whose begins like it."""
    wanted = visit.given.get("q", "").strip()
    before, slash, behind = wanted.partition("/")
    if not all(_NUMBER.fullmatch(each) for each in ([before, behind] if slash else [before])):
        return rendered(visit, "refused", status=404, code="NOT_FOUND", detail="")
    if slash and before in KINDS:
        return redirected(path_of("console", "actors", before, behind))
    if slash:
        return redirected(path_of("console", "payments", before, behind))
    for kind in _FOUND:
        try:
            await visit.ask(path_of("ops", "actors", kind, wanted))
        except ToldError as error:
            if error.status != 404:
                raise
        else:
            return redirected(path_of("console", "actors", kind, wanted))
    return redirected(f"{HOME}/actors?{urlencode({'prefix': wanted})}")


async def actors(visit: Visit) -> Response:
    """List actors, and what goes on at each."""
    asked = {name: visit.given.get(name, "").strip() for name in ("kind", "prefix", "only")}
    asked["sort"] = visit.given.get("sort", "") or "address"
    asked["cursor"] = visit.given.get("cursor", "")
    page = _EMPTY
    if _PREFIX.fullmatch(asked["prefix"]):  # no number has anything else in it
        page = await visit.ask("/ops/actors", **asked)
    return rendered(visit, "actors", page=page, asked=asked, kinds=KINDS)


async def actor(visit: Visit) -> Response:
    """Show one actor: its states, what waits for it, what it did last, and its money."""
    address = path_of("ops", "actors", visit.named["kind"], visit.named["number"])
    reason = visit.given.get("reason", "").strip()
    seen = await visit.ask(address, reason=reason)
    kind, _, number = seen["address"].partition("/")
    state = seen["speculative"] or seen["confirmed"] or {}
    debits = (each for each in seen["postings"] if each["amount_minor"] < 0)
    return rendered(
        visit,
        "actor",
        kind=kind,
        number=number,
        seen=seen,
        state=state,
        fields=_fields(seen, visit.figures),
        purchase=next(debits, None) if kind == "account" else None,
        reason=reason,
    )


async def postings(visit: Visit) -> Response:
    """Show an account's postings, back to its first."""
    return await _postings(visit, "account")


async def merchant_postings(visit: Visit) -> Response:
    """Show a merchant's postings, its receivable's and its fees', back to the first."""
    return await _postings(visit, "merchant")


async def _postings(visit: Visit, kind: str) -> Response:
    number = visit.named["number"]
    reason = visit.given.get("reason", "").strip()
    cursor = visit.given.get("cursor", "")
    page = await visit.ask("/ops/journal", **{kind: number}, cursor=cursor, reason=reason)
    return rendered(visit, "postings", kind=kind, number=number, page=page, reason=reason)


def _fields(seen: Any, figures: Figures) -> list[dict[str, Any]]:
    """Return the fields of a state, as of the last commit and as of the last turn."""
    confirmed, speculative = seen["confirmed"] or {}, seen["speculative"] or {}
    currency = (speculative or confirmed).get("currency", "")
    return [
        {
            "name": name,
            "confirmed": _shown(name, confirmed.get(name), currency, figures),
            "speculative": _shown(name, speculative.get(name), currency, figures),
            "differs": confirmed.get(name) != speculative.get(name),
        }
        for name in {**confirmed, **speculative}
    ]


def _shown(name: str, value: Any, currency: str, figures: Figures) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool) or not isinstance(value, int):
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if name.endswith("_minor"):
        return figures.amount(value, currency)
    if name.endswith("_ns"):
        return figures.moment(value)
    return figures.number(value)


PAGES: Final = (
    Page("GET", f"{HOME}/search", search),
    Page("GET", f"{HOME}/actors", actors),
    Page("GET", f"{HOME}/actors/{{kind}}/{{number}}", actor),
    Page("GET", f"{HOME}/accounts/{{number}}/postings", postings),
    Page("GET", f"{HOME}/merchants/{{number}}/postings", merchant_postings),
)
