"""Metrics: what a scrape says is what the node did, under names that are written down."""

import re
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.ops.operators import Role
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import watched
from tests.gateway.ops.two import Two
from tests.shards import SHARDS

PAGE = Path(__file__).parents[3] / "docs/ops/METRICS.md"
ACCOUNT_NO = "6217009999"
PATHS = (f"/v1/accounts/{ACCOUNT_NO}", "/v1/health")


async def ask(client: httpx2.AsyncClient, address: str) -> None:
    opened = {"account_no": ACCOUNT_NO, "currency": "USD"}
    for status in (201, 201):
        answer = await client.post(f"{address}/v1/accounts", json=opened)
        assert answer.status_code == status
    for path in PATHS:
        assert (await client.get(f"{address}{path}")).status_code == 200
    assert (await client.get(f"{address}/v1/nothing/{ACCOUNT_NO}")).status_code == 404


async def test_scrape_counts_what_the_node_has_done(tmp_path: Path) -> None:
    async with watched(tmp_path) as ops:
        await ask(ops.client, ops.running.address)
        samples = await ops.samples()

        def of(name: str, **labels: str) -> float:
            return samples[name, tuple(sorted(labels.items()))]

        assert of("piaohao_requests_total", operation="open_account", status="201") == 2
        assert of("piaohao_requests_total", operation="get_account", status="200") == 1
        assert of("piaohao_requests_total", operation="", status="404") == 1
        for shard in ops.running.node.shards:
            number, vitals = str(shard.stage.number), shard.vitals
            assert of("piaohao_commits_total", shard=number) == vitals.commits
            assert of("piaohao_turns_total", shard=number) == vitals.turns
            assert of("piaohao_answers_total", shard=number) == vitals.answers
            assert of("piaohao_durable_sequence", shard=number) == shard.stage.durable_seq
            for histogram in ("commit_seconds", "sync_seconds", "batch_turns"):
                name = f"piaohao_{histogram}"
                assert of(f"{name}_count", shard=number) == vitals.commits
                assert of(f"{name}_bucket", shard=number, le="+Inf") == vitals.commits
            assert of("piaohao_batch_turns_sum", shard=number) == vitals.turns
            seconds = sum(each.total_ns for each in vitals.recent) / 1e9
            assert of("piaohao_commit_seconds_sum", shard=number) == pytest.approx(seconds)
            assert of("piaohao_store_bytes", shard=number) > 4096
            assert of("piaohao_disk_free_bytes", shard=number) > 0
        accounts = [
            of("piaohao_store_rows", shard=str(shard), table="actors") for shard in range(SHARDS)
        ]
        assert sum(accounts) == 1
        # The second was the first one's answer again, for which nothing was written.
    assert sum(shard.vitals.answers for shard in ops.running.node.shards) == 1


async def test_no_label_or_value_names_a_customer(tmp_path: Path) -> None:
    """There are as many series however many accounts and paths were asked for."""
    async with watched(tmp_path) as ops:
        await ask(ops.client, ops.running.address)
        text = (await ops.client.get(f"{ops.running.ops_address}/metrics")).text
        before = await ops.samples()
        assert ACCOUNT_NO not in text
        for number in range(20):
            path = f"{ops.running.address}/v1/accounts/B{number}"
            assert (await ops.client.get(path)).status_code == 404
            await ops.client.get(f"{ops.running.address}/v{number}/x")
        added = {*await ops.samples()} - {*before}
        assert added == {
            ("piaohao_requests_total", (("operation", "get_account"), ("status", "404")))
        }


async def test_page_of_metrics_has_those_there_are_with_type_and_labels(tmp_path: Path) -> None:
    """docs/ops/METRICS.md, row by row; what a process has by itself is Prometheus' own."""
    rows = re.findall(r"^\| `(piaohao_\w+)` \| (\w+) \| (.*?) \|", PAGE.read_text("utf-8"), re.M)
    described = {name: (kind, {*re.findall(r"`(\w+)`", labels)}) for name, kind, labels in rows}
    assert len(described) == len(rows)
    async with watched(tmp_path) as ops:
        await ask(ops.client, ops.running.address)
        text = (await ops.client.get(f"{ops.running.ops_address}/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("piaohao_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = (family.type, labels)
    if SHARDS == 1:  # a shard by itself has no links, and they have no samples
        for name in [name for name in found if name.startswith("piaohao_link_")]:
            found[name] = described[name]
    assert found == described


@pytest.mark.one_shard
async def test_scrape_counts_proposals_that_wait_and_does_not_say_what_they_are(
    guarded: Guarded,
) -> None:
    two = Two(guarded)
    made = await two.propose("freeze_account", account_no=ACCOUNT_NO)
    waiting = ("piaohao_proposals_open", (("status", "PENDING"),))
    assert (await guarded.ops.samples())[waiting] == 1
    text = (await guarded.ops.client.get(f"{guarded.address}/metrics")).text
    assert ACCOUNT_NO not in text
    assert made["proposal_id"] not in text
    await two.post(f"/{made['proposal_id']}/withdraw", None, Role.OPERATOR)
    assert (await guarded.ops.samples())[waiting] == 0
