"""Times as clients write them, in the form that `incoming.time_of` reads."""

from __future__ import annotations

import re

SECONDS = (631_152_000, 4_102_444_800)  # Unix, 1990 to 2100
MILLIS = (SECONDS[0] * 1_000, SECONDS[1] * 1_000)
_NUMBER = re.compile(r"\s*\d{9,20}(?:\.\d{0,9})?\s*", re.ASCII)
# What programs send that know no time.
_NEVER = re.compile(r"0001-01-01[T ]00:00|1970-01-01[T ]00:00:00(?:\.0+)?(?:Z|\+00|$)|0$")
_OF_NET = re.compile(r"/Date\((\d{1,15})(?:[+-]\d{4})?\)/", re.ASCII)
_ZONE_BEHIND = re.compile(r"\[[A-Za-z_/+:0-9-]{1,40}\]$")  # as Java writes it
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"[A-Za-z]{3},? (?:(?P<day>\d{1,2}) )?(?P<month>[A-Za-z]{3}) (?:(?P<day_behind>\d{1,2}) )?(?P<year>\d{4}) "
    r"(?P<time>\d\d:\d\d:\d\d)(?: ?(?:GMT|UTC)?(?P<zone>[+-]\d{4})?)?(?: \(.*)?$",
    re.ASCII,
)


def of_text(given: str) -> int | str | None:
    """Return Unix seconds, micro- and nanoseconds as milliseconds, and a date as HTTP, JavaScript, Java, Ruby and .NET
    write it as ISO 8601 or milliseconds; None where no time is known. Anything else stays as it is."""
    if len(given) == 13 and given.isascii() and given.isdigit():  # milliseconds
        return given
    if _NUMBER.fullmatch(given):
        counted = int(given) if given.isdigit() else float(given)
        found = of_number(counted)
        return given if found == counted or found is None else int(found)
    if _NEVER.match(given):
        return None
    if written := _DATE.match(given):
        return _as_iso(written) or given
    if of_net := _OF_NET.fullmatch(given):
        return int(of_net[1])
    given = _ZONE_BEHIND.sub("", given)
    return f"{given[:-4]}Z" if given.endswith(" UTC") else given


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
    """Return the ISO 8601 text of `Sat, 28 Nov 2026 20:00:00 GMT` and `Sat Nov 28 2026 20:00:00 GMT+0100 (…)`."""
    day, month = date["day"] or date["day_behind"], date["month"].lower()
    if month not in _MONTHS or day is None:
        return ""
    return f"{date['year']}-{_MONTHS.index(month) + 1:02}-{int(day):02}T{date['time']}{date['zone'] or 'Z'}"
