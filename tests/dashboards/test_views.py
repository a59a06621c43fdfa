"""The views beside the board as they arrive, and by the API: visits, a visit, paths, funnels, searches, retention."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards import parameters
from dashboards.links import OF_VISITS, VIEWS
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import BERLIN, VISITS, Visit, at, event_rows, session_rows

RANGE = {"from": "2026-03-27", "to": "2026-03-31"}
OWN = sorted((v for v in VISITS if v.site == "example.com" and not v.bot), key=lambda visit: visit.start)
STEPS = [["is", "page", ["/"]], ["contains", "page", ["/sh", "/cart"]]]


def get(client: FlaskClient, view: str, **given: Any) -> str:
    answer = client.get(f"/example.com/{view}", query_string=RANGE | plain(given))
    assert answer.status_code == 200, answer.text
    return answer.text


def asked(client: FlaskClient, name: str, **given: Any) -> dict[str, Any]:
    answer = client.get(f"/api/v1/{name}", query_string={"site": "example.com"} | RANGE | plain(given))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def plain(given: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def table(text: str) -> list[list[str]]:
    """The cells of the page's table, as people read them."""
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[read(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def read(part: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", part))).strip()


def links(text: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def name_of(visit: Visit) -> str:
    return f"{visit.visitor:016x}-{1000 + VISITS.index(visit):016x}"


def viewed(visit: Visit) -> list[str]:
    pages = [path for _, _, path, _ in visit.of("pageview")]
    return [page for page, before in zip(pages, [None, *pages], strict=False) if page != before]


def test_visits_are_listed_the_latest_first(client: FlaskClient) -> None:
    rows = table(get(client, "visits"))
    assert [row[0] for row in rows] == [f"{v.start:%-d %b %Y, %H:%M:%S}" for v in reversed(OWN)]
    assert [row[1] for row in rows] == [viewed(v)[0] for v in reversed(OWN)]
    assert [(row[5], row[6]) for row in rows] == [
        (str(len(v.of("pageview"))), str(len(v.events))) for v in reversed(OWN)
    ]
    found = asked(client, "visits")["rows"]
    assert [row["id"] for row in found] == [name_of(v) for v in reversed(OWN)]
    assert [row["started_at"] for row in found] == [v.start.isoformat() for v in reversed(OWN)]
    assert [row["duration"] for row in found] == [v.seconds for v in reversed(OWN)]
    assert asked(client, "visits", limit="3", page="2")["rows"] == found[3:6]


def test_a_row_leads_to_the_visit_and_its_events(client: FlaskClient) -> None:
    visit = VISITS[0]
    assert name_of(visit) in "".join(links(get(client, "visits")))
    text = get(client, f"visit/{name_of(visit)}")
    done = re.findall(r'<li class="(\w+)">\s*<time [^>]*>\+([^<]*)</time>', text)
    assert done == [("pageview", "0s"), ("pageview", "40s"), ("search", "1m 40s")]
    assert "“red shoes”" in read(text)
    found = asked(client, "visit", id=name_of(visit))
    assert [(each["type"], each["path"]) for each in found["events"]] == [(e[1], e[2]) for e in visit.events]
    assert (found["visit"]["pageviews"], found["complete"]) == (2, True)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("1-2", 400, "two times 16 hexadecimal digits"), (f"{1:016x}-{2:016x}", 404, "has no visit")],
)
def test_what_is_no_visit_is_told(client: FlaskClient, name: str, status: int, words: str) -> None:
    page = client.get(f"/example.com/visit/{name}")
    assert (page.status_code, words in html.unescape(page.text)) == (status, True)
    answer = client.get("/api/v1/visit", query_string={"site": "example.com", "id": name})
    assert (answer.status_code, words in answer.get_json()["error"]) == (status, True)


def test_a_visit_of_another_site_is_not_shown(client: FlaskClient) -> None:
    other = next(visit for visit in VISITS if visit.site == "other.example")
    assert client.get(f"/example.com/visit/{name_of(other)}").status_code == 404
    assert client.get(f"/other.example/visit/{name_of(other)}").status_code == 200


@pytest.mark.parametrize("direction", ["from", "to"])
@pytest.mark.parametrize("path", [[], ["/"], ["/", "/shoes"], ["/none"]], ids=str)
def test_paths(client: FlaskClient, path: list[str], direction: str) -> None:
    wanted = Counter[str]()
    for visit in OWN:
        pages, sought = viewed(visit), path
        if direction == "to":
            pages, sought = pages[::-1], path[::-1]
        starts = [n for n in range(len(pages)) if pages[n : n + len(sought)] == sought]
        if starts:
            wanted[(pages[starts[0] + len(sought) :] or [""])[0]] += 1
    found = asked(client, "paths", path=path, direction=direction)
    assert {row["value"]: row["visits"] for row in found["rows"]} == dict(wanted)
    assert found["total"] == wanted.total()
    text = get(client, "paths", path=path, direction=direction)
    if not wanted:
        assert "No visit in this period viewed these pages in a row" in text
        return
    assert Counter({row[0]: int(row[1]) for row in table(text)}).total() == wanted.total()
    # A click on a row goes one page further.
    onward = [json.loads(parse_qs(urlsplit(link).query)["path"][0]) for link in links(text) if "path=" in link]
    assert [page for page in wanted if page and [*path, page] not in onward] == []


def test_a_funnel(client: FlaskClient) -> None:
    first = [visit for visit in OWN if "/" in viewed(visit)]
    after = {name_of(v): viewed(v)[viewed(v).index("/") + 1 :] for v in first}
    second = [v for v in first if any("/sh" in page or "/cart" in page for page in after[name_of(v)])]
    found = asked(client, "funnel", steps=STEPS)
    assert [row["reached"] for row in found["rows"]] == [len(first), len(second)]
    assert [row["of_first"] for row in found["rows"]] == [1, len(second) / len(first)]
    assert (found["total"], found["by"]) == (len(OWN), "visit")
    text = get(client, "funnel", steps=STEPS)
    rows = table(text)
    assert [row[0] for row in rows] == ["1. Page is /", "2. Page contains /sh or /cart"]
    assert [row[1] for row in rows] == [str(len(first)), str(len(second))]
    # Each step can be taken away.
    removing = re.findall(r'class="remove" href="([^"]*)"', text)
    left = [json.loads(parse_qs(urlsplit(html.unescape(link)).query)["steps"][0]) for link in removing]
    assert left == [STEPS[1:], STEPS[:1]]


def test_the_form_adds_a_step_at_the_end(client: FlaskClient) -> None:
    given = RANGE | {"steps": json.dumps(STEPS), "dimension": "event", "operator": "is", "values": "signup\nbuy"}
    answer = client.get("/example.com/funnel/step", query_string=given)
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.location).query)
    assert json.loads(query["steps"][0]) == [*STEPS, ["is", "event", ["signup", "buy"]]]
    assert query["from"] == [RANGE["from"]]
    wrong = client.get("/example.com/funnel/step", query_string=given | {"operator": "is_not"})
    assert wrong.status_code == 400
    many = client.get("/example.com/funnel/step", query_string=given | {"steps": json.dumps(STEPS * 5)})
    assert (many.status_code, "1 to 10 steps" in many.text) == (400, True)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("", "1 to 10 steps, not 0"),
        ("[", "steps must be JSON"),
        ('[["is_not","page",["/"]]]', "something that a visit did"),
        ('[["is","source",["x"]]]', "goal, not_found, outbound, download or prop:NAME"),
        ('[["is","page",[]]]', "at least one value"),
    ],
)
def test_steps_that_cannot_be_understood_are_told(client: FlaskClient, steps: str, words: str) -> None:
    answer = client.get("/api/v1/funnel", query_string={"site": "example.com"} | RANGE | {"steps": steps})
    assert answer.status_code == 400
    assert words in answer.get_json()["error"]


