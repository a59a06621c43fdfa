"""The peers of `bench.panels`, each in a process of its own: it asks its questions and prints the answers as JSON.

    python -m bench._panel_peers raw|filtered|duckdb FOLDER SITE DAYS

`raw` asks the rows of the warehouse in plain SQL, `filtered` the same of some visits only, `duckdb` the Parquet files
of the archive. An answer is the milliseconds that it took and its rows, by the name of the panel.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from bench.replay import DAY_MS, FIRST

_SPAN = """
WITH fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AS since, fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC') AS until
"""
_SESSIONS = """FROM session_rows AS s FINAL
    WHERE site = {site:String} AND started_at >= since AND started_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
"""
_EVENTS = """FROM event_rows FINAL
    WHERE site = {site:String} AND occurred_at >= since AND occurred_at < until
        AND day BETWEEN toDate(since) AND toDate(until)
"""
_RATIOS = """
    if(visits = 0, 0, pageviews / visits) AS views_per_visit,
    if(visits = 0, 0, bounces / visits) AS bounce_rate,
    if(visits = 0, 0, duration_ms / visits / 1000) AS visit_duration
"""
_OF_VISITS = """
        count() AS visits,
        countIf(is_bounce) AS bounces,
        sum(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) AS duration_ms
"""
# Over several days a visitor counts once a day, and so does a visit that saw a page before and after midnight.
_STATS = f"""{_SPAN}SELECT visitors, visits, pageviews, searches, events, bots, {_RATIOS}
FROM (SELECT uniqExact((visitor, toDate(started_at, 'UTC'))) AS visitors, {_OF_VISITS} {_SESSIONS}) AS of_sessions,
(
    SELECT
        countIf(bot = '' AND type = 'pageview') AS pageviews,
        countIf(bot = '' AND type = 'search') AS searches,
        countIf(bot = '') AS events,
        countIf(bot != '') AS bots
    {_EVENTS}
) AS of_events"""
_TIMESERIES = f"""{_SPAN}SELECT bucket, visitors, visits, pageviews, searches, events, {_RATIOS}
FROM
(
    SELECT DISTINCT date_trunc('day', since + toIntervalSecond(number * 1800), 'UTC') AS bucket
    FROM numbers(toUInt64(intDiv({{to_ms:Int64}} - {{from_ms:Int64}} + 1799999, 1800000)))
) AS buckets
LEFT JOIN
(
    SELECT date_trunc('day', started_at, 'UTC') AS bucket, uniqExact(visitor) AS visitors, {_OF_VISITS} {_SESSIONS}
    GROUP BY bucket
) AS of_sessions USING bucket
LEFT JOIN
(
    SELECT
        date_trunc('day', occurred_at, 'UTC') AS bucket,
        countIf(type = 'pageview') AS pageviews,
        countIf(type = 'search') AS searches,
        count() AS events
    {_EVENTS} AND bot = ''
    GROUP BY bucket
) AS of_events USING bucket
ORDER BY bucket"""
_VISITS_BY = f"""{_SPAN}SELECT
    toString({{by:Identifier}}) AS value,
    uniqExact((visitor, toDate(started_at, 'UTC'))) AS visitors,
    count() AS visits,
    sum(s.pageviews) AS pageviews,
    sum(s.events) AS events
{_SESSIONS} AND ({{with_empty:Bool}} OR value != '')
GROUP BY value
ORDER BY visitors DESC, visits DESC, value
LIMIT 10"""
_EVENTS_BY = f"""{_SPAN}SELECT
    value,
    uniqExactIf((visitor, toDate(occurred_at, 'UTC')), type = {{kind:String}}) AS visitors,
    uniqExactIf((visitor, session_id, toDate(occurred_at, 'UTC')), type = {{kind:String}}) AS visits,
    countIf(type = 'pageview') AS pageviews,
    count() AS events
