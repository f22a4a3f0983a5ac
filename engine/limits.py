"""Limits: the bounds within which a shard works, and why they are what they are."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Bounds of a shard.

    Attributes:
        unconfirmed_max: commands that have begun or wait, all together. With a thousand of them
            a batch is as large as it gets (docs/PERFORMANCE.md); more would only wait longer.
        actor_unconfirmed_max: the same for one merchant or account.
        actors_max: actors in memory.
        slice_s: longest time without letting other tasks run, seconds.
        batch_s: how long a batch may go on growing after the last commit while there is more to
            do, seconds. It is cut at once when nothing waits. A larger batch shares pages and
            fsync among more commands, and turns beside a commit fight it for the GIL.
        careful_max: messages and due timers that are taken one per commit after an abnormal
            exit; more of them are first tried together (`engine.recovery`).
    """

    unconfirmed_max: int = 2_048
    actor_unconfirmed_max: int = 1_024
    actors_max: int = 200_000
    slice_s: float = 0.005
    batch_s: float = 0.05
    careful_max: int = 100
