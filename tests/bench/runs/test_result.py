"""Results, histograms and verdicts say what was measured, and nothing of one's own."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.load.latencies import Latencies
from bench.runs import result
from bench.runs.bottleneck import judge
from bench.runs.histogram import decoded, latency
from bench.runs.result import Cpu


def test_histogram_is_the_one_that_others_read_back() -> None:
    chance = random.Random(11)
    latencies = Latencies()
    for _ in range(5_000):
        latencies.record(int(chance.lognormvariate(16, 1.5)))
    told = latency(latencies.counts)
    assert told is not None
    theirs = decoded(told)
    assert theirs.get_total_count() == told.count == 5_000
    for share, ours_ms in ((50, told.p50_ms), (90, told.p90_ms), (99, told.p99_ms)):
        assert theirs.get_value_at_percentile(share) / 1e6 == pytest.approx(ours_ms, rel=1e-3)
    assert theirs.get_max_value() / 1e6 == pytest.approx(told.max_ms, rel=1e-3)
    # Nothing is lost: each bucket of ours is one of theirs, with the same count.
    buckets = {
        item.value_iterated_to: item.count_added_in_this_iter_step
        for item in theirs.get_recorded_iterator()
    }
    assert list(buckets.values()) == [latencies.counts[each] for each in sorted(latencies.counts)]


def test_histogram_of_nothing_is_none() -> None:
    assert latency({}) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no result"),
        (b"[1]", "no result"),
        (b'{"format": 1}', "no result"),
        (b'{"format": 99}', "format 99"),
    ],
)
def test_file_that_is_no_result_is_refused_in_words(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(result.ResultError, match=says):
        result.read(path)


QUIET = Cpu(100.0, 50.0, 0.3, 0.2, 0.2, None)


@pytest.mark.parametrize(
    ("cpu", "asked", "done", "late_ms", "commit_share", "side"),
    [
        (QUIET, 100.0, 99.0, 1.0, 0.1, "rate"),
        (QUIET, 100.0, 80.0, 1.0, 0.1, "unknown"),
        (replace(QUIET, others_cores=1.4), 100.0, 99.0, 300.0, 0.1, "machine"),
        (replace(QUIET, busiest_client=0.95), None, 9, 0, 0.1, "clients"),
        (
            replace(QUIET, busiest_client=0.95, server_cores=0.95),
            None,
            9,
            0,
            0.1,
            "machine",
        ),
        (replace(QUIET, server_cores=1.1), None, 9, 0, 0.1, "server"),
        (
            replace(QUIET, server_cores=1.1, clients_cores=0.8),
            9,
            1,
            0,
            0,
            "machine",
        ),
        (replace(QUIET, others_cores=1.4), None, 9, 0, 0.1, "machine"),
        (QUIET, None, 9, 0, 0.95, "disk"),
        (QUIET, None, 9, 0, 0.5, "unknown"),
        (Cpu(60.0, None, 1.1, None, None, 0.97), None, 9, 0, 0.9, "server"),
        (Cpu(60.0, None, 1.1, None, None, 0.97), 100, 10, 900.0, 0.9, "machine"),
    ],
)
def test_bottleneck_is_the_side_that_was_busy(
    cpu: Cpu,
    asked: float | None,
    done: float,
    late_ms: float,
    commit_share: float,
    side: str,
) -> None:
    verdict = judge(cpu, 2, asked=asked, done=done, late_ms=late_ms, commit_share=commit_share)
    assert verdict.side == side, verdict
