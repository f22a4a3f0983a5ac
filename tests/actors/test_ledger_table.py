"""Ledger tables: what a dictionary would say, in a tenth of the memory."""

from hypothesis import given
from hypothesis import strategies as st

from actors.ledger_table import PARTS, LedgerTable

_names = st.sampled_from([f"A{n}" for n in range(40)])
_put = st.tuples(_names, st.integers(1, 2**63), st.integers(-(2**63) + 1, 2**63 - 1))


@given(st.lists(_put, max_size=100), st.lists(_names, max_size=60))
def test_table_says_what_a_dictionary_would(
    puts: list[tuple[str, int, int]], takes: list[str]
) -> None:
    table, known = LedgerTable(), dict[str, tuple[int, int, str]]()
    for account, last, balance in puts:
        assert table.put(account, last, balance, "CNY") == known.get(account, (0, 0, "CNY"))
        known[account] = (last, balance, "CNY")
        assert table.newest(account) == last
    for account in takes:
        assert table.take(account, "USD") == known.pop(account, (0, 0, "USD"))
        assert table.left == len(known)
        assert table.newest(account) == 0


def test_many_accounts_take_some_forty_bytes_each() -> None:
    """Also while they become more, as no two tables are ever beside each other."""
    table, count = LedgerTable(), 20_000
    for n in range(count):
        assert table.put(f"6217{n:012d}", n + 1, n, "CNY" if n % 2 else "USD") == (
            0, 0, "CNY" if n % 2 else "USD",
        )  # fmt: skip
    taken = sum(
        part.hashes.itemsize * (len(part.hashes) + len(part.lasts) + len(part.balances))
        + len(part.kept_in)
        for part in table._parts
    )
    assert taken / count < 52
    assert max(part.size for part in table._parts) < 3 * count / PARTS
    for n in range(count):
        assert table.take(f"6217{n:012d}", "") == (n + 1, n, "CNY" if n % 2 else "USD")
    assert table.left == 0


def test_figures_that_cannot_be_are_kept_as_the_most_there_can_be() -> None:
    """A damaged row may say anything; what comes of it is a violation, and no exception."""
    table = LedgerTable()
    for n in range(300):
        table.put(f"A{n}", 1, 2**64 - 1, f"C{n}")
    last, balance, currency = table.take("A299", "")
    assert (last, balance) == (1, 2**63 - 1)
    assert currency != "C299", "there are not so many currencies"
