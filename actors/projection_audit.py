"""The audit of projections: a hold and its authorization say the same.

Part of `actors.audit`. They may differ while a message about one of them is on its way.
"""

from collections.abc import Container, Iterator

from actors.authorization import Authorization
from actors.hold import Hold
from actors.tally import Sides, Violation


class ProjectionAudit:
    """Compares holds with authorizations.

    Args:
        in_flight: (merchant, number) of those that a message is about.
    """

    def __init__(self, in_flight: Container[tuple[str, str]]) -> None:
        self._sides = Sides("projection", in_flight)

    def tell(
        self, merchant: str, hold_no: str, side: Hold | Authorization, key: str
    ) -> Iterator[Violation]:
        """Take either of the two."""
        says = (
            side.amount_minor,
            side.captured_minor,
            side.captures,
            side.increments,
            side.state,
            side.expires_at_ns,
        )
        return self._sides.tell((merchant, hold_no), "records", key, says)

    def left(self) -> Iterator[Violation]:
        """Yield what only one side knows."""
        return self._sides.left()
