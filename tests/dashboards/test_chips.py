"""Filters on the page as it arrives: the rows that set one, the chips, the form that adds one."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import escape

from dashboards.chips import DIMENSIONS
from dashboards.filters import MOST, WORDS
from dashboards.pages import CARDS
from dashboards.panels import BREAKDOWNS, METRICS
from dashboards.ranges import PERIODS
from stores import filters
from tests.dashboards.conftest import VISITS, Visit
from tests.dashboards.test_pages import figures, lists

RANGE = {"from": "2026-03-27", "to": "2026-03-31"}
Lists = list[list[object]]
SHOES: Lists = [["is", "page", ["/shoes"]]]
TWO: Lists = [["is", "page", ["/shoes", "/cart"]], ["contains_not", "source", ["goo"]]]


def shown(client: FlaskClient, given: Lists, path: str = "/example.com", **parameters: str) -> str:
    answer = client.get(path, query_string=RANGE | parameters | {"filters": json.dumps(given)})
    assert answer.status_code == 200
    return answer.text


def links(text: str) -> list[str]:
    return [html.unescape(href) for href in re.findall(r'<a [^>]*?href="([^"]*)"', text)]


def parameters(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query, keep_blank_values=True).items()}


def filters_in(address: str) -> Lists:
    found: Lists = json.loads(parameters(address).get("filters", "[]"))
    return found


def fields(text: str, form: str) -> dict[str, str]:
    """The hidden fields of the form of this class."""
    part = text[text.index(f'<form class="{form}"') :].partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', part)
    return {name: html.unescape(value) for name, value in found}


def row(text: str, name: str, value: str) -> str:
    """Where the row of a value leads."""
    part = text[text.index(f'data-part="{name}"') :].partition("</table>")[0]
    found = re.search(rf'<a href="([^"]*)" title="{re.escape(str(escape(value)))}"', part)
    assert found
    return html.unescape(found[1])


def chips(text: str) -> list[tuple[str, str, str]]:
    """The words of each chip, and where its operator and its cross lead."""
    found = re.findall(
        r'<li class="chip" title="([^"]*)">.*?class="turn" href="([^"]*)".*?class="remove" href="([^"]*)"',
        text,
        re.DOTALL,
    )
    return [(html.unescape(words), html.unescape(turned), html.unescape(removed)) for words, turned, removed in found]


def visits(meets: Callable[[Visit], bool]) -> list[Visit]:
    return [visit for visit in VISITS if visit.site == "example.com" and not visit.bot and meets(visit)]


def test_a_row_leads_to_the_numbers_of_its_visits(client: FlaskClient) -> None:
    there = client.get(row(shown(client, []), "page", "/shoes")).text
    chosen = visits(lambda visit: any(path == "/shoes" for _, _, path, _ in visit.of("pageview")))
    assert figures(there)["visits"] == str(len(chosen))
    assert figures(there)["pageviews"] == str(sum(len(visit.of("pageview")) for visit in chosen))
    assert [words for words, _, _ in chips(there)] == ["Page is /shoes"]


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_the_rows_of_every_list_set_a_filter(client: FlaskClient, name: str) -> None:
    before = shown(client, [], tabs=name)
    for value, visitors, _ in lists(before)[name]:
        plain = "" if value.startswith("<em>") else html.unescape(value)
        address = row(before, name, plain)
        assert filters_in(address) == [["is", name, [plain]]]
        assert int(figures(client.get(address).text)["visitors"]) >= int(visitors)


def test_what_has_no_value_is_one_too(client: FlaskClient) -> None:
    there = client.get(row(shown(client, []), "source", "")).text
    assert figures(there)["visits"] == str(len(visits(lambda visit: not visit.source)))
    assert [words for words, _, _ in chips(there)] == ["Source is Direct"]
    assert chips(shown(client, [["is", "country", [""]]]))[0][0] == "Country is Unknown"


def test_another_value_of_a_list_takes_the_place_of_the_first(client: FlaskClient) -> None:
    address = row(shown(client, [["is_not", "page", ["/x"]], *TWO]), "page", "/cart")
    assert filters_in(address) == [["is_not", "page", ["/x"]], ["is", "page", ["/cart"]], TWO[1]]


def test_every_link_keeps_the_range_the_metric_and_the_filters(client: FlaskClient) -> None:
    text = shown(client, TWO, metric="pageviews")
    board = text[text.index('<div id="board"') :]
    kept = RANGE | {"metric": "pageviews"}
    for address in links(board):
        assert address.startswith("/example.com")
        assert parameters(address).items() >= RANGE.items()
    metrics = re.findall(r'<a href="([^"]*)" id="figure-(\w+)"', text)
    assert [name for _, name in metrics] == list(METRICS)
    for href, name in metrics:
        address = html.unescape(href)
        assert filters_in(address) == TWO
        assert parameters(address).get("metric", "visitors") == name
        assert RANGE.items() <= parameters(address).items()
    for name in PERIODS:
        address = next(each for each in links(text) if parameters(each).get("period") == name)
        assert parameters(address).keys() == {"period", "metric", "filters"}
        assert filters_in(address) == TWO
    assert fields(text, "days").keys() == {"metric", "filters"}
    assert json.loads(fields(text, "days")["filters"]) == TWO
    assert fields(text, "narrow").keys() == {*kept, "filters"}
    for name in BREAKDOWNS:
        if f'id="all-{name}"' in text:
            address = next(each for each in links(text) if f"/list/{name}" in each)
            assert parameters(address).items() >= kept.items()
            assert filters_in(address) == TWO


def test_an_open_page_asks_for_the_mark_of_its_own_numbers(client: FlaskClient) -> None:
    text = shown(client, SHOES)
    found = re.search(r'data-now="([^"]*)" data-mark="(\w+)"', text)
    assert found
    assert filters_in(html.unescape(found[1])) == SHOES
    assert client.get(html.unescape(found[1])).get_json()["mark"] == found[2]
    assert f'data-mark="{found[2]}"' not in shown(client, [])


def test_a_chip_is_removed_turned_and_all_are_cleared(client: FlaskClient) -> None:
    text = shown(client, TWO)
    first, second = chips(text)
    assert first[0] == "Page is /shoes or /cart"
    assert second[0] == "Source does not contain goo"
    assert filters_in(first[2]) == TWO[1:]
    assert filters_in(second[2]) == TWO[:1]
    assert filters_in(first[1]) == [["is_not", "page", ["/shoes", "/cart"]], TWO[1]]
    assert filters_in(second[1]) == [TWO[0], ["contains", "source", ["goo"]]]
    assert "Remove filter Page is <span>/shoes</span> or <span>/cart</span>" in text
    cleared = re.search(r'class="clear" href="([^"]*)"', text)
    assert cleared and parameters(html.unescape(cleared[1])) == RANGE
    assert 'class="clear"' not in shown(client, SHOES)


def test_what_turns_into_another_chip_is_one(client: FlaskClient) -> None:
    given: Lists = [["is", "os", ["iOS"]], ["is_not", "os", ["iOS"]]]
    assert filters_in(chips(shown(client, given))[0][1]) == [["is_not", "os", ["iOS"]]]


def test_codes_of_countries_are_named_by_the_script(client: FlaskClient) -> None:
    assert '<span data-country="DE">DE</span>' in shown(client, [["is_not", "country", ["DE"]]])
    part = shown(client, [["contains", "country", ["DE"]], ["is", "page", ["/none"]]])
    assert "data-country" not in part


def test_a_property_has_its_name(client: FlaskClient) -> None:
    assert chips(shown(client, [["is", "prop:plan", ["pro"]]]))[0][0] == "Property plan is pro"


def test_what_filters_say_is_text_never_markup(client: FlaskClient) -> None:
    odd = "<b>\"'&"
    text = shown(client, [["is", "page", [odd]], ["is", f"prop:{odd}", [odd]], ["is", "country", [odd]]])
    assert "<b>" not in text
    assert chips(text)[1][0] == f"Property {odd} is {odd}"


def test_there_is_a_word_for_every_dimension_and_operator() -> None:
    assert set(DIMENSIONS) == {*filters.DIMENSIONS, filters.PROPERTY}
    assert set(WORDS) == set(filters.OPERATORS)


def submit(client: FlaskClient, path: str = "/example.com/filter", **sent: str) -> str:
    answer = client.get(path, query_string={"operator": "is", "property": "", **sent})
    assert answer.status_code == 303
    assert client.get(answer.location).status_code == 200
    return str(answer.location)


def test_the_form_leads_to_the_page_with_one_more_filter(client: FlaskClient) -> None:
    kept = RANGE | {"metric": "visits", "filters": json.dumps(SHOES)}
    address = submit(client, **kept, dimension="goal", operator="contains_not", values=" signup \r\n\r\n/cart\n")
    assert urlsplit(address).path == "/example.com"
    assert filters_in(address) == [*SHOES, ["contains_not", "goal", ["signup", "/cart"]]]
    assert parameters(address).items() >= {**RANGE, "metric": "visits"}.items()
    assert parameters(address).keys() == {*kept}


@pytest.mark.parametrize(
    ("dimension", "values", "meant"),
    [("prop:", "pro", ["is", "prop:plan", ["pro"]]), ("country", "de\nFr", ["is", "country", ["DE", "FR"]]),
     ("device", "Mobile", ["is", "device", ["mobile"]]), ("source", "Google", ["is", "source", ["Google"]])],
)  # fmt: skip
def test_the_form_writes_values_as_they_are_kept(
    client: FlaskClient, dimension: str, values: str, meant: list[object]
) -> None:
    assert filters_in(submit(client, dimension=dimension, values=values, property=" plan ")) == [meant]


def test_the_form_of_a_list_leads_back_to_it(client: FlaskClient) -> None:
    address = submit(client, "/example.com/list/page/filter", dimension="os", values="Linux", search="o", sort="value")
    assert urlsplit(address).path == "/example.com/list/page"
    assert parameters(address).keys() == {"search", "sort", "filters"}


def test_a_filter_that_is_there_already_is_not_added(client: FlaskClient) -> None:
    address = submit(client, dimension="page", values="/shoes", filters=json.dumps(SHOES))
    assert filters_in(address) == SHOES


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "dimension is needed: one of page"),
        ({"dimension": "colour", "values": "x"}, "dimension must be one of page"),
        ({"dimension": "page", "operator": "like", "values": "x"}, "operator must be one of is,"),
        ({"dimension": "page", "values": " \n "}, "Page needs a value"),
        ({"dimension": "prop:", "values": "x", "property": " "}, "a property needs its name"),
        ({"dimension": "page", "values": "x\0"}, "zero bytes"),
        ({"dimension": "page", "values": "x\n" * 101}, "100 values"),
        ({"dimension": "page", "values": "x", "filters": "nonsense"}, "filters must be JSON"),
        (
            {"dimension": "page", "values": "x", "filters": json.dumps([["is", "os", [str(n)]] for n in range(MOST)])},
            f"{MOST} at most",
        ),
    ],
)
def test_a_mistake_in_the_form_is_told_in_words(client: FlaskClient, sent: dict[str, str], words: str) -> None:
    answer = client.get("/example.com/filter", query_string={"operator": "is", **sent})
    assert answer.status_code == 400
    assert words in html.unescape(answer.text)


@pytest.mark.parametrize(
    "path", ["/nope.example/filter", "/nope.example/list/page/filter", "/example.com/list/x/filter"]
)
def test_the_form_of_what_is_not_there_leads_nowhere(client: FlaskClient, path: str) -> None:
    sent = {"dimension": "page", "operator": "is", "values": "x"}
    answer = client.get(path, query_string=sent, follow_redirects=True)
    assert answer.status_code == 404


def test_countries_are_offered_where_they_are_known(client: FlaskClient) -> None:
    assert re.findall(r'<option value="([^"]*)"', client.get("/example.com").text) == [*DIMENSIONS, *WORDS]


def test_with_nothing_left_the_page_says_so_and_does_not_wait(client: FlaskClient) -> None:
    for site in ("example.com", "quiet.example"):
        text = shown(client, [["is", "page", ["/nowhere"]]], f"/{site}")
        assert "Waiting" not in text
        assert text.count("None in these visits.") == len(CARDS)
        assert figures(text)["visits"] == "0"
        assert 'class="chip"' in text


def test_bots_make_no_visits_so_nothing_is_said_of_them(client: FlaskClient) -> None:
    assert "of bots kept apart" not in shown(client, SHOES)
    assert "of bots kept apart" in shown(client, [])


@pytest.mark.parametrize(
    ("given", "told"),
    [([["is", "page", ["/"]]], True), ([["contains", "page", ["/"]]], True), ([["is_not", "page", ["/"]]], False),
     ([["is", "entry_page", ["/"]]], False), ([], False)],
)  # fmt: skip
def test_of_which_visits_the_bounce_rate_is(client: FlaskClient, given: Lists, told: bool) -> None:
    found = re.search(r'id="figure-bounce_rate"[^>]*>', shown(client, given))
    assert found
    assert ('title="Of the visits that entered on the page"' in found[0]) is told


@pytest.mark.parametrize("path", ["/example.com", "/example.com/now", "/example.com/list/page", "/example.com/filter"])
@pytest.mark.parametrize(
    "text", ["[", "{}", '[["is","page",[]]]', '[["is","nothing",["x"]]]', '[["is","page",["\\u0000"]]]']
)
def test_filters_that_say_nothing_are_told_in_words(client: FlaskClient, path: str, text: str) -> None:
    answer = client.get(path, query_string={"filters": text})
    assert answer.status_code == 400
    assert "filters" in answer.text or "at least one value" in answer.text


WORD = st.text(max_size=8) | st.sampled_from(["", "/", "%", "\\", "'", "{a:String}", "\0", "x" * 3000])
DIMENSION = st.sampled_from([*filters.DIMENSIONS, "prop:", "prop:plan", "prop:\0"]) | WORD
NONE = st.none() | st.booleans() | st.integers() | st.floats()
ANY = st.recursive(NONE | WORD, lambda each: st.lists(each, max_size=3), max_leaves=8)
FILTER = st.tuples(st.sampled_from(filters.OPERATORS) | WORD, DIMENSION, st.lists(WORD, max_size=3))
TEXT = st.text(max_size=40) | st.lists(FILTER | ANY, max_size=4).map(json.dumps) | ANY.map(json.dumps)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT, path=st.sampled_from(["/example.com", "/example.com/list/search", "/example.com/now"]))
def test_no_text_in_the_address_breaks_a_page(client: FlaskClient, text: str, path: str) -> None:
    """Whatever it says, the page is shown or what is wrong is told; its chips lead to pages that are shown."""
    answer = client.get(path, query_string={"filters": text})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200 and path == "/example.com":
        for _, turned, removed in chips(answer.text):
            assert client.get(turned.replace("/example.com?", "/example.com/now?")).status_code == 200
            assert client.get(removed.replace("/example.com?", "/example.com/now?")).status_code == 200
