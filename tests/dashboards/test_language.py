"""The pages in other languages: every text has its translation, and a page has nothing left in English."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from dashboards.language import COOKIE, ENGLISH, LANGUAGES

FOLDER = Path(__file__).parents[2] / "dashboards"
OTHERS = [language for language in LANGUAGES if language != ENGLISH]
BOARD = "/example.com?from=2026-03-27&to=2026-03-31"


def texts() -> set[tuple[str, ...]]:
    """What the pages say, each as one text or as those for one and for many."""
    found = extract_from_dir(
        FOLDER,
        [("**/templates/*.html", "jinja2"), ("**.py", "python")],
        keywords={"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)},
        options_map={"**/templates/*.html": {"newstyle_gettext": "true"}},
    )
    return {(text,) if isinstance(text, str) else tuple(text) for _, _, text, _, _ in found}


def catalog(language: str) -> Catalog:
    return read_po(io.BytesIO((FOLDER / f"translations/{language}.po").read_bytes()), language)


def forms(message: Message) -> Iterator[tuple[str, str]]:
    """Each text of a message with its translations."""
    ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
    strings = message.string if isinstance(message.string, tuple | list) else (message.string,)
    for number, string in enumerate(strings):
        yield ids[min(number, len(ids) - 1)], string


def parts(text: str) -> set[str]:
    """The places in a text for what is put into it."""
    return set(re.findall(r"%\(\w+\)s|%s|%%|<[^>]*>", text)) - {"%(num)s"}


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_and_no_other(language: str) -> None:
    known = {tuple(m.id) if isinstance(m.id, tuple | list) else (m.id,) for m in catalog(language) if m.id}
    assert sorted(texts() - known) == []
    assert sorted(known - texts()) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_places_of_its_text(language: str) -> None:
    for message in catalog(language):
        if message.id:
            assert not message.fuzzy
            for text, string in forms(message):
                assert string, text
                assert parts(string) == parts(text), (text, string)


def test_the_language_is_the_browsers_until_one_is_chosen(client: FlaskClient) -> None:
    german = {"Accept": "text/html", "Accept-Language": "fr, de-CH;q=0.8, en;q=0.5"}

    def lang(path: str, **headers: str) -> str:
        found = re.search(r'<html lang="(\w+)"', client.get(path, headers=headers, follow_redirects=True).text)
        assert found
        return found[1]

    assert lang(BOARD) == "en"
    assert lang(BOARD, **german) == "de"
    chosen = client.get(f"{BOARD}&lang=en", headers=german)
    assert (chosen.status_code, chosen.location) == (303, BOARD)
    assert lang(BOARD, **german) == "en"
    assert lang(f"{BOARD}&lang=xx", **german) == "en"
    refused = client.get(f"{BOARD}&lang=en", headers=german | {"Host": "evil.example"})
    assert (refused.status_code, "Set-Cookie" in refused.headers) == (421, False)
    client.delete_cookie(COOKIE)
    assert lang(f"{BOARD}&lang=xx", **german) == "de"


def test_numbers_and_days_are_written_as_the_language_does(client: FlaskClient) -> None:
    german = client.get(f"{BOARD}&lang=de").text
    assert ">1,2<" in german  # views a visit
    assert re.search(r">\d+\s%<", german)
    assert "27.03.2026" in german
    assert "Besucher" in german
