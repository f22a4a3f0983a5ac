"""The demo's client against a gateway that fails in every way it may."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from bench import demo_client
from bench.connection import node_at
from bench.demo_client import Replay, percentile_ms
from bench.demo_report import AnyReport, Finished, Planned, Progressed, decode_report
from bench.journey import Basket
from gateway.client import Terms
from gateway.exits import UNREACHABLE, CommandError

BASKETS = [
    Basket(1, 7, 1, "2017-01-01T08:00:00Z", 100, False),
    Basket(2, 7, 1, "2017-01-01T09:00:00Z", 2_600, True),
    Basket(3, 7, 1, "2017-01-02T09:00:00Z", 0, False),
    Basket(4, 7, 1, "2017-01-02T09:00:00Z", 300, False),
]
QUICK = Terms(pause_s=0.001, pause_max_s=0.01)
NODE: dict[str, Any] = {
    "business_date": "",
    "version": "0",
    "now": "",
    "clock": "domain",
    "durable_seq": [],
    "incarnation": "",
}
DAY_CUT: dict[str, Any] = {
    "business_date": "",
    "state": "CLOSED",
    "next_date": "",
    "cut_at": "",
    "closed_at": None,
    "sums": {},
}
HANG_UP = (0, None)
"""The scripted answer that is none: the connection is closed."""


class Gateway:
    """Answers every request well, but for what is scripted: path → answers that come first."""

    def __init__(self, script: dict[str, list[tuple[int, Any]]], business_date: str) -> None:
        self.script = script
        self.business_date = business_date
        self.seen: list[tuple[str, Any]] = []
        self.done: list[str] = []
        """Commands carried out, by kind and number."""

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        self.seen.append((path, body))
        scripted = self.script.get(path)
        if scripted:
            return scripted.pop(0)
        if path == "/v1/node":
            return 200, NODE | {"business_date": self.business_date}
        if path == "/v1/commands":
            return 200, [self._item(command) for command in body]
        return 201, DAY_CUT

    def _item(self, command: dict[str, Any]) -> dict[str, Any]:
        name = json.dumps(command)
        replayed = name in self.done
        self.done.append(name)
        return {"status": 201, "body": {}} | ({"replayed": True} if replayed else {})

    @contextmanager
    def serving(self) -> Iterator[str]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment: two would wait for each other

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                status, answer = gateway.answer(self.path, json.loads(body or b"null"))
                if not status:
                    self.close_connection = True
                    return
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.headers["content-length"] = "0"
                self.do_POST()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


def _replay(
    monkeypatch: pytest.MonkeyPatch,
    script: dict[str, list[tuple[int, Any]]],
    business_date: str = "2017-01-01",
    terms: Terms = QUICK,
) -> tuple[Gateway, list[AnyReport], Finished]:
    reports: list[AnyReport] = []

    def report(each: Struct) -> None:
        reports.append(decode_report(msgspec.json.encode(each)))

    monkeypatch.setattr(demo_client, "report", report)
    gateway = Gateway(script, business_date)
    with gateway.serving() as address, node_at(address, None, terms) as node:
        finished = Replay(node, BASKETS, len(BASKETS)).run()
    return gateway, reports, finished


def _paths(gateway: Gateway) -> list[str]:
    return [path for path, _ in gateway.seen]


def test_new_store_is_opened_then_replayed_then_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, reports, finished = _replay(monkeypatch, {})
    # Accounts, funds, agreements, the first day; its cut; the second day, which stays open.
    assert _paths(gateway) == ["/v1/node", *["/v1/commands"] * 4, "/v1/day-cuts", "/v1/commands"]
    assert gateway.seen[-2] == ("/v1/day-cuts", {"business_date": "2017-01-01"})
    assert reports[0] == Planned("2017-01-01", "2017-01-02", 4, 0, 2, 1, 1, 3_000)
    arrays = [report for report in reports if isinstance(report, Progressed)]
    assert [(array.purchases, array.commands) for array in arrays] == [
        (0, 2),
        (0, 1),
        (0, 1),
        (2, 3),
        (1, 1),
    ]
    assert (finished.purchases, finished.replayed, finished.refused) == (3, 0, {})
    assert finished.p50_ms is not None
    assert finished.p99_ms is not None
    assert 0 < finished.p50_ms <= finished.p99_ms <= finished.seconds * 1e3


def test_open_store_is_neither_opened_again_nor_replayed_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway, reports, _ = _replay(monkeypatch, {}, "2017-01-02")
    kinds = [item["command"] for path, body in gateway.seen for item in body or ()]
    assert kinds == ["advance_clock", "create_payment"]
    assert isinstance(reports[0], Planned)
    assert reports[0].purchases_before == 2


@pytest.mark.parametrize(
    "failure",
    [
        HANG_UP,
        (503, {"code": "NODE_BUSY"}),
        (503, {"code": "STOPPING", "retry_after_s": 0}),
        (504, {"code": "TIMEOUT"}),
        (503, "no problem document"),
    ],
    ids=["hangs-up", "busy", "stopping", "timeout", "garbage"],
)
@pytest.mark.parametrize("path", ["/v1/node", "/v1/commands", "/v1/day-cuts"])
def test_request_that_fails_is_sent_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch, path: str, failure: tuple[int, Any]
) -> None:
    gateway, _, finished = _replay(monkeypatch, {path: [failure, failure]})
    tries = [body for each, body in gateway.seen if each == path][:3]
    assert tries[0] == tries[1] == tries[2]
    assert finished.purchases == 3
    assert finished.refused == {}


def test_array_with_a_command_put_off_is_sent_again_whole_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_off = [{"status": 201, "body": {}}, {"status": 503, "body": {"code": "NODE_BUSY"}}]
    gateway, _, finished = _replay(monkeypatch, {"/v1/commands": [(200, put_off)]})
    assert gateway.seen[1] == gateway.seen[2]
    assert finished.refused == {}


def test_refusals_are_counted_by_code_and_do_not_stop_the_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = [
        {"status": 409, "body": {"code": "NUMBER_USED", "title": "…"}},
        {"status": 422, "body": {"code": "RESERVED_NUMBER"}},
    ]
    _, reports, finished = _replay(monkeypatch, {"/v1/commands": [(200, refused)]})
    assert finished.refused == {"NUMBER_USED": 1, "RESERVED_NUMBER": 1}
    assert [each.refused for each in reports if isinstance(each, Progressed)] == [2] * 5


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/v1/node", (404, {"code": "NOT_FOUND"}), "the node does not do it: NOT_FOUND"),
        ("/v1/commands", (413, {"code": "ARRAY_TOO_LONG"}), "ARRAY_TOO_LONG"),
        ("/v1/day-cuts", (409, {"code": "DATE_NOT_OPEN", "detail": "no"}), "DATE_NOT_OPEN: no"),
    ],
)
def test_request_that_is_refused_as_a_whole_ends_the_client(
    monkeypatch: pytest.MonkeyPatch, path: str, answer: tuple[int, Any], reason: str
) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        _replay(monkeypatch, {path: [answer]})
    assert caught.value.code == UNREACHABLE


def test_node_that_stays_away_ends_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = Terms(patience_s=0.05, pause_s=0.001, pause_max_s=0.01)
    with pytest.raises(CommandError, match="GET /v1/node: RemoteProtocolError"):
        _replay(monkeypatch, {"/v1/node": [HANG_UP] * 1_000}, terms=brief)
    busy = [(200, [{"status": 503, "body": {"code": "NODE_BUSY"}}] * 2)] * 1_000
    with pytest.raises(CommandError, match="NODE_BUSY"):
        _replay(monkeypatch, {"/v1/commands": list(busy)}, terms=brief)


def test_percentile_weighs_arrays_by_their_commands() -> None:
    latencies = [(0.003, 1), (0.001, 98), (0.002, 1)]
    assert percentile_ms(latencies, 0.50) == 1.0
    assert percentile_ms(latencies, 0.98) == 1.0
    assert percentile_ms(latencies, 0.99) == 2.0
    assert percentile_ms(latencies, 1.0) == 3.0
    assert percentile_ms([], 0.5) is None
