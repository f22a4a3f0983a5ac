"""The benchmark measures what it says, and its stores are what commands would have made."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import engine_run
from bench.bulk import fill
from bench.engine_bench import Settings, choose_payers
from gateway.operations import closing_all
from gateway.verification import verify
from storage.folder import Folder


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_filled_store_verifies(tmp_path: Path, paid: bool, shards: int) -> None:
    folder = Folder(tmp_path, create=True)
    folder.create("2026-01-01", 1_767_225_600_000_000_000, shards=shards)
    stores = folder.open()
    for store in stores:
        store.begin_epoch()
    fill(stores, 300, 7, paid=paid)
    with closing_all([store.snapshot() for store in stores]) as snapshots:
        report = verify(snapshots)
    assert report.violations == []
    assert report.journal_rows == 300 * (4 if paid else 2)
    for store in stores:
        store.close(clean=True)
    folder.close()


@pytest.mark.parametrize(("mix", "batch"), [("uniform", 1), ("zipf", 16), ("hot", 4)])
def test_engine_bench_reports_every_figure_and_verifies(
    capsys: pytest.CaptureFixture[str], mix: str, batch: int
) -> None:
    settings = msgspec.convert(
        {
            "mix": mix,
            "accounts": 500,
            "merchants": 5,
            "in_flight": 64,
            "batch": batch,
            "seconds": 0.4,
            "rounds": 2,
            "never_idle": mix == "hot",
            "marks_s": 2 if mix == "zipf" else 0,
        },
        Settings,
    )
    assert engine_run.run(settings, None, as_json=True) == 0
    figures = msgspec.json.decode(capsys.readouterr().out)
    assert figures["verify_ok"]
    assert figures["payments"] > 100
    for name in ("payments_per_s", "p50_ms", "cpu_us_process", "floor_us", "commit_ms_p50"):
        assert figures[name] > 0, name
    assert ("never_idle_ratio" in figures) == (mix == "hot")
    assert ("marks_us" in figures) == (mix == "zipf")


def test_payers_are_reproducible_and_zipf_is_skewed() -> None:
    uniform, zipf = choose_payers("uniform", 1_000, 7), choose_payers("zipf", 1_000, 7)
    assert uniform == choose_payers("uniform", 1_000, 7)
    assert zipf == choose_payers("zipf", 1_000, 7)
    assert max(Counter(zipf).values()) > 20 * len(zipf) / 1_000
    assert max(Counter(uniform).values()) < 2 * len(uniform) / 1_000


def test_short_soak_leaves_memory_flat(capsys: pytest.CaptureFixture[str]) -> None:
    """Half as many accounts again as stay in memory, each paying about twice.

    A busy machine needs longer for that, and until then memory grows as it should.
    """
    soaked: dict[str, Any] = {"payments": 0}
    for seconds in (6.0, 60.0):
        if soaked["payments"] <= 2 * 15_000:
            engine_run.soak(15_000, 50, seconds, as_json=True)
            soaked = msgspec.json.decode(capsys.readouterr().out)
    assert soaked["payments"] > 2 * 15_000
    assert soaked["ok"], soaked
