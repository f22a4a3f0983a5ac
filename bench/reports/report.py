"""`piaohao bench report`: files become a sheet, and the sheet a page, Markdown, or both.

Everything is read and made before anything is written, so a broken input leaves what was there. A
report never takes the place of a file that it is made of.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.reports.comparisons import comparison_part
from bench.reports.figures import moment
from bench.reports.machines import machine_line
from bench.reports.markdown import markdown
from bench.reports.page import page
from bench.reports.plots import plots
from bench.reports.runs import cards, tables
from bench.reports.sheet import Sheet
from bench.reports.sources import Sources, sources
from gateway import exits
from gateway.exits import CommandError


def run(paths: Sequence[Path], html: Path | None, markdown_to: Path | None) -> int:
    """Read, make and write; returns the exit code.

    Args:
        paths: of results.
        html, markdown_to: where to write; Markdown goes to standard output without either.

    Raises:
        CommandError: INPUT; something cannot be read or written.
    """
    if not paths:
        raise CommandError(exits.INPUT, "name files with results; there is nothing to report")
    targets = [path for path in (html, markdown_to) if path is not None]
    taken = {path.resolve() for path in paths}
    for path in targets:
        if path.resolve() in taken:
            detail = f"{path} is one of the files that the report is made of, or named twice"
            raise CommandError(exits.INPUT, detail)
        taken.add(path.resolve())
    made = sheet(sources(paths))
    if html is not None:
        _write(html, page(made))
    if markdown_to is not None:
        _write(markdown_to, markdown(made))
    if not targets:
        sys.stdout.write(markdown(made))
    return exits.OK


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(exits.INPUT, f"{path}: {error.strerror}") from None
    sys.stderr.write(f"wrote {path}\n")


def sheet(found: Sources) -> Sheet:
    """Return what a report of these says."""
    runs = found.runs
    return Sheet(
        title=_title(found),
        about=_about(found),
        parts=[comparison_part(each) for each in found.comparisons],
        cards=cards(runs),
        plots=plots(runs) if runs else [],
        tables=tables(runs) if runs else [],
    )


def _title(found: Sources) -> str:
    """Return what was measured: peers, and workloads with the ways by which they came."""
    what = {f"beside {each.peer}": None for each in found.comparisons}
    targets: dict[str, dict[str, None]] = {}
    for run in found.runs:
        targets.setdefault(run.result.workload, {})[run.result.target] = None
    what |= {f"{name} on {_listed(list(each))}": None for name, each in targets.items()}
    text = "; ".join(what)
    return f"Piaohao {text}" if found.comparisons else text[:1].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _about(found: Sources) -> str:
    measured = [(run.result.began_at, run.result.machine) for run in found.runs]
    measured += [(each.begun, each.machine) for each in found.comparisons]
    begun = min(moment(each) for each, _ in measured)
    machines = list(dict.fromkeys(machine_line(machine) for _, machine in measured))
    more = f", and {len(machines) - 1} more" if len(machines) > 1 else ""
    return f"{begun}; {machines[0]}{more}"
