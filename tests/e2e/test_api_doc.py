"""docs/API.md is true: its examples are run in order against a node."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import trio

from gateway.answer import JSON
from gateway.ca import ceremony
from gateway.ca.master_key import new_master_key
from gateway.endpoint import Router
from gateway.table import ENDPOINTS
from tests.e2e.process import make_store, node
from tests.shards import SHARDS

PAGE = Path(__file__).resolve().parents[2] / "docs/API.md"
ANY = "…"


class Example(NamedTuple):
    """A request and its answer, as the page has them; bodies as JSON values."""

    method: str
    path: str
    body: Any
    status: int
    headers: dict[str, str]
    answer: Any


def _examples() -> list[Example]:
    blocks = re.findall(r"^```http\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) % 2 == 0, "each request is followed by its answer"
    examples = []
    for asked, answered in zip(blocks[::2], blocks[1::2], strict=True):
        line, _, body = asked.partition("\n")
        method, path = line.split()
        head, _, answer = answered.partition("\n\n")
        status, *headers = head.splitlines()
        examples.append(
            Example(
                method,
                path,
                json.loads(body) if body.strip() else None,
                int(status.removeprefix("HTTP/1.1 ")),
                dict(header.split(": ") for header in headers),
                json.loads(answer),
            )
        )
    return examples


def _agree(found: Any, shown: Any) -> bool:
    """Whether a value is as the page shows it; `…` is any value, or any rest of a list."""
    if shown == ANY:
        return True
    if isinstance(shown, dict) and isinstance(found, dict):
        return list(found) == list(shown) and all(
            _agree(found[key], value) for key, value in shown.items()
        )
    if isinstance(shown, list) and isinstance(found, list):
        if shown and shown[-1] == ANY:
            shown = shown[:-1]
            found = found[: len(shown)]
        return len(found) == len(shown) and all(map(_agree, found, shown))
    return bool(found == shown)


async def _answer(client: httpx2.AsyncClient, address: str, example: Example) -> httpx2.Response:
    """Return the answer; across shards what nobody waits for takes a moment to be seen."""
    until = trio.current_time() + (2 if SHARDS > 1 and example.method == "GET" else 0)
    while True:
        answer = await client.request(example.method, address + example.path, json=example.body)
        if trio.current_time() >= until or _agree(answer.json(), example.answer):
            return answer


def _with_serial(example: Example, serial: str) -> Example:
    """Return an example with the last serial that was answered where it has none of its own."""
    body = json.loads(json.dumps(example.body, ensure_ascii=False).replace(ANY, serial))
    return example._replace(path=example.path.replace(ANY, serial), body=body)


def _serial(body: Any) -> str | None:
    return body.get("serial") if isinstance(body, dict) else None


def _make_keys(folder: Path) -> tuple[str, ...]:
    """Make the bank's CA; returns what a node is told of it."""
    keys, file = folder / "bank-keys", folder / "master.key"
    master_key = new_master_key()
    master_key.write(file)
    ceremony.found(keys, "Example Bank", master_key, now=datetime.now(UTC))
    return "--unsigned", "--keys", str(keys), "--master-key", str(file)


async def test_examples_are_what_a_node_answers(tmp_path: Path) -> None:
    data, serial = tmp_path / "bank", ""
    await make_store(data)
    options = ("--clock", "domain", *_make_keys(tmp_path))
    async with node(data, *options) as running, httpx2.AsyncClient() as client:
        for each in _examples():
            example = _with_serial(each, serial)
            answer = await _answer(client, running.address, example)
            serial = _serial(answer.json()) or serial
            about = f"{example.method} {example.path}: {answer.text}"
            assert answer.status_code == example.status, about
            assert _agree(answer.json(), example.answer), about
            shown = example.headers.get("idempotent-replayed")
            assert answer.headers.get("idempotent-replayed") == shown, about


def test_every_endpoint_has_an_example() -> None:
    router = Router(ENDPOINTS)
    examples = (_with_serial(each, "5f3a") for each in _examples())
    shown = {router.find(each.method, each.path.partition("?")[0])[0] for each in examples}
    read_by_programs = [each for each in ENDPOINTS if each.media_type == JSON]
    missing = [f"{each.method} {each.path}" for each in read_by_programs if each not in shown]
    assert missing == []
