"""Texts that are no UTF-8: read in the encoding that their address names, or in which they are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from babel import Locale
from hypothesis import example, given
from hypothesis import strategies as st

from activity import encodings, url
from activity.compat.forms import parameters
from activity.encodings import as_text, as_texts, named
from activity.incoming import DEFAULT_LIMITS


def words(language: str, codec: str) -> Iterator[tuple[str, str]]:
    """Names of countries and languages, and each as a query decoded as UTF-8 has it that is written in `codec`."""
    locale = Locale.parse(language)
    for name in sorted({name.lower() for names in (locale.territories, locale.languages) for name in names.values()}):
        sent = name.encode(codec, "ignore").decode("utf-8", "surrogateescape")
        if not sent.isascii() and sent != name and name == name.encode(codec, "ignore").decode(codec):
            yield name, sent


@pytest.mark.parametrize(
    ("language", "codec", "right"),
    [("ru", "cp1251", 0.99), ("uk", "cp1251", 0.99), ("ru", "koi8-r", 0.95), ("zh", "gbk", 0.93),
     ("zh_Hant", "big5", 0.9), ("ja", "shift_jis", 0.95), ("ja", "euc_jp", 0.8), ("ko", "euc_kr", 0.95),
     *((language, "cp1252", 1.0) for language in ("de", "fr", "es", "pt", "it", "nl", "sv", "da", "fi"))],
)  # fmt: skip
def test_a_word_is_read_as_its_language_writes_it(language: str, codec: str, right: float) -> None:
    found = [(as_text(sent), name) for name, sent in words(language, codec)]
    assert len(found) > 10
    assert sum(read == name for read, name in found) >= right * len(found)


def test_the_encoding_that_an_address_names_is_taken_if_it_fits() -> None:
    for pairs, codec in (
        ([("q", "x"), ("IE", "GB2312")], "gb18030"),
        ([("_charset_", "Windows-1251")], "cp1251"),
        ([("enc", "none"), ("charset", "Shift_JIS")], "cp932"),
        ([("ie", "utf-8")], ""),
        ([("ie", "hex"), ("windows-1251", "")], ""),
    ):
        assert named(pairs) == codec
    assert as_text("\udcc3\udcb1", "gb18030") == "\u5e3d"
    assert as_text("caf\udce9", "gb18030") == "café", "it does not fit"


def test_a_word_with_latin_letters_is_western_but_for_what_only_others_write() -> None:
    for word in ("é", "à la carte", "Œuvre", "cœur", "Škoda", "Živago", "Paris–Roubaix", "“50 €”", "½ kg", "öä"):
        assert as_text(word.encode("cp1252").decode("utf-8", "surrogateescape")) == word
    for word in ("帽子", "東京 abc"):
        assert as_text(word.encode("cp932").decode("utf-8", "surrogateescape")) == word


@given(st.binary(max_size=40) | st.binary(max_size=3_000), st.sampled_from(["", "gb18030", "cp932", "cp1251"]))
@example(b"\xff\xfe\x00", "")
def test_any_bytes_are_some_text_and_nothing_is_lost(raw: bytes, codec: str) -> None:
    text = as_text(raw.decode("utf-8", "surrogateescape"), codec)
    text.encode("utf-8")
    assert text or not raw
    assert "\ufffd" not in text or b"\xef\xbf\xbd" in raw or codec == "gb18030"


def test_a_text_of_stray_bytes_costs_no_call_for_each() -> None:
    def calls(count: int) -> int:
        seen = 0

        def called(_frame: object, kind: str, _argument: object) -> None:
            nonlocal seen
            seen += kind == "call"

        query = "t=" + "%ff%81" * count
        before = sys.getprofile()
        sys.setprofile(called)
        try:
            found = parameters(query, DEFAULT_LIMITS)
        finally:
            sys.setprofile(before)
        assert found == {"t": "ÿ\x81" * count}
        return seen

    assert calls(1_000) < 1_000


def test_what_stands_for_no_byte_is_left() -> None:
    assert as_text("\ud800\udce9") == "\ud800é"


def test_of_one_address_the_detector_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    detected = encodings._detected.__wrapped__
    monkeypatch.setattr(encodings, "_detected", lambda raw: (asked.append(raw), detected(raw))[1])
    query = "&".join(f"%e{n % 10}%f{n // 10}={n}%ef%f0%e8%e2%e5%f2" for n in range(100))
    assert len(url.parameters(f"{query}&utm_source=%25ef%25f0&utm_medium=%25e8%25e2")) == 102
    assert len(asked) == 1


def test_the_texts_of_one_address_are_in_one_encoding() -> None:
    sent = [word.encode("cp1251").decode("utf-8", "surrogateescape") for word in ("привет", "мир")]
    assert as_texts([*sent, "caf\udce9", "é", "plain"]) == ["привет", "мир", "café", "é", "plain"]
