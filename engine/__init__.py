"""The actor runtime: addresses, turns, durable messages, group commit, recovery.

It knows nothing of payments. What an actor does with a message is told to it by the actor
kinds (`engine.kind`); where rows go is told to it by a store (`storage`).
"""
