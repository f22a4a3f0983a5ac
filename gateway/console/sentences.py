"""Sentences: what a code says, on a page in either language.

Rows answer with problem details, and proposals with outcomes, in English and under a code. What a
code means is one sentence of its table, and so a text of the catalogue; what a detail adds to that,
a figure or the name of a member, is shown behind it as it came, for nobody could translate it.
"""

from collections.abc import Mapping
from typing import Final

from gateway.errors import CODES, Meaning
from gateway.ops.errors import OPS_CODES
from gateway.ops.outcome import OutcomeCode


def _(text: str) -> str:
    """Mark a text for the catalogue; it is translated where it is shown."""
    return text


_OUTCOMES: Final[Mapping[str, str]] = {
    OutcomeCode.OK: _("It was carried out."),
    OutcomeCode.TURN_FAILED: _("A dead letter’s turn has failed anew; it is where it was."),
    OutcomeCode.DEAD_LETTER_NOT_FIRST: _(
        "It is not there any more, or another of its actor stands before it."
    ),
    OutcomeCode.RELEASE_ONLY: _(
        "What the dead letter tells has happened, or has to: it can only be released."
    ),
    OutcomeCode.UNREADABLE: _(
        "Nobody can read the dead letter: it is kept for a program that can."
    ),
    OutcomeCode.TARGET_CHANGED: _("What it is about is in another state by now."),
    OutcomeCode.BACKUP_FAILED: _("The backup could not be written; there is none."),
    OutcomeCode.OPERATORS_NOT_WHOLE: _(
        "The backup was written, and operators or their log are not whole in it."
    ),
    OutcomeCode.VERIFICATION_FAILED: _("The store could not be looked through."),
    OutcomeCode.VIOLATIONS_FOUND: _(
        "The store was looked through, and something that must hold does not."
    ),
    OutcomeCode.NODE_ENDED: _("The node ended before it was known what came of it."),
}
_MEANINGS: Final[Mapping[str, Meaning]] = {
    **{str(code): meaning for code, meaning in CODES.items()},
    **{str(code): meaning for code, meaning in OPS_CODES.items()},
}

SENTENCES: Final[Mapping[str, str]] = {
    **{code: meaning.title for code, meaning in _MEANINGS.items()},
    **{str(code): text for code, text in _OUTCOMES.items()},
}
"""Code → what it means, in English; `tests/console/test_catalogue.py` has each in Chinese too."""


def added(code: str, detail: str, language: str) -> str:
    """Return what a detail says beyond its code's sentence, in English; empty for nothing.

    Args:
        language: of the page. The advice that always goes with a code is English, for whoever
            writes a client: a page in another language does without.
    """
    sentence = SENTENCES.get(code, "")
    rest = detail.removeprefix(sentence).lstrip()
    if rest.casefold().rstrip(".") == sentence.casefold().rstrip("."):
        return ""
    meaning = _MEANINGS.get(code)
    if language != "en" and meaning is not None and rest == meaning.advice:
        return ""
    return rest
