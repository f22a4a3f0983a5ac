"""The bottleneck: which side kept a run from being faster, as far as its figures tell.

A side is taken for busy when it had nine tenths of what it could use: a client process one core, a
node's or an engine's event loop one, all of them the machine's. A thread that waits for the GIL or
for a core that others have is busy without taking CPU, so this is a judgement, and says on what it
rests.
"""

from typing import Final

from bench.runs.result import Bottleneck, Cpu

BUSY: Final = 0.9
KEPT_UP: Final = 0.97
"""An open loop of whose operations so many were carried out in time asked for no more."""

LATE_MS: Final = 100.0
"""Where arrivals wait as long as this to be sent (p99), what came was more than could be sent."""


def judge(
    cpu: Cpu,
    cores: int,
    *,
    asked: float | None,
    done: float,
    late_ms: float,
    commit_share: float,
) -> Bottleneck:
    """Return the side that was the bottleneck.

    Args:
        cores: of the machine.
        asked, done: operations a second; `asked` is None in a closed loop.
        late_ms: from arrival to sending, p99; 0 in a closed loop.
        commit_share: the share of the window in which a commit was under way.
    """
    if asked is not None and done >= KEPT_UP * asked and late_ms < LATE_MS:
        return Bottleneck(
            "rate", f"{done:,.0f} of {asked:,.0f} a second that came were carried out"
        )
    if cpu.busiest_client is not None and cpu.busiest_client >= BUSY:
        both = "" if cpu.server_cores < BUSY else f", and the server {cpu.server_cores:.2f}"
        return Bottleneck(
            "machine" if both else "clients",
            f"the busiest client process took {cpu.busiest_client:.2f} of a core{both}",
        )
    if cpu.busiest_client is None and late_ms >= LATE_MS:
        why = f"the driver, in the engine's process, was late by {late_ms:,.0f} ms (p99)"
        return Bottleneck("machine", why)
    everything = cpu.server_cores + (cpu.clients_cores or 0.0)
    if cpu.loop_cores is not None and cpu.loop_cores >= BUSY:
        why = f"the event loop's thread, the driver in it, took {cpu.loop_cores:.2f} of a core"
        return Bottleneck("server", why)
    if everything >= BUSY * cores:
        return Bottleneck("machine", f"both sides took {everything:.2f} of {cores} cores")
    others_cores = cpu.others_cores or 0.0
    if everything + others_cores >= BUSY * cores:
        others = f"others took {others_cores:.2f} of {cores} cores"
        return Bottleneck("machine", f"{others}, both sides {everything:.2f}")
    if cpu.loop_cores is None and cpu.server_cores >= BUSY:
        return Bottleneck("server", f"the node took {cpu.server_cores:.2f} cores, and has one loop")
    if commit_share >= BUSY:
        why = f"a commit was under way {commit_share:.0%} of the time, and no side was busy"
        return Bottleneck("disk", why)
    clients = "" if cpu.busiest_client is None else f", no client {cpu.busiest_client:.2f}"
    why = f"the server took {cpu.server_cores:.2f} cores{clients}: neither was busy"
    return Bottleneck("unknown", why)
