"""Days as exports and spreadsheets write them: ISO, turned round, in words, or as a spreadsheet's number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache

DAY_FIRST, MONTH_FIRST = "day first", "month first"

_MIDNIGHT = r" 0?0:00(?::00)?| 12:00(?::00)? ?am"
_ISO = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?(?: ?Z| ?UTC|[+-]\d\d:?\d\d)?)?")
_YEAR_FIRST = re.compile(
    r"(\d{4})\s*[-/.年년]\s*(\d{1,2})\s*[-/.月월]\s*(\d{1,2})\s*[.日일]?"
    rf"(?:\s*(?:\(([^\W\d]{{1,9}})\)|[月火水木金土日]曜日|星期[一二三四五六日天]|[월화수목금토일]요일))?(?:{_MIDNIGHT})?"
)
_WORD = re.compile(r"([^\W\d]{2,12}(?:-[^\W\d]{2,12})?)\.?,? ")  # before a day
_TURNED = re.compile(rf"(\d{{1,2}})\s*([-/.])\s*(\d{{1,2}})\s*[-/.]\s*(\d{{4}}|\d\d)\.?(?:{_MIDNIGHT})?")
_IN_WORDS = re.compile(
    r"(?:(\d{1,2})(?:\.|st|nd|rd|th|er)?|([^\W\d]+)\.?) (?:de )?"
    r"(?:(\d{1,2})(?:\.|st|nd|rd|th|er)?|([^\W\d]+)\.?),? (?:de )?(\d{4})"
)
_BY_DASHES = re.compile(r"(\d{1,2})([-/])([^\W\d]+)\.?\2(\d{4}|\d\d)")  # as Excel shows a day by itself
_NUMBER = re.compile(r"\d{5}")  # days since the end of 1899, as spreadsheets count them
_CLEAR = re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}|\d{4}[/.]\d{1,2}[/.]\d{1,2}")
_ZERO = date(1899, 12, 30)
_FIRST, _LAST = date(1990, 1, 1), date(2099, 12, 31)
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl")
_SECONDS = re.compile(r"\d{10}")  # since 1970
_LOOKED_AT = 100_000  # texts
_LONGEST = 100  # characters of a day: what is longer is none


def day_of(text: str, order: str = DAY_FIRST) -> date | None:
    """Return the day that a text says; None where it is none between 1990 and 2100.

    `order` is how "1/2/2024" is to be read; with dots the day is first."""
    plain = text.strip()
    if match := _ISO.fullmatch(plain):
        return _made(match[1], match[2], match[3])
    if len(plain) > _LONGEST:
        return None
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    if plain.endswith(".0") and plain[:-2].isdigit():  # as programs write a column of numbers that has gaps
        return day_of(plain[:-2])
    plain = plain.lower()
    word = _WORD.match(plain)
    bare = plain[word.end() :] if word and word[1] in _weekdays() else plain
    if match := _YEAR_FIRST.fullmatch(bare):
        behind = match[4] or ""  # in brackets
        is_weekday = len(behind) < 2 or behind in _weekdays()  # of one letter in Chinese, Japanese and Korean
        return _made(match[1], match[2], match[3]) if is_weekday else None
    if match := _ISO.fullmatch(bare.upper()):
        return _made(match[1], match[2], match[3])
    if match := _BY_DASHES.fullmatch(plain):
        return _made(match[4] if len(match[4]) == 4 else f"20{match[4]}", str(_months().get(match[3], 0)), match[1])
    if match := _TURNED.fullmatch(plain):
        one, two = match[1], match[3]
        month, day = (two, one) if order == DAY_FIRST or match[2] == "." else (one, two)
        return _made(match[4] if len(match[4]) == 4 else f"20{match[4]}", month, day)
    if match := _IN_WORDS.fullmatch(bare):
        month_name = match[2] or match[4] or ""
        return _made(match[5], str(_months().get(month_name, 0)), match[1] or match[3] or "0")
    if _NUMBER.fullmatch(plain):
        found = _ZERO + timedelta(int(plain))
        return found if _FIRST <= found <= _LAST else None
    return None


def _made(year: str, month: str, day: str) -> date | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if _FIRST <= found <= _LAST else None


@cache
def _months() -> dict[str, int]:
    """The months by their names and short names."""
    from babel import Locale

    found: dict[str, int] = {}
    for language in _LANGUAGES:
        months = Locale(language).months
        for form in ("format", "stand-alone"):
            for width in ("wide", "abbreviated"):
                found |= {name.lower().rstrip("."): number for number, name in months[form][width].items()}
    return found | {"sept": 9}


@cache
def _weekdays() -> frozenset[str]:
    """The days of the week by their names and short names."""
    from babel import Locale

    days = [Locale(language).days["format"] for language in (*_LANGUAGES, "ja", "zh", "ko")]
    widths = ("wide", "abbreviated", "short")
    return frozenset(name.lower().rstrip(".") for of in days for width in widths for name in of[width].values())


def time_of_day(text: str) -> str:
    """Return a time as ISO 8601, of "2024-05-31 12:00:00 UTC" or as a spreadsheet writes it, "31.05.2024 12:00"; or as
    milliseconds, of seconds since 1970.

    What may be read in two ways, or is no time, is returned as it is."""
    plain = text.strip().removesuffix(" UTC")
    if _SECONDS.fullmatch(plain):
        return f"{plain}000"
    day, _, clock = plain.partition("T" if "T" in plain else " ")
    if _CLEAR.fullmatch(day) and (found := day_of(day)):
        return f"{found.isoformat()}T{clock.zfill(5) if clock[1:2] == ':' else clock}"
    return plain.replace(" ", "T", 1)


class Unclear(Exception):
    """Days that may be read in two ways: in words."""


def order_of(texts: Iterable[str], first: date | None = None, last: date | None = None) -> str:
    """Return how the days of a column are to be read, of which `first` and `last` are known where the file tells them.

    What only one order makes a day, or a day of that time, decides; then that an export has a day for each day, unless
    they may be months, of which each is told by its first day. Raises `Unclear` where nothing decides, or the texts
    contradict each other."""
    readings: dict[str, set[date]] = {DAY_FIRST: set(), MONTH_FIRST: set()}
    example, count, differ = "", 0, False
    for text in texts:
        match = _TURNED.fullmatch(text.strip().lower())
        count += 1
        if not match or match[2] == ".":
            if count > _LOOKED_AT or (count > 20 and not example):
                break
            continue
        example = example or text.strip()
        for order in [*readings]:
            day = day_of(text, order)
            if day is None or (first and day < first) or (last and day > last):
                del readings[order]
            else:
                readings[order].add(day)
        differ |= match[1].zfill(2) != match[3].zfill(2)
        if not readings:
            raise Unclear(f"the days, such as {text.strip()!r}, are written in two ways: write them as 2024-05-31")
    if not example or len(readings) == 1 or not differ:
        return next(iter(readings))
    gaps = {order: (max(days) - min(days)).days + 1 - len(days) for order, days in readings.items()}
    best = min(gaps, key=lambda order: gaps[order])
    if len(readings[DAY_FIRST]) < 3 or len({*gaps.values()}) == 1 or gaps[best] > len(readings[best]):
        raise Unclear(f"nobody can tell whether {example!r} begins with the day or the month: write days as 2024-05-31")
    if any(all(day.day == 1 for day in days) for order, days in readings.items() if order != best):
        what = f"nobody can tell whether {example!r} begins with the day or the month, so these may be months"
        raise Unclear(f"{what}: export it by day, with days such as 2024-05-31")
    return best
