"""Filters: which visits a question is asked of.

A filter meets a visit as a whole: `["is", "page", ["/a"]]` takes all visits that viewed /a, whatever else they did, and
`is_not` takes all others. Several filters hold at once, so a visit that viewed /a and signed up is two filters. What is
counted are then the visits that are left, with all their events; bots make no visits.

A condition is composed from a closed set of columns of `day_visits`. Values are bound by the engine, never inserted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from activity.url import encoded
from stores import clickhouse

OPERATORS = ("is", "is_not", "contains", "contains_not")
PROPERTY = "prop:"
# The utm fields that a visit has beside its campaign.
UTM = ("utm_source", "utm_medium", "utm_term", "utm_content")

# Dimensions that are one value of a visit, and those of which it has many: on a day and, over midnight, on others.
_ONE = (
    *("entry_page", "exit_page", "source", "channel", "campaign", "country", "region", "city", "language"),
    *("device", "browser", "os", *UTM),
)
_VIEWED = "arrayFilter((page, views) -> views > 0, `page.value`, `page.views`)"
_MANY = {
    "page": (_VIEWED, "pages_elsewhere"),
    "search": ("`search.value`", "searches_elsewhere"),
    "event": ("`event.value`", "events_elsewhere"),
    "not_found": ("`not_found.value`", "not_found_elsewhere"),
    "outbound": ("`outbound.value`", "outbound_elsewhere"),
    "download": ("`download.value`", "download_elsewhere"),
}
# A goal is a custom event or a page, or what meets the goal of this name.
DIMENSIONS = (*_MANY, "goal", *_ONE)
_PAGES = frozenset(("page", "entry_page", "exit_page", "goal", "not_found"))


@dataclass(frozen=True)
class Filter:
    """One of `OPERATORS`, one of `DIMENSIONS` or `prop:` with a name, and values of which one is enough."""

    operator: str
    dimension: str
    values: tuple[str, ...]
    meant: tuple[tuple[str, Filter], ...] = ()  # those of its values that are names of goals, with what meets each

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"the operator must be one of {', '.join(OPERATORS)}, not {self.operator!r}")
        if self.dimension not in DIMENSIONS and not self.prop:
            raise ValueError(
                f"the dimension must be one of {', '.join(DIMENSIONS)} or prop:NAME, not {self.dimension!r}"
            )
        if not self.values:
            raise ValueError(f"{self.dimension} needs at least one value")

    @property
    def prop(self) -> str:
        """The name of the property that it is about; "" for a dimension."""
        return self.dimension.removeprefix(PROPERTY) if self.dimension.startswith(PROPERTY) else ""

    @property
    def negative(self) -> bool:
        """Whether it takes the visits that do not meet it."""
        return self.operator.endswith("_not")

    @property
    def sought(self) -> list[str]:
        """Its values as they are stored, without names of goals: paths are percent-encoded."""
        names = {name for name, _ in self.meant}
        values = [value for value in self.values if value not in names]
        if self.dimension not in _PAGES:
            return values
        return list(dict.fromkeys(form for value in values for form in (value, encoded(value))))


@dataclass(frozen=True)
class _Reading:
    """How `rows/chosen` reads rows of `day_visits` for some dimensions: which columns, for each value of which lists
    and of which visits only."""

    what: str
    each: str = ""
    of: str = "true"


_OF_ALL = _Reading(
    "'events' AS what, began AS counts, pageviews AS viewed, searches AS searched, events AS happened,"
    " 0 AS nothing, if(began, visit_engaged_ms, 0) AS stayed"
)
# What the rows of a dimension with many values have beside its values and its events.
_OWN = {
    "page": {"viewed": "`page.views`", "stayed": "`page.engaged_ms`"},
    "search": {"nothing": "`search.nothing`"},
}
_NOTHING = {"viewed": "toUInt32(0)", "nothing": "toUInt32(0)", "stayed": "toInt64(0)"}
_OF_VISITS = _Reading(
    f"{', '.join(_ONE)}, true AS counts, visit_pageviews AS viewed, visit_searches AS searched,"
    " visit_events AS happened, 0 AS nothing, visit_engaged_ms AS stayed",
    of="began",
)


def rows(visits: str, dimensions: Sequence[str], condition: Condition, *, by_day: bool) -> list[str]:
    """The statements that give the rows of some dimensions for the visits, of those that `visits` gives, that filters
    choose; each day apart, or all as of one."""
    shared = {"visits": visits, "label": "day" if by_day else "toDate32(0)", "landed": condition.landed}
    found = []
    if "" in dimensions:
        found.append(_rows(shared, _OF_ALL, condition, "''", "toString(what)", "label, what"))
    if many := [name for name in dimensions if name in _MANY]:
        kinds = f"{many}[kind]"  # names of ours, in quotes
        found.append(_rows(shared, _of_many(many), condition, kinds, "toString(what)", "label, kind, what"))
    if one := [name for name in dimensions if name in _ONE]:
        # A row is of the dimension by which it is grouped.
        place = f"indexOf([{', '.join(f'grouping({name})' for name in one)}], 0)"
        names, values = (", ".join(form % name for name in one) for form in ("'%s'", "toString(%s)"))
        sets = f"GROUPING SETS ({', '.join(f'(label, {name})' for name in one)})"
        found.append(_rows(shared, _OF_VISITS, condition, f"[{names}][{place}]", f"[{values}][{place}]", sets))
    return found


def _of_many(names: Sequence[str]) -> _Reading:
    """Of dimensions with many values: a row for each value of each, so that the visits are read and chosen once."""
    columns = {"what": [f"`{name}.value`" for name in names], "happened": [f"`{name}.events`" for name in names]}
    columns["kind"] = [f"arrayWithConstant(length(`{name}.value`), toUInt8({n}))" for n, name in enumerate(names, 1)]
    for column, zero in _NOTHING.items():
        columns[column] = [
            _OWN.get(name, {}).get(column) or f"arrayWithConstant(length(`{name}.value`), {zero})" for name in names
        ]
    is_page, is_search = (str(names.index(name) + 1) if name in names else "0" for name in ("page", "search"))
    return _Reading(
        f"what, kind, kind != {is_page} OR viewed > 0 AS counts, viewed,"
        f" if(kind = {is_search}, happened, 0) AS searched, happened, nothing, stayed",
        "ARRAY JOIN " + ", ".join(f"arrayConcat({', '.join(of)}) AS {column}" for column, of in columns.items()),
    )


def _rows(
    shared: Mapping[str, str], reading: _Reading, condition: Condition, dimension: str, value: str, sets: str
) -> str:
    own = {"dimension": dimension, "value": value, "sets": sets, "what": reading.what, "each": reading.each}
    own["chosen"] = f"{reading.of} AND {condition.chosen}"
    return clickhouse.filled(clickhouse.rows("chosen"), {**shared, **own})


class Condition:
    """Filters as SQL over the columns of `day_visits`: `chosen` for visits that meet all of them, `landed` for those
    that entered where filters by page say. `params` are the values that the engine binds."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.params: dict[str, list[str] | str] = {}
        terms = [self._term(each, f"sought_{number}") for number, each in enumerate(filters)]
        self.chosen = " AND ".join(terms) or "true"
        pages = [each for each in filters if each.dimension == "page" and not each.negative]
        entries = [Filter(each.operator, "entry_page", each.values) for each in pages]
        self.landed = " AND ".join(self._term(each, f"entry_{number}") for number, each in enumerate(entries)) or "true"

    def _term(self, each: Filter, name: str) -> str:
        self.params[name] = each.sought
        values, part = f"{{{name}:Array(String)}}", each.operator.startswith("contains")
        if each.prop:
            self.params[f"{name}_of"] = f"{each.prop}\0"
            term = _any_property("props", f"{{{name}_of:String}}", values, part)
        elif each.dimension in _ONE:
            term = holds(f"toString({each.dimension})", values) if part else f"{each.dimension} IN {values}"
        else:
            names = ("page", "event") if each.dimension == "goal" else (each.dimension,)
            lists = [column for of in names for column in _MANY[of]]
            goals = [self._term(goal, f"{name}_{number}") for number, (_, goal) in enumerate(each.meant)]
            term = " OR ".join([*(_any_value(column, values, part) for column in lists), *goals])
        return f"NOT ({term})" if each.negative else f"({term})"


def holds(text: str, parts: str) -> str:
    """Whether a text has one of some parts in it, all as SQL."""
    # The empty text is part of all; the engine's search for several does not find it.
    return f"(has({parts}, '') OR multiSearchAny({text}, {parts}))"


def _any_value(column: str, values: str, part: bool) -> str:
    if part:
        return f"arrayExists(each -> {holds('each', values)}, {column})"
    return f"hasAny({column}, {values})"


def _any_property(column: str, name: str, values: str, part: bool) -> str:
    if part:
        rest = f"substring(each, length({name}) + 1)"
        return f"arrayExists(each -> startsWith(each, {name}) AND {holds(rest, values)}, {column})"
    return f"hasAny({column}, arrayMap(each -> concat({name}, each), {values}))"
