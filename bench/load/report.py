"""The report: what a benchmark of a node has found, as JSON and as a table.

A figure stands beside what the machine gave in the same run: raw fdatasync, and the engine's own
CPU a payment. Ratios are by pair of rounds that followed one another (`bench.statistics`).
"""

from collections.abc import Sequence

from msgspec import Struct

from bench.engine_bench import Mix
from bench.load.client import Transport
from bench.load.machine import Machine
from bench.statistics import Quoted, paired


class Figures(Struct, frozen=True):
    """One transport's figures; CPU in microseconds a payment that succeeded, of whole rounds.

    Attributes:
        signed: whether requests were signed (ECDSA, P-256) and answers by the bank.
        seconds, rounds: measured time, all rounds together, and into how many it was divided.
        latencies: from sending a request to having its answer, each payment counted.
        cpu_us_server, cpu_us_client: medians of the rounds; the clients' is all of theirs.
        cpu_us_engine: the engine's own in-process under the same load, its driver included; 0
            where it was left out.
        engine_ratio: the server's to the engine's.
        ratios: other transport → its server CPU to this one's.
        requests: answered within the windows; of a stream, groups of answers.
        commits, batch_p50, commit_ms_p50, commit_ms_p99: of the node's first shard; payments
            a commit, and times, are of its last thousand commits.
        fdatasync_ms_p50, fdatasync_ms_p99: raw, on the same disk, between the rounds.
        anonymous_mib: the node's memory at the end of the last round.
        refused: code → payments; what refuses a request refuses all of it.
        unexplained: of them those that did not say when to come again, and should have.
        verified: answers whose signature was verified.
        missing_minor, untold_minor, verify_ok: see `bench.load.node.Held`; of the whole run.
    """

    transport: Transport
    batch: int
    connections: int
    depth: int
    clients: int
    mix: Mix
    accounts: int
    merchants: int
    signed: bool
    seconds: float
    rounds: int
    payments: int
    payments_per_s: float
    requests: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us_server: float
    cpu_us_client: float
    cpu_us_engine: float
    engine_ratio: Quoted | None
    ratios: dict[str, Quoted]
    commits: int
    batch_p50: float
    commit_ms_p50: float
    commit_ms_p99: float
    fdatasync_ms_p50: float
    fdatasync_ms_p99: float
    anonymous_mib: float
    refused: dict[str, int]
    unexplained: int
    verified: int
    missing_minor: int
    untold_minor: int
    verify_ok: bool
    seed: int
    order_numbers: str
    machine: Machine

    @property
    def ok(self) -> bool:
        """Whether the store holds what the clients were told, and verifies."""
        return self.verify_ok and not self.missing_minor and not self.untold_minor


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Quoted | None:
    """Return ours to theirs, pair by pair; None where no pair has a figure on both sides."""
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if our and their]
    # A round of a tenth of a second may have no CPU time that the kernel has counted.
    return paired(*zip(*pairs, strict=True)).quoted() if pairs else None


def table(figures: Figures) -> str:
    """Return one transport's figures for people."""
    refused = ", ".join(f"{code} {many:,}" for code, many in sorted(figures.refused.items()))
    signed = "signed" if figures.signed else "unsigned"
    lines = [
        f"{figures.transport}: batches of {figures.batch}, {figures.connections} connections, "
        f"{figures.clients} client processes, {signed}",
        f"  payments      {figures.payments:>12,}   {figures.payments_per_s:,.0f} a second",
        f"  latency       {figures.p50_ms:>9.2f} ms   p99 {figures.p99_ms:.2f}, "
        f"p99.9 {figures.p999_ms:.2f}",
        f"  server CPU    {figures.cpu_us_server:>9.1f} us   a payment",
        f"  client CPU    {figures.cpu_us_client:>9.1f} us   all of them together",
    ]
    if figures.engine_ratio is not None:
        lines.append(
            f"  engine CPU    {figures.cpu_us_engine:>9.1f} us   in-process, same load; ratio to "
            f"the engine's own CPU a payment in the same run {figures.engine_ratio.figures()}"
        )
    lines += [
        f"  {name:<13} {times.figures():>9}      times this server CPU"
        for name, times in figures.ratios.items()
    ]
    lines += [
        f"  commits       {figures.commits:>12,}   {figures.batch_p50:.0f} payments each, "
        f"{figures.commit_ms_p50:.2f} ms, p99 {figures.commit_ms_p99:.2f}",
        f"  raw fdatasync {figures.fdatasync_ms_p50:>9.3f} ms   p99 {figures.fdatasync_ms_p99:.3f}",
        f"  memory        {figures.anonymous_mib:>9.1f} MiB  anonymous, the node's",
        f"  refused       {refused or 'nothing':>12}",
        f"  verify        {'ok' if figures.verify_ok else 'FAILED':>12}   "
        f"{figures.verified:,} answers' signatures verified; "
        + (
            "the store holds what was told"
            if not figures.missing_minor and not figures.untold_minor
            else f"MISSING {figures.missing_minor:,}, UNTOLD {figures.untold_minor:,} minor units"
        ),
    ]
    return "\n".join(lines) + "\n"
