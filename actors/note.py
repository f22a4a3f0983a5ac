"""Notes: what a caller writes beside a command, for its own use: a description and metadata.

They are part of the command's content and are kept with the record that binds its number; the
bank gives them back as they are and never looks into them. A record without one is a single byte
longer than it would be without notes.
"""

from typing import Annotated, Final, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

# No control characters and no halves of surrogate pairs; `$` also matches before a newline.
_TEXT: Final = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*$(?!\n)"

Text = Annotated[str, Meta(max_length=256, pattern=_TEXT)]
Key = Annotated[str, Meta(min_length=1, max_length=40, pattern=_TEXT)]

Description = Annotated[Text, Meta(description="at most 256 characters")] | UnsetType
Metadata = Annotated[dict[Key, Text], Meta(max_length=16)] | UnsetType


class Note(Struct, frozen=True, array_like=True, gc=False):
    """A caller's note; None for what was not given."""

    description: str | None
    metadata: dict[str, str] | None


class Noted(Protocol):
    """A command that may bear a note."""

    @property
    def description(self) -> str | UnsetType:
        """For people."""

    @property
    def metadata(self) -> dict[str, str] | UnsetType:
        """For the caller's programs."""


def note_of(command: Noted) -> Note | None:
    """Return a command's note, None where there is none."""
    description, metadata = command.description, command.metadata
    if description is UNSET and metadata is UNSET:
        return None
    return Note(
        None if description is UNSET else description, None if metadata is UNSET else metadata
    )


def description_of(note: Note | None) -> str | UnsetType:
    """Return the description as an answer shows it: left out where there is none."""
    return UNSET if note is None or note.description is None else note.description


def metadata_of(note: Note | None) -> dict[str, str] | UnsetType:
    """Return the metadata as an answer shows it: left out where there is none."""
    return UNSET if note is None or note.metadata is None else note.metadata
