"""Countries by the names that products and people give them, in the languages of the reports that have them."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_LANGUAGES = ("de", "fr", "es", "ja", "it", "pt", "nl", "sv", "da", "pl", "tr", "ko", "zh")
_LONGEST = 100  # characters of a country's name
_SEVERAL = ("congo", "china", "korea")  # what countries have in common that are told apart by what is behind it
_ALSO_CALLED = {
    "hong kong": "HK", "macao": "MO", "macau": "MO", "turkey": "TR", "czech republic": "CZ", "palestine": "PS",
    "swaziland": "SZ", "macedonia (fyrom)": "MK", "cape verde": "CV", "ivory coast": "CI", "curacao": "CW", "uk": "GB",
    "great britain": "GB", "usa": "US", "united states of america": "US", "viet nam": "VN", "russian federation": "RU",
    "republic of korea": "KR", "republic of ireland": "IE", "korea, republic of": "KR",
    "korea, democratic people's republic of": "KP", "congo, republic of": "CG", "congo, republic of the": "CG",
    "congo, democratic republic of": "CD", "congo, democratic republic of the": "CD",
    "congo, the democratic republic of the": "CD", "democratic republic of the congo": "CD",
    "republic of the congo": "CG", "china, republic of": "TW", "china, people's republic of": "CN",
    "taiwan, province of china": "TW",
}  # fmt: skip


def country_code(name: str) -> str:
    """Return the ISO code of a country by its name; "" where it is none."""
    if len(name) == 2 and name.isascii() and name.isalpha() and name.upper() != "UK":
        return name.upper()
    if len(name) > _LONGEST:
        return ""
    return _in_english().get(_plain(name)) or _in_others().get(_plain(name), "")


@cache
def _in_english() -> dict[str, str]:
    return _territories("en") | _ALSO_CALLED


@cache
def _in_others() -> dict[str, str]:
    found: dict[str, str] = {}
    for language in reversed(_LANGUAGES):
        found |= _territories(language)
    return found


def _territories(language: str) -> dict[str, str]:
    from babel import Locale

    named = Locale(language).territories.items()
    return {_plain(name): code for code, name in named if len(code) == 2 and code.isalpha()}


def _plain(name: str) -> str:
    """Return a country's name as the many ways to write it have it in common."""
    text = name.lower().replace("\u2019", "'").replace(" & ", " and ").removeprefix("the ")
    text = text.partition(" (islas")[0]
    kind, _, rest = text.rpartition(", ")  # "Moldova, Republic of"
    if rest.endswith(" of") and kind and kind not in _SEVERAL:
        text = kind
    text = re.sub(r"^saint ", "st. ", text)
    in_letters = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    return in_letters if in_letters.isascii() else text
