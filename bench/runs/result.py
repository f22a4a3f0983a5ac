"""A run's result: all that `piaohao bench run` has seen, in one file that needs nothing beside it.

Whatever reads it (a report, a comparison of two) reads these Structs. A figure that was not
measured is None, never 0. Latencies count from when an operation should have begun: in an open
loop that is its arrival, whether or not somebody was free to send it then; in a closed loop it is
the sending. Their histograms are HDR V2 (hdrhistogram.org), base64, nanoseconds to three digits.
"""

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from bench.load.arrivals import Phase
from bench.load.machine import Machine

__all__ = [
    "FORMAT",
    "Bottleneck",
    "Checked",
    "Closed",
    "Cpu",
    "Fdatasync",
    "Latency",
    "Open",
    "Operation",
    "Phase",
    "Point",
    "Result",
    "ResultError",
    "Series",
    "Side",
    "Spread",
    "Store",
    "Target",
    "WorkloadName",
    "encode",
    "read",
]

FORMAT: Final = 1
"""Grows when a reader of the version before would be misled."""

WorkloadName = Literal["payments", "lifecycle", "smallbank", "tpcb", "burst", "cold", "overload"]
Target = Literal["engine", "express", "hypercorn", "websocket"]
Side = Literal["server", "clients", "machine", "disk", "rate", "unknown"]


class Closed(Struct, frozen=True, tag_field="kind", tag="closed"):
    """A closed loop: each answer brings the next request.

    Attributes:
        in_flight: operations under way at a time.
        connections: over how many connections; 0 for the engine, which has none.
        depth: requests that a connection has unanswered.
        batch: operations in a request.
    """

    in_flight: int
    connections: int
    depth: int
    batch: int


class Open(Struct, frozen=True, tag_field="kind", tag="open"):
    """An open loop: requests arrive by a Poisson process, whatever becomes of those before.

    Attributes:
        rate: operations a second, on average over the window.
        phases: the rates in their order, the warm-up first.
        connections, batch: as in a closed loop.
        capacity: what a closed loop did just before, operations a second; None where that was not
            asked.
        intended: operations that arrived within the window.
        late_ms_p99, late_ms_max: from an arrival to its sending; what is late waited in the
            clients, and that is part of its latency.
    """

    rate: float
    phases: list[Phase]
    connections: int
    batch: int
    capacity: float | None
    intended: int
    late_ms_p99: float
    late_ms_max: float


class Store(Struct, frozen=True):
    """What the run began on.

    Attributes:
        kind: `fresh`, made for the run; `copy` of a given one; or a given one, used `in place`.
        postings: in its journal when the run began.
        commits: made before the run.
        dropped: its pages were dropped from the page cache before the run.
    """

    kind: Literal["fresh", "copy", "in place"]
    accounts: int
    merchants: int
    shards: int
    postings: int
    commits: int
    dropped: bool


class Latency(Struct, frozen=True):
    """Latencies of operations that were carried out; milliseconds, but for the histogram.

    Attributes:
        hdr: the histogram.
    """

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    hdr: str


class Operation(Struct, frozen=True):
    """One kind of operation, or all together, within the window.

    Attributes:
        done: carried out, and answered within the window.
        per_second: of them.
        outcomes: what came of those that belong to the window (in a closed loop: that were
            answered in it; in an open one: that arrived in it): `DONE`, or the code of a refusal;
            `NOT_SENT` for what an open loop had no chance to send.
        latency: of those that were carried out; None where none was.
    """

    done: int
    per_second: float
    outcomes: dict[str, int]
    latency: Latency | None


class Point(Struct, frozen=True):
    """One interval of the series; `at_s` is its end, in seconds from the window's begin.

    Attributes:
        done, refused: operations answered in it.
        p50_ms, p99_ms, max_ms: latencies of those that belong to it: that were carried out in it,
            or, in an open loop, arrived in it.
        batch: turns' worth of commands answered a commit, on average.
        commit_ms_p50, commit_ms_p99: of the commits in it, at most the last thousand.
        fdatasync_ms: raw, median of a few of 8 KiB, made in it on the same disk.
        cpu_server, cpu_clients: cores that each side took.
        anonymous_mib: the server's memory at its end.
    """

    at_s: float
    done: int
    refused: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    batch: float | None
    commit_ms_p50: float | None
    commit_ms_p99: float | None
    fdatasync_ms: float | None
    cpu_server: float | None
    cpu_clients: float | None
    anonymous_mib: float | None


