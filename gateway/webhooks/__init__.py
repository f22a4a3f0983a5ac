"""Webhooks: a merchant's events, sent to its own server, signed, until it has taken them.

The order of what is sent and when is decided without I/O (`rounds`); which addresses may be reached
at all stands in `reach`; `wire` connects and nothing else does. Couriers bring both together, one
for each merchant that has something to be sent, and the dispatcher starts and ends them.
"""
