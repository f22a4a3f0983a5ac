"""The README's merchant, as it stands there: its lines are run, and print what it says."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from gateway.client import AsyncBankClient
from tests.gateway.client.bank import Bank, pem
from tests.gateway.client.front import fronting
from tests.gateway.serving import serving

README = Path(__file__).resolve().parents[2] / "README.md"
LINES_MAX = 20


def _merchant() -> tuple[str, str]:
    """Return the merchant's lines, and what they print."""
    section = README.read_text("utf-8").partition("## A merchant in 20 lines\n")[2]
    found = re.search(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found is not None, "the section has a program, and its output right behind it"
    return found[1], found[2]


def test_merchant_has_less_than_20_lines() -> None:
    lines, _ = _merchant()
    assert lines.count("\n") < LINES_MAX


@pytest.mark.one_shard
async def test_merchant_prints_what_the_readme_says_however_often(tmp_path: Path) -> None:
    """Only the port is another one. A front signs for the node, which serves unsigned here."""
    lines, printed = _merchant()
    bank = Bank()
    identity = bank.certify("M1")
    identity.write(key=tmp_path / "m1.key", certificate=tmp_path / "m1.pem")
    (tmp_path / "root.pem").write_bytes(bank.root_pem + pem(bank.issuing.certificate))
    async with serving(tmp_path / "bank") as node, AsyncBankClient(node.address) as own:
        await own.open_merchant("M1", currency="CNY", fee_bps=38)
        await own.open_account("6217001", currency="CNY")
        await own.fund("6217001", "F1", amount_minor=100_000, currency="CNY")
        await own.sign_agreement("6217001", "G1", merchant_no="M1")
        async with fronting(node.address, bank, identity, tls=bank.tls(tmp_path)) as front:
            assert "https://localhost:8443" in lines
            program = lines.replace("https://localhost:8443", front.address)
            run = partial(
                trio.run_process,
                [sys.executable, "-c", program],
                cwd=tmp_path,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
            for _ in range(2):
                with trio.fail_after(30):
                    assert (await run()).stdout.decode() == printed
            assert front.nonces, "requests were signed"
