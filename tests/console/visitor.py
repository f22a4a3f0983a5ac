"""A visitor: somebody with a browser at the console, where everything that is odd is a failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

from gateway.ops.cookie import NAME
from gateway.ops.operators import Role
from tests.console.town import LIMIT_S, Town

WIDE: Final = 1440
NARROW: Final = 390
HEIGHT: Final = 900
Language = Literal["en", "zh"]
_LOCALES: Final[dict[Language, str]] = {"en": "en-GB", "zh": "zh-CN"}


class Visitor:
    """One tab.

    Attributes:
        page: the tab.
        odd: what was said on the console, and whom else the page has asked for something.
    """

    def __init__(self, town: Town, context: BrowserContext, page: Page) -> None:
        self.town = town
        self.context = context
        self.page = page
        self.odd: list[str] = []
        page.set_default_timeout(1e3 * LIMIT_S)
        page.on("console", lambda message: self._said(message.text))
        page.on("pageerror", lambda error: self.odd.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, text: str) -> None:
        # Of a request that is cut off by going to another page htmx complains aloud.
        if not text.startswith(("htmx:sendAbort,", "htmx:afterRequest,")):
            self.odd.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((f"{self.town.ops}/", "data:")):
            self.odd.append(url)

    def open(self, path: str) -> None:
        """Open a page of the console; it has to be one."""
        answer = self.page.goto(f"{self.town.ops}{path}")
        assert answer is not None
        assert answer.status == 200, (path, answer.status)

    @property
    def path(self) -> str:
        """Where the tab is."""
        parts = urlsplit(self.page.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def resize(self, width: int) -> None:
        """Make the window as wide as a desk's or a telephone's."""
        self.page.set_viewport_size({"width": width, "height": HEIGHT})

    def overflows(self) -> bool:
        """Return whether the page as a whole can be scrolled sideways."""
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(wide))

    def hide(self, *, hidden: bool) -> None:
        """Have the tab be behind another one, or in front again, as far as its page can tell."""
        self.page.evaluate(
            """(hidden) => {
              Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
              document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    def find(self, wanted: str) -> None:
        """Type something into the search box and press Enter: one click."""
        self.page.locator(".find input").fill(wanted)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def text(self, selector: str = "main") -> str:
        """Return what a part of the page says."""
        return self.page.locator(selector).first.inner_text()


@contextmanager
def visiting(
    browser: Browser,
    town: Town,
    role: Role | None = None,
    language: Language = "en",
    width: int = WIDE,
    theme: Literal["light", "dark"] = "light",
    *,
    scripts: bool = True,
) -> Iterator[Visitor]:
    """Give somebody a tab, logged in where a role is given; nothing odd may have happened in it."""
    context = browser.new_context(
        locale=_LOCALES[language],
        viewport={"width": width, "height": HEIGHT},
        color_scheme=theme,
        java_script_enabled=scripts,
    )
    try:
        if role is not None:
            context.add_cookies(
                [
                    {
                        "name": NAME,
                        "value": town.tokens[role],
                        "url": town.ops,
                        "sameSite": "Strict",
                        "httpOnly": True,
                    }
                ]
            )
        visitor = Visitor(town, context, context.new_page())
        yield visitor
        assert visitor.odd == [], visitor.odd
    finally:
        context.close()
