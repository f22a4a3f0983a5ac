"""The table of the ops listener: every row that there is."""

from typing import Final

from gateway.ops import (
    actor_list,
    actor_row,
    audit_rows,
    bank_rows,
    dead_letters,
    documents,
    feed_row,
    journal_row,
    merchant_rows,
    probes,
    proposal_rows,
    session_rows,
    shard_rows,
    trace_row,
)

ROWS: Final = documents.described(
    (
        *probes.ROWS,
        *session_rows.ROWS,
        *audit_rows.ROWS,
        *shard_rows.ROWS,
        *dead_letters.ROWS,
        *actor_list.ROWS,
        *actor_row.ROWS,
        *trace_row.ROWS,
        *proposal_rows.ROWS,
        *journal_row.ROWS,
        *feed_row.ROWS,
        *merchant_rows.ROWS,
        *bank_rows.ROWS,
        documents.CODES,
    )
)
