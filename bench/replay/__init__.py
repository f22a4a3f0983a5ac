"""Replay: a file of payments, row by row, through a node's gateway (docs/REPLAY.md)."""
