"""The page as it arrives, without its script."""

from __future__ import annotations

import gzip
import json
import re
from html import unescape
from urllib.parse import parse_qs, quote, urlsplit

import polars as pl
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

import hatch_build
from dashboards.app import create
from dashboards.panels import BREAKDOWNS, METRICS
from dashboards.ranges import COMPARISONS
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import HOME, NOW, VISITS, Visit, at, event_rows, ms, session_rows
from tests.dashboards.test_build import ROOT
from tests.e2e.harness import until

FIRST_LOAD = 80_000
BOARD = "/example.com?from=2026-03-27&to=2026-03-31"


def figures(html: str) -> dict[str, str]:
    found = re.findall(r'data-metric="(\w+)"[^>]*>\s*<span class="name">[^<]*</span>\s*<strong>([^<]*)', html)
    return dict(found)


def lists(html: str) -> dict[str, list[list[str]]]:
    """The rows of each list: value, visitors, count."""
    found = {}
    for part in html.split('<div class="list" data-part="')[1:]:
        cells = re.findall(r"<a href=[^>]* title=[^>]*>(.*?)</a>|<td>([^<]*)</td>", part)
        texts = [a or b for a, b in cells]
        found[part.partition('"')[0]] = [texts[row : row + 3] for row in range(0, len(texts), 3)]
    return found


def test_the_numbers_of_the_page_are_those_of_the_api(client: FlaskClient) -> None:
    api = client.get("/api/v1/stats?site=example.com&from=2026-03-27&to=2026-03-31").get_json()
    seconds = round(api["visit_duration"])
    assert figures(client.get(BOARD).text) == {
        "visitors": str(api["visitors"]),
        "visits": str(api["visits"]),
        "pageviews": str(api["pageviews"]),
        "views_per_visit": f"{api['views_per_visit']:.1f}",
        "bounce_rate": f"{api['bounce_rate'] * 100:.0f}%",
        "visit_duration": f"{seconds // 60}m {seconds % 60:02}s",
        "engagement_rate": f"{api['engagement_rate'] * 100:.0f}%",
        "engaged_time": f"{round(api['engaged_time'])}s",
        "searches": str(api["searches"]),
        "events": str(api["events"]),
    }


def test_every_list_is_there_in_its_card_or_behind_a_tab(client: FlaskClient) -> None:
    html = client.get(BOARD).text
    found = lists(html)
    tabs = dict(re.findall(r'href="([^"]*)" data-tabs="(\w+)"', html))
    assert found.keys() == {"page", "source", "campaign", "search", "country", "device", "event", "goals"}
    assert {*found, *tabs.values()} == {*BREAKDOWNS, "goals"}
    for address, name in tabs.items():
        one = client.get(unescape(address)).text
        assert lists(one).keys() - found.keys() <= {name} <= lists(one).keys()
        found |= lists(one)
    assert found["search"] == [["red shoes", "2", "2"], ["hats", "1", "1"]]
    assert found["event"] == [["signup", "2", "2"], ["buy", "1", "1"]]
    assert found["utm_term"] == [["&lt;shoes&gt;", "1", "1"]]
    assert found["source"][0] == ["<em>Direct</em>", "4", "5"]


def test_the_tabs_of_the_address_are_open_and_stay_so(client: FlaskClient) -> None:
    tabs = "tabs=exit_page,city"
    html = client.get(f"{BOARD}&{tabs}&tabs=os").text
    opened = re.findall(r'data-tabs="(\w+)"[^>]* aria-current', html)
    assert opened == ["exit_page", "source", "campaign", "city", "device", "event"]
    links = [unescape(link) for link in re.findall(r'href="(/example\.com[^"]*from=[^"]*)"(?! download)', html)]
    kept = [parse_qs(urlsplit(link).query).get("tabs", [""])[0].split(",") for link in links]
    # All links keep them, but for the tabs of these two cards.
    assert sum(each != ["exit_page", "city"] for each in kept) >= 5
    assert all(len({"exit_page", "city"} & {*each}) >= 1 for each in kept)
    assert lists(client.get(f"{BOARD}&tabs=").text) == lists(client.get(f"{BOARD}&tabs=page").text)
    wrong = client.get(f"{BOARD}&tabs=exit")
    assert wrong.status_code == 400
    assert "tabs must be some of page, entry_page, exit_page" in wrong.text


@pytest.mark.parametrize("name", BREAKDOWNS)
@pytest.mark.parametrize("chosen", ["", "&filters=" + quote('[["is","page",["/a"]]]')])
def test_what_a_tab_opens_is_the_part_of_the_page_that_shows_it(client: FlaskClient, name: str, chosen: str) -> None:
    query = f"from=2026-03-27&to=2026-03-31&metric=visits&tabs={name}{chosen}"
    card = client.get(f"/example.com/card/{name}?{query}")
    page = client.get(f"/example.com?{query}").text
    part = page.partition(f'<div class="list" data-part="{name}">')[2].partition("</div>")[0]
    assert card.status_code == 200
    assert part.split() == card.text.split()


