"""The forms in which exports come, each with what it comes to, which was written down before it was tried."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest

from infra.commands.migration import Exported
from ingest.logs.files import ImportFailed
from ingest.migration.countries import country_code
from ingest.migration.daily import by_day
from tests.ingest.migration import exports
from tests.ingest.migration.exports import SITE, Files, actions, exported, numbers, taken, written, zipped

HEAD = "2Path,Title,Event,Browser,System,Session,Bot,Referrer,Referrer scheme,Screen size,Location,FirstVisit,Date"
GOAT = f"""\
{HEAD}
/,Home,false,Firefox 139,Linux,s1,0,,,,DE,true,2024-05-01T12:00:00Z
/b,,1,,,s1,0,,,,DE,,2024-05-01T12:01:00Z
"""


@pytest.mark.parametrize(
    "files",
    [
        {"a.csv": b"\xef\xbb\xbf" + GOAT.replace("\n", "\r\n").encode()},
        {"a.csv": GOAT.replace(",", ";")},
        {"a.csv": GOAT.replace(",", "\t").encode("utf-16")},
        {"a": gzip.compress(GOAT.encode())},
        {"a.csv.bz2": bz2.compress(GOAT.encode())},
        {"a.csv.xz": lzma.compress(GOAT.encode())},
        {"a.zip": zipped({"in/b.zip": zipped({"a.csv.gz": gzip.compress(GOAT.encode())}), "in/.DS_Store": "x"})},
        {"a.csv": GOAT, "empty.csv.gz": gzip.compress(f"{HEAD}\n".encode())},
    ],
    ids=["mark", "semicolons", "utf-16", "gzip", "bzip2", "xz", "zips", "two"],
)
def test_however_it_is_packed_or_written(tmp_path: Path, files: Files) -> None:
    batch, events = taken(list(exported(tmp_path, "goatcounter", files).rows()))
    assert [(event.type, event.path, event.name) for event in events] == [("pageview", "/", ""), ("custom", "/", "/b")]
    assert (len(batch.accepted), batch.refused, batch.not_understood) == (2, {}, [])


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    name = "imported_visitors_20230209_20230211 (1).csv"
    written(tmp_path / "export", {name: exports.PLAUSIBLE["imported_visitors"]})
    found = by_day(Exported("plausible", [str(tmp_path / "export")], SITE, "", None).rows(), "UTC")
    assert (found.days[date(2023, 2, 9)].visitors, found.not_understood) == (119, 1)


NO_TEXT = {
    "a.db": (b"SQLite format 3\0" + bytes(90), "database of SQLite"),
    "a.dump": (b"PGDMP\1\16" + bytes(90), "pg_restore"),
    "a.avro": (b"Obj\1" + bytes(90), "Avro"),
    "a.xls": (b"\xd0\xcf\x11\xe0" + bytes(90), "Excel: save it as CSV"),
    "a.xlsx": (zipped({"[Content_Types].xml": "<a/>"}), "Excel: save it as CSV"),
    "a.html": (b"<!doctype HTML><title>Login", "page of HTML, such as a login"),
    "a.csv": (b"", "a.csv is empty"),
    "a.zip": (zipped({}), "there are no files in"),
    "b.zip": (zipped({"a.csv": GOAT * 40})[:-30], "is no whole zip"),
    "c.zip": (zipped({"1": zipped({"2": zipped({"3": "x"})})}), "a zip in zips"),
    "a.7z": (b"7z\xbc\xaf" + bytes(90), "a.7z: it is packed as 7z: unpack it first, and import its files"),
    "a.tar": (b"a.csv".ljust(257, b"\0") + b"ustar" + bytes(250), "it is a tar archive: unpack it first"),
    "a.gz": (gzip.compress(GOAT.encode() * 500)[:-90], "breaks off"),
}


def test_what_cannot_be_read_twice_or_unpacked_is_said_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", str(tmp_path / "pipe")):
        with pytest.raises(ImportFailed, match="cannot come from a pipe"):
            Exported("goatcounter", [name], SITE, "", None)
    packed = bytearray(zipped({"a.csv": GOAT}))
    for flag in (packed.index(b"PK\3\4") + 8, packed.index(b"PK\1\2") + 10):
        packed[flag] = 9  # a way to pack files that Windows has
    with pytest.raises(ImportFailed, match=r"a\.zip/a\.csv cannot be unpacked"):
        exported(tmp_path, "goatcounter", {"a.zip": bytes(packed)})
    with pytest.raises(ImportFailed, match=r"b\.zip/a\.csv cannot be unpacked: File name in directory"):
        exported(tmp_path, "goatcounter", {"b.zip": zipped({"a.csv": GOAT}).replace(b"a.csv", b"b.csv", 1)})


def test_a_site_is_chosen_only_where_there_may_be_several(tmp_path: Path) -> None:
    paths = written(tmp_path, {"a.csv": GOAT})
    with pytest.raises(click.UsageError, match="this export is of one"):
        Exported("goatcounter", paths, SITE, "1", None)


@pytest.mark.parametrize("name", NO_TEXT)
def test_what_is_no_text_is_said_in_words(tmp_path: Path, name: str) -> None:
    content, words = NO_TEXT[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "goatcounter", {name: content}).rows())


OF_OTHERS: dict[str, tuple[str, Files]] = {
    "GoatCounter": ("a.csv", {"a.csv": GOAT}),
    "Umami": ("dump", {"dump.sql": exports.umami_mysql()}),
    "Matomo": ("dump", {"dump.sql": exports.MATOMO_DUMP}),
    "Plausible": ("totals", {"imported_pages_20230209_20230211.csv": exports.PLAUSIBLE["imported_pages"]}),
    "Google Analytics 4": ("lines", {"a.json": exports.GA4_LINES}),
}
PRODUCT = {
    "GoatCounter": "goatcounter", "Umami": "umami", "Matomo": "matomo", "Plausible": "plausible",
    "Google Analytics 4": "ga4",
}  # fmt: skip


@pytest.mark.parametrize("given", [*PRODUCT])
@pytest.mark.parametrize("named", [*PRODUCT])
def test_an_export_of_another_product_is_told_by_its_name(tmp_path: Path, given: str, named: str) -> None:
    if given == named:
        assert list(exported(tmp_path, PRODUCT[named], OF_OTHERS[given][1]).rows())
        return
    with pytest.raises(ImportFailed, match=f"It looks like an export of {given}: footfall import {PRODUCT[given]} "):
        list(exported(tmp_path, PRODUCT[named], OF_OTHERS[given][1]).rows())


def test_an_access_log_is_told_as_one(tmp_path: Path) -> None:
    line = '192.0.2.1 - - [01/Jun/2025:12:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x"\n'
    with pytest.raises(ImportFailed, match="looks like an access log"):
        list(exported(tmp_path, "umami", {"a.log": line}).rows())


def _inserts(*, columns: bool = True, backslash: bool = False) -> str:
    """The rows as `pg_dump --inserts` (or `--column-inserts`) has them."""
    parts = ["-- PostgreSQL database dump\n\\restrict abc\nSELECT pg_catalog.set_config('search_path', '', false);\n"]
    tables = zip(("event_data", "session", "website_event"), (exports.UMAMI_DATA, exports.UMAMI_SESSIONS,
                 exports.UMAMI_EVENTS), strict=True)  # fmt: skip
    for name, text in tables:
        names, *rows = (line.split(",") for line in text.splitlines())
        made = ",\n".join(f"    {each} text" for each in names)
        parts.append(f"CREATE TABLE umami.{name} (\n{made},\n    CONSTRAINT k CHECK (true)\n);\n")
        head = f"INSERT INTO umami.{name} ({', '.join(names)})" if columns else f"INSERT INTO umami.{name}"
        for row in rows:
            values = ", ".join(f"'{value}'" if value else "NULL" for value in row)
            parts.append(f"{head} VALUES ({values});\n")
    return "".join(parts).replace("'Pricing'", r"'C:\'" if backslash else "'It''s'")


_WARNED = "mysqldump: [Warning] Using a password on the command line interface can be insecure.\n"
_ESCAPED = exports.umami_mysql().replace("'Pricing'", r"'It\'s \"x\" \\'")
DUMPS = {
    "inserts": _inserts(columns=False),
    "column inserts": _inserts(),
    "a backslash": _inserts(backslash=True),
    "a warning above": _WARNED + exports.umami_mysql(),
    "sandbox": "/*M!999999\\- enable the sandbox mode */ \n" + exports.umami_mysql(),
    "no quotes": _ESCAPED.replace("`", ""),
    "ansi quotes": _ESCAPED.replace("`", '"'),
    "left of version 1": exports.umami_postgres()
    + "COPY public.v1_session (session_id, website_id, browser) FROM stdin;\n7\t1\tchrome\n\\.\n",
}


def test_files_that_are_no_tables_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    websites = "website_id,name,domain\nw1,x,example.com\n"
    files = {"a.zip": zipped({"website_event.csv": exports.UMAMI_EVENTS, "website.csv": websites})}
    batch, _ = taken(list(exported(tmp_path, "umami", files).rows()))
    assert len(batch.accepted) == 4
    assert capsys.readouterr().err == "a.zip/website.csv is none of the tables, and not read\n"


@pytest.mark.parametrize("null", ["NULL", "\\N"])
def test_what_databases_write_for_nothing_is_nothing(tmp_path: Path, null: str) -> None:
    text = exports.UMAMI_EVENTS.replace(",/,,,,Home", f",/,{null},{null},{null},{null}")
    _, events = taken(list(exported(tmp_path, "umami", {"e.csv": text}).rows()))
    assert (events[-1].url, events[-1].source, events[-1].title) == ("https://example.com/", "", "")


@pytest.mark.parametrize("form", DUMPS)
def test_a_dump_in_whatever_form(tmp_path: Path, form: str) -> None:
    batch, events = taken(list(exported(tmp_path, "umami", {"dump.sql": DUMPS[form]}).rows()))
    assert (len(batch.accepted), batch.refused, len(batch.not_understood)) == (4, {"event_type": 1}, 1)
    assert len({event.visitor for event in events}) == 2


def test_times_of_a_dump_have_offsets(tmp_path: Path) -> None:
    text = exports.umami_postgres().replace("2024-05-01 12:00:00", "2024-05-01 12:00:00.123+00")
    text = text.replace("2024-05-02 09:00:00", "2024-05-02 01:00:00+05:30")
    found = actions(list(exported(tmp_path, "umami", {"dump.sql": text}).rows()))
    assert [event.occurred_at for event in taken([found[0], found[-1]])[1]] == [1_714_564_800_123, 1_714_591_800_000]


_DATA_2_0 = """\
event_id,website_id,website_event_id,event_key,event_string_value,event_numeric_value,event_date_value,event_data_type
d1,w1,e3,plan,pro,,,1
d2,w1,e3,seats,,3.0000,,2
"""


def test_umami_2_0_names_data_and_regions_otherwise(tmp_path: Path) -> None:
    sessions = exports.UMAMI_SESSIONS.replace("US-CA", "CA")
    files = {"e.csv": exports.UMAMI_EVENTS, "session.csv": sessions, "d.csv": _DATA_2_0}
    _, events = taken(list(exported(tmp_path, "umami", files).rows()))
    assert (events[2].props, events[2].region) == ({"plan": "pro", "seats": 3}, "US-CA")


def _copied(tables: Mapping[str, str]) -> str:
    parts = ["-- PostgreSQL database dump\n"]
    for name, text in tables.items():
        names, *rows = (line.split(",") for line in text.splitlines())
        lines = ["\t".join(value or "\\N" for value in row) for row in rows]
        parts.append("\n".join([f"COPY public.{name} ({', '.join(names)}) FROM stdin;", *lines, "\\.\n"]))
    return "".join(parts)


UMAMI_1 = {
    "session": "session_id,session_uuid,website_id,hostname,browser,os,device,country\n"
    "7,aa,1,example.com,chrome,Windows 10,desktop,DE\n8,bb,1,example.com,ios,iOS,mobile,US\n",
    "pageview": "view_id,website_id,session_id,created_at,url,referrer\n"
    "1,1,7,2022-03-01 12:00:00,/,https://www.google.com/\n"
    "2,1,7,2022-03-01 12:01:00,/p?x=1,/\n3,1,8,2022-03-02 12:00:00,/,\n4,1,9,2022-03-02 12:00:00,/,\n",
    "event": "event_id,website_id,session_id,created_at,url,event_type,event_value\n"
    "5,1,7,2022-03-01 12:02:00,/p,click,buy\n",
    "event_data": 'event_data_id,event_id,event_data\n1,5,{"seats": 3}\n',
}


def test_umami_1(tmp_path: Path) -> None:
    rows = list(exported(tmp_path, "umami", {"dump.sql": _copied(UMAMI_1)}).rows())
    batch, (home, page, other, click) = taken(rows)
    assert [why for _, _, why in batch.not_understood] == [
        "the session '9' is not in the dump, or the row has no id or time"
    ]
    assert (home.path, home.source, home.browser, home.os_version) == ("/", "google.com", "Chrome", "10")
    assert (home.country, other.country) == ("DE", "US")
    assert (page.url, page.source) == ("https://example.com/p?x=1", "")
    assert (click.type, click.name, click.props) == ("custom", "buy", {"seats": 3, "type": "click"})
    assert (home.visitor == page.visitor == click.visitor, home.visitor != other.visitor) == (True, True)


RANGE: Files = {
    "events.csv": "x,y\r\nsignup,2\r\n", "pages.csv": "x,y\r\n/,20\r\n", "referrers.csv": "x,y\r\ngoogle.com,10\r\n",
    "browsers.csv": "x,y\r\nchrome,14\r\nios,8\r\n", "os.csv": "x,y\r\nWindows 10,14\r\niOS,8\r\n",
    "devices.csv": "x,y\r\ndesktop,14\r\nmobile,8\r\n", "countries.csv": "x,y\r\nDE,x\r\n",
}  # fmt: skip


def test_umamis_range_is_of_the_day_that_is_named(tmp_path: Path) -> None:
    packed = {"range.zip": zipped(RANGE)}
    with pytest.raises(ImportFailed, match=r"does not say of which days it is.*--day"):
        list(exported(tmp_path, "umami", packed).rows())
    one = exported(tmp_path, "umami", packed, date(2024, 5, 1))
    assert one.of_days
    rows = list(one.rows())
    found = [row[:3] for total in rows if hasattr(total, "rows") for row in total.rows]
    assert found == [
        ("event", "signup", 0), ("", "events", 0), ("page", "/", 20), ("source", "google.com", 10),
        ("channel", "Organic Search", 10), ("browser", "Chrome", 14), ("", "", 14), ("browser", "Safari", 8),
        ("", "", 8), ("os", "Windows", 14), ("os", "iOS", 8), ("device", "desktop", 14), ("device", "mobile", 8),
    ]  # fmt: skip
    assert numbers(tmp_path, "umami", packed, date(2024, 5, 1)) == {"2024-05-01": [22, 0, 0]}


def test_the_bigquery_export_as_parquet(tmp_path: Path) -> None:
    kinds = {"string_value": str, "int_value": int, "double_value": float}
    rows: list[dict[str, Any]] = []
    for event in exports.GA4:
        params = [
            {"key": each["key"], "value": {kind: of(each["value"][kind]) if kind in each["value"] else None
                                           for kind, of in kinds.items()}}
            for each in event["event_params"]
        ]  # fmt: skip
        rows.append(event | {"event_timestamp": int(event["event_timestamp"]), "event_params": params})
    out = io.BytesIO()
    pl.DataFrame(rows).write_parquet(out)
    _, events = taken(list(exported(tmp_path, "ga4", {"e.parquet": out.getvalue()}).rows()))
    text = exports.GA4_LINES.replace('"1714564920000000"', '"1.71456492E15"')
    assert events == taken(list(exported(tmp_path, "ga4", {"e.jsonl": text}).rows()))[1]
    with pytest.raises(ImportFailed, match="no whole Parquet file"):
        list(exported(tmp_path, "ga4", {"e.parquet": out.getvalue()[:-20]}).rows())


@pytest.mark.parametrize("indent", [None, 1])
def test_events_may_stand_over_several_lines(tmp_path: Path, indent: int | None) -> None:
    text = "".join(json.dumps(event, indent=indent) + "\n" for event in exports.GA4)
    batch, _ = taken(list(exported(tmp_path, "ga4", {"e.json": text}).rows()))
    assert (len(batch.accepted), batch.not_understood) == (7, [])
    batch, _ = taken(list(exported(tmp_path, "ga4", {"e.json": text[:-90]}).rows()))
    assert (len(batch.accepted), len(batch.not_understood)) == (7, 1)


@pytest.mark.parametrize(
    ("name", "code"),
    [("Türkiye", "TR"), ("Côte d\u2019Ivoire", "CI"), ("The Gambia", "GM"), ("Bosnia & Herzegovina", "BA"),
     ("Trinidad and Tobago", "TT"), ("Falkland Islands (Islas Malvinas)", "FK"), ("Atlantis", "")],
)  # fmt: skip
def test_countries_by_what_google_calls_them(name: str, code: str) -> None:
    assert country_code(name) == code


_ONE_DAY = "# Traffic acquisition\n# Start date: 20240501\n# End date: 20240501\n"
_TWO = "# Start date: 20240501\n# End date: 20240502\n"
REPORTS = {
    "sums": ("Date,Sessions\nTotals,10\n20240501,10\nTotal,10\n", {"2024-05-01": [0, 10, 0]}),
    "comments at the end": ("Date,Sessions\n20240501,10\n\n# ----\n# end\n", {"2024-05-01": [0, 10, 0]}),
    "no such day": (_TWO + "Nth day,Sessions\n0001,5\n99999999999,5\n99999,5\n", {"2024-05-02": [0, 5, 0]}),
    "nothing is a dash": ("Date,Sessions,Views\n20240501,-,30\n", {"2024-05-01": [0, 0, 30]}),
    "thousands": ('Date,Sessions,Views\n20240501,"1,234","12,345"\n', {"2024-05-01": [0, 1234, 12345]}),
    "german thousands": ("Date;Sessions;Views\n20240501;1.234;12.345\n", {"2024-05-01": [0, 1234, 12345]}),
    "spaces": ("Date,Sessions\n20240501,1\u202f234\n", {"2024-05-01": [0, 1234, 0]}),
    "indian thousands": ('Date,Sessions\n20240501,"12,34,567"\n', {"2024-05-01": [0, 1234567, 0]}),
    "floats": ("Date,Sessions\n20240501,1234.0\n", {"2024-05-01": [0, 1234, 0]}),
    "tabs": ("Date\tSessions\tTotal users\n20240501\t10\t8\n", {"2024-05-01": [8, 10, 0]}),
    "as the API names them": ("date,sessions,totalUsers\n20240501,10,8\n", {"2024-05-01": [8, 10, 0]}),
    "as before": ("Date,Pageviews,Users,Sessions\n20210501,30,8,10\n", {"2021-05-01": [8, 10, 30]}),
    "dates in words": ('Date,Sessions\n"May 1, 2024",10\n', {"2024-05-01": [0, 10, 0]}),
    "nth day": (_TWO + "Nth day,Sessions\n0000,10\n0001,5\n", {"2024-05-01": [0, 10, 0], "2024-05-02": [0, 5, 0]}),
    "two tables": (
        _TWO + "Nth day,Sessions\n0000,10\n\n" + _TWO + "Country,Sessions\nGermany,15\n", {"2024-05-01": [0, 10, 0]},
    ),
    "one day in another language": ("# Debut : 20240501\n# Fin : 20240501\nSessions\n10\n", {"2024-05-01": [0, 10, 0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_reports_as_they_are_downloaded(tmp_path: Path, name: str) -> None:
    text, days = REPORTS[name]
    assert numbers(tmp_path, "ga4", {"report.csv": text}) == days


def test_each_table_of_a_file_is_read(tmp_path: Path) -> None:
    text = f"{_ONE_DAY}Country,Sessions\nGrand total,6\nGermany,5\nFrance,1\n\n"
    text += f"{_ONE_DAY}Browser,Sessions\n,6,Grand total\nChrome,6\n"
    rows = list(exported(tmp_path, "ga4", {"report.csv": "\ufeff" + text.replace("\n", "\r\n")}).rows())
    found = [(row.file, *row.rows[0][:4]) for row in rows if hasattr(row, "rows")]
    assert found == [(0, "country", "DE", 0, 5), (0, "country", "FR", 0, 1), (1, "browser", "Chrome", 0, 6)]
    assert [row[:2] for row in rows if hasattr(row, "reason")] == [(5, "grand_total"), (13, "grand_total")]


def test_durations_of_any_form(tmp_path: Path) -> None:
    text = 'Date,Sessions,Average session duration\n20240501,2,00:01:30\n20240502,2,"1,234.5"\n20240503,2,"90,5"\n'
    rows = list(exported(tmp_path, "ga4", {"report.csv": text}).rows())
    assert [row.rows[0].duration_ms for row in rows] == [180_000, 2_469_000, 181_000]


NO_REPORTS = {
    "another language": (_ONE_DAY +
    "Cesta stránky,Zobrazení\n/,5\n", "set the language of Google Analytics to English"),
    "a dimension in another language": (_ONE_DAY + "Groupe de canaux,Sessions\nDirect,5\n", "'Groupe de canaux' is"),
    "a dimension that is not known": ("Date,Page title,Sessions\n20240501,Home,5\n", "'Page title' is none of"),
    "hours": ("Date,Hour,Sessions\n20240501,03,5\n", "leave out the column 'Hour'"),
    "a month": ("Month,Sessions\n05,10\n", "does not say of which day it is"),
    "no tables": (_ONE_DAY, "no report of Google Analytics"),
    "events as csv": ("event_timestamp,event_name\n1,page_view\n", "BigQuery's events lose their parameters as CSV"),
}


@pytest.mark.parametrize("name", NO_REPORTS)
def test_a_report_that_would_be_read_as_another_is_refused(tmp_path: Path, name: str) -> None:
    text, words = NO_REPORTS[name]
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "ga4", {"report.csv": text}).rows())


_DASHBOARD = """\
date,visitors,pageviews,visits,views_per_visit,bounce_rate,visit_duration
2024-05-01,10,18,10,1.8,40,90
2024-05-02,6,6,6,1.0,100,
"""


def test_the_dashboard_of_plausible_has_days(tmp_path: Path) -> None:
    files = {"Plausible export.zip": zipped({"visitors.csv": _DASHBOARD, "pages.csv": "name,visitors\n/,12\n"})}
    rows = list(exported(tmp_path, "plausible", files).rows())
    assert [tuple(row.rows[0])[2:] for row in rows] == [(10, 10, 4, 900_000, 18, 18), (6, 6, 6, 0, 6, 6)]
    assert {row.part for row in rows} == {"imported_visitors"}  # which the export of the settings replaces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_DASHBOARD.replace("2024-05-02", "2024-06-01"), "of weeks or months"),
        (_DASHBOARD.replace("2024-05-02,", "2024-05-01 01:00:00,"), "of hours"),
        (_DASHBOARD[: _DASHBOARD.index("2024-05-02")], "of weeks or months"),
    ],
)
def test_hours_and_months_of_plausible_are_no_days(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ImportFailed, match=words):
        list(exported(tmp_path, "plausible", {"visitors.csv": text}).rows())


def test_what_plausible_adds_to_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "imported_custom_props_20230209_20230211.csv": "date,name\n",
        "imported_visitors.csv": exports.PLAUSIBLE["imported_visitors"].replace("304", "304.0").replace(",", ";"),
        "imported_pages.csv": "date,page,visits,visitors,pageviews,total_scroll_depth\n2023-02-09,/docs,8,8,9,\\N\n",
        "imported_custom_events.csv": "date,name,visitors,events\n2023-02-09,engagement,30,40\n",
    }
    rows = list(exported(tmp_path, "plausible", files).rows())
    assert "imported_custom_props_20230209_20230211.csv is not known, and not read" in capsys.readouterr().err
    assert [type(row).__name__ for row in rows] == ["Total", "Total", "Broken", "Total", "Left"]
