"""How commands print: results on stdout, one JSON object with --json; all else is on stderr."""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec


def give(line: str) -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{line}\n")


def shown(sequences: list[int]) -> str:
    """Return one sequence number a shard, for people."""
    return ", ".join(map(str, sequences))


def give_json(result: Any) -> None:
    """Print the result as one JSON object."""
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def give_view(view: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what the API has answered: as JSON, or as a line of its members that say something."""
    if as_json:
        give_json(view)
        return
    said = {name: value for name, value in view.items() if value not in (None, "")}
    what = said.pop("object", "")
    give(" ".join([str(what), *(f"{name}={value}" for name, value in said.items())]).strip())