class Series(Struct, frozen=True):
    """The window, by intervals of `every_s` seconds."""

    every_s: float
    points: list[Point]


class Spread(Struct, frozen=True):
    """Times in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Fdatasync(Struct, frozen=True):
    """Raw writes of 8 KiB, each synced, on the store's disk: before, during and after the run."""

    before: Spread
    during: Spread | None
    after: Spread


class Cpu(Struct, frozen=True):
    """CPU of the whole loop, warm-up and last answers included, so that none is cut in half.

    Attributes:
        server_us, clients_us: microseconds for each operation that was carried out; None for
            clients where the driver is in the engine's process, and the server's has all of it.
        server_cores, clients_cores: of the window, cores taken on average.
        busiest_client: cores taken by the client process that took most.
        loop_cores: of the server's, what its event loop's thread took; None where it is another
            process.
        others_cores: what others on this machine took meanwhile, stolen time too.
    """

    server_us: float | None
    clients_us: float | None
    server_cores: float
    clients_cores: float | None
    busiest_client: float | None
    loop_cores: float | None
    others_cores: float | None = None


class Bottleneck(Struct, frozen=True):
    """What kept it from being faster: a side, and why it is thought so.

    `rate`: nothing did, an open loop asked for no more. `machine`: both sides together took all
    its cores, or others on it did.
    """

    side: Side
    why: str


class Checked(Struct, frozen=True):
    """The store afterwards, against itself and against what the clients were told.

    Attributes:
        ok: nothing of what was checked is amiss.
        verify_ok: whether all that must hold does; None where it was to be left out.
        violations: the first few, in words.
        accounts: ledger accounts whose movements were held against what was told.
        missing_minor: what clients were told was moved and was not, over all of these accounts.
        untold_minor: what was moved and nobody was told of, beyond what is unknown.
        unknown_minor: what may have been moved, or not: its outcome was said to be unknown.
        signatures: answers whose signature was verified; 0 where nothing is signed.
    """

    ok: bool
    verify_ok: bool | None
    violations: list[str]
    accounts: int
    missing_minor: int
    untold_minor: int
    unknown_minor: int
    signatures: int


class Result(Struct, frozen=True):
    """A run.

    Attributes:
        settings: all of them by the names of the options, as they were in force.
        began_at: RFC 3339, UTC.
        seconds: of the window; the warm-up came before it.
        order_numbers: how the commands' own numbers were made.
        machine: with versions and commit.
        operations: by name.
        together: all of them.
        cpu: see `Cpu`.
        anonymous_mib: the server's memory at the end of the window.
        unexplained: refusals for too much to do that did not say when to come again.
    """

    format: int
    workload: WorkloadName
    target: Target
    loop: Closed | Open
    settings: dict[str, Any]
    seed: int
    order_numbers: Literal["dated and sequential", "random"]
    store: Store
    began_at: str
    seconds: float
    warm_up_s: float
    machine: Machine
    operations: dict[str, Operation]
    together: Operation
    series: Series
    fdatasync: Fdatasync
    cpu: Cpu
    anonymous_mib: float
    bottleneck: Bottleneck
    unexplained: int
    checked: Checked


class ResultError(ValueError):
    """A file is no result of a run, or one of another format."""


_decode: Final = msgspec.json.Decoder(Result).decode


def encode(result: Result) -> bytes:
    """Return a result as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def read(path: Path) -> Result:
    """Return the result in a file.

    Raises:
        OSError: it cannot be read.
        ResultError: it is no result, or of a format that is not known here.
    """
    content = path.read_bytes()
    try:
        version = msgspec.json.decode(content, type=_Head).format
    except msgspec.MsgspecError as error:
        raise ResultError(f"{path} is no result of a run: {error}") from None
    if version != FORMAT:
        raise ResultError(f"{path} has format {version}; this version reads {FORMAT}")
    try:
        return _decode(content)
    except msgspec.MsgspecError as error:
        raise ResultError(f"{path} is no result of a run: {error}") from None


class _Head(Struct):
    """What is looked at first."""

    format: int
