"""What the replay's client reports to its parent: one JSON object a line, told apart by `event`."""

import msgspec
from msgspec import Struct


class Report(Struct, frozen=True, tag_field="event"):
    """Base of all reports."""


class Planned(Report, frozen=True, tag="planned"):
    """Where the replay begins.

    Attributes:
        rows_before: rows that an earlier run has seen done.
        rows: about how many there are in all; blank lines count here.
    """

    rows_before: int
    rows: int


class Progressed(Report, frozen=True, tag="progressed"):
    """Some more of the file is done.

    Attributes:
        rows: how many more.
        refused: how many rows in all were refused or malformed.
    """

    business_date: str
    rows: int
    refused: int


class Finished(Report, frozen=True, tag="finished"):
    """All of the file is done; the figures are those of this run alone.

    Attributes:
        seconds: from the first request to the last answer.
        rows: how many this run has done.
    """

    seconds: float
    rows: int


class Failed(Report, frozen=True, tag="failed"):
    """The client gives up, for the reason given, and ends with this exit code."""

    exit_code: int
    message: str


AnyReport = Planned | Progressed | Finished | Failed

decode_report = msgspec.json.Decoder(AnyReport).decode
