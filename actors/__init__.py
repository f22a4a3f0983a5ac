"""The payment domain: accounts, merchants and what they owe each other.

No I/O, no clock, no random number: everything comes from the turn (`engine.turn`).
"""
