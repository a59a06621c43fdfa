"""What people have of Plausible beside its exports: the events of a server of their own, and answers of its API."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.commands.migration import Exported
from ingest.logs.files import ImportFailed
from ingest.migration.export import Left
from ingest.migration.totals import Total
from tests.ingest.migration.exports import SITE, actions, exported, numbers, taken, written

_NOTHING: dict[str, Any] = {
    "hostname": SITE, "referrer": "", "referrer_source": "", "country_code": "DE", "screen_size": "Desktop",
    "operating_system": "Mac", "browser": "Microsoft Edge", "utm_medium": "", "utm_source": "", "utm_campaign": "",
    "utm_content": "", "utm_term": "", "browser_version": "125.0", "operating_system_version": "10.15",
    "subdivision1_code": "DE-BE", "subdivision2_code": "", "city_geoname_id": 2950159, "scroll_depth": 255,
    "engagement_time": 0,
    "revenue_source_amount": None,
    "revenue_source_currency": "\0\0\0", "meta.key": [], "meta.value": [],
}  # fmt: skip


def _row(at: str, name: str, path: str, user: int, session: int, **others: Any) -> dict[str, Any]:
    named = {"timestamp": f"2024-05-{at}", "name": name, "site_id": 1, "user_id": user, "session_id": session}
    given = {key.replace("meta_", "meta."): value for key, value in others.items()}
    return named | {"pathname": path} | _NOTHING | given


USER = 18_446_744_073_709_551_615
EVENTS = [
    _row("01 12:00:00", "pageview", "/", USER, 7, referrer="google.com/search", referrer_source="Google"),
    _row("01 12:00:30", "engagement", "/", USER, 7, scroll_depth=80, engagement_time=30_000),
    _row("01 12:01:00", "pageview", "/a\tb \"c\", d", USER, 7, referrer="google.com/search", referrer_source="Google"),
    _row("01 12:01:00", "pageview", "/a\tb \"c\", d", USER, 7, referrer="google.com/search", referrer_source="Google"),
    _row("01 12:02:00", "Signup", "/", USER, 7, meta_key=["plan", "it's"], meta_value=["pro", "a\\b"],
         revenue_source_amount="9.500", revenue_source_currency="EUR"),
    _row("01 12:03:00", "Outbound Link: Click", "/", USER, 7, meta_key=["url"], meta_value=["https://other.example/"]),
    _row("02 09:00:00", "pageview", "/docs", 8, 9, utm_source="news", utm_medium="email", utm_campaign="spring",
         referrer_source="news", country_code="\0\0", subdivision1_code=""),
    _row("02 09:01:00", "404", "/gone", 8, 9, meta_key=["path"], meta_value=["/gone"]),
]  # fmt: skip


def _escaped(value: object, quotes: bool) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, list):
        return "[" + ",".join("'" + str(each).replace("\\", "\\\\").replace("'", "\\'") + "'" for each in value) + "]"
    text = str(value)
    if quotes:
        return '"' + text.replace('"', '""') + '"' if isinstance(value, str) else text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("'", "\\'").replace("\0", "\\0")


def _csv(rows: list[dict[str, Any]]) -> str:
    def cell(value: object) -> str:
        text = _escaped(value, quotes=True)
        return '"' + text.replace('"', '""') + '"' if isinstance(value, list) else text

    lines = [",".join(f'"{name}"' for name in rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def _tsv(rows: list[dict[str, Any]], *, types: bool = False) -> str:
    def cell(value: object) -> str:
        text = _escaped(value, quotes=False)
        return text.replace("\\", "\\\\").replace("\\\\N", "\\N") if isinstance(value, list) else text

    head = ["\t".join(rows[0])] + ["\t".join(["DateTime", *["Array(String)"] * (len(rows[0]) - 1)])] * types
    return "\n".join([*head, *("\t".join(map(cell, row.values())) for row in rows)]) + "\n"


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    of_types = {"user_id": pl.UInt64, "meta.key": pl.List(pl.String), "meta.value": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema_overrides=of_types, infer_schema_length=None)
    frame.with_columns(pl.col("timestamp").str.to_datetime()).write_parquet(out)
    return out.getvalue()


TABLES: dict[str, str | bytes] = {
    "JSONEachRow": "".join(json.dumps(row) + "\n" for row in EVENTS),
    "JSON": json.dumps({"meta": [], "data": EVENTS, "rows": len(EVENTS)}, indent=1),
    "numbers as texts": "".join(json.dumps({**row, "user_id": str(row["user_id"])}) + "\n" for row in EVENTS),
    "CSVWithNames": _csv(EVENTS),
    "TSVWithNames": _tsv(EVENTS),
    "TSVWithNamesAndTypes": _tsv(EVENTS, types=True),
    "Parquet": _parquet(EVENTS),
}


@pytest.mark.parametrize("form", TABLES)
def test_the_events_of_a_server(tmp_path: Path, form: str) -> None:
    one = exported(tmp_path, "plausible", {"events_v2": TABLES[form]})
    assert not one.of_days
    batch, events = taken(list(one.rows()))
    assert (len(batch.accepted), batch.refused, batch.not_understood) == (8, {}, [])
    home, read, page, again, signup, link, docs, gone = events
    assert (home.path, home.source, home.browser_version) == ("/", "google.com", "125")
    assert (home.browser, home.os) == ("Edge", "macOS")
    assert (home.country, home.region, home.device, home.occurred_at) == ("DE", "DE-BE", "desktop", 1_714_564_800_000)
    assert (read.type, read.engaged_ms, read.props) == ("engagement", 30_000, {"scroll_depth": 80})
    assert page.path == again.path == "/ab%20%22c%22,%20d" and page.id != again.id
    assert (signup.type, signup.name, signup.props) == ("custom", "Signup", {"plan": "pro", "it's": "a\\b"})
    assert (signup.revenue, signup.currency) == ("9.5", "EUR")
    assert (link.type, link.props) == ("outbound", {"url": "https://other.example/"})
    assert (docs.source, docs.channel, docs.utm_campaign, docs.country) == ("news", "Email", "spring", "")
    assert (gone.type, len({event.visitor for event in events})) == ("not_found", 2)


def test_all_forms_make_the_same_ids(tmp_path: Path) -> None:
    ids = set()
    for form, content in TABLES.items():
        (tmp_path / form).mkdir()
        rows = exported(tmp_path / form, "plausible", {"events_v2": content}).rows()
        ids.add(tuple(row.event["id"] for row in actions(list(rows))))
    assert len(ids) == 1


def test_one_of_several_sites_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = "".join(json.dumps({**row, "site_id": 2}) + "\n" for row in EVENTS[:1])
    sessions = json.dumps({"session_id": 7, "entry_page": "/", "exit_page": "/", "site_id": 1}) + "\n"
    paths = written(tmp_path, {"events_v2.json": f"{TABLES['JSONEachRow']}{other}", "sessions_v2.json": sessions})
    with pytest.raises(ImportFailed, match="several sites in it, choose one with --their-site: 1, 2"):
        list(Exported("plausible", paths, SITE, "", None).rows())
    with pytest.raises(ImportFailed, match="there is no site 3 in it; there is 1, 2"):
        list(Exported("plausible", paths, SITE, "3", None).rows())
    batch, _ = taken(list(Exported("plausible", paths, SITE, "2", None).rows()))
    assert (len(batch.accepted), batch.refused) == (1, {"other_site": 8})
    assert "sessions_v2.json has sessions, which are made of the events; it is not read" in capsys.readouterr().err


def _answer(metrics: str, dimensions: str, *rows: tuple[list[str], list[float]], **more: Any) -> str:
    query = {"site_id": SITE, "metrics": metrics.split(), "date_range": ["2024-05-01T00:00:00+00:00",
    "2024-05-02T23:59:59+00:00"],
             "filters": [], "dimensions": dimensions.split()}  # fmt: skip
    results = [{"metrics": values, "dimensions": names} for names, values in rows]
    return json.dumps({"results": results, "meta": {}, "query": query | more})


SERIES = _answer("visitors visits pageviews bounce_rate visit_duration", "time:day",
                 (["2024-05-01"], [10, 12, 30, 50, 90]), (["2024-05-02"], [5, 6, 7, 0, 0]))  # fmt: skip
DAYS = {"2024-05-01": [10, 12, 30], "2024-05-02": [5, 6, 7]}
_NAMES = ("date", "visitors", "visits", "pageviews", "bounce_rate", "visit_duration")
_V1 = [
    dict(zip(_NAMES, row, strict=True))
    for row in (("2024-05-01", 10, 12, 30, 50.0, 90.0), ("2024-05-02", 5, 6, 7, None, None))
]


@pytest.mark.parametrize("text", [SERIES, json.dumps({"results": _V1}), json.dumps({"results": _V1}, indent=2)])
def test_days_of_the_api(tmp_path: Path, text: str) -> None:
    first, _ = exported(tmp_path, "plausible", {"a.json": text}).rows()
    assert tuple(first.rows[0]) == ("", "", 10, 12, 6, 1_080_000, 30, 30)
    assert first.part == "imported_visitors"  # which the file of the export replaces
    (tmp_path / "b").mkdir()
    assert numbers(tmp_path / "b", "plausible", {"a.json": text}) == DAYS


LISTS = {
    "visit:source": ("Google", ("source", "google.com", 4)), "event:page": ("/a b", ("page", "/a%20b", 4)),
    "visit:country": ("DE", ("country", "DE", 4)), "visit:device": ("Laptop", ("device", "desktop", 4)),
    "visit:browser": ("Microsoft Edge", ("browser", "Edge", 4)), "visit:os": ("Mac", ("os", "macOS", 4)),
    "visit:entry_page": ("/", ("entry_page", "/", 4)), "event:goal": ("Signup", ("event", "Signup", 4)),
    "visit:referrer": ("t.co/x", ("source", "x.com", 4)),
}  # fmt: skip


@pytest.mark.parametrize("dimension", LISTS)
def test_lists_of_the_api(tmp_path: Path, dimension: str) -> None:
    value, expected = LISTS[dimension]
    text = _answer("visitors", f"time:day {dimension}", (["2024-05-01", value], [4]))
    (row,) = exported(tmp_path, "plausible", {"a.json": text}).rows()
    assert tuple(row.rows[0])[:3] == expected


ONE_DAY = {"date_range": ["2024-05-01T00:00:00+00:00", "2024-05-01T23:59:59+00:00"]}
REFUSED = {
    "months": (_answer("visitors", "time:month", (["2024-05-01"], [4])), "is not of days"),
    "hours": (_answer("visitors", "time:hour", (["2024-05-01 01:00:00"], [4]), **ONE_DAY), "is not of days"),
    "the whole time": (_answer("visitors", "visit:source", (["Google"], [4])), "is not of days"),
    "filters": (_answer("visitors", "time:day", (["2024-05-01"], [4]), filters=[["is", "visit:source", ["x"]]]),
        "of the visits that filters choose"),
    "a dimension that would count "
    "twice": (_answer("visitors", "time:day visit:city", (["2024-05-01", "1"], [4])), "is of visit:city"),
    "an error": ('{"error": "Missing API key"}', "Plausible's answer is: Missing API key"),
    "an aggregate": ('{"results": {"visitors": {"value": 4}}}', "no answer of Plausible's API by day"),
    "a breakdown": ('{"results": [{"page": "/", "visitors": 4}]}', "is of the whole time"),
    "months of version "
    "1": ('{"results": [{"date": "2024-04-01", "visitors": 4}, {"date": "2024-05-01", "visitors": 4}]}',
        "is of hours, weeks or months"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_of_days_is_said_in_words(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "plausible", {"a.json": text}).rows())


def test_of_one_day_a_list_needs_no_days(tmp_path: Path) -> None:
    text = _answer("visitors visits", "visit:source", (["Direct / None"], [4, 5]), **ONE_DAY)
    (row,) = exported(tmp_path, "plausible", {"a.json": text}).rows()
    assert (str(row.day), tuple(row.rows[0])[:4]) == ("2024-05-01", ("source", "", 4, 5))


def test_a_table_without_names_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="events_v2 of ClickHouse is read with FORMAT CSVWithNames"):
        list(exported(tmp_path, "plausible", {"events.tsv": "2024-05-01 12:00:00\tpageview\t1\t2\n"}).rows())


_HEADER = "Date,Visitors,Pageviews,Page"


def _pages(*rows: str) -> str:
    return "".join(f"{row}\n" for row in (_HEADER, *rows))


_PARTS = {
    "rows of one value": (["2024-05-01,1,1,/a", "2024-05-01,1,1,/a", "2024-05-01,6,7,/a", "2024-05-02,2,2,/a"], [8, 2]),
    "days from the last": (["2024-05-02,2,2,/a", "2024-05-01,1,1,/a", "2024-05-01,6,7,/a"], [7, 2]),
    "an export below another": (
        ["2024-05-01,1,1,/a", "2024-05-02,9,9,/a", "2024-05-01,6,7,/a", "2024-05-02,2,2,/a"], [6, 2]),
    "with its header": (["2024-05-01,1,1,/a", _HEADER, "2024-05-01,6,7,/a", "2024-05-01,2,2,/a", "2024-05-02,2,2,/a"],
        [8, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", _PARTS)
def test_rows_of_one_value_add_up_where_each_day_is_in_one_place(tmp_path: Path, name: str) -> None:
    lines, visitors = _PARTS[name]
    found: dict[tuple[int, str], int] = {}
    for row in exported(tmp_path, "plausible", {"imported_pages.csv": _pages(*lines)}).rows():
        if isinstance(row, Total):
            found[row.file, str(row.day)] = found.get((row.file, str(row.day)), 0) + row.rows[0].visitors
    last = {day: count for (_, day), count in sorted(found.items())}
    assert [last[day] for day in sorted(last)] == visitors


_AGAIN = {
    "a day": (["1,/a,1", "1,/b,2", "1,/a,7", "1,/b,8", "2,/a,3"], [7, 8, 3]),
    "three times": (["1,/a,1", "1,/b,2", "1,/a,1", "1,/b,2", "1,/a,1", "1,/b,2"], [1, 2]),
    "of one page": (["1,/a,7", "1,/a,7"], [7]),
    "of parts": (["1,/a,1", "1,/a,2", "1,/b,3", "1,/a,4", "1,/a,5", "1,/b,6"], [4, 5, 6]),
    "not all of it": (["1,/a,1", "1,/b,2", "1,/a,7"], [1, 2, 7]),
    "parts of one page": (["1,/a,1", "1,/a,1", "1,/a,2", "1,/a,2"], [1, 1, 2, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", _AGAIN)
def test_a_day_that_was_put_in_twice_counts_once(tmp_path: Path, name: str) -> None:
    short, visitors = _AGAIN[name]
    split = [line.split(",") for line in short]
    lines = [f"2024-05-0{day},{count},{count},{page}" for day, page, count in split]
    rows = list(exported(tmp_path, "plausible", {"imported_pages.csv": _pages(*lines)}).rows())
    assert [row.rows[0].visitors for row in rows if isinstance(row, Total)] == visitors
    left = [row.reason for row in rows if isinstance(row, Left)]
    assert left == ["repeated"] * (len(lines) - len(visitors))


def test_a_dashboard_that_says_null(tmp_path: Path) -> None:
    text = "date,visitors,pageviews,visits,views_per_visit,bounce_rate,visit_duration\n"
    text += "2024-05-01,0,0,0,0.0,null,null\n2024-05-02,2,4,2,2.0,50.0,30.5\n2024-05-03,1,1,1,1.0,0,\"1.234\"\n"
    rows = list(exported(tmp_path, "plausible", {"visitors.csv": text}).rows())
    assert [tuple(row.rows[0])[2:6] for row in rows] == [(0, 0, 0, 0), (2, 2, 1, 60_000), (1, 1, 0, 1_234_000)]
