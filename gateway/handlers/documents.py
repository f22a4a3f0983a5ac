"""Documents: the API's description, for programs and for people.

Both are made from the handler table, once, when somebody asks: it takes 0.1 s, which was a tenth of
every start. After that a request for one costs no work.
"""

from functools import cache
from importlib import metadata
from typing import Any

import msgspec

from gateway.answer import HTML, JSON, Answer, kept
from gateway.desk import Caller, Desk
from gateway.docs_page import POLICY, docs_page
from gateway.endpoint import Endpoint, read
from gateway.handlers.node import Nothing
from gateway.openapi import document


def documents(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Return the rows of the documents that describe these endpoints and the rows themselves."""

    async def get_openapi(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
        """Return this description, an OpenAPI 3.1 document."""
        return described()

    async def get_docs(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
        """Return this description as a page for people."""
        return page()

    rows = (
        read("/openapi.json", Nothing, get_openapi, "anyone", dict[str, Any], stays=True),
        read("/docs", Nothing, get_docs, "anyone", str, media_type=HTML, stays=True),
    )

    @cache
    def found() -> dict[str, Any]:
        return document((*endpoints, *rows), metadata.version("piaohao"))

    @cache
    def described() -> Answer:
        return kept(msgspec.json.encode(found()), JSON)

    @cache
    def page() -> Answer:
        return kept(
            docs_page(found()).encode(),
            HTML,
            content_security_policy=POLICY,
            referrer_policy="no-referrer",
            x_frame_options="DENY",
            cross_origin_opener_policy="same-origin",
            cross_origin_resource_policy="same-origin",
        )

    return rows
