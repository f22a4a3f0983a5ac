"""Workloads: what clients ask for, in an order that a seed gives again (docs/BENCHMARKS.md)."""
