"""Times as clients write them, in the form that `incoming.time_of` reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

SECONDS = (631_152_000, 4_102_444_800)  # Unix, 1990 to 2100
MILLIS = (SECONDS[0] * 1_000, SECONDS[1] * 1_000)
_NUMBER = re.compile(r"\s*\d{9,20}(?:\.\d{0,9})?\s*", re.ASCII)
# What programs send that know no time.
_NEVER = re.compile(
    r"0001-01-01[T ]00:00|1970-01-01[T ]00:00:00(?:\.0+)?(?:Z|\+00|$)|(?:0|null|undefined|none|nil|nan|invalid date|)$",
    re.IGNORECASE,
)
_OF_NET = re.compile(r"/Date\((\d{1,15})(?:[+-]\d{4})?\)/", re.ASCII)
_ZONE_BEHIND = re.compile(r"\[[A-Za-z_/+:0-9-]{1,40}\]$")  # as Java writes it
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<time>\d\d:\d\d:\d\d)"
_ZONE = r"(?: ?(?:GMT|UTC|Z)?(?P<zone>[+-]\d\d:?\d\d)?)?"
_DATES = (
    re.compile(  # of HTTP, mail and JavaScript
        r"(?:[A-Za-z]{3},? )?(?:(?P<day>\d{1,2}) )?(?P<month>[A-Za-z]{3}) (?:(?P<day_behind>\d{1,2}) )?(?P<year>\d{4}) "
        + _CLOCK + _ZONE + r"(?: \(.*)?$",
        re.ASCII,
    ),
    re.compile(  # of Java, Ruby and C
        r"[A-Za-z]{3} (?P<month>[A-Za-z]{3}) {1,2}(?P<day>\d{1,2}) " + _CLOCK + _ZONE + r" (?P<year>\d{4})$", re.ASCII
    ),
    re.compile(  # of old servers, and PHP's of cookies
        r"[A-Za-z]{6,9}, (?P<day>\d{1,2})-(?P<month>[A-Za-z]{3})-(?P<year>\d\d(?:\d\d)?) " + _CLOCK + _ZONE + "$",
        re.ASCII,
    ),
)  # fmt: skip
_OF_GO = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) ([+-]\d{4}) [A-Z+-]\w{1,5}(?: m=.*)?", re.ASCII)
_SLASHES = re.compile(r"(\d{4})/(\d\d)/(\d\d)(?=[T ])", re.ASCII)
_OFFSET = re.compile(r"[+-]\d\d:\d\d", re.ASCII)


def of_text(given: str) -> int | str | None:
    """Return Unix seconds, micro- and nanoseconds as milliseconds, and a date as HTTP, JavaScript, Java, Ruby, Go and
    .NET write it as ISO 8601 or milliseconds; None where no time is known. Anything else stays as it is."""
    if len(given) == 13 and given.isascii() and given.isdigit():  # milliseconds
        return given
    if not given.isascii():
        given = _in_ascii(given)
    if _NUMBER.fullmatch(given):
        counted = int(given) if given.isdigit() else float(given)
        found = of_number(counted)
        return given if found == counted or found is None else int(found)
    if given[:1] == '"':
        given = given.strip('"')
    if _NEVER.match(given.strip()):
        return None
    if of_go := _OF_GO.fullmatch(given):
        return f"{of_go[1]}{of_go[2]}"
    for form in _DATES:
        if written := form.match(given):
            return _as_iso(written) or given
    if of_net := _OF_NET.fullmatch(given):
        return int(of_net[1])
    given = _ZONE_BEHIND.sub("", _SLASHES.sub(r"\1-\2-\3", given))
    return f"{given[:-4]}Z" if given.endswith(" UTC") else given


def of_object(given: Mapping[str, object]) -> object:
    """Return the time that an object stands for, as PHP, MongoDB, Firestore and Protobuf write one; else the object.

    The zone of PHP's has to be an offset or UTC: which offset a place has is not known here."""
    if "$date" in given:
        return given["$date"]
    seconds = given.get("_seconds", given.get("seconds"))
    if seconds is not None:
        digits = str(seconds)
        return digits if len(digits) == 10 and digits.isascii() and digits.isdigit() else given
    date, zone = given.get("date"), given.get("timezone")
    if isinstance(date, str) and isinstance(zone, str) and "timezone_type" in given:
        return date + zone if _OFFSET.fullmatch(zone) else f"{date}Z" if zone in ("UTC", "Z", "GMT") else given
    return given


def _in_ascii(given: str) -> str:
    """Return a text with the digits of any script, and the minus sign, as ASCII has them: so write some languages."""
    return "".join(str(unicodedata.decimal(each, each)) for each in given.replace("\u2212", "-"))


def of_number(given: int | float) -> int | float | None:
    """Return Unix seconds, micro- and nanoseconds as milliseconds; None for zero. Any other number stays as it is."""
    if MILLIS[0] <= given < MILLIS[1]:  # what most send
        return given
    if not given:
        return None
    if SECONDS[0] <= given < SECONDS[1]:
        return round(given * 1_000)
    for part in (1_000, 1_000_000):  # micro- and nanoseconds
        if SECONDS[0] <= given / part / 1_000 < SECONDS[1]:
            return int(given // part)
    return given


def _as_iso(date: re.Match[str]) -> str:
    """Return the ISO 8601 text of a date with a month's name; "" if that is none. Without a zone it is UTC."""
    held = date.groupdict()
    day, month, year = held["day"] or held.get("day_behind"), date["month"].lower(), date["year"]
    if month not in _MONTHS or day is None:
        return ""
    year = year if len(year) == 4 else f"20{year}"
    return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}T{date['time']}{date['zone'] or 'Z'}"
