"""Machines and versions, so that nobody takes a figure for another machine's."""

from collections.abc import Mapping, Sequence

from bench.load.machine import Machine
from bench.reports.sheet import Table


def machine_line(machine: Machine) -> str:
    """Return a machine in a line."""
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    memory = f"{machine.memory_mib / 1024:.0f} GiB"
    return f"{cores} ({machine.cpu}), {memory}, {commit_of(machine)}"


def commit_of(machine: Machine) -> str:
    """Return the commit in words: `+` says that the working tree had changes."""
    if machine.commit is None:
        return "commit unknown"
    return f"commit {machine.commit}"


def machine_table(machines: Mapping[str, Machine]) -> Table:
    """Return a table of machines and versions, a column for each name."""
    facts = {name: _facts(machine) for name, machine in machines.items()}
    names: dict[str, None] = {}
    for each in facts.values():
        names.update(dict.fromkeys(each))
    rows = [[fact, *(each.get(fact, "–") for each in facts.values())] for fact in names]
    return merged(Table("Machine and versions", ["", *facts], rows, text_columns=1 + len(facts)))


def merged(table: Table) -> Table:
    """Return a table in which what is the same in every column stands there once."""
    if all(len(set(row[1:])) == 1 for row in table.rows) and len(table.columns) > 2:
        columns: Sequence[str] = ["", "all runs"]
        rows = [row[:2] for row in table.rows]
        return Table(table.title, list(columns), rows, text_columns=2, long=table.long)
    return table


def _facts(machine: Machine) -> dict[str, str]:
    return {
        "CPU": machine.cpu,
        "cores": str(machine.cores),
        "memory": f"{machine.memory_mib:,} MiB",
        "kernel": machine.kernel,
        "commit": machine.commit or "unknown",
        "Python": machine.python,
        **machine.packages,
    }