FROM
(
    SELECT toString({{by:Identifier}}) AS value, type, visitor, occurred_at
    {_EVENTS} AND bot = '' AND ({{kind:String}} = 'pageview' OR type = {{kind:String}}) AND value != ''
) AS e
ASOF LEFT JOIN
(
    SELECT visitor, session_id, started_at
    FROM session_rows FINAL
    WHERE site = {{site:String}} AND started_at >= since - INTERVAL 2 DAY AND started_at < until
        AND day BETWEEN toDate(since) - 2 AND toDate(until)
) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
GROUP BY value
HAVING countIf(type = {{kind:String}}) > 0
ORDER BY visitors DESC, if({{kind:String}} = 'pageview', pageviews, events) DESC, value
LIMIT 10"""
EVENT_LISTS = {"page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom")}
_COLUMNS = (
    *("entry_page", "exit_page", "source", "channel", "country", "region", "city", "language"),
    *("device", "browser", "os"),
)
_VISIT_LISTS = {"campaign": "utm_campaign", **{name: name for name in _COLUMNS}}
_NAMED = ("entry_page", "exit_page", "campaign")

# What the raw rows are asked for each panel: a statement and its parameters.
RAW: dict[str, tuple[str, dict[str, Any]]] = {
    "stats": (_STATS, {}),
    "timeseries": (_TIMESERIES, {}),
    **{f"breakdown-{name}": (_EVENTS_BY, {"by": by, "kind": kind}) for name, (by, kind) in EVENT_LISTS.items()},
    **{
        f"breakdown-{name}": (_VISITS_BY, {"by": by, "with_empty": name not in _NAMED})
        for name, by in _VISIT_LISTS.items()
    },
}
BEFORE = ("stats", "timeseries")  # what the page asks of the range before, too


class Filtered(NamedTuple):
    """Filters as an address has them, and in SQL: what they say of a session, of a page view that it has (or, with NOT,
    has not), and of the sessions whose bounces are told."""

    asked: list[tuple[str, str, list[str]]]
    session: str = "true"
    viewed: str = ""
    landed: str = "true"


# A page with a third of the views, and a text that is in many paths with few views.
_PAGE, _PART = "/article/1", "/article/12"
FILTERS = {
    "source-rare": Filtered([("is", "source", ["source37"])], "source = 'source37'"),
    "device-common": Filtered([("is", "device", ["device1"])], "device = 'device1'"),
    "page-most-viewed": Filtered(
        [("is", "page", [_PAGE])], viewed=f"IN path = '{_PAGE}'", landed=f"entry_page = '{_PAGE}'"
    ),
    "page-contains": Filtered(
        [("contains", "page", [_PART])],
        viewed=f"IN position(path, '{_PART}') > 0",
        landed=f"position(entry_page, '{_PART}') > 0",
    ),
    "country-and-browser": Filtered(
        [("is", "country", ["C1"]), ("is", "browser", ["Browser 1"])], "country = 'C1' AND browser = 'Browser 1'"
    ),
    "page-is-not": Filtered([("is_not", "page", [_PAGE])], viewed=f"NOT IN path = '{_PAGE}'"),
}
# A visit meets a filter also by what it did before or after the range, as far as a session goes on: two days.
_EVENTS_IN_VISITS = """
(
    SELECT e.visitor AS visitor, session_id, type, path, name, occurred_at, id_hi, id_lo
    FROM
    (
        SELECT visitor, type, path, toString(name) AS name, occurred_at, id_hi, id_lo FROM event_rows FINAL
        WHERE site = {site:String} AND bot = ''
            AND occurred_at >= since - INTERVAL 2 DAY AND occurred_at < until + INTERVAL 2 DAY
            AND day BETWEEN toDate(since) - 2 AND toDate(until) + 2
    ) AS e
    ASOF JOIN
    (
        SELECT visitor, session_id, started_at FROM session_rows FINAL
        WHERE site = {site:String} AND started_at >= since - INTERVAL 4 DAY AND started_at < until + INTERVAL 2 DAY
            AND day BETWEEN toDate(since) - 4 AND toDate(until) + 2
    ) AS s ON e.visitor = s.visitor AND e.occurred_at >= s.started_at
)"""

# What visits did in order: the steps of a funnel, what was viewed after a page, and the latest visits.
STEPS = [("is", "page", ["/article/1"]), ("is", "page", ["/article/2"]), ("is", "event", ["event 1"])]
JOURNEYS = {
    "funnel": f"""{_SPAN}SELECT countIf(level >= step) AS reached
