"""The catalogue: whatever a page can say, it can say in Chinese."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

from gateway.console import words
from gateway.console.languages import CATALOGUE, translations

PACKAGE = Path(words.__file__).parent
KEYWORDS: dict[str, None] = {"_": None, "gettext": None, "ngettext": None}
NAMES = re.compile(r"%\((\w+)\)s")


def catalogue() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="zh", abort_invalid=True)


def said() -> Iterator[tuple[str, ...]]:
    """Yield every text that is marked: one, or a singular and its plural."""
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
