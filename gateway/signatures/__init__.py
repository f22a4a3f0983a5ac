"""Signatures: how a message over HTTP is signed and verified (RFC 9421, RFC 9530).

`profile` is the one form in which merchants and the bank sign; who wants to know how to sign reads
that file, or docs/SIGNATURES.md. It rests on `digest` (of the body), `keys` (three algorithms) and
`error`. `base` and `structured` are the general form that the profile is an instance of, for which
RFC 9421 has test vectors. Nothing here does I/O, reads a clock or draws a random number.
"""