def test_a_tab_of_no_list_is_told_in_words(client: FlaskClient) -> None:
    for address, words in (("/example.com/card/shoe", "no list is called"), ("/nowhere.com/card/page", "nowhere.com")):
        assert words in client.get(address).text
        assert client.get(address).status_code == 404


def test_what_visitors_send_is_text_never_markup(client: FlaskClient) -> None:
    html = client.get("/example.com?period=today").text
    assert "/a?&lt;b&gt;&amp;&#34;&#39;" in html
    assert "<b>" not in html


def test_a_day_still_running_is_compared_with_as_much_of_the_day_before(client: FlaskClient) -> None:
    """At noon: one page view today; yesterday by noon one too, that of 0:10."""
    html = client.get("/example.com?period=today").text
    assert figures(html)["pageviews"] == "1"
    change = re.search(r'id="figure-pageviews".*?class="change ?\w*" title="([^"]*)">([^<]*)', html, re.DOTALL)
    # The visit of the 29th, 23:50 had its second view at 0:10 of the 30th, beside that of visitor 6.
    assert change and change.groups() == ("2 before", "−50%")


@pytest.mark.parametrize("how", COMPARISONS)
def test_a_range_is_compared_with_the_one_that_is_chosen(client: FlaskClient, warehouse: Warehouse, how: str) -> None:
    """A year ago there were two visits, and a week before the range none."""
    past = [Visit(60 + n, at(28, 9 + n).replace(year=2025), [(0, "pageview", HOME, "")]) for n in range(2)]
    warehouse.insert("event_rows", event_rows(past).with_columns(id_hi=pl.lit(77, pl.UInt64)), "past")
    warehouse.insert("session_rows", session_rows(past), "past visits")
    chosen = {"from": "2026-03-27", "to": "2026-03-31"}
    answer = client.get("/example.com", query_string=chosen | {"compare": how})
    shown = re.search(r'id="figure-visits".*?class="change ?\w*"(?: title="([^"]*)")?>([^<]*)', answer.text, re.DOTALL)
    assert shown and shown.groups() == (("2 before", "+300%") if how == "year" else (None, " "))
    drawn = re.search(r'id="series"[^>]*>(.*?)</script>', answer.text, re.DOTALL)
    assert drawn
    series = json.loads(drawn[1])
    assert sum(series["before"]["visits"]) == (2 if how == "year" else 0)
    kept = re.findall(r'href="(/example.com\?[^"]*metric=[^"]*)"', answer.text)
    assert kept and all((f"compare={how}" in link) == (how != "previous") for link in kept)
    api = client.get("/api/v1/stats", query_string=chosen | {"site": "example.com", "compare": how}).get_json()
    assert {name: numbers["visits"] for name, numbers in api.items() if name == "before"} == (
        {} if how == "none" else {"before": 2 if how == "year" else 0}
    )


def test_bots_are_named_apart(client: FlaskClient) -> None:
    assert "2 events of bots kept apart" in client.get(BOARD).text


def test_one_site_is_shown_at_once_several_to_choose_from(client: FlaskClient, sites: dict[str, str]) -> None:
    html = client.get("/").text
    assert all(f'href="/{site}"' in html for site in sites)
    for site in ("other.example", "quiet.example"):
        del sites[site]
    assert client.get("/").location == "/example.com"
    sites.clear()
    assert "No site yet" in client.get("/").text


def test_a_site_without_a_visit_shows_what_to_paste(client: FlaskClient) -> None:
    html = client.get("/quiet.example").text
    assert '&lt;script defer data-site="quiet.example" src="http://127.0.0.1:8420/beacon.js"&gt;' in html
    assert 'action="/sites"' in html


def test_a_quiet_day_of_a_site_that_has_visits_is_no_beginning(client: FlaskClient) -> None:
    html = client.get("/example.com?from=2026-03-20&to=2026-03-20").text
    assert "No page views in this period." in html
    assert "beacon.js" not in html


def test_countries_say_what_they_need(
    warehouse: Warehouse, live: Live, sites: dict[str, str], client: FlaskClient
) -> None:
    assert 'data-country="DE"' in client.get(BOARD).text
    bare = create(
        warehouse, lambda: sites, live, control=None, collect_url="http://c.example", clock=lambda: ms(NOW)
    ).test_client()
    html = bare.get(BOARD).text
    assert "FOOTFALL_GEO" in html
    assert "data-country" not in html
    assert '<form class="add"' not in html


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nope.example", 404, "footfall site add nope.example"),
        ("/example.com?period=1y", 400, "period must be one of today"),
        ("/example.com?from=2026-03-01", 400, "to is needed too"),
        ("/example.com?metric=views", 400, "metric must be one of visitors"),
        ("/a/b/c", 404, "not found"),
    ],
)
def test_a_wrong_address_is_told_in_words(client: FlaskClient, path: str, status: int, words: str) -> None:
    response = client.get(path)
    assert response.status_code == status
    assert words in response.text