def test_searches(client: FlaskClient) -> None:
    terms = Counter(term for visit in OWN for _, _, _, term in visit.of("search"))
    found = asked(client, "searches")
    assert {row["value"]: row["searches"] for row in found["rows"]} == dict(terms)
    assert found["total"] == len(terms)
    assert all(row["exits"] == row["searches"] and row["mean_results"] is None for row in found["rows"])
    assert [row[:2] for row in table(get(client, "searches"))] == [[term, str(n)] for term, n in terms.most_common()]


def test_retention_is_of_visitors_whose_ids_last(client: FlaskClient) -> None:
    lasting = {visit.visitor for visit in OWN if visit.lasts}
    found = asked(client, "retention")["rows"]
    assert found == [{"week": "2026-03-30", "visitors": len(lasting), "came": [len(lasting)]}]
    assert table(get(client, "retention")) == [["30 Mar 2026", "1", "100%"]]
    assert "Nobody here can be known again" in client.get("/quiet.example/retention").text


def test_cohorts_go_on_week_by_week(client: FlaskClient, warehouse: Warehouse, sites: dict[str, str]) -> None:
    """Two visitors who are known again, one in four weeks, one in two."""
    sites["weeks.example"] = BERLIN
    days = [(1, 6), (1, 14), (1, 28), (2, 10)]
    visits = [
        Visit(who, at(day, 10, month=month).replace(year=2025), [(0, "pageview", "/", "")], lasts=True)
        for who, theirs in ((70, days), (71, days[1:3]))
        for month, day in theirs
    ]
    keys = pl.int_range(500, 500 + len(visits), eager=True, dtype=pl.UInt64)
    own = {"site": pl.lit("weeks.example")}
    warehouse.insert("event_rows", event_rows(visits).with_columns(id_hi=keys, **own), "weeks/e")
    warehouse.insert("session_rows", session_rows(visits).with_columns(session_id=keys, **own), "weeks/s")
    given = {"site": "weeks.example", "from": "2025-01-01", "to": "2025-02-28"}
    found = client.get("/api/v1/retention", query_string=given).get_json()["rows"]
    assert found == [
        {"week": "2025-01-06", "visitors": 1, "came": [1, 1, 0, 1, 0, 1, 0, 0]},
        {"week": "2025-01-13", "visitors": 1, "came": [1, 0, 1, 0, 0, 0, 0]},
    ]
    # Who came before the period is not new in it.
    later = client.get("/api/v1/retention", query_string=given | {"from": "2025-01-13"}).get_json()["rows"]
    assert later == found[1:]


