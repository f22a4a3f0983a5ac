"""Ops: the listener by which operators and their tools look at a running node (docs/ops/)."""
