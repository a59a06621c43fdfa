"""Numbers as reports of Google Analytics have them, in whatever country: durations, shares, and what else is one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_MOST = 10**15
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d\d(?:[.,]\d+)?)")
_UNITS = re.compile(
    r"(?:(\d+)\s*(?:d|j|days?|tage?|日)\.?\s*)?(?:(\d+)\s*(?:h|hrs?|std|時間|ore|uur)\.?\s*)?"
    r"(?:(\d+)\s*(?:m|min|mins|mn|分)\.?\s*)?(?:(\d+(?:[.,]\d+)?)\s*(?:s|sec|secs|sek|seg|秒)\.?)?"
)
_UNIT = r"[^\W\d_]{1,3}"
_NUMBER = re.compile(rf"<? ?[-+]? ?(?:{_UNIT})? ?[^\w\s]? ?[-+]?[\d.,:' ]*\d ?(?:[^\w\s]|{_UNIT}\.?)?")
_UNCLEAR = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_LONGEST = 64  # characters of a number: what is longer is none


def seconds_of(text: str, point: str = "") -> float | None:
    """Return a duration, of "90.5", "90,5", "1,234.5", "1.234,5", "00:01:30" or "1m 30s"; None where it is none.

    `point` is where the fraction of an unclear one begins (`is_unclear`); without it "1,234" is none."""
    plain = _plain(text).lower().removeprefix("<").strip()
    if match := _CLOCK.fullmatch(plain):
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", "."))
    if plain and (match := _UNITS.fullmatch(plain)):
        days, hours, minutes = (int(each or 0) for each in match.groups()[:3])
        return days * 86_400 + hours * 3600 + minutes * 60 + float((match[4] or "0").replace(",", "."))
    return _decimal(plain, point)


def is_unclear(text: str) -> bool:
    """Return whether a number may have thousands or a fraction, such as "1,234"; others of its column may tell."""
    return bool(_UNCLEAR.fullmatch(_digits(_plain(text))))


def point_of(texts: Iterable[str]) -> str:
    """Return where the fractions in a column begin, "." or ",", as its first number that tells has it; "" if none."""
    for text in texts:
        plain = _digits(_plain(text))
        if plain.strip("0123456789.,") or _UNCLEAR.fullmatch(plain):
            continue
        if "." in plain or "," in plain:
            last, other = (".", ",") if plain.rfind(".") > plain.rfind(",") else (",", ".")
            return last if plain.count(last) == 1 else other
    return ""


def share_of(text: str, percent: bool) -> float | None:
    """Return a share between 0 and 1, of "45.67%", "45,67 %" or "0.4567", in a column of `percent` of "45.67", too."""
    plain = _plain(text)
    found = _percentage(plain)
    if found is None or found > 100:
        return None
    if percent or plain.endswith("%"):
        return found / 100
    return found if found <= 1 else None


def are_percent(texts: Iterable[str]) -> bool:
    """Return whether the shares in a column are percent: where one has the sign, or is more than 1."""
    plain = (_plain(text) for text in texts)
    return any(each.endswith("%") or 1 < (_percentage(each) or 0) <= 100 for each in plain)


def _percentage(plain: str) -> float | None:
    number = plain.removesuffix("%").strip()
    return _decimal(number, "," if "," in number else ".")  # which has no thousands


def _decimal(text: str, point: str) -> float | None:
    """Return a number; `point` is where the fraction of an unclear one begins: of "1,234", and "1.234" if it is ","."""
    plain = _digits(text)
    if "." in plain and "," in plain:
        point = "." if plain.rfind(".") > plain.rfind(",") else ","
    elif plain.count(",") > 1:
        point = "."
    elif not _UNCLEAR.fullmatch(plain):
        point = "," if "," in plain else "."
    elif not point and "," in plain:
        return None
    plain = plain.replace(".", "").replace(",", ".") if point == "," else plain.replace(",", "")
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if 0 <= found < _MOST else None


def _digits(text: str) -> str:
    return re.sub(r"[\s']", "", text)


def is_number(text: str) -> bool:
    """Return whether a value is a number of any kind, such as an amount of money or a duration, and names nothing."""
    if not text.strip():
        return True
    plain = re.sub(r"\s+", " ", _plain(text)).lower()  # so that no blank can be taken in two ways
    return plain in ("-", "\u2013", "\u2014") or bool(_NUMBER.fullmatch(plain) or (plain and _UNITS.fullmatch(plain)))


def _plain(text: str) -> str:
    """Return a text without blanks around it, in plain digits; "" where it is too long to be a number."""
    stripped = text.strip()
    if len(stripped) > _LONGEST:
        return ""
    plain = unicodedata.normalize("NFKC", stripped).strip()
    return plain if len(plain) <= _LONGEST else ""