@pytest.mark.parametrize("view", VIEWS)
def test_every_link_of_a_view_keeps_range_and_filters(client: FlaskClient, view: str) -> None:
    chosen = json.dumps([["is_not", "page", ["/none"]]], separators=(",", ":"))
    more = {"steps": json.dumps(STEPS)} if view == "funnel" else {}
    text = get(client, view, filters=chosen, **more)
    menu = [f"/example.com{page}" for page in ("", "/shares", "/reports", "/alerts")]  # of sites
    removed = f"/example.com/{view}?from=2026-03-27&to=2026-03-31"  # of the chip
    own = [link for link in links(text) if link.startswith("/example.com") and link not in menu]
    assert len(own) > len(VIEWS)
    for link in own:
        query = parse_qs(urlsplit(link).query)
        assert "period" in query or query["from"] == [RANGE["from"]], link
        assert "filters" in query or link.startswith(removed), link
    assert 'aria-current="page">' + VIEWS[view] in text


@pytest.mark.parametrize("view", OF_VISITS)
def test_a_filter_is_added_to_the_view_that_is_open(client: FlaskClient, view: str) -> None:
    given = RANGE | {"dimension": "page", "operator": "is", "values": "/shoes"}
    answer = client.get(f"/example.com/{view}/filter", query_string=given)
    assert answer.status_code == 303
    assert urlsplit(answer.location).path == f"/example.com/{view}"
    filtered = client.get(answer.location)
    assert filtered.status_code == 200
    assert "Page is /shoes" in filtered.text


