"""Lists, events and sessions as files: the rows of the page, the days of the site, no formula, no more memory."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from dashboards import downloads, lists
from dashboards.panels import BREAKDOWNS, VIEWLESS
from stores import exports
from stores.warehouse import Warehouse
from tests.dashboards.conftest import VISITS, Visit, event_rows, ms, session_rows
from tests.dashboards.test_chips import RANGE, SHOES, links
from tests.e2e.harness import COMMAND_PATIENCE, ROOT

DAYS = "from=2026-03-27&to=2026-03-31"
FORMS = ("csv", "json", "parquet")
Rows = list[dict[str, object]]


def read(body: bytes, form: str, *, lines: bool = False) -> Rows:
    """The rows of a file; those of CSV are texts."""
    match form:
        case "csv":
            return [dict(row) for row in csv.DictReader(io.StringIO(body.decode()))]
        case "parquet":
            return pl.read_parquet(io.BytesIO(body)).to_dicts()
        case _ if lines:
            return [json.loads(line) for line in body.splitlines()]
        case _:
            return list(json.loads(body))


def export(client: FlaskClient, view: str, form: str, query: str = DAYS, site: str = "example.com") -> Rows:
    answer = client.get(f"/{site}/export/{view}.{form}?{query}")
    assert answer.status_code == 200, answer.text
    return read(answer.data, form, lines=True)


def texts(rows: Rows, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [tuple(str(row[column]) for column in columns) for row in rows]


BLANKS = " \t\r\n\u00a0\u3000\ufeff\u200b"
# What a spreadsheet looks at first, among other characters.
BEGINNINGS = st.text(st.sampled_from(f"=+-@＝＋－＠'a1{BLANKS}"), max_size=4)


@given(st.lists(st.builds(str.__add__, BEGINNINGS, st.text(max_size=9)), min_size=1))
def test_no_cell_begins_a_formula_and_no_other_cell_changes(given: list[str]) -> None:
    found = pl.DataFrame({"cell": given}).select(downloads.defused(pl.col("cell")))["cell"]
    for text, cell in zip(given, found, strict=True):
        assert cell in (text, f"'{text}")
        if text.startswith(("\t", "\r", "\n")) or text.lstrip(BLANKS).startswith(tuple("=+-@＝＋－＠")):
            assert cell == f"'{text}"
        if text[:1].isalnum():
            assert cell == text


@given(st.lists(st.tuples(st.text(st.characters(blacklist_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1))))
def test_a_file_has_the_rows_that_were_written(rows: list[tuple[str, int]]) -> None:
    frame = pl.DataFrame(rows, {"text": pl.String, "number": pl.Int64}, orient="row")
    halves = [frame.head(len(rows) // 2), frame.slice(len(rows) // 2)]
    found = {name: read(b"".join(form.write(halves)), name, lines=True) for name, form in downloads.ROWS.items()}
    assert found["json"] == found["parquet"] == frame.to_dicts()
    safe = frame.select(downloads.defused(pl.col("text")), pl.col("number").cast(pl.String))
    assert found["csv"] == safe.to_dicts()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BREAKDOWNS)
def test_a_list_as_a_file_has_the_rows_of_the_api(client: FlaskClient, name: str, form: str) -> None:
    query = RANGE | {"site": "example.com", "by": name, "limit": "1000"}
    api = client.get("/api/v1/breakdown", query_string=query).get_json()["rows"]
    answer = client.get(f"/example.com/list/{name}.{form}?{DAYS}")
    rows = read(answer.data, form)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == (
        f"attachment; filename=example.com-{name}-2026-03-27-2026-03-31.{form}"
    )
    own = ("pageviews", "engaged_time") if name not in VIEWLESS else ()
    columns = ("value", "visitors", "visits", "events", *own)
    assert sorted(texts(rows, columns)) == sorted(texts(api, columns))
    assert all(set(row) == set(columns) for row in rows)


def test_a_list_as_a_file_keeps_filters_search_and_order(client: FlaskClient) -> None:
    chosen = {"filters": json.dumps(SHOES), "search": "s", "sort": "value"}
    page = client.get("/example.com/list/page", query_string=RANGE | chosen).text
    address = next(each for each in links(page) if ".csv" in each)
    rows = read(client.get(address).data, "csv")
    assert [row["value"] for row in rows] == re.findall(r'<th scope="row"><a [^>]*title="([^"]*)"', page) == ["/shoes"]
    unsearched = [row["value"] for row in read(client.get(address.replace("search=s", "search=")).data, "csv")]
    assert unsearched == ["/", "/shoes"]


def test_a_long_list_says_how_much_of_it_is_in_the_file(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The list as" in client.get(f"/example.com/list/page?{DAYS}").text
    monkeypatch.setattr(lists, "MOST_ROWS", 3)
    assert "The first 3 rows as" in client.get(f"/example.com/list/page?{DAYS}").text
    assert len(read(client.get(f"/example.com/list/page.json?{DAYS}").data, "json")) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("page", [1, 4, 1000])
def test_events_are_all_there_once_in_the_order_of_time(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, form: str, page: int
) -> None:
    monkeypatch.setattr(exports, "PAGE", page)
    rows = export(client, "events", form)
    happened = [
        (place, index, (visit.start + timedelta(seconds=after)).astimezone(ZoneInfo("UTC")), path)
        for place, visit in enumerate(VISITS)
        if visit.site == "example.com"
        for index, (after, _, path, _) in enumerate(visit.events)
    ]
    expected = sorted(
        (at.strftime("%Y-%m-%dT%H:%M:%S.000Z"), f"{1 + place:016x}{1 + index:016x}", path)
        for place, index, at, path in happened
    )
    if form == "parquet":
        assert [(row["id"], row["path"]) for row in rows] == [(ident, path) for _, ident, path in expected]
        assert [row["occurred_at"] for row in rows] == sorted(at for _, _, at, _ in happened)
    else:
        assert texts(rows, ("occurred_at", "id", "path")) == expected
    assert len(rows[0]) == 45


def test_sessions_are_all_there(client: FlaskClient) -> None:
    rows = export(client, "sessions", "json")
    expected = sorted(
        (ms(visit.start), 1000 + place, len(visit.events), visit.is_bounce)
        for place, visit in enumerate(VISITS)
        if visit.site == "example.com" and not visit.bot
    )
    found = [
        (ms(datetime.fromisoformat(str(row["started_at"]))), int(str(row["session_id"]), 16), row["events"],
         row["is_bounce"])
        for row in rows
    ]  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "UTC"])
def test_a_day_is_one_of_the_site(
    client: FlaskClient, warehouse: Warehouse, sites: dict[str, str], zone: str
) -> None:
    """An event every half hour over the days on which clocks change in Berlin, and a week on at Lord Howe's."""
    site = f"{zone.rpartition('/')[2].lower().replace('_', '-')}.example"
    sites[site] = zone
    start = datetime(2026, 3, 27, tzinfo=ZoneInfo("UTC"))
    times = [start + timedelta(minutes=30 * step) for step in range(48 * 12)]
    visits = [Visit(1, at, [(0, "pageview", at.isoformat(), "")], site=site) for at in times]
    warehouse.insert("event_rows", event_rows(visits), f"events {site}")
    warehouse.insert("session_rows", session_rows(visits), f"sessions {site}")
    for day in (date(2026, 3, 28), date(2026, 3, 29), date(2026, 4, 5)):
        expected = [at.isoformat() for at in times if at.astimezone(ZoneInfo(zone)).date() == day]
        assert len(expected) in (46, 47, 48, 49, 50)
        rows = export(client, "events", "json", f"from={day}&to={day}", site)
        assert [row["path"] for row in rows] == expected
        sessions = export(client, "sessions", "csv", f"from={day}&to={day}", site)
        assert [row["entry_page"] for row in sessions] == expected
    first = datetime.combine(date(2026, 3, 29), time(), ZoneInfo(zone))
    assert len(export(client, "events", "csv", "from=2026-03-29&to=2026-04-02", site)) == sum(
        first <= at < datetime.combine(date(2026, 4, 3), time(), ZoneInfo(zone)) for at in times
    )