def test_a_site_is_added_from_our_own_page(client: FlaskClient, sites: dict[str, str]) -> None:
    response = client.post("/sites", data={"domain": " New.Example "}, headers={"Origin": "http://localhost"})
    assert (response.status_code, response.location) == (303, "/new.example")
    assert "new.example" in sites


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Referer": "http://evil.example/localhost"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_foreign_page_adds_nothing(client: FlaskClient, sites: dict[str, str], headers: dict[str, str]) -> None:
    assert client.post("/sites", data={"domain": "new.example"}, headers=headers).status_code == 403
    assert "new.example" not in sites


@pytest.mark.parametrize(("domain", "words"), [("", "domain is needed"), ("nonsense", "write it like example.com")])
def test_what_is_no_domain_is_not_added(client: FlaskClient, domain: str, words: str) -> None:
    response = client.post("/sites", data={"domain": domain}, headers={"Origin": "http://localhost"})
    assert response.status_code == 400
    assert words in response.text


def changed(now: dict[str, object], before: dict[str, object]) -> dict[str, object] | None:
    return now if now != before else None


def test_now_counts_who_is_there_and_marks_the_numbers(client: FlaskClient, live: Live) -> None:
    """The visitor of 11:58 is stored; the service has seen two, one of whom is on the way to the store."""
    before = client.get("/example.com/now").get_json()
    assert before["current"] == 1
    live.touch_many([("example.com", "a", ms(NOW)), ("example.com", "b", ms(NOW))])
    after = until(lambda: changed(client.get("/example.com/now").get_json(), before), "the second one is counted")
    assert after == {"current": 2, "mark": before["mark"]}
    assert client.get("/example.com/now?period=7d").get_json()["mark"] != before["mark"]
    assert f'data-mark="{before["mark"]}"' in client.get("/example.com").text


def test_probes(client: FlaskClient, app: Flask, warehouse: Warehouse, live: Live) -> None:
    assert client.get("/live").status_code == 200
    assert client.get("/ready").text == "ready\n"
    assert "footfall_lag_seconds 0.5" in client.get("/metrics").text
    waiting = create(warehouse, dict, live, control=None, collect_url="", problem=lambda: "the loader starts")
    response = waiting.test_client().get("/ready")
    assert (response.status_code, response.text) == (503, "not ready: the loader starts\n")


def test_other_routes_are_mounted_beside_the_page(warehouse: Warehouse, live: Live) -> None:
    control = Blueprint("control", __name__, url_prefix="/control")
    control.get("/hello", endpoint="control")(lambda: "hello")
    app = create(warehouse, dict, live, control=control, collect_url="")
    assert app.test_client().get("/control/hello").text == "hello"


def test_the_page_asks_nothing_of_other_hosts_and_is_not_framed(client: FlaskClient) -> None:
    response = client.get(BOARD)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'<[^>]*\s(?:style|on\w+)=|<style|<script(?![^>]*(?:src=|application/json))', response.text)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', response.text)


def test_the_first_load_is_small_and_kept(client: FlaskClient) -> None:
    """The page, its script and its style as they cross the network: together at most 80 kB."""
    hatch_build.build(ROOT)
    page = client.get(BOARD)
    files = re.findall(r'"(/static/[^"]*)"', page.text)
    assert len(files) == 2
    sent = [client.get(path, headers={"Accept-Encoding": "gzip"}, buffered=True) for path in (BOARD, *files)]
    assert all(answer.content_encoding == "gzip" for answer in sent)
    assert gzip.decompress(sent[0].data).decode() == page.text
    assert sum(len(answer.data) for answer in sent) < FIRST_LOAD
    assert all("immutable" in answer.headers["Cache-Control"] for answer in sent[1:])
    again = {"Accept-Encoding": "gzip", "If-None-Match": sent[1].headers["ETag"]}
    assert client.get(files[0], headers=again, buffered=True).status_code == 304
    part = client.get(files[0], headers={"Accept-Encoding": "gzip", "Range": "bytes=0-1999"}, buffered=True)
    assert (part.status_code, part.content_encoding, len(part.data)) == (206, None, 2000)


def test_all_numbers_of_each_step_stand_in_a_table(client: FlaskClient) -> None:
    html = client.get(BOARD).text
    table = html[html.index('data-part="numbers"') : html.index('class="legend')]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == [
        "Fri 27 Mar 2026", "Sat 28 Mar 2026", "Sun 29 Mar 2026", "Mon 30 Mar 2026", "Tue 31 Mar 2026",
    ]  # fmt: skip
    assert len(re.findall("<td>", table)) == 5 * len(METRICS)


def test_the_known_rows_are_what_the_tests_believe() -> None:
    assert sum(len(visit.events) for visit in VISITS if visit.site == "example.com") == 21
