"""The demo's shop: the same at every call, taken whole by the product, and believable."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity import beacon, user_agent
from activity.enrich import SiteRules, enrich
from activity.event import Event
from activity.incoming import Incoming
from infra.processes import shop
from infra.processes.shop import Happening

SITE = "shop.example"
SINCE = date(2026, 3, 2)  # a Monday
WEEKS = 4
STEPS = ("/", "Add to basket", "/cart", "/checkout", "Purchase")


def taken(happening: Happening) -> list[Event]:
    """The events that the tracking port stores of one."""
    read = beacon.parse(json.dumps({"events": [happening.event]}).encode())
    assert not isinstance(read, beacon.Refusal), read
    sent = read.items[0]
    assert isinstance(sent, Incoming), sent
    made = enrich(
        sent, site=SiteRules(SITE), visitor=f"{abs(hash(sent.visitor)):016x}"[:16], received_at=happening.at,
        agent=user_agent.parse(happening.agent), fresh_id="0" * 32, trusted=True,
    )  # fmt: skip
    assert isinstance(made, list), made
    return made


@pytest.fixture(scope="module")
def weeks() -> dict[date, list[Happening]]:
    days = [SINCE + timedelta(days=number) for number in range(7 * WEEKS)]
    return {day: shop.happenings(SITE, SINCE, day) for day in days}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2_000))
def test_a_day_is_the_same_at_every_call_and_begins_on_it(number: int) -> None:
    day = SINCE + timedelta(days=number)
    first = shop.happenings(SITE, SINCE, day)
    assert first == shop.happenings(SITE, SINCE, day)
    assert [each.at for each in first] == sorted(each.at for each in first)
    assert datetime.fromtimestamp(first[0].at / 1000, UTC).date() == day
    assert len({each.event["id"] for each in first}) == len(first)
    assert len(first) < 20_000  # also after years


def test_the_product_takes_every_event(weeks: dict[date, list[Happening]]) -> None:
    events = [event for each in weeks[SINCE + timedelta(days=8)] for event in taken(each)]
    kinds = {event.type for event in events}
    assert {"pageview", "search", "engagement", "custom", "outbound", "download", "not_found"} <= kinds
    assert sum(event.bot != "" for event in events) < len(events) / 20
    for name in ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "language", "title"):
        assert len({getattr(event, name) for event in events}) > 1, name
    for name in ("browser", "os", "device", "channel", "source"):
        assert len({getattr(event, name) for event in events if not event.bot}) > 2, name
    results = {event.results for event in events if event.type == "search"}
    assert 0 in results
    assert len(results) > 2
    bought = [event.props for event in events if event.name == "Purchase"]
    assert all(float(str(props["revenue"])) > 0 for props in bought)


def test_it_has_a_rhythm_and_grows(weeks: dict[date, list[Happening]]) -> None:
    visits = {day: shop.visits_on(SINCE, day) for day in weeks}
    by_week = [sum(n for day, n in visits.items() if (day - SINCE).days // 7 == week) for week in range(WEEKS)]
    assert all(earlier < later for earlier, later in pairwise(by_week))
    weekend = [n for day, n in visits.items() if day.weekday() >= 5]
    assert sum(weekend) / len(weekend) > 1.1 * sum(visits.values()) / len(visits)
    hours = Counter(datetime.fromtimestamp(each.at / 1000, UTC).hour for day in weeks.values() for each in day)
    assert hours[18] > 2 * hours[3] > 0


def test_fewer_reach_each_step(weeks: dict[date, list[Happening]]) -> None:
    found = [each.event for day in weeks.values() for each in day]
    reached = [
        len({event["visitor"] for event in found if step in (event.get("name"), event["url"].split(SITE)[1])})
        for step in STEPS
    ]
    assert all(earlier > later > 0 for earlier, later in pairwise(reached))


def test_visitors_come_back_with_the_browser_that_they_had(weeks: dict[date, list[Happening]]) -> None:
    days: dict[str, set[date]] = {}
    agents: dict[str, set[str]] = {}
    for day, found in weeks.items():
        for each in found:
            days.setdefault(each.event["visitor"], set()).add(day)
            if "Googlebot" not in each.agent:
                agents.setdefault(each.event["visitor"], set()).add(each.agent)
    assert {len(theirs) for theirs in agents.values()} == {1}
    back = sum(len({day.isocalendar().week for day in theirs}) > 1 for theirs in days.values())
    assert 0.1 < back / len(days) < 0.6
