"""Footprints: where a payment's postings are, when no ring remembers its turns any more.

Each posting of an account leads to the one before it, so a debit is found from the account's newest
one however old it is, as long as not too many came after it. Commits are in the order of their
postings: which one holds a posting takes a score of look-ups, whatever the number of commits.
"""

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


async def debit_of(node: Node, account_no: str, reference: str) -> tuple[Shard, int] | None:
    """Return the shard and the commit in which an account was debited under a reference.

    None where that has not happened, or too much has happened since.
    """
    shard = node.shard_of(f"{ACCOUNT.name}/{account_no}")
    state = state_of(node, ACCOUNT, account_no)
    sequence = 0 if state is None else state.posted_last
    for _ in range(0, WALKED_MAX, AT_ONCE):
        with closing(shard.store.snapshot()) as snapshot:
            for _ in range(AT_ONCE):
                posting = posting_at(snapshot, sequence) if sequence else None
                if posting is None:
                    return None
                if posting.reference == reference:
                    return shard, _commit_with(snapshot, sequence)
                sequence = posting.prev
        await trio.lowlevel.checkpoint()
    return None


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
