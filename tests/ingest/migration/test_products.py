"""What the rows of other products' exports become: a test a product, and what is no such export."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ingest.logs.files import ImportFailed
from ingest.migration import members
from ingest.migration.daily import by_day
from ingest.migration.export import Broken, Left
from ingest.migration.ga4 import reports as ga4_reports
from tests.ingest.migration import exports
from tests.ingest.migration.exports import actions, exported, read, taken, written

NOON = 1_714_564_800_000  # 2024-05-01 12:00 UTC


def test_goatcounter(tmp_path: Path) -> None:
    (tmp_path / "goatcounter.csv.gz").write_bytes(gzip.compress(exports.GOATCOUNTER.encode()))
    rows, told = read("goatcounter", tmp_path / "goatcounter.csv.gz")
    assert told == []
    batch, events = taken(rows)
    assert (len(batch.accepted), batch.refused, len(batch.not_understood)) == (5, {"invalid_time": 1}, 1)
    assert batch.not_understood[0][0] == 8 and "column 3" in batch.not_understood[0][2]
    home, first, second, signup, bot = events
    assert (home.type, home.path, home.source, home.occurred_at) == ("pageview", "/", "google.com", NOON)
    assert (home.browser, home.browser_version, home.os, home.os_version) == ("Firefox", "139", "macOS", "10.15")
    assert (home.device, home.screen, home.country, home.region) == ("desktop", "1920x1080", "US", "US-TX")
    assert (first.path, first.title) == ("/a", 'A "quoted"\ntitle')
    assert first.id != second.id  # the same row twice is two views
    assert (signup.type, signup.name) == ("custom", "signup")
    assert (bot.bot, bot.source, bot.country) == ("goatcounter", "some list", "DE")
    assert len({event.visitor for event in events}) == 2
    assert [event.id for event in taken(read("goatcounter", tmp_path / "goatcounter.csv.gz")[0])[1]] == [
        event.id for event in events
    ]


@pytest.mark.parametrize("form", ["zip", "files", "postgres", "mysql"])
def test_umami(tmp_path: Path, form: str) -> None:
    paths = {
        "zip": lambda: [str(exports.umami_zip(tmp_path / "export.zip"))],
        "files": lambda: written(
            tmp_path,
            {"a.csv": exports.UMAMI_EVENTS, "session.csv": exports.UMAMI_SESSIONS, "c.csv": exports.UMAMI_DATA},
        ),
        "postgres": lambda: written(tmp_path, {"dump.sql": exports.umami_postgres()}),
        "mysql": lambda: written(tmp_path, {"dump.sql": exports.umami_mysql()}),
    }[form]()
    rows, told = read("umami", *paths)
    assert told == []
    batch, events = taken(rows)
    assert (len(batch.accepted), batch.refused, len(batch.not_understood)) == (4, {"event_type": 1}, 1)
    assert "session_id" in batch.not_understood[0][2]
    home, pricing, signup, other = events
    assert (home.type, home.path, home.source, home.title, home.occurred_at) == (
        "pageview", "/", "google.com", "Home", NOON,
    )  # fmt: skip
    assert (home.browser, home.os, home.os_version, home.device) == ("Edge", "Windows", "10", "desktop")
    assert (home.country, home.region, home.city, home.language) == ("US", "US-CA", "San Jose", "en-US")
    assert pricing.url == "https://example.com/pricing?plan=a"
    assert (signup.type, signup.name, signup.props) == ("custom", "signup", {"plan": "pro", "seats": 3})
    assert (other.visitor != home.visitor, other.browser, other.os) == (True, "Safari", "iOS")
    assert [action.visit for action in actions(rows)] == ["v1", "v1", "v1", "v2"]


def test_one_of_several_websites_is_chosen(tmp_path: Path) -> None:
    paths = written(tmp_path, {"events.csv": exports.UMAMI_EVENTS.replace("w1,s2", "w2,s2")})
    with pytest.raises(ImportFailed, match=r"several websites.*--their-site: w1, w2"):
        read("umami", *paths)
    batch, events = taken(read("umami", *paths, theirs="w2")[0])
    assert ([event.path for event in events], batch.refused["other_site"]) == (["/"], 4)
    with pytest.raises(ImportFailed, match="no website w3 in it; there is w1, w2"):
        read("umami", *paths, theirs="w3")


def test_a_dump_of_matomo(tmp_path: Path) -> None:
    batch, events = taken(read("matomo", *written(tmp_path, {"dump.sql": exports.MATOMO_DUMP}))[0])
    assert (len(batch.accepted), batch.refused) == (6, {})
    assert [why for _, _, why in batch.not_understood] == ["5 values for 14 columns of log_link_visit_action"]
    home, pricing, search, form, link, other = events
    assert (home.type, home.url, home.title) == ("pageview", "https://example.com/", "It's home; (really)")
    assert (home.source, home.user, home.occurred_at) == ("google.com", "ann", NOON)
    assert (home.browser, home.browser_version, home.os, home.device) == ("Chrome", "141", "Windows", "desktop")
    assert (home.country, home.region, home.city) == ("US", "US-CA", "San Jose")
    assert (pricing.path, pricing.referrer, pricing.source) == ("/pricing", "https://example.com/", "")
    assert (search.type, search.term, search.results, search.path) == ("search", "hats", 12, "/pricing")
    assert (form.type, form.name) == ("custom", "submit")
    assert form.props == {"category": "forms", "name": "contact", "value": "2.5"}
    assert (link.type, link.props, link.path) == ("outbound", {"url": "https://other.example/x"}, "/pricing")
    assert (other.utm_campaign, other.utm_term, other.device, other.browser) == ("spring", "shoes", "mobile", "Safari")
    assert len({event.visitor for event in events}) == 2


def test_the_visits_that_matomo_tells(tmp_path: Path) -> None:
    lines = "".join(json.dumps(visit) + "\n" for visit in exports.MATOMO_API)
    array = json.dumps(exports.MATOMO_API, indent=1)
    found = [
        taken(read("matomo", *written(tmp_path, {name: text}))[0])
        for name, text in (("lines.json", lines), ("array.json", array))
    ]
    assert found[0][1] == found[1][1]
    batch, (home, search, form, link, *derived) = found[0]
    assert (len(batch.accepted), batch.refused, derived) == (4, {"action_type": 1}, [])
    assert (home.source, home.user, home.browser, home.os, home.region, home.occurred_at) == (
        "google.com", "ann", "Chrome", "Windows", "US-CA", NOON,
    )  # fmt: skip
    assert (search.type, search.term, search.results) == ("search", "hats", 12)
    assert (form.name, form.props) == ("submit", {"category": "forms", "name": "contact"})
    assert (link.type, link.props) == ("outbound", {"url": "https://other.example/x"})


def test_an_array_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    text = json.dumps(exports.MATOMO_API * 40_00, indent=1)[:-30]
    rows, _ = read("matomo", *written(tmp_path, {"array.json": text}))
    assert sum(isinstance(row, Left) for row in rows) == 40_00 - 1
    (broken,) = (row for row in rows if isinstance(row, Broken))
    assert "breaks off" in broken.why


def test_ga4(tmp_path: Path) -> None:
    rows, _ = read("ga4", *written(tmp_path, {"events.jsonl": exports.GA4_LINES}))
    batch, events = taken(rows)
    assert (len(batch.accepted), batch.refused) == (7, {"automatic": 1, "no_consent": 1})
    assert [number for number, _, _ in batch.not_understood] == [10]
    home, again, search, sign_up, link, engaged, other = events
    assert (home.type, home.source, home.title, home.occurred_at) == ("pageview", "google.com", "Home", NOON)
    assert (home.browser, home.browser_version, home.os, home.os_version) == ("Chrome", "141", "macOS", "10.15")
    assert (home.country, home.region, home.city, home.language) == ("US", "Texas", "", "en-US")
    assert home.id != again.id
    assert (search.type, search.term) == ("search", "hats")
    assert (sign_up.name, sign_up.props) == ("sign_up", {"method": "mail", "seats": 3})
    assert (link.type, link.props) == ("outbound", {"url": "https://other.example/x"})
    assert (engaged.type, engaged.engaged_ms) == ("engagement", 5000)
    assert other.visitor != home.visitor


@pytest.mark.parametrize(
    ("product", "text", "head", "events", "views"),
    [("goatcounter", exports.GOATCOUNTER, 4, 5, 3), ("ga4", exports.GA4_LINES, 3, 7, 3)],
)
def test_exports_that_overlap_count_once(
    tmp_path: Path, product: str, text: str, head: int, events: int, views: int
) -> None:
    before = "".join(text.splitlines(keepends=True)[:head])
    paths = written(tmp_path, {"may": before, "june": text})
    both, _ = read(product, *paths)
    batch, _ = taken(both)
    assert len(batch.accepted) > len({*batch.accepted.ids}) == events
    one, two = (by_day(read(product, *some)[0], "UTC").days for some in (paths[1:], paths))
    assert one == two
    assert sum(day.pageviews for day in two.values()) == views


@pytest.mark.parametrize("product", ["matomo", "ga4"])
def test_an_array_may_be_one_line_of_any_length(
    tmp_path: Path, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "LONGEST", 100)
    objects = exports.MATOMO_API if product == "matomo" else exports.GA4
    rows, _ = read(product, *written(tmp_path, {"array.json": "\n " + json.dumps(objects)}))
    assert len(actions(rows)) > 3
    (member,) = members.members([str(tmp_path / "array.json")])
    assert not ga4_reports.is_report(member)


@pytest.mark.parametrize(
    ("product", "text", "words"),
    [
        ("goatcounter", exports.UMAMI_EVENTS, r"line 1: GoatCounter's export begins with the column '2Path'"),
        ("goatcounter", "2Path,Title,Event,Date\n", r"line 1: the column 'Session' is missing; there is 2Path, Title"),
        ("umami", exports.GOATCOUNTER, "line 1: none of Umami's tables website_event, session, event_data"),
        ("matomo", exports.GA4_LINES, "line 1: no visit of Live.getLastVisitsDetails.*event_date"),
        ("matomo", exports.umami_mysql(), "no rows of log_action, log_link_visit_action, log_visit in the dump"),
        ("ga4", '{"event": "x"}\n', "line 1: no event of the BigQuery export.*there is event"),
    ],
)
def test_another_file_is_said_in_words(tmp_path: Path, product: str, text: str, words: str) -> None:
    with pytest.raises(ImportFailed, match=words):
        read(product, *written(tmp_path, {"file": text}))


_PAGE = "https://example.com/a"
PARAMETERS: dict[str, object] = {
    "as BigQuery has them": [{"key": "page_location", "value": {"string_value": _PAGE}}],
    "plain values": [{"key": "page_location", "value": _PAGE}],
    "an object": {"page_location": _PAGE},
    "an object of values": {"page_location": {"string_value": _PAGE, "int_value": None}},
    "a text": json.dumps([{"key": "page_location", "value": {"string_value": _PAGE}}]),
    "Parquet's lists": {"list": [{"element": {"key": "page_location", "value": {"string_value": _PAGE}}}]},
}


@pytest.mark.parametrize("form", PARAMETERS)
def test_parameters_of_bigquery(tmp_path: Path, form: str) -> None:
    text = json.dumps(exports.GA4[1] | {"event_params": PARAMETERS[form]})
    _, (event,) = taken(list(exported(tmp_path, "ga4", {"e.jsonl": text}).rows()))
    assert (event.path, event.props) == ("/a", {})


@pytest.mark.parametrize(
    ("of", "why"),
    [({"event_params": None}, "no list of parameters"), ({"event_params": "x"}, "no list of parameters"),
     ({"event_params": 5}, "no list of parameters"), ({"event_timestamp": "1714564800000"}, "no microseconds"),
     ({"event_timestamp": "2024-05-01 12:00:00 UTC"}, "no microseconds")],
)  # fmt: skip
def test_events_of_bigquery_that_say_less_are_not_understood(tmp_path: Path, of: dict[str, Any], why: str) -> None:
    (row,) = exported(tmp_path, "ga4", {"e.jsonl": json.dumps(exports.GA4[1] | of)}).rows()
    assert why in row.why


@pytest.mark.parametrize(("name", "revenue"), [("purchase", "12.5"), ("refund", "-12.5"), ("add_to_cart", "")])
def test_what_is_sold_of_bigquery(tmp_path: Path, name: str, revenue: str) -> None:
    given = [{"key": "value", "value": {"double_value": 12.5}}, {"key": "currency", "value": {"string_value": "EUR"}}]
    params = [*given, {"key": "transaction_id", "value": {"string_value": "T1"}}]
    event = exports.GA4[4] | {"event_name": name, "event_params": params, "event_timestamp": 1.7145648e15}
    _, (found,) = taken(list(exported(tmp_path, "ga4", {"e.jsonl": json.dumps(event)}).rows()))
    assert (found.name, found.revenue, found.occurred_at) == (name, revenue, 1_714_564_800_000)
    assert found.props == {"transaction_id": "T1"} | ({} if revenue else {"value": 12.5, "currency": "EUR"})


SOLD = {
    "less than nothing": ("purchase", {"double_value": -59.99}, {"string_value": "EUR"}, "-59.99"),
    "a refund of less": ("refund", {"double_value": -5}, {"string_value": "EUR"}, "-5"),
    "a currency that is no text": ("purchase", {"double_value": 5}, {"int_value": "978"}, ""),
    "no end": ("purchase", {"double_value": float("inf")}, {"string_value": "EUR"}, ""),
    "no number": ("purchase", {"double_value": float("nan")}, {"string_value": "EUR"}, ""),
    "5,000 digits": ("purchase", {"int_value": "9" * 5000}, {"string_value": "EUR"}, ""),
    "two signs": ("purchase", {"int_value": "--5"}, {"string_value": "EUR"}, ""),
}


@pytest.mark.parametrize("case", SOLD)
def test_a_sale_in_other_forms_is_an_event(tmp_path: Path, case: str) -> None:
    name, value, currency, revenue = SOLD[case]
    event = exports.GA4[4] | {"event_name": name, "event_timestamp": 1.7145648e15}
    event["event_params"] = [{"key": "value", "value": value}, {"key": "currency", "value": currency}]
    _, (found,) = taken(list(exported(tmp_path, "ga4", {"e.jsonl": json.dumps(event)}).rows()))
    assert (found.name, found.revenue) == (name, revenue)
