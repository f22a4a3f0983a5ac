"""Schemathesis against a real node: what the API's description promises is what happens.

It makes requests that fit the description and requests that do not, and checks every answer
against it: status, media type, headers, schema, and that bad requests are refused and good ones
are not. All are signed as the bank, and some are not signed at all: they get 401. Afterwards the
store is verified: no request, however odd, may leave it unsound.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import trio

from actors.commands import (
    Command,
    CreatePayment,
    FundAccount,
    OpenAccount,
    OpenMerchant,
    SignAgreement,
)
from tests.e2e.bank import Bank
from tests.e2e.process import piaohao

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMATHESIS: Final = Path(sys.executable).with_name("schemathesis")
CONFIG: Final = "tests/e2e/schemathesis.toml"
SEED: Final = int(os.environ.get("PIAOHAO_SEED", "20260105"))
LIMIT_S: Final = 1_800.0

pytestmark = pytest.mark.one_shard

# The examples of schemathesis_hooks.py go on from here, in the order of the handler table.
BEFORE: Final[list[Command]] = [
    OpenAccount("0", "AAA"),
    OpenAccount("00", "AAA"),
    OpenMerchant("0", "AAA"),
    SignAgreement("0", "0", "0"),
    FundAccount("0", "first", 10**12, "AAA"),
    # A merchant with money cannot be closed, nor can an account.
    CreatePayment("0", "first", "0", 10**9, "AAA"),
]


async def _check(folder: Path, *options: str) -> str:
    """Run it against a node in a folder; return what it reports, which must be no failure."""
    bank = Bank(folder)
    # The certificate for TLS would want to be trusted: what is said is the same without.
    async with bank.serving("--plain") as running:
        core = await bank.system()
        key, certificate = folder / "core.key", folder / "core.pem"
        core.write(key=key, certificate=certificate)
        async with bank.own_client(running, core) as own:
            made = await own.batch(BEFORE)
            assert not any(isinstance(each, Exception) for each in made), made
        given = {
            "KEY": str(key),
            "CERTIFICATE": str(certificate),
            "SERIAL": (await bank.merchant("0", "spare")).keyid,
            "BANK_SERIAL": (await bank.system("spare")).keyid,
        }
        environment = {f"PIAOHAO_API_{name}": value for name, value in given.items()}
        with trio.fail_after(LIMIT_S):
            run = await trio.run_process(
                [
                    *(str(SCHEMATHESIS), "--config-file", CONFIG),
                    *("run", f"{running.address}/openapi.json"),
                    *("--seed", str(SEED), "--no-color", *options),
                ],
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        report = run.stdout.decode()
        print(report)
        assert run.returncode == 0, report
        assert await running.end() == 0
    verified = await piaohao("verify", "--data", bank.data)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return report


@pytest.mark.first
async def test_answers_to_a_few_requests_are_as_described(tmp_path: Path) -> None:
    """A few requests to every endpoint; `./just api-check` makes many."""
    report = await _check(
        tmp_path, "--phases", "examples,fuzzing", "--max-examples", "3", "--no-shrink"
    )
    assert f"Seed: {SEED}" in report


@pytest.mark.long
async def test_answers_to_many_requests_are_as_described(tmp_path: Path) -> None:
    await _check(tmp_path, "--max-examples", os.environ.get("PIAOHAO_EXAMPLES", "50"))
