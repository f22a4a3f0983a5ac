"""Verify finds whatever was done to a store's bytes, and finds nothing where nothing was done."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors.account import HELD
from actors.kinds import KINDS, MERCHANT
from actors.messages import PaymentDebited
from engine.totals import TOTALS_KEY, durable_totals, totals_row
from gateway.verification import CurrencySums, Report, verify
from storage.journal import decode_commit, decode_page, encode, sequence_key
from storage.memory import MemoryStore
from storage.row import ACTORS, COMMITS, HUBS, JOURNAL, MARKS, META, RECORDS, seal, unseal
from tests.gateway.desk_client import Client, capture, hold, new_store, open_desk, payment

Tables = dict[str, dict[bytes, bytes]]


async def _busy_store() -> MemoryStore:
    """Return a store in which something of everything has happened, over two dates."""
    store = new_store()
    async with open_desk(store=store) as client:
        await client.shop()
        await _do_everything(client, "1")
        await client.post("/v1/day-cuts", {"business_date": "2026-01-05"})
        await _do_everything(client, "2")
    return store


async def _do_everything(client: Client, suffix: str) -> None:
    order, reversed_, held = f"O{suffix}", f"V{suffix}", f"H{suffix}"
    answers = await client.commands(
        payment(order, 300),
        payment(reversed_, 50),
        {"command": "refund_payment", "merchant_no": "M1", "refund_no": f"R{suffix}",
         "order_no": order, "amount_minor": 100},
        {"command": "reverse_payment", "merchant_no": "M1", "order_no": reversed_,
         "reversal_no": "X" + suffix},
        hold(held, 500),
        capture(held, f"C{suffix}", 200),
        hold("V" + held, 20),
        {"command": "void_authorization", "merchant_no": "M1", "hold_no": "V" + held,
         "void_no": f"D{suffix}"},
        payment("F" + order, 10**9),
    )  # fmt: skip
    assert [each["status"] for each in answers] == [201] * 8 + [422]


def _report(store: MemoryStore) -> Report:
    return verify([store.snapshot()])


def _found(store: MemoryStore) -> set[tuple[str, str]]:
    report = _report(store)
    assert not report.ok
    return {(each.invariant, each.table) for each in report.violations}


async def test_untouched_store_is_all_right() -> None:
    store = await _busy_store()
    report = _report(store)
    assert report.violations == []
    assert report.ok
    assert report.shards == 1
    assert report.journal_rows == store.last.posting_first + store.last.postings - 1
    assert report.chain_heads == [store.last.chain.hex()]
    assert report.sums == {"USD": CurrencySums(0, 0, 0)}


async def test_new_store_is_all_right() -> None:
    report = _report(new_store())
    assert (report.ok, report.journal_rows, report.sums) == (True, 0, {})


async def test_money_in_parked_messages_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts and messages come to zero together, not each by itself."""
    store = new_store()
    async with open_desk(store=store) as client:
        await client.shop()
        # A handler that is gone makes the turn fail, so its message is parked with the money.
        handlers: dict[Any, Any] = MERCHANT.handlers
        monkeypatch.delitem(handlers, PaymentDebited)
        (answer,) = await client.commands(payment("O1", 700))
        assert answer["body"]["code"] == "OUTCOME_UNKNOWN"
    report = _report(store)
    assert report.violations == []
    assert report.sums == {"USD": CurrencySums(-700, 700, 0)}


async def test_any_flipped_bit_is_found() -> None:
    """Any byte of any row of any table: LMDB itself would not notice one of them."""
    store = await _busy_store()
    tables: Tables = store._tables
    draw = random.Random(1)
    places = [(table, key) for table, rows in tables.items() for key in rows]
    for table, key in places:
        rows = tables[table]
        whole = rows[key]
        place = draw.randrange(len(whole))
        torn = bytearray(whole)
        torn[place] ^= 1 << draw.randrange(8)
        rows[key] = bytes(torn)
        assert ("checksum", table) in _found(store), f"{table} {key!r} byte {place}"
        rows[key] = whole
    assert _report(store).ok


@pytest.mark.parametrize(
    ("table", "invariant"), [(COMMITS, "commits-gapless"), (JOURNAL, "journal-gapless")]
)
async def test_any_missing_row_of_the_journal_is_found(table: str, invariant: str) -> None:
    store = await _busy_store()
    rows = store._tables[table]
    for key in list(rows)[:-1] if table == COMMITS else list(rows):
        row = rows.pop(key)
        assert invariant in {found for found, _ in _found(store)}, key
        rows[key] = row
    assert _report(store).ok


