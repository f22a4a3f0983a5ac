"""The page: a sheet as one file of HTML that asks nobody for anything.

Style, script and uPlot (the console's) are in it, and a policy of its own forbids whatever
would come from elsewhere: scripts run that have the hash of ours, and nothing is fetched (CSP 3,
sections 2.3.1 and 6.7.3). Without a script plots are missing and everything else is there. Texts
come from files that somebody else may have written, so all of them are escaped.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from bench.reports.sheet import Sheet
from gateway.console.assets import STATIC as CONSOLE
from gateway.console.assets import VENDORED

_STATIC: Final = Path(__file__).parent / "static"
_UPLOT: Final = CONSOLE / "uplot"
UPLOT_VERSION: Final = VENDORED["uplot"].rpartition(" ")[2]


def page(sheet: Sheet) -> str:
    """Return the page of a sheet."""
    licence = (_UPLOT / "LICENSE").read_text("utf-8")
    code = (_UPLOT / "uPlot.iife.min.js").read_text("utf-8")
    plot_style = (_UPLOT / "uPlot.min.css").read_text("utf-8")
    uplot = f"/*\n{licence}*/\n{code}"
    script = _text("page.js")
    hashes = " ".join(map(_hash, (uplot, script)))
    # A text in the data may have "</script>" in it, which would end the element.
    plots = msgspec.json.encode(sheet.plots).decode().replace("<", "\\u003c")
    return _template().render(
        sheet=sheet,
        policy=(
            f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=Markup(plot_style + _text("page.css")),
        plots=Markup(plots),
        uplot=Markup(uplot),
        script=Markup(script),
        uplot_version=UPLOT_VERSION,
    )


def _text(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
