"""The table of the ops listener: every row that there is."""

from typing import Final

from gateway.ops import audit_rows, probes, session_rows

ROWS: Final = (*probes.ROWS, *session_rows.ROWS, *audit_rows.ROWS)
