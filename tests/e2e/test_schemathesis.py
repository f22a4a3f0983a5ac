"""Schemathesis against a real node: what the API's description promises is what happens.

It makes requests that fit the description and requests that do not, and checks every answer
against it: status, media type, headers, schema, and that bad requests are refused and good ones
are not. Afterwards the store is verified: no request, however odd, may leave it unsound.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import trio

from tests.e2e.process import make_store, node, piaohao

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMATHESIS: Final = Path(sys.executable).with_name("schemathesis")
CONFIG: Final = "tests/e2e/schemathesis.toml"
SEED: Final = int(os.environ.get("PIAOHAO_SEED", "20260105"))
LIMIT_S: Final = 1_800.0

pytestmark = pytest.mark.one_shard

# The examples of schemathesis_hooks.py go on from here, in the order of the handler table.
BEFORE: Final[list[dict[str, Any]]] = [
    {"command": "open_account", "account_no": "0", "currency": "AAA"},
    {"command": "open_account", "account_no": "00", "currency": "AAA"},
    {"command": "open_merchant", "merchant_no": "0", "currency": "AAA"},
    {"command": "sign_agreement", "account_no": "0", "agreement_no": "0", "merchant_no": "0"},
    {
        "command": "fund_account",
        "account_no": "0",
        "funding_no": "first",
        "amount_minor": 10**12,
        "currency": "AAA",
    },
    # A merchant with money cannot be closed, nor can an account.
    {
        "command": "create_payment",
        "merchant_no": "0",
        "order_no": "first",
        "payer": "0",
        "amount_minor": 10**9,
        "currency": "AAA",
    },
]


async def _check(data: Path, *options: str) -> str:
    """Run it against a node on `data`; return what it reports, which must be no failure."""
    await make_store(data)
    async with node(data) as running:
        async with httpx2.AsyncClient() as client:
            answers = await client.post(f"{running.address}/v1/commands", json=BEFORE)
            assert [item["status"] for item in answers.json()] == [201] * len(BEFORE)
        with trio.fail_after(LIMIT_S):
            run = await trio.run_process(
                [
                    *(str(SCHEMATHESIS), "--config-file", CONFIG),
                    *("run", f"{running.address}/openapi.json"),
                    *("--seed", str(SEED), "--no-color", *options),
                ],
                cwd=ROOT,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        report = run.stdout.decode()
        print(report)
        assert run.returncode == 0, report
        assert await running.end() == 0
    verified = await piaohao("verify", "--data", data)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return report


async def test_answers_to_a_few_requests_are_as_described(tmp_path: Path) -> None:
    """A few requests to every endpoint; `./just api-check` makes many."""
    report = await _check(
        tmp_path, "--phases", "examples,fuzzing", "--max-examples", "3", "--no-shrink"
    )
    assert f"Seed: {SEED}" in report


@pytest.mark.long
async def test_answers_to_many_requests_are_as_described(tmp_path: Path) -> None:
    await _check(tmp_path, "--max-examples", os.environ.get("PIAOHAO_EXAMPLES", "50"))
