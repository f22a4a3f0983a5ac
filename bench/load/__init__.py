"""Load: what a benchmark of a node is put together from.

Payments in a reproducible order (`workload`), clients in processes of their own (`client`) over
each transport (`http1`, `websocket`), latencies (`latencies`), the node under test (`node`), and
the report (`report`).
"""