FROM
(
    SELECT arrayJoin([1, 2, 3]) AS step, level
    FROM
    (
        SELECT windowFunnel(172800000)(
            toUInt64(toUnixTimestamp64Milli(occurred_at)),
            type = 'pageview' AND path = '/article/1', type = 'pageview' AND path = '/article/2',
            type = 'custom' AND name = 'event 1'
        ) AS level
        FROM {_EVENTS_IN_VISITS}
        GROUP BY visitor, session_id
    )
)
GROUP BY step ORDER BY step""",
    "paths": f"""{_SPAN}SELECT pages[place + 1] AS value, count() AS visits
FROM
(
    SELECT
        arrayCompact(arrayMap(each -> each.4, arraySort(groupArray((occurred_at, id_hi, id_lo, path))))) AS pages,
        indexOf(pages, '/article/1') AS place
    FROM {_EVENTS_IN_VISITS}
    WHERE type = 'pageview'
    GROUP BY visitor, session_id
)
WHERE place > 0 GROUP BY value ORDER BY visits DESC, value LIMIT 25""",
    "visits": f"""{_SPAN}SELECT events, pageviews, entry_page {_SESSIONS}
ORDER BY started_at DESC, session_id LIMIT 50""",
}


def _chosen(filtered: Filtered) -> str:
    """The statement of the sessions that filters choose."""
    chosen = f"""
        SELECT visitor, session_id FROM session_rows FINAL
        WHERE site = {{site:String}} AND started_at >= since - INTERVAL 2 DAY AND started_at < until
            AND day BETWEEN toDate(since) - 2 AND toDate(until) AND ({filtered.session})"""
    if not filtered.viewed:
        return chosen
    whether, _, condition = filtered.viewed.partition("IN ")
    viewed = f"SELECT visitor, session_id FROM {_EVENTS_IN_VISITS} WHERE type = 'pageview' AND {condition}"
    return f"{chosen} AND (visitor, session_id) {whether}IN ({viewed})"


def filtered_statements(filtered: Filtered) -> dict[str, str]:
    """What the raw rows are asked under filters, by the panel."""
    span = f"{_SPAN}, chosen AS ({_chosen(filtered)})"
    visits = f"{_SESSIONS} AND (visitor, session_id) IN (chosen)"
    events = f"""FROM {_EVENTS_IN_VISITS}
    WHERE occurred_at >= since AND occurred_at < until AND (visitor, session_id) IN (chosen)"""
    ratios = _RATIOS.replace("if(visits = 0, 0, bounces / visits)", "if(landings = 0, 0, bounces / landings)")
    counted = _OF_VISITS.replace(
        "countIf(is_bounce)", f"countIf({filtered.landed}) AS landings, countIf({filtered.landed} AND is_bounce)"
    )
    return {
        "stats": f"""{span} SELECT visitors, visits, pageviews, searches, events, 0 AS bots, {ratios}
FROM (SELECT uniqExact((visitor, toDate(started_at, 'UTC'))) AS visitors, {counted} {visits}) AS of_sessions,
(
    SELECT countIf(type = 'pageview') AS pageviews, countIf(type = 'search') AS searches, count() AS events {events}
) AS of_events""",
        "page": f"""{span} SELECT
    path AS value,
    uniqExactIf((visitor, toDate(occurred_at, 'UTC')), type = 'pageview') AS visitors,
    uniqExactIf((visitor, session_id, toDate(occurred_at, 'UTC')), type = 'pageview') AS visits,
    countIf(type = 'pageview') AS pageviews,
    count() AS events
{events} AND path != ''
GROUP BY value
HAVING pageviews > 0
ORDER BY visitors DESC, pageviews DESC, value
LIMIT 10""",
        "source": f"""{span} SELECT
    toString(source) AS value,
    uniqExact((visitor, toDate(started_at, 'UTC'))) AS visitors,
    count() AS visits,
    sum(s.pageviews) AS pageviews,
    sum(s.events) AS events
{visits}
GROUP BY value
ORDER BY visitors DESC, visits DESC, value
LIMIT 10""",
    }


# The same of the archive's files by DuckDB: the list of pages without the join that finds visits, and the counts.
_FILES = """FROM read_parquet($files, hive_partitioning = false)
WHERE site = $site AND bot = '' AND occurred_at >= $from_ms AND occurred_at < $to_ms"""
DUCKDB = {
    "breakdown-page": f"""
