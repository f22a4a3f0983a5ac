"""The catalogue: whatever a page can say, it can say in Chinese."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

from actors.refusal import Refusal
from gateway.console import words
from gateway.console.languages import CATALOGUE, translations
from gateway.console.sentences import SENTENCES, added
from gateway.errors import CODES
from gateway.ops.errors import OPS_CODES
from gateway.ops.outcome import OutcomeCode

PACKAGE = Path(words.__file__).parent
KEYWORDS: dict[str, None] = {"_": None, "gettext": None, "ngettext": None}
NAMES = re.compile(r"%\((\w+)\)s")


def catalogue() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="zh", abort_invalid=True)


def said() -> Iterator[tuple[str, ...]]:
    """Yield every text that is marked: one, or a singular and its plural; and what codes mean."""
    yield from ((each,) for each in SENTENCES.values())
    for path in sorted(PACKAGE.rglob("*.html")):
        for _, _, texts, _ in babel_extract(BytesIO(path.read_bytes()), [*KEYWORDS], [], {}):
            yield _texts(texts)
    for path in sorted(PACKAGE.rglob("*.py")):
        for _, _, marked, _ in extract_python(BytesIO(path.read_bytes()), KEYWORDS, [], {}):
            yield _texts(marked)


def _texts(texts: object) -> tuple[str, ...]:
    """Return those that are there: what is not a literal has no text to be translated."""
    given = texts if isinstance(texts, tuple | list) else (texts,)
    return tuple(each for each in given if isinstance(each, str))


def test_catalogue_has_every_text_and_no_other() -> None:
    there = {_texts(each.id) for each in catalogue() if each.id}
    wanted = {each for each in said() if each}
    assert len(wanted) > 200
    assert wanted - there == set(), "not in the catalogue"
    assert there - wanted == set(), "said nowhere"


def test_every_text_of_the_catalogue_is_translated() -> None:
    """None empty, none fuzzy, and each with the same names in it, or a page would fail."""
    found = catalogue()
    assert not found.fuzzy
    assert not found.obsolete
    for message in found:
        if not message.id:
            continue
        strings = _texts(message.string)
        assert strings, message.id
        for string in strings:
            assert string, message.id
            assert not message.fuzzy, message.id
            wanted = {each for text in _texts(message.id) for each in NAMES.findall(text)}
            assert {*NAMES.findall(string)} == wanted, message.id
            assert string.count("%") == len(NAMES.findall(string)), message.id


def test_words_are_chinese() -> None:
    """What was copied and not translated has no Chinese character; only names may have none."""
    chinese = re.compile(r"[一-鿿]")
    alike = {each.id for each in catalogue() if each.id and not chinese.search(str(each.string))}
    assert alike == set()
    assert translations("zh").gettext("Overview") == "总览"
    assert translations("en").gettext("Overview") == "Overview"


def test_detail_is_shown_for_what_it_adds_to_its_codes_sentence() -> None:
    """Advice that stands in the table is English for whoever writes a client, and no figure."""
    advice = CODES[Refusal.ACCOUNT_FROZEN].advice
    told = f"{CODES[Refusal.ACCOUNT_FROZEN].title} {advice}"
    for detail in (advice, told):
        assert added("ACCOUNT_FROZEN", detail, "en") == advice
        assert added("ACCOUNT_FROZEN", detail, "zh") == ""
    assert added("INVALID_REQUEST", "there are 3 shards, from 0 on", "zh") == (
        "there are 3 shards, from 0 on"
    )
    assert added("DEAD_LETTER_NOT_FIRST", SENTENCES["DEAD_LETTER_NOT_FIRST"].lower(), "zh") == ""
    assert added("A_CODE_OF_TOMORROW", "as it comes", "zh") == "as it comes"
    assert {*map(str, (*CODES, *OPS_CODES, *OutcomeCode))} == SENTENCES.keys()
