"""Notes: what a caller writes beside a command, for its own use: a description and metadata.

They are part of the command's content and are kept with the record that binds its number, behind
the content's digest; the bank gives them back as they are and never looks into them.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

# No control characters and no halves of surrogate pairs; `$` also matches before a newline.
_TEXT: Final = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*$(?!\n)"

Text = Annotated[str, Meta(max_length=256, pattern=_TEXT)]
Line = Annotated[str, Meta(min_length=1, max_length=256, pattern=_TEXT)]
Key = Annotated[str, Meta(min_length=1, max_length=40, pattern=_TEXT)]

Description = Annotated[Text, Meta(description="at most 256 characters")] | UnsetType
Metadata = Annotated[dict[Key, Text], Meta(max_length=16)] | UnsetType


class Note(Struct, frozen=True, array_like=True, gc=False):
    """A caller's note; None for what was not given."""

    description: str | None
    metadata: dict[str, str] | None


_DIGEST_BYTES: Final = 32
# Metadata in whatever order is the same metadata.
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder(Note).decode


def with_note(digest: bytes, command: Struct) -> bytes:
    """Return the digest of a command, and behind it the command's note, if it bears one.

    So one field of a record says what content its number is bound to, and keeps the note: a
    record without one is no byte longer.
    """
    description = getattr(command, "description", UNSET)
    metadata = getattr(command, "metadata", UNSET)
    if description is UNSET and metadata is UNSET:
        return digest
    note = Note(
        None if description is UNSET else description, None if metadata is UNSET else metadata
    )
    return digest + _encode(note)


def description_of(digest: bytes) -> str | UnsetType:
    """Return the description in a record's digest; answers leave it out where there is none."""
    if len(digest) == _DIGEST_BYTES:
        return UNSET
    description = _decode(digest[_DIGEST_BYTES:]).description
    return UNSET if description is None else description


def metadata_of(digest: bytes) -> dict[str, str] | UnsetType:
    """Return the metadata in a record's digest; answers leave it out where there is none."""
    if len(digest) == _DIGEST_BYTES:
        return UNSET
    metadata = _decode(digest[_DIGEST_BYTES:]).metadata
    return UNSET if metadata is None else metadata
