"""The listener: HTTP/1.1 on sockets of our own, one client at a time contained.

Bytes go from a socket (`connection`, through `tls` where it is on) past `framing`, which lets only
sound requests through, to Hypercorn's protocol (`http1`, which asks `names` whether it is meant),
and from there into one of the `places`. How many, how large and how slow they may be is in
`bounds`; `census` counts who is there.
"""
