"""The express listener: the rows of the handler table that are asked for most, at a fraction.

Hypercorn and Quart spend four times what a payment costs the rest of the node. Here a connection is
one Trio task that reads, asks the counter and writes: bytes pass the same `framing` as on the other
listener, `request` has httptools read them, `connection` answers one after the other, `answer`
writes HTTP's part of it, and `listener` opens the port and closes it. Nothing here knows what is
paid, and whatever the other listener would refuse is refused in the same words.
"""