SELECT path AS value, count(DISTINCT (visitor, occurred_at // {DAY_MS})) FILTER (type = 'pageview') AS visitors,
    count(*) FILTER (type = 'pageview') AS pageviews, count(*) AS events
{_FILES} AND path != '' GROUP BY path HAVING pageviews > 0 ORDER BY visitors DESC, pageviews DESC, value LIMIT 10""",
    "stats": f"""
SELECT count(*) FILTER (type = 'pageview') AS pageviews, count(*) FILTER (type = 'search') AS searches,
    count(*) AS events
{_FILES}""",
}


Answers = dict[str, tuple[float, list[dict[str, Any]]]]


def bounds(days: int, *, before: bool = False) -> dict[str, int]:
    """The range of the data in Unix ms, or the range of as many days before it."""
    begin = ((FIRST - date(1970, 1, 1)).days - before * days) * DAY_MS
    return {"from_ms": begin, "to_ms": begin + days * DAY_MS}


def raw(folder: Path, site: str, days: int) -> Answers:
    """The answers of the raw rows to everything that the page asks; the process must own the warehouse."""
    questions = {
        name + "-before" * before: (RAW[name][0], {"site": site, **bounds(days, before=before), **RAW[name][1]})
        for before, names in ((False, tuple(RAW)), (True, BEFORE))
        for name in names
    }
    journeys = {name: (statement, {"site": site, **bounds(days)}) for name, statement in JOURNEYS.items()}
    return _of_warehouse(folder, questions | journeys)


def filtered(folder: Path, site: str, days: int) -> Answers:
    """The answers of the raw rows under each of `FILTERS`, by the filter's name and the panel."""
    questions = {
        f"{name}-{panel}": (statement, {"site": site, **bounds(days)})
        for name, each in FILTERS.items()
        for panel, statement in filtered_statements(each).items()
    }
    return _of_warehouse(folder, questions)


def _of_warehouse(folder: Path, questions: dict[str, tuple[str, dict[str, Any]]]) -> Answers:
    import stores

    warehouse = stores.connect_warehouse(f"chdb://{folder}/warehouse")
    warehouse.query("SELECT count() FROM session_rows")
    asked: Answers = {}
    for name, (statement, given) in questions.items():
        begun = time.perf_counter()
        frame = warehouse.query(statement, given)
        asked[name] = (time.perf_counter() - begun) * 1e3, frame.to_dicts()
    warehouse.close()
    return asked


def duckdb(folder: Path, site: str, days: int) -> Answers:
    """The answers of DuckDB; none where it is not installed."""
    try:
        from duckdb import connect
    except ImportError:
        print("no DuckDB to compare with: pip install duckdb", file=sys.stderr)
        return {}
    files = f"{folder}/archive/site=*/type=*/date=*/hour=*/*.parquet"
    asked: Answers = {}
    with connect() as connection:
        connection.execute("SELECT count(*) FROM read_parquet($files)", {"files": files}).fetchall()
        for name, statement in DUCKDB.items():
            begun = time.perf_counter()
            answer = connection.execute(statement, {"files": files, "site": site, **bounds(days)})
            rows, names = answer.fetchall(), [column[0] for column in answer.description]
            ms = (time.perf_counter() - begun) * 1e3
            asked[name] = ms, [dict(zip(names, row, strict=True)) for row in rows]
    return asked


if __name__ == "__main__":
    peer, folder, site, days = sys.argv[1:]
    print(json.dumps({"raw": raw, "filtered": filtered, "duckdb": duckdb}[peer](Path(folder), site, int(days))))
