"""Languages: which one somebody reads, and what is said in it.

English is what the sources say; Chinese is in a gettext catalogue that is read as it is when the
first page is asked for, so nothing has to be compiled before. Which one it is, the browser says at
first (Accept-Language, RFC 9110, section 12.5.4), and a cookie once somebody has chosen.
"""

import io
import re
from functools import cache
from pathlib import Path
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LANGUAGES: Final = ("en", "zh")
CATALOGUE: Final = Path(__file__).parent / "locale/zh/LC_MESSAGES/console.po"
LOCALES: Final = {"en": "en_GB", "zh": "zh_Hans_CN"}
"""By whose customs numbers and times are written; British, for a day of 24 hours."""
TAGS: Final = {"en": "en", "zh": "zh-Hans"}
"""What a page says that it is in (BCP 47)."""

_RANGE: Final = re.compile(
    r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9]{1,8})*\s*(?:;\s*q=([0-9.]{1,5}))?"
)


@cache
def translations(language: str) -> NullTranslations:
    """Return what is said in a language; English says what the sources do."""
    if language == "en":
        return NullTranslations()
    compiled = io.BytesIO()
    with CATALOGUE.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def preferred(accepted: str) -> str:
    """Return the language that a browser would rather have; English where it has neither.

    Args:
        accepted: what Accept-Language says.
    """
    best, most = LANGUAGES[0], 0.0
    for part in accepted.split(",")[:20]:
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        language, quality = found[1].lower(), _quality(found[2])
        if language in LANGUAGES and quality > most:
            best, most = language, quality
    return best


def _quality(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0
