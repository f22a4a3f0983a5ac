"""How commands print: results on stdout, one JSON object with --json; all else is on stderr."""

import sys
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
