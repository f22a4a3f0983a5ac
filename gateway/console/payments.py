"""The page of a payment: the turns that touched it in the order of time, its commits, its money."""

from typing import Any, Final

from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit, path_of
from gateway.counter import Response

GAP_US: Final = 1_000_000
"""Turns that are so far apart are of different commands, and each of those is a picture of its own:
a refund may come a year after its payment."""
WIDE: Final = 1_000
"""The width of a picture, in units of its own."""


async def payment(visit: Visit) -> Response:
    """Show a payment's way through the node."""
    reason = visit.given.get("reason", "").strip()
    numbers = visit.named["merchant_no"], visit.named["order_no"]
    seen = await visit.ask(path_of("ops", "payments", *numbers, "trace"), reason=reason)
    return rendered(visit, "payment", seen=seen, chains=chains(seen["turns"]), reason=reason)


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


PAGES: Final = (Page("GET", f"{HOME}/payments/{{merchant_no}}/{{order_no}}", payment),)
