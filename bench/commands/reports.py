"""`piaohao bench report` and `piaohao bench diff`: what was measured, for people to read."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

report_app = App(name="report", help_format="plaintext", version_flags=())
diff_app = App(name="diff", help_format="plaintext", version_flags=())


@report_app.default
def report(
    *files: Path,
    html: Path | None = None,
    markdown: Path | None = None,
) -> int:
    """Make a report of runs and comparisons: a page with plots, Markdown, or both.

    The page is one file that asks nobody for anything. Several runs lie over each other. Without
    --html and --markdown, Markdown goes to standard output.

    Example: piaohao bench report before.json after.json --html report.html

    Parameters
    ----------
    files:
        Results that `piaohao bench run` or `piaohao bench compare` wrote with --out.
    html:
        File for the page; one that is there is written over.
    markdown:
        File for the tables as Markdown; one that is there is written over.
    """
    from bench.reports.report import run

    return run(files, html, markdown)


@diff_app.default
def diff(
    a: str,
    b: str,
    /,
    *,
    anyway: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say by how much B differs from A, measure by measure, with 95 % intervals.

    Each side is a file, a folder of them, or several with commas between: runs that were made in
    turn, A B A B, make pairs in the order in which they began. Where an interval holds 1, no
    difference was shown. Runs that were asked to do different things are refused.

    Example: piaohao bench diff before/ after/

    Parameters
    ----------
    a:
        Results of the one side.
    b:
        Results of the other.
    anyway:
        Go on although the runs were asked to do different things, and say which.
    json:
        Print one JSON object.
    """
    from bench.reports.difference import run

    return run(a, b, anyway=anyway, as_json=json)