def _change(store: MemoryStore, table: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change a row's payload as someone would who knows how to seal it."""
    rows = store._tables[table]
    rows[key] = seal(table, key, change(unseal(table, key, rows[key])))


async def test_posting_changed_and_sealed_again_breaks_the_chain() -> None:
    store = await _busy_store()

    def change(page: bytes) -> bytes:
        first, *rest = decode_page(page)
        return page[:3] + b"".join(
            map(encode, [first._replace(reference="payment/M1/other"), *rest])
        )

    for key in list(store._tables[JOURNAL]):
        before = store._tables[JOURNAL][key]
        _change(store, JOURNAL, key, change)
        assert ("chain", COMMITS) in _found(store)
        store._tables[JOURNAL][key] = before


async def test_commit_changed_and_sealed_again_breaks_the_chain() -> None:
    store = await _busy_store()

    def change(row: bytes) -> bytes:
        commit = decode_commit(row)
        return encode(msgspec.structs.replace(commit, now_ns=commit.now_ns + 1))

    for key in list(store._tables[COMMITS]):
        before = store._tables[COMMITS][key]
        _change(store, COMMITS, key, change)
        assert ("chain", COMMITS) in _found(store)
        store._tables[COMMITS][key] = before


async def test_page_that_belongs_to_no_commit_is_found() -> None:
    store = await _busy_store()
    rows = store._tables[JOURNAL]
    last = max(rows)
    payload = unseal(JOURNAL, last, rows[last])
    key = sequence_key(int.from_bytes(last, "big") + len(decode_page(payload)))
    rows[key] = seal(JOURNAL, key, payload)
    assert ("journal-gapless", JOURNAL) in _found(store)


@pytest.mark.parametrize(("table", "at"), [(ACTORS, 5), (HUBS, 6)])
async def test_balance_changed_and_sealed_again_is_found(table: str, at: int) -> None:
    """The domain's audit has the last word where every byte is in order."""
    store = await _busy_store()

    def change(row: bytes) -> bytes:
        state = msgspec.msgpack.decode(row)
        state[at] += 1
        return msgspec.msgpack.encode(state)

    for key in list(store._tables[table]):
        _change(store, table, key, change)
    report = _report(store)
    assert not report.ok
    assert "balance" in {each.invariant for each in report.violations}
    assert report.sums["USD"].difference != 0


async def test_record_that_is_gone_is_found() -> None:
    store = await _busy_store()
    rows = store._tables[RECORDS]
    payments = [key for key in rows if b"\0pO1" in key]
    assert len(payments) == 1
    del rows[payments[0]]
    assert {found for found, _ in _found(store)} >= {"merchant-book", "refunds"}


async def test_ledger_of_an_actor_that_is_gone_is_named_with_its_newest_posting() -> None:
    """Names of accounts are not kept: the journal is read once more for this one."""
    store = await _busy_store()
    rows = dict(store._tables[ACTORS])
    gone = next(key for key in rows if key[2:] == b"account/A1")
    account = KINDS.of("account/A1").decode_state(unseal(ACTORS, gone, rows.pop(gone)))
    store._tables[ACTORS] = rows
    found = [each for each in _report(store).violations if each.table == "journal"]
    assert [(each.invariant, each.key) for each in found] == [("balance", "A1")]
    detail = (
        f"{account.posted_minor} as of posting {account.posted_last}, but there is no such actor"
    )
    assert found[0].detail == detail


async def test_page_of_events_that_is_gone_or_moved_is_found() -> None:
    """A merchant's events are gapless, or verify says so."""
    store = await _busy_store()
    rows = store._tables[RECORDS]
    (page,) = [key for key in rows if b"\0e0" in key]
    row = rows.pop(page)
    assert ("events-gapless", "records") in _found(store)
    elsewhere = page[:-2] + b"17"
    rows[elsewhere] = seal(RECORDS, elsewhere, unseal(RECORDS, page, row))
    assert ("events-gapless", "records") in _found(store)


async def test_row_that_is_no_state_is_named_and_the_rest_still_checked() -> None:
    store = await _busy_store()
    for key in list(store._tables[ACTORS]):
        _change(store, ACTORS, key, lambda row: b"\xc0")
    assert ("row", ACTORS) in _found(store)


@pytest.mark.parametrize(("length", "payload"), [(19, b""), (21, b""), (20, b"more")])
async def test_row_that_is_no_mark_is_named(length: int, payload: bytes) -> None:
    store = await _busy_store()
    key = bytes(length)
    store._tables[MARKS][key] = seal(MARKS, key, payload)
    assert ("marks", MARKS) in _found(store)
    store._tables[MARKS] = {bytes(20): seal(MARKS, bytes(20), b"")}
    assert _report(store).ok


async def test_sum_of_what_is_held_is_compared_with_the_accounts() -> None:
    """Unless it is of another epoch than the newest commit: then nobody goes by it."""
    store = await _busy_store()
    last = store.last
    assert durable_totals(store.snapshot(), last) == {HELD: {"USD": 600}}

    def says(epoch: int, sums: dict[str, dict[str, int]]) -> Callable[[bytes], bytes]:
        return lambda _: totals_row(epoch, sums)[TOTALS_KEY] or b""

    _change(store, META, TOTALS_KEY, says(last.epoch - 1, {}))
    assert _report(store).ok
    wrong: list[dict[str, dict[str, int]]] = [
        {HELD: {"USD": 599}},
        {HELD: {"USD": 600, "CNY": 1}},
        {HELD: {}},
        {},
    ]
    for sums in wrong:
        _change(store, META, TOTALS_KEY, says(last.epoch, sums))
        assert _found(store) == {("held-total", META)}
    _change(store, META, TOTALS_KEY, says(last.epoch, {HELD: {"USD": 600, "CNY": 0}}))
    assert _report(store).ok
    _change(store, META, TOTALS_KEY, lambda _: b"\xc0")
    assert _found(store) == {("row", META)}


async def test_verification_can_be_broken_off() -> None:
    store = await _busy_store()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify([store.snapshot()], stop)
