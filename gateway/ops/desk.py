"""The ops desk: what the handlers of the ops listener work with. One a node."""

from msgspec import Struct

from gateway.ops.health import Health
from gateway.ops.metrics import Metrics


class OpsDesk(Struct, frozen=True):
    """The node as operators see it.

    Attributes:
        health: whether it can be used.
        metrics: its figures.
    """

    health: Health
    metrics: Metrics
