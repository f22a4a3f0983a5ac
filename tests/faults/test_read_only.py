"""A file system that turns read-only under a running node, as ext4 does when it finds an error."""

from pathlib import Path

import pytest
import trio

from gateway.exits import FAIL_STOP
from tests.crash.judge import judging
from tests.e2e.process import LIMIT_S, make_store, node
from tests.faults.loop import loop
from tests.faults.payers import Payers

PAYERS = 24


@pytest.mark.machine
@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.long), 3])
async def test_read_only_remount_ends_the_node_and_loses_nothing(
    tmp_path: Path, shards: int
) -> None:
    with loop(tmp_path) as mounted:
        data = mounted.path / "bank"
        await make_store(data, shards)
        async with node(data) as running:
            payers = Payers(running.address, PAYERS)
            await payers.open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payers.pay)
                await payers.until(acknowledged=100)
                try:
                    mounted.turn_read_only()
                except OSError as error:
                    pytest.skip(f"no error can be triggered: {error.strerror}")
                with trio.fail_after(LIMIT_S):
                    assert await running.process.wait() == FAIL_STOP
        last = {told.payer: (told.status, told.body.get("code")) for told in payers.answers}
        # Those who waited are told; who came after them was refused, or found nobody.
        assert (504, "OUTCOME_UNKNOWN") in last.values()
        assert set(last.values()) <= {(504, "OUTCOME_UNKNOWN"), (503, "STOPPING"), (0, None)}
        mounted.unmount()
        mounted.mount()
        with judging(tmp_path / "judge") as judge:
            assert judge.lost(data, payers.write(tmp_path / "acknowledged")) == ""
