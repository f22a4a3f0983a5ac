"""Pages of payments, authorizations and refunds: turns in the order of time, commits, money."""

from typing import Any, Final

from actors.refusal import Refusal
from gateway.console.page import Page, redirected, rendered
from gateway.console.visit import HOME, ToldError, Visit, path_of
from gateway.counter import Response

GAP_US: Final = 1_000_000
"""Turns that are so far apart are of different commands, and each of those is a picture of its own:
a refund may come a year after its payment."""
WIDE: Final = 1_000
"""The width of a picture, in units of its own."""
_ROWS: Final = {"payment": "payments", "authorization": "authorizations"}


async def payment(visit: Visit) -> Response:
    """Show a payment's way through the node; where the merchant has no such payment, lead to its
    authorization or refund of that number."""
    numbers = visit.named["merchant_no"], visit.named["order_no"]
    try:
        return await _traced(visit, "payment", numbers)
    except ToldError as error:
        if error.code != Refusal.NO_SUCH_PAYMENT:
            raise
        for kind, path in (
            ("authorizations", path_of("ops", "authorizations", *numbers, "trace")),
            ("refunds", path_of("ops", "refunds", *numbers)),
        ):
            if await _is_there(visit, path):
                return redirected(path_of("console", kind, *numbers))
        raise


async def authorization(visit: Visit) -> Response:
    """Show an authorization's way, with whatever was done to it."""
    return await _traced(
        visit, "authorization", (visit.named["merchant_no"], visit.named["hold_no"])
    )


async def refund(visit: Visit) -> Response:
    """Show a refund, and the way of what it is of."""
    reason = visit.given.get("reason", "").strip()
    merchant_no = visit.named["merchant_no"]
    path = path_of("ops", "refunds", merchant_no, visit.named["refund_no"])
    found = await visit.ask(path, reason=reason)
    seen = None
    if found["payer"]:  # else there is no such original, which is why it was refused
        kind = _ROWS[found["original_kind"]]
        trace = path_of("ops", kind, merchant_no, found["original"], "trace")
        seen = await visit.ask(trace, reason=reason)
    drawn = [] if seen is None else chains(seen["turns"])
    return rendered(visit, "refund", refund=found, seen=seen, chains=drawn, reason=reason)


async def _traced(visit: Visit, kind: str, numbers: tuple[str, str]) -> Response:
    reason = visit.given.get("reason", "").strip()
    seen = await visit.ask(path_of("ops", _ROWS[kind], *numbers, "trace"), reason=reason)
    return rendered(visit, kind, seen=seen, chains=chains(seen["turns"]), reason=reason)


async def _is_there(visit: Visit, path: str) -> bool:
    try:
        await visit.ask(path)
    except ToldError as error:
        if error.status != 404:
            raise
        return False
    return True


def chains(turns: list[Any]) -> list[dict[str, Any]]:
    """Return turns by the commands that they follow from, each with where its bar is drawn.

    Args:
        turns: of a trace, in the order of time.
    """
    found: list[dict[str, Any]] = []
    end_us = -2.0 * GAP_US
    for turn in turns:
        if turn["after_us"] - end_us > GAP_US:
            found.append({"turns": []})
        found[-1]["turns"].append(turn)
        end_us = turn["after_us"] + turn["duration_us"]
    for chain in found:
        first, last = chain["turns"][0], chain["turns"][-1]
        span_us = max(1e-3, last["after_us"] + last["duration_us"] - first["after_us"])
        chain["span_us"] = span_us
        chain["turns"] = [
            {
                **turn,
                "offset_us": turn["after_us"] - first["after_us"],
                "x": round((turn["after_us"] - first["after_us"]) / span_us * WIDE),
                # However short it was, it can be seen.
                "width": max(4, round(turn["duration_us"] / span_us * WIDE)),
            }
            for turn in chain["turns"]
        ]
    return found


PAGES: Final = (
    Page("GET", f"{HOME}/payments/{{merchant_no}}/{{order_no}}", payment),
    Page("GET", f"{HOME}/authorizations/{{merchant_no}}/{{hold_no}}", authorization),
    Page("GET", f"{HOME}/refunds/{{merchant_no}}/{{refund_no}}", refund),
)
