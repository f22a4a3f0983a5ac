"""`piaohao bench signatures` measures every algorithm, and prints a table or one object."""

import msgspec
import pytest

from gateway import cli

ALGORITHMS = ["ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512"]


def test_signatures_bench_reports_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "signatures", "--seconds", "0.1", "--json"]) == 0
    costs = msgspec.json.decode(capsys.readouterr().out)
    assert list(costs) == ALGORITHMS
    for cost in costs.values():
        for figure in ("verify_above_us", "identify_above_us", "answer_above_us"):
            assert cost.pop(figure)
        assert len(cost) == 9
        assert min(cost.values()) > 0


def test_signatures_bench_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "signatures", "--seconds", "0.1"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[2:] == ALGORITHMS
    assert len(rows) == 12
