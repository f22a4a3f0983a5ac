"""The client's log as the test reads it: what was told about each command.

Reading checks what can be checked without the node: a command that comes again has the outcome
that it had, word for word, and a number that comes with other content is refused.
"""

import json
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.crash.town import Command, key_of

Key = tuple[str, str, str]
REFUSALS: Final = {
    "INSUFFICIENT_FUNDS",
    "MERCHANT_BALANCE_INSUFFICIENT",
    "PAYMENT_NOT_SUCCEEDED",
    "REFUND_EXCEEDS_REMAINING",
    "REVERSAL_NOT_FULL",
    "CAPTURE_EXCEEDS_HOLD",
    "HOLD_ALREADY_CAPTURED",
    "HOLD_ALREADY_VOIDED",
    "HOLD_PARTLY_CAPTURED",
    "STATE_CONFLICT",
}
"""What the errands may run into; anything else would be a fault."""


class Told(Struct, frozen=True):
    """The first outcome that was told of a command."""

    command: Command
    status: int
    body: dict[str, Any]


class Log:
    """What the client was told so far.

    Attributes:
        told: by number, what its command was told first.
        fresh: what `read` has found last, of these.
        repeated: how many outcomes were told again.
        reused: how many numbers were refused because they were used.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._path = path
        self._at = 0
        self.told: dict[Key, Told] = {}
        self.fresh: dict[Key, Told] = {}
        self.repeated = 0
        self.reused = 0

    def read(self) -> None:
        """Read what is new; a line is there in full or not at all."""
        self.fresh = {}
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                self.note(*json.loads(line))

    def note(
        self, command: Command, status: int, body: dict[str, Any], replayed: bool, known: bool
    ) -> None:
        """Note what a command was told, and whether it had been told before it was sent."""
        key = key_of(command)
        first = self.told.get(key)
        if first is None:
            assert not known, f"{command} was answered, and is not in the log"
            assert status in {200, 201} or body["code"] in REFUSALS, f"{command} was told {body}"
            self.told[key] = self.fresh[key] = Told(command, status, body)
        elif command == first.command:
            assert (status, body) == (first.status, first.body), f"two outcomes of {command}"
            assert replayed or not known, f"{command} was carried out again"
            self.repeated += 1
        else:
            assert (status, body.get("code")) == (409, "NUMBER_USED"), f"{command} was told {body}"
            self.reused += 1
