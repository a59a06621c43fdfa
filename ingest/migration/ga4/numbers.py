"""Numbers as reports of Google Analytics have them, in whatever country: durations, shares, and what else is one."""

from __future__ import annotations

import re
import unicodedata

_MOST = 10**15
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d\d(?:[.,]\d+)?)")
_UNITS = re.compile(
    r"(?:(\d+)\s*(?:d|j|days?|tage?|日)\.?\s*)?(?:(\d+)\s*(?:h|hrs?|std|時間|ore|uur)\.?\s*)?"
    r"(?:(\d+)\s*(?:m|min|mins|mn|分)\.?\s*)?(?:(\d+(?:[.,]\d+)?)\s*(?:s|sec|secs|sek|seg|秒)\.?)?"
)
_UNIT = r"[^\W\d_]{1,3}"
_NUMBER = re.compile(rf"<? ?[-+]? ?(?:{_UNIT})? ?[^\w\s]? ?[-+]?[\d.,:' ]*\d ?(?:[^\w\s]|{_UNIT}\.?)?")
_LONGEST = 64  # characters of a number: what is longer is none


def seconds_of(text: str) -> float | None:
    """Return a duration, of "90.5", "90,5", "1,234.5", "1.234,5", "00:01:30" or "1m 30s"; None where it is none."""
    plain = _plain(text).lower().removeprefix("<").strip()
    if match := _CLOCK.fullmatch(plain):
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", "."))
    if plain and (match := _UNITS.fullmatch(plain)):
        days, hours, minutes = (int(each or 0) for each in match.groups()[:3])
        return days * 86_400 + hours * 3600 + minutes * 60 + float((match[4] or "0").replace(",", "."))
    return _decimal(plain)


def share_of(text: str) -> float | None:
    """Return a share between 0 and 1, of "45.67%", "45,67 %", "0.4567" or "45.67"; None where it is none."""
    plain = _plain(text)
    found = _decimal(plain.removesuffix("%").strip())
    if found is None or found > 100:
        return None
    return found / 100 if found > 1 or plain.endswith("%") else found


def _decimal(text: str) -> float | None:
    """Return a number of which the last of "." and "," is where its fraction begins."""
    plain = re.sub(r"[\s']", "", text)
    if "." in plain and "," in plain:
        thousands, point = (",", ".") if plain.rfind(".") > plain.rfind(",") else (".", ",")
        plain = plain.replace(thousands, "").replace(point, ".")
    else:
        plain = plain.replace(",", ".") if plain.count(",") < 2 else plain.replace(",", "")
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if 0 <= found < _MOST else None


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
