"""What Matomo's API tells of days by one thing: pages, countries, browsers and the like, a row a value.

Of what a row is, its `segment` says: the condition that chooses its visits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ingest.migration import names
from ingest.migration.address import page_of
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
    return page_of(value)


def _source(value: str, _: Conditions) -> str:
    return names.source_of(value).source


def _region(value: str, conditions: Conditions) -> str:
    return names.place_of(conditions.get("countryCode", ""), value).region


# Of each condition that a segment may begin with: the dimension, and what a value is here.
_DIMENSIONS: dict[str, tuple[str, Callable[[str, Conditions], str]]] = {
    "pageUrl": ("page", _page),
    "entryPageUrl": ("entry_page", _page),
    "exitPageUrl": ("exit_page", _page),
    "countryCode": ("country", lambda value, _: names.country_of(value)),
    "regionCode": ("region", _region),
    "city": ("city", lambda value, _: names.known(value)),
    "deviceType": ("device", lambda value, _: values.device_of(value)),
    "browserCode": ("browser", lambda value, _: values.browser_of(value)),
    "operatingSystemCode": ("os", lambda value, _: values.system_of(value)),
    "referrerName": ("source", _source),
    "eventAction": ("event", lambda value, _: value),
}
_NEED_VALUE = frozenset(("event",))
_DIRECT, _CAMPAIGN = "direct", "campaign"  # kinds of referrers


class Unknown(Exception):
    """A row of which nobody can tell what it is of: in words."""


def segment_of(found: dict[str, Any]) -> str:
    """Return the condition that chooses the visits of a row; "" where it has none, as what is left of a long list."""
    return str(found.get("segment") or found.get("metadata_segment") or "")


def rows_of(found: dict[str, Any], count: Callable[[str], int]) -> tuple[str, list[DayRow]]:
    """Return the part of the export that a row of a list belongs to, and what it says; nothing where it has no value.

    `count` returns the number of one of its fields. Raises `Unknown` where its segment does not say what it is of."""
    segment = segment_of(found)
    if not segment:
        raise Unknown("its rows have no `segment`, which says what they are of: ask for it without hideMetadata")
    if "=^" in segment:
        raise Unknown("it has folders of pages: ask for it with flat=1")
    parts = (one.partition("==") for one in segment.split(";"))
    conditions = {name: unquote(unquote(value)) for name, _, value in parts}
    named = next((name for name in conditions if name in _DIMENSIONS), None)
    if named is None and not {"referrerType", "referrerKeyword"} & {*conditions}:
        raise Unknown(f"it is of {segment.partition('==')[0]}, and lists are read of {', '.join(_DIMENSIONS)}")
    if named is None or named == "referrerName":
        return _of_referrer(found, conditions, count)
    named = "city" if "city" in conditions else "regionCode" if "regionCode" in conditions else named
    dimension, ours = _DIMENSIONS[named]
    value = ours(conditions[named], conditions)
    has_value = value or dimension not in _NEED_VALUE
    numbers = _numbers(found, _AT_END.get(named, ""), count)
    return f"list of {dimension}", [DayRow(dimension, value, **numbers)] if has_value else []


def _of_referrer(
    found: dict[str, Any], conditions: Conditions, count: Callable[[str], int]
) -> tuple[str, list[DayRow]]:
    """The sources of each kind are a list of their own. Keywords and kinds are of visits that have a source, too."""
    name, kind = conditions.get("referrerName", ""), conditions.get("referrerType", "website")
    part, numbers = f"list of source: {kind}", _numbers(found, "", count)
    if not name and (kind != _DIRECT or "referrerKeyword" in conditions):
        return part, []
    source = DayRow("source", _source(name, conditions), **numbers)
    return part, [source, DayRow("campaign", name, **numbers)] if kind == _CAMPAIGN else [source]


def _numbers(found: dict[str, Any], at_end: str, count: Callable[[str], int]) -> dict[str, int]:
    """Return the numbers of a row; those of an entry or exit page have a name that begins with `at_end`."""
    numbers = {}
    for name, theirs in _NUMBERS.items():
        there = next((at_end + each for each in theirs if found.get(at_end + each) not in (None, "")), "")
        numbers[name] = count(there) * (1000 if name == "duration_ms" else 1) if there else 0
    return numbers
