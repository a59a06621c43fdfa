"""Whole lists as they arrive: sorted, searched, by the page; what their links keep."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from dashboards import lists
from dashboards.app import create
from dashboards.panels import BREAKDOWNS, ROW, VIEWLESS
from stores.base import Live
from stores.warehouse import Warehouse
from tests.dashboards.conftest import NOW, ms
from tests.dashboards.test_chips import RANGE, SHOES, TWO, chips, fields, filters_in, links, parameters


def get(client: FlaskClient, name: str, **given: str) -> str:
    answer = client.get(f"/example.com/list/{name}", query_string=RANGE | given)
    assert answer.status_code == 200
    return answer.text


def rows(text: str) -> list[tuple[str, list[int]]]:
    """The values of the list with their numbers."""
    found = re.findall(r'<th scope="row"><a href="[^"]*" title="([^"]*)".*?</th>(.*?)</tr>', text, re.DOTALL)
    numbers = [[int(number) for number in re.findall(r"<td[^>]*>(\d+)s?</td>", cells)] for _, cells in found]
    return [(html.unescape(value), row) for (value, _), row in zip(found, numbers, strict=True)]


def headings(text: str) -> dict[str, str]:
    """The headings of the list, and where they lead."""
    head = text[text.index("<thead>") : text.index("</thead>")]
    return {words: html.unescape(href) for href, words in re.findall(r'<a href="([^"]*)">([^<]*)</a>', head)}


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_a_list_has_all_values_with_the_numbers_of_the_api(client: FlaskClient, name: str) -> None:
    query = RANGE | {"site": "example.com", "by": name, "limit": "1000"}
    api = client.get("/api/v1/breakdown", query_string=query).get_json()["rows"]
    columns = [column for column in ROW if name not in VIEWLESS or column not in ("pageviews", "engaged_time")]
    text = get(client, name)
    assert sorted(rows(text)) == sorted((row["value"], [round(row[column]) for column in columns]) for row in api)
    assert f"1–{len(api)} of {len(api)}</span>" in text
    assert len(headings(text)) == 1 + len(columns)


@pytest.mark.parametrize("place", range(5))
def test_a_heading_sorts_by_its_numbers(client: FlaskClient, place: int) -> None:
    address = list(headings(get(client, "page")).values())[1 + place]
    text = client.get(address).text
    numbers = [row[1][place] for row in rows(text)]
    assert numbers == sorted(numbers, reverse=True)
    assert re.findall(r'<th scope="col"[^>]* aria-sort="(\w+)"', text) == ["descending"]


def test_the_first_heading_sorts_by_the_value(client: FlaskClient) -> None:
    text = client.get(headings(get(client, "page"))["Page"]).text
    values = [value for value, _ in rows(text)]
    assert values == sorted(values)
    assert re.findall(r'<th scope="col" aria-sort="(\w+)"><a [^>]*>(\w+)', text) == [("ascending", "Page")]


def test_a_list_is_searched(client: FlaskClient) -> None:
    assert [value for value, _ in rows(get(client, "page", search="sho"))] == ["/shoes"]
    assert [value for value, _ in rows(get(client, "country", search="d"))] == ["DE"]
    text = get(client, "page", search="<no>", sort="value")
    assert "Nothing here contains “&lt;no&gt;”" in text
    assert 'name="search" value="&lt;no&gt;"' in text
    again = next(each for each in links(text[text.index("Nothing here") :]))
    assert parameters(again) == RANGE | {"sort": "value"}


def test_a_list_goes_on_over_pages(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    every = rows(get(client, "page", sort="value"))
    monkeypatch.setattr(lists, "ROWS", 2)
    address, found, said = f"/example.com/list/page?from={RANGE['from']}&to={RANGE['to']}&sort=value", [], []
    while address:
        text = client.get(address).text
        found += rows(text)
        said += re.findall(r'<span class="quiet">(\S+ of \d+)</span>', text)
        following = re.search(r'rel="next" href="([^"]*)"', text)
        address = html.unescape(following[1]) if following else ""
        assert ('rel="prev"' in text) == (len(said) > 1)
    assert found == every
    assert said == [f"{at}–{min(at + 1, len(every))} of {len(every)}" for at in range(1, len(every) + 1, 2)]


@pytest.mark.parametrize("page", ["9", "1000000"])
def test_beyond_the_end_there_is_a_way_back(client: FlaskClient, page: str) -> None:
    text = get(client, "page", page=page, search="s")
    assert "The list does not go as far as this." in text
    back = next(each for each in links(text[text.index("does not go") :]))
    assert parameters(back) == RANGE | {"search": "s"}


def test_a_row_leads_to_the_board_of_its_visits(client: FlaskClient) -> None:
    text = get(client, "page", search="sho", sort="value", metric="visits", filters=json.dumps(TWO))
    found = re.search(r'<th scope="row"><a href="([^"]*)"', text)
    assert found
    address = html.unescape(found[1])
    assert urlsplit(address).path == "/example.com"
    assert filters_in(address) == [["is", "page", ["/shoes"]], TWO[1]]
    assert parameters(address).keys() == {*RANGE, "metric", "filters"}


def test_a_list_is_of_the_visits_that_the_filters_choose(client: FlaskClient) -> None:
    text = get(client, "source", filters=json.dumps(SHOES))
    assert sorted(value for value, _ in rows(text)) == ["", "bing.com", "google.com"]
    assert chips(text)[0][0] == "Page is /shoes"
    assert "None in these visits." in get(client, "country", filters='[["is","page",["/none"]]]')
    assert "None yet. Send one with" in client.get("/other.example/list/event?from=2026-03-29&to=2026-03-29").text


def test_every_link_of_a_list_keeps_what_it_must(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 1)
    kept = {"metric": "visits", "filters": json.dumps(TWO), "search": "s", "sort": "visits"}
    text = get(client, "page", page="1", **kept)
    own = {"metric", "filters", "search"}
    for address in headings(text).values():
        assert parameters(address).keys() >= {*RANGE, *own}
        assert filters_in(address) == TWO
    periods = [each for each in links(text) if "period" in parameters(each)]
    assert len(periods) == 5
    for address in periods:
        assert urlsplit(address).path == "/example.com/list/page"
        assert parameters(address).keys() == {"period", *kept}
    assert fields(text, "days").keys() == {*kept}
    assert fields(text, "search").keys() == {*RANGE, "metric", "filters", "sort"}
    assert fields(text, "narrow").keys() == {*RANGE, *kept}
    assert 'action="/example.com/list/page/filter"' in text
    for _, turned, removed in chips(text):
        for address in (turned, removed):
            assert urlsplit(address).path == "/example.com/list/page"
            assert parameters(address).keys() == {*RANGE, *kept}
    back = re.search(r'<a href="([^"]*)">Overview', text)
    assert back and parameters(html.unescape(back[1])).keys() == {*RANGE, "metric", "filters"}


def test_a_list_does_not_ask_for_news(client: FlaskClient) -> None:
    text = get(client, "page")
    assert 'data-page="list"' in text
    assert "data-now" not in text
    assert "here now" not in text


def test_what_visitors_send_is_text_here_too(client: FlaskClient) -> None:
    text = get(client, "page", search="<b>")
    assert rows(text)[0][0] == "/a?<b>&\"'"
    assert "<b>" not in text


def test_countries_say_what_they_need_here_too(warehouse: Warehouse, live: Live, sites: dict[str, str]) -> None:
    bare = create(warehouse, lambda: sites, live, control=None, collect_url="", clock=lambda: ms(NOW)).test_client()
    text = bare.get("/example.com/list/country").text
    assert "FOOTFALL_GEO" in text
    assert 'value="country"' not in text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/example.com/list/nothing", 404, "no list is called 'nothing'; there are page, entry_page"),
        ("/nope.example/list/page", 404, "footfall site add nope.example"),
        ("/example.com/list/page?sort=colour", 400, "sort must be one of value, visitors"),
        ("/example.com/list/event?sort=pageviews", 400, "sort must be one of value, visitors, visits, events"),
        ("/example.com/list/page?page=0", 400, "page must be a whole number from 1"),
        ("/example.com/list/page?search=%00", 400, "no zero bytes"),
        ("/example.com/list/page?search=" + "x" * 3000, 400, "search may have"),
        ("/example.com/list/page?period=1y", 400, "period must be one of today"),
    ],
)
def test_a_wrong_address_of_a_list_is_told_in_words(client: FlaskClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert words in html.unescape(answer.text)
