"""The table of the ops listener: every row that there is."""

from typing import Final

from gateway.ops import probes

ROWS: Final = probes.ROWS
