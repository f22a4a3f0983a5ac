"""Pages: rows of the console's own table, and how a template becomes an answer.

Everything on a page comes from its own listener and nothing in it is a script, so the policy can
say just that: a text that got in as markup would still not run, and could not be sent anywhere
(CSP 3). Pages are never kept; what may be kept is in `gateway.console.assets`.
"""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from gateway.answer import HTML
from gateway.console import sentences, words
from gateway.console.assets import address_of
from gateway.console.figures import Figures
from gateway.console.languages import LANGUAGES, TAGS, translations
from gateway.console.visit import Visit, path_of
from gateway.counter import Response

_TEMPLATES: Final = Path(__file__).parent / "templates"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not no-referrer: under that, forms would come with `Origin: null` (Fetch, section 3.2.5).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""What goes with every page."""

Show = Callable[[Visit], Awaitable[Response]]


class Page(Struct, frozen=True):
    """One method on one path.

    Attributes:
        path: a template, as in the ops listener's table.
        show: answers a visit.
        guarded: who has not logged in is sent to log in.
    """

    method: str
    path: str
    show: Show
    guarded: bool = True


def rendered(visit: Visit, template: str, *, status: int = 200, **data: Any) -> Response:
    """Return a page; of one that is open already the part that changes, where it has one.

    Args:
        template: its name, without a suffix; the part that changes is in `live/` by the same name.
        data: what the template shows.
    """
    live = f"live/{template}.html"
    name = live if visit.is_live and status == 200 else f"{template}.html"
    found = _environment(visit.language).get_template(name)
    text = found.render(visit=visit, live=live, status=status, **data)
    return Response(status, {**HEADERS, "content-type": HTML}, text.encode())


def redirected(target: str, cookie: str | None = None) -> Response:
    """Return the answer that sends a browser to another page by GET (RFC 9110, section 15.4.4).

    Args:
        target: a path of this listener's.
        cookie: a Set-Cookie field.
    """
    headers = {**HEADERS, "location": target}
    if cookie is not None:
        headers["set-cookie"] = cookie
    return Response(303, headers, b"")


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    said = translations(language)
    known: dict[str, Markup] = {}

    # Jinja's own extension looks at the context for each text: 5.2 ms a page in place of 3.9.
    def say(text: str, **values: Any) -> Markup:
        found = known.get(text)
        if found is None:
            found = known[text] = Markup(said.gettext(text))
        return found % values if values else found

    def say_many(one: str, many: str, num: int) -> Markup:
        return Markup(said.ngettext(one, many, num)) % {"num": num}

    environment.filters.update(Figures(language).filters())
    environment.filters["word"] = lambda word: (
        said.gettext(words.WORDS[word]) if word in words.WORDS else word
    )
    environment.globals.update(
        _=say,
        ngettext=say_many,
        asset=address_of,
        languages=LANGUAGES,
        tag=TAGS[language],
        path_of=path_of,
        tone=words.tone,
        # Of an empty text gettext has the head of its catalogue.
        sentence=lambda code: say(sentences.SENTENCES[code]) if code in sentences.SENTENCES else "",
        added=partial(sentences.added, language=language),
    )
    return environment
