"""Footprints: where the postings of a payment or an authorization are, when no ring remembers its
turns any more.

Each posting of an account leads to the one before it, so a debit is found from the account's newest
one however old it is, as long as not too many came after it. Commits are in the order of their
postings: which one holds a posting takes a score of look-ups, whatever the number of commits.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Final

import trio

from actors.kinds import ACCOUNT
from engine.node import Node
from engine.shard import Shard
from gateway.lookup import state_of
from storage.journal import newest_commit, open_commit, posting_at, sequence_key
from storage.row import COMMITS
from storage.store import Snapshot

WALKED_MAX: Final = 2_000
"""Postings of an account that are looked through: a customer's of some years."""
AT_ONCE: Final = 50
"""Of these, so many before others have their turn: a millisecond."""


async def commits_with(
    node: Node, account_no: str, belongs: Callable[[str], bool], debits: int
) -> set[tuple[Shard, int]]:
    """Return the shard and the commits of the postings of an account that belong to something.

    Args:
        belongs: says so of a posting, by its reference.
        debits: how many of these take money away. The oldest of them is what it began with: there
            the walk ends, or where too many postings have been looked through.
    """
    shard = node.shard_of(f"{ACCOUNT.name}/{account_no}")
    state = state_of(node, ACCOUNT, account_no)
    sequence = 0 if state is None else state.posted_last
    found: set[tuple[Shard, int]] = set()
    for _ in range(0, WALKED_MAX, AT_ONCE):
        with closing(shard.store.snapshot()) as snapshot:
            for _ in range(AT_ONCE):
                posting = posting_at(snapshot, sequence) if sequence and debits else None
                if posting is None:
                    return found
                if belongs(posting.reference):
                    found.add((shard, _commit_with(snapshot, sequence)))
                    debits -= posting.amount_minor < 0
                sequence = posting.prev
        await trio.lowlevel.checkpoint()
    return found


def _commit_with(snapshot: Snapshot, posting: int) -> int:
    """Return the commit that holds a durable posting: the last that begins no later."""
    low, high = 0, newest_commit(snapshot).sequence
    while low < high:
        middle = (low + high + 1) // 2
        key = sequence_key(middle)
        payload = snapshot.get(COMMITS, key)
        assert payload is not None, f"commit {middle} is missing"
        if open_commit(key, payload).posting_first <= posting:
            low = middle
        else:
            high = middle - 1
    return low
