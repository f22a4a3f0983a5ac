"""Probes: what programs ask a node every few seconds: whether it lives, whether it is ready, its
figures. Nobody has to say who they are, and nothing that they are told names a customer.
"""

from typing import Final

from msgspec import Struct

from gateway.answer import Answer
from gateway.handlers.node import Nothing
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.health import Hindered, Phase
from gateway.ops.metrics import CONTENT_TYPE
from gateway.ops.row import read


class LivenessView(Struct, frozen=True, tag_field="object", tag="liveness"):
    """Whether the process does its work: a node that hangs answers nothing, one that has failed
    is about to end."""

    alive: bool
    phase: Phase


class ReadinessView(Struct, frozen=True, tag_field="object", tag="readiness"):
    """Whether the node can be used now.

    Attributes:
        hindrances: why it cannot; nothing where it can.
    """

    ready: bool
    phase: Phase
    hindrances: list[Hindered]


async def get_liveness(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return whether the node lives: 200, or 503 once it has failed."""
    phase = desk.health.phase
    alive = phase is not Phase.FAILED
    return Answer(200 if alive else 503, LivenessView(alive, phase))


async def get_readiness(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return whether the node can be used: 200, or 503 with everything that stands in the way."""
    hindrances = desk.health.hindrances()
    ready = not hindrances
    return Answer(200 if ready else 503, ReadinessView(ready, desk.health.phase, hindrances))


async def get_metrics(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return the node's figures in Prometheus' text format."""
    return Answer(200, desk.metrics.text(), own={"content-type": CONTENT_TYPE})


ROWS: Final = (
    read("/healthz", Nothing, get_liveness, None, LivenessView, also=(503,)),
    read("/readyz", Nothing, get_readiness, None, ReadinessView, also=(503,)),
    read("/metrics", Nothing, get_metrics, None, None, media_type=CONTENT_TYPE),
)