def test_filters_choose_the_visits_of_every_view(client: FlaskClient) -> None:
    chosen = [["is", "page", ["/shoes"]]]
    theirs = [visit for visit in OWN if "/shoes" in viewed(visit)]
    found = asked(client, "visits", filters=chosen)["rows"]
    assert [row["id"] for row in found] == [name_of(v) for v in reversed(theirs)]
    assert asked(client, "paths", filters=chosen)["total"] == len(theirs)
    assert asked(client, "funnel", filters=chosen, steps=STEPS)["total"] == len(theirs)
    assert asked(client, "searches", filters=chosen)["total"] == len({e[3] for v in theirs for e in v.of("search")})
    assert asked(client, "retention", filters=chosen)["rows"] == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_without_anything_says_so(client: FlaskClient, view: str) -> None:
    answer = client.get(f"/quiet.example/{view}")
    assert answer.status_code == 200
    assert "<tbody>" not in answer.text
    assert re.search(r'<p class="quiet">\s*[A-Z]', answer.text)
    assert client.get(f"/unknown.example/{view}").status_code == 404


def test_markup_in_stored_texts_is_text(warehouse: Warehouse, client: FlaskClient, sites: dict[str, str]) -> None:
    nasty = '<b onclick=x>&"\''
    sites["markup.example"] = "UTC"
    done = [(0, "pageview", "/" + nasty, ""), (1, "search", "/", nasty), (2, "custom", "/", nasty)]
    about = {"source": nasty, "browser": nasty, "country": "DE", "site": "markup.example"}
    visit = Visit(81, at(30, 12), done, lasts=True, **about)
    events = event_rows([visit]).with_columns(
        id_hi=pl.lit(900, pl.UInt64), title=pl.lit(nasty), props=pl.lit(json.dumps({nasty: nasty}))
    )
    warehouse.insert("event_rows", events, "markup/e")
    warehouse.insert("session_rows", session_rows([visit]).with_columns(session_id=pl.lit(901, pl.UInt64)), "markup/s")
    for view in (*VIEWS, f"visit/{81:016x}-{901:016x}"):
        steps = json.dumps([["is", "event", [nasty]]])
        text = client.get(f"/markup.example/{view}", query_string=RANGE | {"steps": steps}).text
        assert "<b onclick" not in text
        assert "onclick=x&gt;" in text or view in ("retention", "live")


ODD = ["[", "[[]]", '[["is","page",["\\ud800"]]]', '["\\u0000"]', "[1]", "9" * 30]
TEXT = st.text(max_size=30) | st.sampled_from(ODD)
GIVEN = ["steps", "path", "direction", "by", "page", "limit", "id", "filters", "dimension", "values"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        [f"/example.com/{view}" for view in VIEWS]
        + ["/example.com/visit/x", "/example.com/funnel/step"]
        + [f"/api/v1/{name}" for name in ("visits", "visit", "funnel", "paths", "searches", "retention")]
    ),
    given=st.dictionaries(st.sampled_from(GIVEN), TEXT),
)
def test_nothing_in_an_address_is_a_fault(app: Flask, path: str, given: dict[str, str]) -> None:
    answer = app.test_client().get(path, query_string={"site": "example.com"} | RANGE | given)
    assert answer.status_code < 500, answer.text


def test_pages_of_a_list_go_on_up_to_a_bound(client: FlaskClient) -> None:
    assert "The list does not go as far as this" in get(client, "visits", page="7")
    assert client.get(f"/example.com/visits?page={parameters.MOST_PAGES + 1}").status_code == 400


def test_places_need_a_geo_database(warehouse: Warehouse, live: Live, sites: dict[str, str]) -> None:
    from dashboards.app import create

    app = create(warehouse, lambda: sites, live, control=None, collect_url="")
    text = app.test_client().get("/example.com/visits", query_string=RANGE).text
    assert 'scope="col" class="text more">Place' not in text
