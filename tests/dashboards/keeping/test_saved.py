"""Segments, goals and funnels as forms save them: what they choose, count and stand for, on the page and by the API."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.accounts import Accounts
from stores.accounts.saved import MOST, Kind
from tests.dashboards.conftest import VISITS, Visit

RANGE = {"from": "2026-03-27", "to": "2026-03-31"}
OWN = [visit for visit in VISITS if visit.site == "example.com" and not visit.bot]
SHOES = [["contains", "page", ["/sh"]]]
GOALS = {
    "Signed up": ["is", "event", ["signup"]],
    "Looked for a hat": ["contains", "search", ["hat"]],
    "Put into the cart": ["is", "page", ["/cart"]],
}


def save(client: FlaskClient, kind: str, name: str, **fields: Any) -> int:
    """Sends the form; the status."""
    sent = {"deed": "add", "kind": kind, "name": name} | plain(fields)
    return client.post("/example.com/saved", data=sent).status_code


def plain(given: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def asked(client: FlaskClient, what: str, **given: Any) -> dict[str, Any]:
    answer = client.get(f"/api/v1/{what}", query_string={"site": "example.com"} | RANGE | plain(given))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def does(visit: Visit, condition: list[Any]) -> bool:
    """Whether a visit did what a goal asks for, told apart from the product."""
    operator, dimension, values = condition
    kind, place = {"page": ("pageview", 2), "event": ("custom", 3), "search": ("search", 3)}[dimension]
    found = [event[place] for event in visit.of(kind)]
    return any(value == each if operator == "is" else value in each for each in found for value in values)


def visitors(visits: list[Visit]) -> int:
    """Distinct visitors: without a lasting id, once a day."""
    return len({(visit.visitor, None if visit.lasts else visit.start.date()) for visit in visits})


def test_filters_are_saved_under_a_name_and_chosen_by_one_click(client: FlaskClient) -> None:
    page = client.get("/example.com", query_string=RANGE | plain({"filters": SHOES})).text
    assert "Save these filters as" in page
    sent = RANGE | plain({"deed": "add", "kind": "segment", "name": " Shoe people ", "filters": SHOES})
    answer = client.post("/example.com/saved", data=sent)
    address = urlsplit(answer.headers["Location"])
    assert parse_qs(address.query) == {"segment": ["Shoe people"], "from": [RANGE["from"]], "to": [RANGE["to"]]}
    shown = client.get(answer.headers["Location"]).text
    assert 'aria-current="true">Shoe people</a>' in shown
    assert 'title="Page contains /sh"' in shown
    for view in ("", "/visits", "/paths", "/funnel", "/list/page", "/now"):
        by_name, by_filters = (
            client.get(f"/example.com{view}", query_string=RANGE | plain(given))
            for given in ({"segment": "Shoe people"}, {"filters": SHOES})
        )
        assert by_name.status_code == 200
        own_address = re.compile(r'data-now="[^"]*"|<nav class="languages".*?</nav>', re.DOTALL)
        assert own_address.sub("", by_name.text) == own_address.sub("", by_filters.text), view


def test_the_api_takes_a_segment_beside_filters(client: FlaskClient) -> None:
    assert save(client, "segment", "Shoes", filters=SHOES) == 303
    more = [["is", "source", ["google.com"]]]
    for what in ("stats", "timeseries", "visits", "retention", "searches", "paths"):
        both = asked(client, what, segment="Shoes", filters=more)
        assert both == asked(client, what, filters=[*SHOES, *more]), what
    assert asked(client, "stats", segment="Shoes") != asked(client, "stats")


def test_an_unknown_segment_is_refused_with_those_that_there_are(client: FlaskClient) -> None:
    save(client, "segment", "Shoes", filters=SHOES)
    answer = client.get("/api/v1/stats", query_string={"site": "example.com", "segment": "Hats"} | RANGE)
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "example.com has no segment 'Hats'; there are 'Shoes'"}
    assert client.get("/example.com?segment=Hats").status_code == 400
    other = client.get("/api/v1/stats", query_string={"site": "other.example", "segment": "Shoes"} | RANGE)
    assert other.get_json() == {"error": "other.example has no segment 'Shoes'; there are none yet"}


def test_a_segment_is_renamed_replaced_and_removed(client: FlaskClient) -> None:
    save(client, "segment", "Shoes", filters=SHOES)
    assert client.post(
        "/example.com/saved", data={"deed": "rename", "kind": "segment", "name": "Shoes", "new": "Boots"}
    ).status_code == 303  # fmt: skip
    other = [["is", "source", ["google.com"]]]
    page = html.unescape(client.get("/example.com/saved", query_string=plain({"filters": other})).text)
    assert "Replace by: Source is google.com" in page
    replaced = {"deed": "replace", "kind": "segment", "name": "Boots", "filters": json.dumps(other)}
    assert client.post("/example.com/saved", data=replaced).status_code == 303
    assert asked(client, "stats", segment="Boots") == asked(client, "stats", filters=other)
    gone = {"deed": "remove", "kind": "segment", "name": "Boots"}
    assert client.post("/example.com/saved", data=gone).status_code == 303
    again = client.post("/example.com/saved", data=gone)
    assert (again.status_code, "has no segment" in again.text) == (400, True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "segment", "name": "x"}, "a segment needs a filter"),
        ({"kind": "segment", "name": " ", "filters": SHOES}, "is no name"),
        ({"kind": "segment", "name": "a\nb", "filters": SHOES}, "is no name"),
        ({"kind": "segment", "name": "Taken", "filters": SHOES}, "already"),
        ({"kind": "segment", "name": "x", "filters": "[["}, "must be JSON"),
        ({"kind": "segment", "name": "x", "filters": SHOES, "for": "me"}, "only who signed in"),
        ({"kind": "goal", "name": "x", "for": "me"}, "a goal is for all"),
        ({"kind": "goal", "name": "x", "dimension": "source", "operator": "is", "values": "a"}, "dimension must be"),
        ({"kind": "goal", "name": "x", "dimension": "goal", "operator": "is", "values": "a"}, "dimension must be"),
        ({"kind": "goal", "name": "x", "dimension": "page", "operator": "is_not", "values": "a"}, "operator must be"),
        ({"kind": "funnel", "name": "x"}, "a funnel has 1 to 10 steps"),
        ({"kind": "dream", "name": "x"}, "kind must be one of segment, goal, funnel"),
    ],
    ids=str,
)
def test_what_cannot_be_saved_is_told(client: FlaskClient, fields: dict[str, Any], said: str) -> None:
    save(client, "segment", "Taken", filters=SHOES)
    answer = client.post("/example.com/saved", data={"deed": "add"} | plain(fields))
    assert answer.status_code == 400
    assert said in html.unescape(answer.text)


def test_so_many_and_no_more(client: FlaskClient, accounts: Accounts) -> None:
    for number in range(MOST):
        accounts.saved.add("example.com", Kind.GOAL, f"{number}", '[["is","page",["/"]]]', None)
    asked_for = {"dimension": "page", "operator": "is", "values": "/"}
    answer = client.post("/example.com/saved", data={"deed": "add", "kind": "goal", "name": "one more"} | asked_for)
    assert (answer.status_code, "which is the most" in answer.text) == (400, True)
    rows = asked(client, "goals")["rows"]
    home = visitors([visit for visit in OWN if does(visit, ["is", "page", ["/"]])])
    assert [row["visitors"] for row in rows] == [home] * MOST


def test_a_goal_is_counted_by_the_visitors_who_met_it(client: FlaskClient) -> None:
    for name, (operator, dimension, values) in GOALS.items():
        saved = save(client, "goal", name, operator=operator, dimension=dimension, values="\n".join(values))
        assert saved == 303
    found = asked(client, "goals")
    assert found["total"] == visitors(OWN)
    expected = {name: visitors([v for v in OWN if does(v, condition)]) for name, condition in GOALS.items()}
    assert {row["goal"]: row["visitors"] for row in found["rows"]} == expected
    assert all(row["condition"] == GOALS[row["goal"]] for row in found["rows"])
    assert all(row["conversion_rate"] == row["visitors"] / found["total"] for row in found["rows"])
    counts = [row["visitors"] for row in found["rows"]]
    assert counts == sorted(counts, reverse=True)
    some = asked(client, "goals", filters=SHOES)
    chosen = [visit for visit in OWN if does(visit, SHOES[0])]
    assert {row["goal"]: row["visitors"] for row in some["rows"]} == {
        name: visitors([visit for visit in chosen if does(visit, condition)]) for name, condition in GOALS.items()
    }
    board = html.unescape(client.get("/example.com", query_string=RANGE).text)
    assert 'filters=[["is","goal",["Signed+up"]]]' in _readable(board)


def _readable(page: str) -> str:
    return page.replace("%5B", "[").replace("%5D", "]").replace("%22", '"').replace("%2C", ",").replace("%20", "+")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sampled_from([*GOALS, "buy", "/shoes", "nowhere"]), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
def test_the_name_of_a_goal_stands_for_what_meets_it(
    client: FlaskClient, accounts: Accounts, values: list[str], positive: bool
) -> None:
    for name, condition in GOALS.items():
        if name not in {each.name for each in accounts.saved.seen("example.com", Kind.GOAL, None)}:
            accounts.saved.add("example.com", Kind.GOAL, name, json.dumps([condition]), None)
    plainly = [["is", "event", [each]] for each in values] + [["is", "page", [each]] for each in values]
    meant = [GOALS[each] for each in values if each in GOALS]
    meet = [v for v in OWN if any(does(v, each) for each in (*meant, *plainly)) == positive]
    chosen = [["is" if positive else "is_not", "goal", values]]
    assert asked(client, "stats", filters=chosen)["visits"] == len(meet)
    if positive:
        assert asked(client, "funnel", steps=chosen)["rows"][0]["reached"] == len(meet)


def test_a_funnel_is_saved_and_found_on_its_page(client: FlaskClient) -> None:
    accounts_steps = [["is", "page", ["/"]], ["is", "goal", ["Put into the cart"]]]
    operator, dimension, values = GOALS["Put into the cart"]
    save(client, "goal", "Put into the cart", operator=operator, dimension=dimension, values=values[0])
    answer = client.post(
        "/example.com/saved",
        data=plain({"deed": "add", "kind": "funnel", "name": "To the cart", "steps": accounts_steps, **RANGE}),
    )
    assert answer.status_code == 303
    page = client.get(answer.headers["Location"]).text
    assert 'aria-current="true">To the cart</a>' in page
    assert "2. Goal is Put into the cart" in page
    plainly = [accounts_steps[0], GOALS["Put into the cart"]]
    by_name, by_condition = (asked(client, "funnel", steps=steps)["rows"] for steps in (accounts_steps, plainly))
    assert [row["reached"] for row in by_name] == [row["reached"] for row in by_condition]
    assert by_name[1]["reached"] > 0
