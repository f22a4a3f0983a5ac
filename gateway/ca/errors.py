"""Why the CA refuses: one error for each of its three tasks, each with a typed reason.

All are `CommandError`s, so that the command line ends in one line and exit code 2. No message
holds anything of a key, of the master key or of a file that was to hold one.
"""

from enum import StrEnum

from gateway.exits import INPUT, CommandError


class CaError(CommandError):
    """The CA refuses; the base of its errors."""

    def __init__(self, detail: str) -> None:
        super().__init__(INPUT, detail)


class KeysReason(StrEnum):
    """Why the bank's keys cannot be used or written."""

    MISSING = "missing"
    """A folder, a key or a certificate is not there."""
    EXISTS = "exists"
    """What is to be made is there already."""
    OPEN_TO_OTHERS = "open_to_others"
    """Others than the owner may read or write a secret, or write a certificate."""
    NOT_OURS = "not_ours"
    """A file or folder belongs to another user."""
    NOT_A_FILE = "not_a_file"
    """It is a link, a pipe or another thing that is no plain file."""
    NO_MASTER_KEY = "no_master_key"
    """Neither a file nor the environment gives a master key."""
    MASTER_KEY_MALFORMED = "master_key_malformed"
    """The text is not 32 bytes in hexadecimal or base64."""
    WRONG_MASTER_KEY = "wrong_master_key"
    """The master key does not open a private key (or the key's file is damaged)."""
    KEY_MISMATCH = "key_mismatch"
    """A private key does not belong to its certificate."""
    FOREIGN_CERTIFICATE = "foreign_certificate"
    """A certificate was not signed by the CA above it."""
    MALFORMED = "malformed"
    """A file does not hold what its name says."""


class KeysError(CaError):
    """The bank's keys cannot be used or written.

    Attributes:
        reason: why, typed.
    """

    def __init__(self, reason: KeysReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class CsrReason(StrEnum):
    """Why a certificate signing request is refused; the first that holds is told."""

    TOO_LARGE = "too_large"
    """More than 16 KiB."""
    NOT_PEM = "not_pem"
    """There is no PEM block of a request in it."""
    PRIVATE_KEY = "private_key"
    """A private key came along: it is no secret any more."""
    SEVERAL = "several"
    """There is more than one PEM block."""
    MALFORMED = "malformed"
    """The block is no PKCS#10 request."""
    KEY_TYPE = "key_type"
    """The key is not Ed25519, ECDSA P-256 or RSA."""
    SMALL_ORDER = "small_order"
    """The Ed25519 key is a point of small order: anyone can sign for it."""
    RSA_SIZE = "rsa_size"
    """The RSA key has fewer than 2048 or more than 4096 bits."""
    RSA_EXPONENT = "rsa_exponent"
    """The RSA key's public exponent is not 65537."""
    SIGNATURE_HASH = "signature_hash"
    """The request is signed over another hash than SHA-256, SHA-384 or SHA-512."""
    WRONG_SIGNATURE = "wrong_signature"
    """The request was not signed with the key that it holds."""


class CsrError(CaError):
    """A certificate signing request is refused.

    Attributes:
        reason: why, typed.
    """

    def __init__(self, reason: CsrReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class IssueReason(StrEnum):
    """Why a certificate or CRL is not signed."""

    NAME = "name"
    """A name cannot stand in a certificate."""
    VALIDITY = "validity"
    """The time that is asked for is not one that the CA gives."""
    ISSUER_NOT_VALID = "issuer_not_valid"
    """The CA's own certificate has expired or is not valid yet."""


class IssueError(CaError):
    """A certificate or CRL is not signed.

    Attributes:
        reason: why, typed.
    """

    def __init__(self, reason: IssueReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
