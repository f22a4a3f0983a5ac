"""The stream: commands and events over one WebSocket (RFC 6455), `GET /v1/stream`.

Bytes go from a connection (any listener's) through `frames` to a `session`, which decides: what a
message is (`messages`), what is started, what is answered, when a stream is over (`closing`). A
`pump` moves the bytes either way and keeps to the times of `bounds`; `streams` knows all that there
are. No answer leaves before its commit, and no event before the client has taken those before it.
"""
