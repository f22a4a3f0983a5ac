"""`piaohao top`: the vital signs of a running node, in a terminal, in a file, for a program."""

import io
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from rich.console import Console

from gateway.cli import run
from gateway.ops.vitals import NodeVitals, ShardVitals
from gateway.vitals_board import board
from tests.gateway.desk_client import payment
from tests.gateway.serving import serving
from tests.gateway.stream.stream_client import SHOP, as_operator
from tests.shards import SHARDS

LIMIT_S = 20.0


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """The folder of a node that makes payments all the while."""
    async with serving(tmp_path) as running, trio.open_nursery() as nursery:
        await as_operator(running, "/v1/commands", SHOP)

        async def pay() -> None:
            number = 0
            while True:
                number += 1
                await as_operator(running, "/v1/commands", [payment(f"O{number}", 1)])

        nursery.start_soon(pay)
        yield tmp_path
        nursery.cancel_scope.cancel()


async def top(data: Path, *arguments: str) -> int:
    return await trio.to_thread.run_sync(run, ["top", "--data", str(data), *arguments])


async def test_program_gets_one_object_with_what_has_just_been(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await top(data, "--once", "--json", "--every", "0.3") == 0
    out, err = capsys.readouterr()
    assert (err, out.count("\n")) == ("", 1)
    seen = json.loads(out)
    assert seen["payments_per_s"] > 0
    assert 0.3 <= seen["interval_s"] < LIMIT_S
    assert seen["balanced"] is True
    assert seen["commit_ns_p99"] >= seen["commit_ns_p50"] > 0
    assert [each["shard"] for each in seen["shards"]] == list(range(SHARDS))


@pytest.mark.parametrize("width", [32, 120])
async def test_board_fits_a_terminal_of_any_width(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert await top(data, "--once", "--every", "0.2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any(re.match(r"payments +[1-9][\d,]*/s", line) for line in lines), lines
    assert any(re.match(r"money +balanced", line) for line in lines), lines


@pytest.mark.one_shard
async def test_terminal_is_shown_it_second_by_second_until_control_c(data: Path) -> None:
    master, slave = os.openpty()
    start = "from gateway.cli import main; main()"
    command = [sys.executable, "-c", start, "top", "--data", str(data), "--every", "0.1"]
    process = await trio.lowlevel.open_process(
        command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"}
    )
    os.close(slave)
    shown = b""
    async with trio.lowlevel.FdStream(master) as terminal:
        with trio.fail_after(LIMIT_S):
            while shown.count(b"balanced") < 3:
                shown += await terminal.receive_some(1 << 16)
            process.send_signal(signal.SIGINT)
            with suppress(trio.BrokenResourceError):  # what a terminal says that nobody is at
                while await terminal.receive_some(1 << 16):
                    pass
            await process.wait()
    assert process.returncode == 0
    assert b"payments" in shown


@pytest.mark.one_shard
async def test_node_that_stops_ends_it_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []

    async def look() -> None:
        codes.append(await top(tmp_path, "--json", "--every", "0.1"))

    async with trio.open_nursery() as nursery, serving(tmp_path):
        nursery.start_soon(look)
        with trio.fail_after(LIMIT_S):
            while "\n" not in capsys.readouterr().out:
                await trio.testing.wait_all_tasks_blocked(0.01)
    err = capsys.readouterr().err
    assert codes == [4]
    assert err.startswith("piaohao: the node on ")
    assert err.count("\n") == 1


@pytest.mark.one_shard
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--once"], 3), ([], 2), (["--once", "--every", "0"], 2), (["--once", "--every", "x"], 2)],
)
async def test_what_cannot_be_shown_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    """There is no store; this is no terminal; that is no time."""
    assert await top(tmp_path, *arguments) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("piaohao: ")


def test_board_names_what_is_wrong_and_compares_shards() -> None:
    shard = dict.fromkeys(ShardVitals.__struct_fields__, 0) | {"actors_quarantined": 2}
    whole: dict[str, Any] = dict.fromkeys(NodeVitals.__struct_fields__, 0)
    off = {"currency": "USD", "accounts_minor": 7, "under_way_minor": -4, "difference_minor": 3}
    vitals = msgspec.convert(
        {
            **whole,
            "object": "vitals",
            "at": "2026-01-05T08:00:00Z",
            "payments_per_s": 1_234.5,
            "commit_ns_p50": None,
            "actors_quarantined": 2,
            "parked": 5,
            "committing_s": 4.2,
            "balanced": False,
            "currencies": [off],
            "shards": [{**shard, "shard": number} for number in range(3)],
        },
        NodeVitals,
    )
    for width, columns in ((100, 10), (32, 5)):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(board(vitals, "bank", [1.0, 2.0, 0.0], width))
        text = console.export_text()
        words = " ".join(text.split())
        for said in ("1,234/s", "p50 –, p99 0.0 ms, one runs for 4 s", "USD off by 3"):
            assert said in words, text
        assert "2 quarantined with 5 messages" in words
        *_, header, _, _, last = text.splitlines()
        assert len(header.split()) == columns
        assert len(last.split()) == columns
        assert last.split()[0] == "2"
