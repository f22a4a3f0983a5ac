"""The bank's own certificate authority: root, issuing CA, and what they sign.

It works outside the engine: actors do no cryptography. The private keys lie in one folder,
encrypted; `gateway.ca.bank_keys` is what a node needs of them, `gateway.ca.csr` what a merchant
needs, and docs/CERTIFICATES.md says who signs what.
"""