@pytest.mark.parametrize("query", ["from=2026-01-01&to=2026-01-02", "from=2160-01-01&to=2199-12-31"])
def test_days_without_rows_have_columns(client: FlaskClient, query: str) -> None:
    assert export(client, "events", "csv", query) == export(client, "events", "json", query) == []
    text = client.get(f"/example.com/export/events.csv?{query}").text
    assert text.startswith("site,day,id,visitor,type,occurred_at,")
    assert text.count("\n") == 1
    frame = pl.read_parquet(io.BytesIO(client.get(f"/example.com/export/sessions.parquet?{query}").data))
    assert (frame.height, frame.schema["started_at"]) == (0, pl.Datetime("ms", "UTC"))


def test_a_formula_is_defused_in_csv_alone(client: FlaskClient, warehouse: Warehouse, sites: dict[str, str]) -> None:
    sites["cells.example"] = "UTC"
    formula = '=HYPERLINK("https://evil.example","x")'
    visit = Visit(1, datetime(2026, 3, 27, 9, tzinfo=ZoneInfo("UTC")), [(0, "pageview", formula, "")])
    rows = event_rows([visit]).with_columns(site=pl.lit("cells.example"), revenue=pl.lit("-12.5"))
    warehouse.insert("event_rows", rows, "cells")
    found = {form: export(client, "events", form, DAYS, "cells.example")[0] for form in FORMS}
    assert [found[form]["path"] for form in FORMS] == [f"'{formula}", formula, formula]
    assert [str(found[form]["revenue"]) for form in FORMS] == ["-12.5000"] * 3


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/example.com/export/events.csv", 400, "from and to are needed"),
        ("/example.com/export/events.xml?period=7d", 404, "csv, json, parquet"),
        ("/example.com/export/event_rows.csv?period=7d", 404, "events, sessions"),
        ("/elsewhere.example/export/events.csv?period=7d", 404, "footfall site add"),
        ("/example.com/export/events.csv?period=7d&filters=%5B%5D", 400, "all rows of its days"),
        ("/example.com/list/page.xls?period=7d", 404, "csv, json, parquet"),
        ("/example.com/list/shoe.csv?period=7d", 404, "no list is called"),
        ("/example.com/list/page.csv?period=7d&sort=shoe", 400, "sort must be"),
    ],
)
def test_a_mistake_is_told_in_words(client: FlaskClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert words in html.unescape(answer.text)
    assert "Content-Disposition" not in answer.headers


def test_the_board_offers_the_days_that_it_shows(client: FlaskClient) -> None:
    text = client.get("/example.com?period=7d").text
    offered = [each for each in links(text) if "/export/" in each]
    assert len(offered) == 6
    for address in offered:
        assert address.endswith("?from=2026-03-25&to=2026-03-31")
        assert client.get(address).status_code == 200


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory can be set back on Linux")
@pytest.mark.parametrize("form", FORMS)
def test_ten_times_the_events_take_no_more_memory(form: str) -> None:
    """All events in memory at once would take 500 MB more, see the pages that `export_in_a_process` reads."""

    def measured(events: int) -> dict[str, int]:
        script = str(Path(__file__).with_name("export_in_a_process.py"))
        line = [sys.executable, script, form, str(events)]
        done = subprocess.run(line, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                              timeout=COMMAND_PATIENCE, check=True)  # fmt: skip
        return dict(json.loads(done.stdout))

    few, many = measured(30_000), measured(300_000)
    assert many["bytes"] > 9 * few["bytes"]
    assert many["more"] < few["more"] + (250 << 20)
