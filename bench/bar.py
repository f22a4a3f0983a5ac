"""The progress bar of a long command: how far it is, how fast, and how long still."""

import time
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

REFRESH_S: Final = 0.2
"""Seconds between two pictures of the bar: drawing one takes milliseconds from the node."""


class Bar:
    """A progress bar over things that are counted.

    Args:
        console: where to draw; where that is no terminal, one line at the end is all.
        description: what stands beside it until something is done.
    """

    def __init__(self, console: Console, description: str) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._task = self._progress.add_task(description, total=None, rate="")
        self._begun = time.monotonic()
        self._done = 0
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        self._progress.refresh()
        # A process that is killed, or stops for a failed commit, could not give it back.
        self._progress.console.show_cursor(True)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.refresh()
        self._progress.stop()

    def begin(self, total: int, completed: int) -> None:
        """Learn how much there is to do, and how much of it was done before."""
        self._begun = time.monotonic()
        self._progress.update(self._task, total=total, completed=completed)

    def advance(self, done: int, description: str, refused: int) -> None:
        """Move on.

        Args:
            done: how many more.
            description: where that is.
            refused: how many in all were not carried out.
        """
        self._done += done
        now = time.monotonic()
        rate = f"{self._done / (now - self._begun):,.0f}/s" if self._done else ""
        if refused:
            rate += f" [red]{refused:,} refused[/red]"
        self._progress.update(self._task, advance=done, description=description, rate=rate)
        if now - self._drawn >= REFRESH_S:
            self._drawn = now
            self._progress.refresh()
