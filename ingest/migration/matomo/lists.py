"""What Matomo's API tells of days by one thing: pages, countries, browsers and the like, a row a value.

Of what a row is, its `segment` says: the condition that chooses its visits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from activity.attribution import origin
from activity.url import normal_path
from ingest.migration.matomo import values
from ingest.migration.totals import DayRow

# What Matomo calls the numbers of a row; those of an entry or exit have another name.
_NUMBERS = {
    "visitors": ("nb_uniq_visitors",), "visits": ("nb_visits",), "bounces": ("bounce_count",),
    "duration_ms": ("sum_visit_length",), "pageviews": ("nb_hits",), "events": ("nb_hits", "nb_events"),
}  # fmt: skip
_AT_END = {"entryPageUrl": "entry_", "exitPageUrl": "exit_"}
NAMES = frozenset(name for names in _NUMBERS.values() for name in names)

Conditions = dict[str, str]


def _page(value: str, _: Conditions) -> str:
    return normal_path(urlsplit(value).path or "/") if "://" in value else normal_path(value or "/")


def _source(value: str, _: Conditions) -> str:
    return origin({"utm_source": value} if value else {}, "").source


def _region(value: str, conditions: Conditions) -> str:
    country = conditions.get("countryCode", "").upper()
    return f"{country}-{value}" if country and value else ""


# Of each condition that a segment may begin with: the dimension, and what a value is here.
_DIMENSIONS: dict[str, tuple[str, Callable[[str, Conditions], str]]] = {
    "pageUrl": ("page", _page),
    "entryPageUrl": ("entry_page", _page),
    "exitPageUrl": ("exit_page", _page),
    "countryCode": ("country", lambda value, _: "" if value in ("xx", "") else value.upper()),
    "regionCode": ("region", _region),
    "city": ("city", lambda value, _: values.known(value)),
    "deviceType": ("device", lambda value, _: values.device_of(value)),
    "browserCode": ("browser", lambda value, _: values.browser_of(value)),
    "operatingSystemCode": ("os", lambda value, _: values.system_of(value)),
    "referrerName": ("source", _source),
    "eventAction": ("event", lambda value, _: value),
}
_NEED_VALUE = frozenset(("event",))


class Unknown(Exception):
    """A row of which nobody can tell what it is of: in words."""


def segment_of(found: dict[str, Any]) -> str:
    """Return the condition that chooses the visits of a row; "" where it has none, as what is left of a long list."""
    return str(found.get("segment") or found.get("metadata_segment") or "")


def row_of(found: dict[str, Any], count: Callable[[str], int]) -> DayRow | None:
    """Return the row of a list; None where it has no value. `count` returns the number of one of its fields.

    Raises `Unknown` where its segment does not say what it is of."""
    segment = segment_of(found)
    if not segment:
        raise Unknown("its rows have no `segment`, which says what they are of: ask for it without hideMetadata")
    if "=^" in segment:
        raise Unknown("it has folders of pages: ask for it with flat=1")
    parts = (one.partition("==") for one in segment.split(";"))
    conditions = {name: unquote(unquote(value)) for name, _, value in parts}
    named = next((name for name in conditions if name in _DIMENSIONS), None)
    if named is None:
        raise Unknown(f"it is of {segment.partition('==')[0]}, and lists are read of {', '.join(_DIMENSIONS)}")
    named = "city" if "city" in conditions else "regionCode" if "regionCode" in conditions else named
    dimension, ours = _DIMENSIONS[named]
    numbers = {}
    for name, theirs in _NUMBERS.items():
        at_end = [_AT_END[named] + each for each in theirs] if named in _AT_END else list(theirs)
        there = next((each for each in at_end if found.get(each) not in (None, "")), "")
        numbers[name] = count(there) * (1000 if name == "duration_ms" else 1) if there else 0
    value = ours(conditions[named], conditions)
    return DayRow(dimension, value, **numbers) if value or dimension not in _NEED_VALUE else None
