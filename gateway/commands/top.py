"""`piaohao top`: show how a running node is, second by second."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from gateway.exits import INPUT, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

app = App(name="piaohao top", version_flags=())

RATES_MAX = 120
"""Looks that the bars can show."""


@app.default
def top(
    *,
    data: Path,
    every: Annotated[float, Parameter(validator=validators.Number(gte=0.1, lte=60))] = 1.0,
    once: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show how a running node is, second by second, until Ctrl-C.

    Whoever may open the data folder may look; nobody has to log in. Payments, commits and turns a
    second, how long commits, turns and answers take, what waits and what is in flight, actors that
    need an operator, memory, and whether the money balances.

    Example: piaohao top --data bank

    Parameters
    ----------
    data:
        Folder of the running node's store.
    every:
        Seconds from one look to the next, which is also for how long is measured.
    once:
        Look once, and end.
    json:
        Print one JSON object a look, for programs; with `--once`, one.
    """
    import sys
    import time
    from contextlib import suppress

    from gateway.commands.printing import give_json
    from gateway.operations import TakePulse
    from gateway.operator import running

    if not (once or json or sys.stdout.isatty()):
        raise CommandError(INPUT, "this is no terminal; say --once or --json")
    with suppress(KeyboardInterrupt), running(data) as ask_node:
        ask_node(TakePulse())  # from here on it is measured
        if not json:
            _show(lambda: ask_node(TakePulse()), data.resolve().name, every, once=once)
            return
        while True:
            time.sleep(every)
            give_json(ask_node(TakePulse()))
            sys.stdout.flush()
            if once:
                return


def _show(take: "Callable[[], Any]", name: str, every_s: float, *, once: bool) -> None:
    """Show the board, once or until somebody has seen enough.

    Args:
        take: returns the vital signs since the last time, as plain values.
        name: of the node.
    """
    import time
    from collections import deque

    import msgspec
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from gateway.ops.vitals import NodeVitals
    from gateway.vitals_board import board

    console = Console(highlight=False)
    rates: deque[float] = deque(maxlen=RATES_MAX)

    def look() -> RenderableType:
        time.sleep(every_s)
        vitals = msgspec.convert(take(), NodeVitals)
        rates.append(vitals.payments_per_s)
        return board(vitals, name, [*rates], console.width)

    if once:
        console.print(look())
        return
    with Live(Text("measuring"), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(look(), refresh=True)
