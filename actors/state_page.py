"""The page of state machines, docs/STATES.md: pictures and tables made from `actors.states`.

`just states` writes it; a test compares it, so that the page is never older than the code.
"""

from collections.abc import Iterator

from actors.states import MACHINES, Machine

_HEAD = """\
# State machines

Generated from `actors/states.py` by `./just states`: change the table there, never this page.

Causes in `small_letters` are commands, as in the API; the others are messages between actors and
timers, by their types. A thing begins in the states that `[*]` leads to and stays for good in
those that lead to it. Amounts refunded or captured are amounts, not states.
"""


def state_page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *("\n".join(_section(machine)) + "\n" for machine in MACHINES)])


def _section(machine: Machine) -> Iterator[str]:
    yield f"## {machine.name.capitalize()}\n"
    yield f"{machine.about}\n"
    yield "```mermaid"
    yield "stateDiagram-v2"
    arrows: dict[tuple[str, str], list[str]] = {}
    for source, cause, target in machine.transitions:
        arrows.setdefault((source, target), []).append(cause)
    for (source, target), causes in arrows.items():
        yield f"    {source or '[*]'} --> {target}: {', '.join(causes)}"
    reached = {each.target for each in machine.transitions}
    for state in machine.final:
        if state in reached:
            yield f"    {state} --> [*]"
    yield "```\n"
    yield "| from | cause | to |"
    yield "|---|---|---|"
    for source, cause, target in machine.transitions:
        yield f"| {source or '—'} | {cause} | {target} |"
    unreached = [state for state in machine.states if state not in reached]
    if unreached:
        yield f"\nNothing leads to {', '.join(unreached)} yet."
