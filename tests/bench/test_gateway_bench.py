"""The gateway's benchmark reports what it promises, and its clients' sums are the store's."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bench import gateway_bench
from bench.engine_run import filled
from bench.gateway_bench import Settings
from bench.load.client import Transport
from bench.load.node import compare
from bench.load.report import Figures
from gateway.cli import run
from storage.folder import Folder

SMALL = Settings(
    ("hypercorn",),
    connections=4,
    seconds=1.0,
    rounds=1,
    warm_up_s=0,
    accounts=200,
    merchants=3,
)


@pytest.mark.parametrize(
    ("transports", "batch"),
    [(("express", "hypercorn"), 1), (("express", "websocket"), 20)],
    ids=str,
)
def test_gateway_bench_reports_every_figure_and_the_store_holds_what_was_told(
    capsys: pytest.CaptureFixture[str], transports: tuple[Transport, ...], batch: int
) -> None:
    settings = msgspec.structs.replace(SMALL, transports=transports, batch=batch)
    assert gateway_bench.run(settings, as_json=True) == 0
    lines = capsys.readouterr().out.splitlines()
    for transport, line in zip(transports, lines, strict=True):
        figures = msgspec.json.decode(line, type=Figures)
        assert (figures.transport, figures.batch, figures.connections) == (transport, batch, 4)
        assert figures.verify_ok
        assert (figures.missing_minor, figures.untold_minor, figures.refused) == (0, 0, {})
        # What was sent in one frame may be answered in pieces.
        assert figures.payments >= figures.requests > 0
        assert figures.payments == figures.requests * batch or transport == "websocket"
        assert figures.verified > 0
        assert set(figures.ratios) == set(transports) - {transport}
        assert figures.engine_ratio is not None
        assert figures.engine_ratio.ratio > 0
        positive = (
            "payments_per_s p50_ms p99_ms p999_ms cpu_us_server cpu_us_client cpu_us_engine "
            "commits batch_p50 commit_ms_p50 commit_ms_p99 fdatasync_ms_p50 "
            "fdatasync_ms_p99 anonymous_mib"
        )
        for name in positive.split():
            assert getattr(figures, name) > 0, name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--transport", "--transport"),
        ("--transport carrier-pigeon", "carrier-pigeon"),
        ("--transport hypercorn --batch 0", "--batch"),
        ("--transport hypercorn --batch 1001", "--batch 1001: at most 1000"),
        ("--transport hypercorn --connections 1.5", "--connections"),
        ("--transport hypercorn --clients 9 --connections 8", "--clients 9"),
        ("--transport hypercorn --depth 2", "--depth"),
        ("--transport hypercorn --seconds -1", "--seconds"),
        ("--transport hypercorn --seconds inf", "--seconds inf"),
        ("--transport hypercorn --warm-up nan", "--warm-up"),
        ("--transport hypercorn --connections 1000000", "--connections 1000000"),
        ("--transport hypercorn --accounts 3 --merchants 4", "--accounts 3"),
        ("--transport hypercorn --mix tepid", "--mix"),
    ],
)
def test_gateway_bench_with_a_wrong_argument_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    assert run(["bench", "gateway", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert output.err.count("\n") == 1
    assert says in output.err


def test_comparison_tells_what_is_missing_and_what_nobody_was_told_of(tmp_path: Path) -> None:
    """In the store each merchant has been paid 100 by each of its two customers."""
    folder = Folder(tmp_path / "store", create=True)
    for store in filled(folder, 4, 2, paid=True, shards=1):
        store.close(clean=True)
    folder.close()

    def held(told: dict[str, int], unknown: dict[str, int]) -> tuple[int, int, bool]:
        result = compare(tmp_path / "store", 2, Counter(told), Counter(unknown))
        return result.missing_minor, result.untold_minor, result.verify_ok

    assert held({"M00000": 200, "M00001": 200}, {}) == (0, 0, True)
    assert held({"M00000": 203, "M00001": 200}, {}) == (3, 0, True)
    assert held({"M00000": 190, "M00001": 200}, {"M00000": 4}) == (0, 6, True)
    assert held({"M00000": 190, "M00001": 200}, {"M00000": 50}) == (0, 0, True)
