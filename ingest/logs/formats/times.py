"""The times of log lines, in every notation that servers write, as milliseconds UTC.

A time that names no zone is UTC: that is what the formats mean that cannot write one.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime
from functools import lru_cache

# Names of zones that mean one offset: CST, IST and BST mean several.
_NAMES = {
    "CET": "+0100", "CEST": "+0200", "EET": "+0200", "EEST": "+0300", "WET": "+0000", "WEST": "+0100", "MSK": "+0300",
    "EST": "-0500", "EDT": "-0400", "MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700", "JST": "+0900",
    "KST": "+0900", "AEST": "+1000", "AEDT": "+1100", "NZST": "+1200", "NZDT": "+1300",
}  # fmt: skip
_NAMED_ZONE = re.compile(rf"(?<=[0-9]) ({'|'.join(_NAMES)})(?= [0-9]{{4}}$|$)")
_ZONE = rf"(?:[ \t]*(?:UTC|GMT|Z|{'|'.join(_NAMES)}|[+-][0-9]{{2}}:?[0-9]{{2}}))?"
_MONTH = r"[^\W\d_]{3,5}\.?"
_CTIME = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]?[0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})? [0-9]{4}"
_DAY = rf"[0-9]{{1,2}}[/-]{_MONTH}[/-](?:[0-9]{{2}})?[0-9]{{2}}"
STAMP = re.compile(
    rf"\[ ?({_DAY}[: ][0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:[.,][0-9]{{1,9}})?{_ZONE}"
    rf"|[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}[T :][0-9:.,]{{5,20}}{_ZONE}(?:\[[A-Za-z_/+-]{{1,32}}\])?"
    rf"|[0-9]{{10}}(?:\.[0-9]{{1,9}})?|[0-9]{{13}}|{_CTIME}"
    r"|[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} (?:GMT|UTC))\]"
)
_APACHE = re.compile(
    rf"([0-9]{{1,2}})[/-]({_MONTH})[/-]((?:[0-9]{{2}})?[0-9]{{2}})[: ]([0-9]{{2}}:[0-9]{{2}}):([0-9]{{2}})"
    r"(?:[.,]([0-9]{1,9}))?[ \t]*(?:UTC|GMT|Z|([+-][0-9]{2}:?[0-9]{2}))?"
)
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{0,18})?(?:[eE]\+?[0-9]{1,2})?")
_RFC_1123 = re.compile(  # Sun, 01 Jun 2025 12:00:00 GMT, and before that, Sunday, 01-Jun-25 12:00:00 GMT
    r"(?:[A-Za-z]{3,9}, *)?([0-9]{1,2})[ -]([A-Za-z]{3,9})[ -]((?:[0-9]{2})?[0-9]{2}) ([0-9]{2}:[0-9]{2})"
    r"(?::([0-9]{2}))? *(?:GMT|UTC|Z|([+-][0-9]{2}:?[0-9]{2})(?: *\([A-Za-z ]{1,20}\))?)?"
)
_KIBANA = re.compile(  # Jun 1, 2025 @ 12:00:00.000, and June 1, 2025 12:00:00
    r"([A-Za-z]{3,9}) ([0-9]{1,2}), ([0-9]{4}) (?:@ )?([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
)
_OF_C = re.compile(  # Sun Jun  1 12:00:00 2025, and Sun Jun 01 2025 12:00:00 GMT+0200 (Central European Summer Time)
    r"[A-Za-z]{3} ([A-Za-z]{3}) {1,2}([0-9]{1,2}) (?:([0-9]{4}) )?([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?: (?:GMT|UTC)?([+-][0-9]{4})?(?: \([A-Za-z ]{1,40}\))?)?(?: ([0-9]{4}))?"
)
_EUROPEAN = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4}),? ([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)")
_OF_NET = re.compile(r"/Date\(([0-9]{1,15})(?:[+-][0-9]{4})?\)/")
_AMERICAN = re.compile(  # 6/1/2025, 12:00:00.000 PM, and a zone behind it
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}),? ([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?[ \u202f]([AP])M"
    r"(?: (?:UTC|GMT|Z|([+-][0-9]{2}:?[0-9]{2})))?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\[[A-Za-z_/+-]{1,32}\]?$")  # of a zone, behind its offset, as Java writes it
_ZONE_NAME = re.compile(r"[ \t]*(?:UTC|GMT)$")
_NAME_OF_OFFSET = re.compile(r"(?<=[+-][0-9]{4})[ \t]+[A-Z]{2,5}(?: M=[+-][0-9.]{1,24})?$")  # as Go writes a time
_COLON_BEHIND_DAY = re.compile(r"(?<=^[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}):")
# As servers of German, Dutch, Nordic and Romance settings write them, too: no name means two months.
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan janv ene gen january", "feb fev f\u00e9v f\u00e9vr february", "mar m\u00e4r mrz mrt mars march",
            "apr avr avril abr april", "may mai mag mei maj", "jun juin giu juni june", "jul juil lug juli july",
            "aug ago ao\u00fb ao\u00fbt august", "sep sept set september", "oct okt ott out october",
            "nov november", "dec dez dic d\u00e9c des december",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
# A number of seconds has 10 digits from 2001 to 2286; three more are milliseconds, six microseconds, nine nanoseconds.
_SECONDS_BELOW = 1e11
_EARLIEST = 631_152_000_000  # 1990: what is less is a duration
_LONGEST = 64  # characters
_LATEST = 10_000_000_000_000  # the year 2286: what is more is no count since 1970
_IN_A_ROW = re.compile(r"(20[0-9]{2})([01][0-9])([0-3][0-9])([0-2][0-9])([0-5][0-9])([0-5][0-9])([0-9]{3})?")
_TICKS = re.compile(r"6[0-9]{17}")  # tenths of a microsecond since the year 1, as .NET counts
_TICKS_UNTIL_1970 = 621_355_968_000_000_000


def time_in(text: str) -> int | None:
    """Return the milliseconds UTC of a time in any notation; None where it is none.

    Accepts `17/May/2015:10:05:03 +0000` (also in brackets), ISO 8601, `Sun, 17 May 2015 10:05:03 GMT`,
    `Sun May 17 10:05:03 2015`, `May 17, 2015 @ 10:05:03.000`, and seconds, milliseconds, microseconds or nanoseconds
    since 1970, from 1990 on."""
    if len(text) > _LONGEST:
        return None
    text = text.strip(" \t[]")
    if (named := _NAMED_ZONE.search(text)) and text[named.start() - 5] not in "+-":
        text = f"{text[: named.start()]} {_NAMES[named[1]]}{text[named.end() :]}"
    if _NUMBER.fullmatch(text):
        return _in_a_row(text) if _IN_A_ROW.fullmatch(text) else _since_1970(text)
    found = _APACHE.fullmatch(text)
    if found is not None:
        day, month, year, minute, seconds, fraction, zone = found.groups()
        return _apache_time(f"{day}/{month}/{year}:{minute}", seconds, fraction, zone or "+0000")
    found = _RFC_1123.fullmatch(text)
    if found is not None:
        day, month, year, minute, seconds, zone = found.groups()
        return _apache_time(f"{day}/{month}/{year}:{minute}", seconds or "00", None, zone or "+0000")
    found = _KIBANA.fullmatch(text)
    if found is not None:
        month, day, year, minute, seconds, fraction = found.groups()
        return _apache_time(f"{day}/{month}/{year}:{minute}", seconds, fraction, "+0000")
    found = _OF_C.fullmatch(text)
    if found is not None:
        month, day, year, minute, seconds, fraction, zone, last = found.groups()
        return _apache_time(f"{day}/{month}/{year or last}:{minute}", seconds, fraction, zone or "+0000")
    found = _AMERICAN.fullmatch(text)
    if found is not None:
        month, day, year, hour, minute, seconds, fraction, half, zone = found.groups()
        hours = int(hour) % 12 + 12 * (half in "Pp")
        name = calendar.month_abbr[int(month)] if int(month) <= 12 else ""
        return _apache_time(f"{day}/{name}/{year}:{hours:02}:{minute}", seconds, fraction, zone or "+0000")
    found = _EUROPEAN.fullmatch(text)
    if found is not None:
        day, month, year, time = found.groups()
        return iso_time(f"{year}-{month:0>2}-{day:0>2}T{time}")
    found = _OF_NET.fullmatch(text)
    return _since_1970(found[1]) if found is not None else iso_time(text)


@lru_cache(maxsize=4096)
def apache_minute(minute: str, zone: str) -> int | None:
    """Return the seconds since 1970 of `17/May/2015:10:05` in `+0000` or `+05:30`; None where there is no such time."""
    try:
        day, month, rest = minute.split("/")
        year, hour, minutes = rest.split(":")
        year = year if len(year) > 2 else f"20{year}"
        moment = datetime(int(year), _MONTHS[month.lower().removesuffix(".")], int(day), int(hour), int(minutes))  # noqa: DTZ001 - next line
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[0] == "-" else 60)
    except (ValueError, KeyError, IndexError):
        return None
    return calendar.timegm(moment.timetuple()) - offset


def iso_time(text: str) -> int | None:
    """Return the milliseconds UTC of a time by ISO 8601, with a blank for its T too; None where it is none."""
    text = _ZONE_NAME.sub("Z", _NAME_OF_OFFSET.sub("", _PLACE.sub("", text.strip()).upper()))
    text = _COLON_BEHIND_DAY.sub("T", text).replace(" ", "T", 1).replace(" ", "").replace("/", "-")
    if "T" not in text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _apache_time(minute: str, seconds: str, fraction: str | None, zone: str) -> int | None:
    start = apache_minute(minute, zone)
    return None if start is None else (start + int(seconds)) * 1000 + int(f"{fraction or ''}000"[:3])


def _in_a_row(text: str) -> int | None:
    found = _IN_A_ROW.fullmatch(text)
    assert found is not None  # that is asked before
    year, month, day, hours, minutes, seconds, fraction = found.groups()
    return iso_time(f"{year}-{month}-{day}T{hours}:{minutes}:{seconds}.{fraction or '000'}")


def _since_1970(text: str) -> int | None:
    if _TICKS.fullmatch(text):
        return (int(text) - _TICKS_UNTIL_1970) // 10_000
    number = float(text)
    whole = number
    while whole >= _SECONDS_BELOW:
        whole /= 1000
    found = round(whole * 1000)
    return found if _EARLIEST <= found < _LATEST else None
