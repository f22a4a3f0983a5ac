"""The page in a real browser: at both widths, light and dark, it draws and asks nobody."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from bench.reports.page import page
from bench.reports.report import sheet
from bench.reports.sources import sources
from tests.bench.reports.examples import comparison, open_loop, result, write

PLOTS = ("throughput", "percentiles", "latency", "commit", "batch", "cpu", "memory")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
EVIL = "</script><script>fetch('http://127.0.0.1:9')</script><img src='http://127.0.0.1:9/x'>"

# Counts the pixels of a plot that have about the colour of each line of its legend.
DRAWN = """(name) => {
  const figure = document.getElementById(`plot-${name}`);
  const canvas = figure.querySelector("canvas");
  // Of a copy: of the plot's own canvas the browser warns when it is read often.
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return [...figure.querySelectorAll(".legend path")].map((path) => {
    const wanted = getComputedStyle(path).stroke.match(/\\d+/g).map(Number);
    let found = 0;
    for (let n = 0; n < data.length; n += 4) {
      const near = wanted.every((each, part) => Math.abs(each - data[n + part]) < 12);
      if (near && data[n + 3] > 200) found++;
    }
    return found;
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; playwright's own would be another download."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a comparison and two runs, with texts that would like to be more than texts."""
    folder = tmp_path_factory.mktemp("report")
    paths = [
        write(folder / "a.json", result(1, settings={"note": EVIL})),
        write(folder / "b.json", result(2, speed=1.1, settings={"note": "fine"})),
        write(folder / "compare.json", comparison()),
    ]
    return _page(folder / "page.html", paths)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one run that has all that a run can have."""
    folder = tmp_path_factory.mktemp("report")
    return _page(folder / "page.html", [write(folder / "burst.json", open_loop())])


def _page(target: Path, paths: list[Path]) -> Path:
    target.write_text(page(sheet(sources(paths))), "utf-8")
    return target


def _opened(opened: Page, file: Path) -> list[str]:
    """Open a page and return the list to which whatever goes wrong with it is added."""
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: wrong.append(request.url))
    opened.goto(file.as_uri())
    wrong.remove(file.as_uri())
    return wrong


def _until(opened: Page, condition: str) -> None:
    """Wait for as many frames as it takes; the page's policy forbids Playwright's own way."""
    met = opened.evaluate(
        f"""async () => {{
          for (let frame = 0; frame < 600; frame++) {{
            if ({condition}) return true;
            await new Promise(requestAnimationFrame);
          }}
          return false;
        }}"""
    )
    assert met, condition


def _check_drawn(opened: Page) -> None:
    for name in PLOTS:
        drawn = opened.evaluate(DRAWN, name)
        assert drawn, name
        # A dashed line on a telephone still has more than so many pixels of its colour.
        assert min(drawn) > 25, (name, drawn)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1440, 390])
def test_page_draws_every_line_of_every_plot_and_asks_nobody(
    browser: Browser, many: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    size = ViewportSize(width=width, height=900)
    with browser.new_context(viewport=size, color_scheme=scheme) as context:
        opened = context.new_page()
        wrong = _opened(opened, many)
        _check_drawn(opened)
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(14, 19, 25)"}[scheme]
        assert wrong == []


def test_page_shows_values_under_the_pointer_and_hides_lines_on_a_click(
    browser: Browser, one: Path
) -> None:
    opened = browser.new_page()
    wrong = _opened(opened, one)
    plot = opened.locator("#plot-percentiles")
    plot.locator(".u-over").hover()
    tip = plot.locator(".tip")
    assert "or less, ms" in tip.inner_text()
    rows = tip.locator("tr").count()
    assert rows == 4
    plot.get_by_role("button", name="refund").click()
    assert opened.evaluate(DRAWN, "percentiles")[3] == 0
    plot.locator(".u-over").hover()
    assert tip.locator("tr").count() == rows - 1
    assert wrong == []
    opened.close()


def test_page_changes_with_the_readers_scheme(browser: Browser, one: Path) -> None:
    """The plots are drawn anew in the other colours, and in the width that there is then."""
    opened = browser.new_page(color_scheme="light")
    wrong = _opened(opened, one)
    _check_drawn(opened)
    opened.emulate_media(color_scheme="dark")
    _until(opened, f"({DRAWN})('throughput').every((found) => found > 25)")
    opened.set_viewport_size({"width": 390, "height": 900})
    _until(opened, "document.querySelector('#plot-cpu canvas').clientWidth < 390")
    assert wrong == []
    opened.close()


def test_page_without_a_script_says_everything_in_tables(browser: Browser, many: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        opened = context.new_page()
        wrong = _opened(opened, many)
        assert opened.locator("figure:visible").count() == 0
        assert opened.get_by_text("Plots are drawn by a script").is_visible()
        opened.get_by_text("Over time: 1: payments, express").click()
        assert opened.get_by_role("columnheader", name="server cores").first.is_visible()
        assert opened.get_by_text(EVIL).first.is_visible()
        assert wrong == []
