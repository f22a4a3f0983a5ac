"""A run for people: the few lines that are read at once; everything else is in its file."""

from bench.load.tally import DONE
from bench.runs.result import Closed, Latency, Operation, Result

_CHECKED = {True: "ok", False: "FAILED", None: "left out"}


def table(result: Result) -> str:
    """Return a result's table."""
    lines = [
        f"{result.workload} on {result.target}: {_loop(result)}",
        f"  store         {result.store.kind}: {result.store.accounts:,} accounts, "
        f"{result.store.merchants:,} merchants, {result.store.postings:,} postings; order numbers "
        f"{result.order_numbers}; seed {result.seed}",
        *_operations(result),
        _cpu(result),
        f"  memory        {result.anonymous_mib:>9.1f} MiB  anonymous, the server's",
        f"  raw fdatasync {result.fdatasync.before.p50_ms:>9.3f} ms   before; "
        + (
            ""
            if result.fdatasync.during is None
            else f"during {result.fdatasync.during.p50_ms:.3f}, "
            f"p99 {result.fdatasync.during.p99_ms:.3f}; "
        )
        + f"after {result.fdatasync.after.p50_ms:.3f}",
        *_commits(result),
        f"  bottleneck    {result.bottleneck.side:>12}   {result.bottleneck.why}",
        _checked(result),
        f"  machine       {result.machine.cpu}, {result.machine.cores} cores, Python "
        f"{result.machine.python}, commit {result.machine.commit or 'unknown'}",
    ]
    return "\n".join(lines) + "\n"


def _loop(result: Result) -> str:
    loop = result.loop
    if isinstance(loop, Closed):
        over = f" over {loop.connections} connections" if loop.connections else ""
        said = f"closed loop, {loop.in_flight:,} in flight{over}"
    else:
        over = f" over {loop.connections} connections" if loop.connections else ""
        said = f"open loop, {loop.rate:,.0f} a second{over}"
        if loop.capacity is not None:
            said += f"; a closed loop did {loop.capacity:,.0f} just before"
        said += f"; sent late by {loop.late_ms_p99:.1f} ms (p99), {loop.late_ms_max:.1f} at most"
    return f"{said}; batches of {loop.batch}, {result.seconds:g} s after {result.warm_up_s:g} s"


def _operations(result: Result) -> list[str]:
    lines = [
        "  operation             done      /s    p50 ms    p99 ms  p99.9 ms    max ms  refused"
    ]
    rows = list(result.operations.items())
    if len(rows) != 1:
        rows.append(("all", result.together))
    for name, operation in rows:
        lines.append(f"  {name:<16}{_row(operation)}")
    refused = {code: n for code, n in result.together.outcomes.items() if code != DONE}
    if refused:
        codes = ", ".join(f"{code} {n:,}" for code, n in refused.items())
        lines.append(f"  refused       {codes}")
    return lines


def _row(operation: Operation) -> str:
    refused = sum(n for code, n in operation.outcomes.items() if code != DONE)
    return (
        f"{operation.done:>10,}{operation.per_second:>8,.0f}{_percentiles(operation.latency)}"
        f"{refused:>9,}"
    )


def _percentiles(latency: Latency | None) -> str:
    if latency is None:
        return f"{'-':>10}" * 4
    figures = (latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms)
    return "".join(f"{each:>10,.2f}" for each in figures)


def _cpu(result: Result) -> str:
    cpu = result.cpu
    server = 0.0 if cpu.server_us is None else cpu.server_us
    line = f"  CPU           {server:>9.1f} us   the server's an operation, {cpu.server_cores:.2f}"
    others = "" if cpu.others_cores is None else f"; others {cpu.others_cores:.2f}"
    if cpu.clients_us is None:
        return f"{line} cores, its driver's among it{others}"
    return f"{line} cores; clients {cpu.clients_us:.1f} us, {cpu.clients_cores:.2f} cores{others}"


def _commits(result: Result) -> list[str]:
    points = [each for each in result.series.points if each.batch is not None]
    if not points:
        return []
    batches = sorted(each.batch or 0.0 for each in points)
    p50 = sorted(each.commit_ms_p50 or 0.0 for each in points)
    p99 = max(each.commit_ms_p99 or 0.0 for each in points)
    middle = len(points) // 2
    return [
        f"  commits       {p50[middle]:>9.2f} ms   {batches[middle]:.0f} answers each; the worst "
        f"interval's p99 {p99:.2f} ms"
    ]


def _checked(result: Result) -> str:
    checked = result.checked
    line = f"  verify        {_CHECKED[checked.verify_ok]:>12}   "
    if checked.signatures:
        line += f"{checked.signatures:,} answers' signatures verified; "
    if not checked.missing_minor and not checked.untold_minor:
        return f"{line}on {checked.accounts:,} accounts moved what was told"
    return f"{line}MISSING {checked.missing_minor:,}, UNTOLD {checked.untold_minor:,} minor units"
