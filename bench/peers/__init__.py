"""Peers: other systems that do the same payment, run beside ours on the same disk.

What each side does, and what it does not, stands in docs/BENCHMARKS.md. A peer is durable as its
makers ship it, tuned as its users would, and in its best form: where a choice could have gone
either way, the one that is better for the peer was taken.
"""
