"""Operators' commands give the same on a running node and on a stopped one."""

import json
import os
from contextlib import chdir
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.e2e.process import make_store, node, piaohao, store_files

SHOP: list[dict[str, Any]] = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 100},
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": 10_000,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
    *(
        {"command": "create_payment", "merchant_no": "M1", "order_no": f"O{number}", "payer": "A1",
         "amount_minor": 100, "currency": "USD"}
        for number in range(50)
    ),
]  # fmt: skip


async def _shop(address: str) -> None:
    async with httpx2.AsyncClient() as client:
        answers = (await client.post(f"{address}/v1/commands", json=SHOP)).json()
    assert {each["status"] for each in answers} == {201}


async def _json(*arguments: str | Path) -> Any:
    run = await piaohao(*arguments, "--json")
    assert (run.returncode, run.stderr) == (0, ""), run
    return json.loads(run.stdout)


async def test_reading_commands_agree_on_live_and_stopped_node(tmp_path: Path) -> None:
    data = tmp_path / "bank"
    await make_store(data)
    exports = ("accounts", "payments", "postings")

    async def look(name: str) -> tuple[Any, list[bytes]]:
        report = await _json("verify", "--data", data)
        files = []
        for what in exports:
            out = tmp_path / f"{what}-{name}.csv"
            assert (await _json("export", what, "--data", data, "--out", out))["what"] == what
            files.append(await trio.Path(out).read_bytes())
        copy = tmp_path / f"copy-{name}"
        await _json("backup", "--data", data, "--out", copy)
        restored = tmp_path / f"restored-{name}"
        await _json("restore", "--backup", copy, "--data", restored)
        assert await _json("verify", "--data", restored) == report
        return report, files

    async with node(data) as running:
        await _shop(running.address)
        live = await look("live")
        assert await running.end() == 0
    stopped = await look("stopped")
    assert stopped == live
    report, files = stopped
    assert report["ok"]
    assert report["violations"] == []
    assert report["sums"] == {"USD": {"accounts": 0, "messages": 0, "difference": 0}}
    assert report["journal_rows"] == 2 + 50 * 4
    assert files[exports.index("payments")].count(b"\n") == 51


@pytest.mark.one_shard
async def test_restored_store_serves_beside_the_first(tmp_path: Path) -> None:
    data, copy, restored = (tmp_path / name for name in ("bank", "copy", "restored"))
    await make_store(data)
    async with node(data) as running:
        await _shop(running.address)
        await _json("backup", "--data", data, "--out", copy)
        await _json("restore", "--backup", copy, "--data", restored)
        async with node(restored) as again, httpx2.AsyncClient() as client:
            path = "/v1/payments?merchant_no=M1&limit=100"
            before = (await client.get(running.address + path)).json()
            assert (await client.get(again.address + path)).json() == before


async def test_day_is_cut_by_the_node(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path):
        cut = await _json("day", "cut", "2026-01-05", "--data", tmp_path)
        assert (cut["state"], cut["next_date"]) == ("CLOSED", "2026-01-06")
        assert await _json("day", "cut", "2026-01-05", "--data", tmp_path) == cut
        wrong = await piaohao("day", "cut", "2026-01-05x", "--data", tmp_path)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        wrong = await piaohao("day", "cut", "2026-01-09", "--data", tmp_path)
        assert wrong.returncode == 2
        assert "2026-01-06" in wrong.stderr


@pytest.mark.parametrize(("invariant", "newest"), [("checksum", False), ("opens", True)])
async def test_verify_finds_damage_with_exit_1(
    invariant: str, newest: bool, tmp_path: Path
) -> None:
    """A few bytes of a stopped node's file change behind its back, in an old commit or the last."""
    await make_store(tmp_path)
    async with node(tmp_path) as running:
        await _shop(running.address)
        if not newest:
            # The array's last commit holds its payments; then comes one with nothing of them.
            async with httpx2.AsyncClient() as client:
                for number in range(2, 20):  # on every shard
                    account = {"account_no": f"A{number}", "currency": "USD"}
                    await client.post(f"{running.address}/v1/accounts", json=account)
        assert await running.end() == 0
    found = 0
    for file in map(trio.Path, store_files(tmp_path)):
        content = await file.read_bytes()
        found += content.count(b"payment/M1/O49")
        await file.write_bytes(content.replace(b"payment/M1/O49", b"payment/M1/X49"))
    assert found
    run = await piaohao("verify", "--data", tmp_path, "--json")
    assert run.returncode == 1
    report = json.loads(run.stdout)
    assert not report["ok"]
    assert invariant in {each["invariant"] for each in report["violations"]}
    assert set(report["violations"][0]) == {"invariant", "table", "key", "detail"}
    run = await piaohao("verify", "--data", tmp_path)
    assert (run.returncode, run.stderr) == (1, "")
    assert f"{invariant}: journal" in run.stdout


@pytest.mark.one_shard
async def test_deep_folder_has_a_control_socket_all_the_same(tmp_path: Path) -> None:
    """A Unix socket's address has 108 bytes; a folder's path has no such bound."""
    data = tmp_path / ("d" * 100) / ("e" * 100)
    await make_store(data)
    async with node(data):
        assert (await _json("verify", "--data", data))["ok"]


@pytest.mark.one_shard
async def test_relative_folder_is_the_callers(tmp_path: Path) -> None:
    with chdir(tmp_path):
        await make_store(Path("bank"))
        async with node(Path("bank")):
            assert (await _json("export", "accounts", "--data", "bank", "--out", "a.csv"))[
                "rows"
            ] == 0
    assert await trio.Path(tmp_path / "a.csv").exists()


async def test_node_goes_on_serving_while_it_is_verified(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        await _shop(running.address)
        served = 0
        async with trio.open_nursery() as nursery:

            async def verify() -> None:
                for _ in range(3):
                    assert (await _json("verify", "--data", tmp_path))["ok"]
                nursery.cancel_scope.cancel()

            nursery.start_soon(verify)
            while True:
                body = {"merchant_no": "M1", "order_no": f"V{served}", "payer": "A1",
                        "amount_minor": 1, "currency": "USD"}  # fmt: skip
                answer = await client.post(f"{running.address}/v1/payments", json=body)
                assert answer.status_code == 201
                served += 1
        assert served > 10


@pytest.mark.one_shard
async def test_operator_who_sends_nonsense_is_told_so(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        for line in (b"", b"{}", b'{"do":"nothing"}', b"\xff", b"[" * 50_000, b"1"):
            async with await trio.open_unix_socket(os.fspath(tmp_path / "control.sock")) as stream:
                await stream.send_all(line + b"\n")
                answer = json.loads(await stream.receive_some())
            assert answer["error"]["exit"] == 2
        # A line without an end is cut off.
        async with await trio.open_unix_socket(os.fspath(tmp_path / "control.sock")) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b" " * (4 << 20))
        assert (await client.get(f"{running.address}/v1/node")).status_code == 200
