"""The stats API over known rows; what is expected is computed from the visits in plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from tests.dashboards.conftest import BERLIN, VISITS, Visit

SPAN = "site=example.com&from=2026-03-27&to=2026-03-31"


def get(client: FlaskClient, path: str) -> Any:
    response = client.get(f"/api/v1/{path}")
    assert response.status_code == 200, response.text
    return response.get_json()


def within(first: str, last: str, zone: str = BERLIN) -> list[Visit]:
    days = (date.fromisoformat(first), date.fromisoformat(last))
    return [
        visit
        for visit in VISITS
        if visit.site == "example.com"
        and not visit.bot
        and days[0] <= visit.start.astimezone(ZoneInfo(zone)).date() <= days[1]
    ]


def visitors(visits: list[Visit], zone: str = BERLIN) -> int:
    """An id that lasts counts once, any other once a day."""
    return len({(v.visitor, None if v.lasts else v.start.astimezone(ZoneInfo(zone)).date()) for v in visits})


def numbers(visits: list[Visit], zone: str = BERLIN) -> dict[str, Any]:
    """Of visits none of which crosses a midnight of the range."""
    pageviews = sum(len(visit.of("pageview")) for visit in visits)
    return {
        "visitors": visitors(visits, zone),
        "visits": len(visits),
        "pageviews": pageviews,
        "searches": sum(len(visit.of("search")) for visit in visits),
        "events": sum(len(visit.events) for visit in visits),
        "views_per_visit": pytest.approx(pageviews / len(visits)),
        "bounce_rate": pytest.approx(sum(visit.is_bounce for visit in visits) / len(visits)),
        "visit_duration": pytest.approx(sum(visit.seconds for visit in visits) / len(visits)),
        "engagement_rate": pytest.approx(sum(visit.is_engaged for visit in visits) / len(visits)),
        "engaged_time": pytest.approx(sum(visit.engaged for visit in visits) / len(visits)),
    }


def test_the_headline_numbers(client: FlaskClient) -> None:
    assert get(client, f"stats?{SPAN}") == numbers(within("2026-03-27", "2026-03-31")) | {"bots": 2}


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Asia/Tokyo", "America/New_York"])
def test_days_are_those_of_the_zone_asked_for(client: FlaskClient, zone: str) -> None:
    found = get(client, f"stats?site=example.com&from=2026-03-27&to=2026-03-28&timezone={zone}")
    expected = numbers(within("2026-03-27", "2026-03-28", zone), zone)
    assert {name: found[name] for name in expected} == expected


def test_without_a_zone_days_are_the_sites(client: FlaskClient) -> None:
    """In Berlin the visit of 28 March, 0:30 is of that day; in UTC it is not."""
    own = get(client, "stats?site=example.com&from=2026-03-28&to=2026-03-28")
    utc = get(client, "stats?site=example.com&from=2026-03-28&to=2026-03-28&timezone=UTC")
    assert (own["visits"], utc["visits"]) == (1, 1)
    assert (own["pageviews"], utc["pageviews"]) == (1, 1)
    assert get(client, "stats?site=example.com&from=2026-03-27&to=2026-03-27&timezone=UTC")["visits"] == 3


def test_an_empty_range_has_zeros(client: FlaskClient) -> None:
    assert set(get(client, "stats?site=example.com&from=2020-01-01&to=2020-01-31").values()) == {0}


def test_a_period_instead_of_days(client: FlaskClient) -> None:
    named = get(client, "stats?site=example.com&period=7d")
    assert named == get(client, "stats?site=example.com&from=2026-03-25&to=2026-03-31")


def test_hours_of_the_day_without_a_two_oclock(client: FlaskClient) -> None:
    found = get(client, "timeseries?site=example.com&from=2026-03-29&to=2026-03-29&interval=hour&metric=pageviews")
    assert (found["metric"], found["interval"], found["timezone"]) == ("pageviews", "hour", BERLIN)
    times = [row["time"] for row in found["rows"]]
    assert len(times) == 23
    assert times[:4] == [f"2026-03-29T{hour}:00:00+0{offset}:00" for hour, offset in
                         (("00", 1), ("01", 1), ("03", 2), ("04", 2))]  # fmt: skip
    counted = {row["time"][11:13]: row["value"] for row in found["rows"] if row["value"]}
    assert counted == {"00": 1, "03": 1, "23": 1}  # the second view of the last visit is of the next day


def test_days_add_up_to_the_headline(client: FlaskClient) -> None:
    days = get(client, f"timeseries?{SPAN}&interval=day&metric=visits")["rows"]
    assert [row["time"][:10] for row in days] == [f"2026-03-{day}" for day in range(27, 32)]
    assert [row["value"] for row in days] == [len(within(f"2026-03-{day}", f"2026-03-{day}")) for day in range(27, 32)]
    total = get(client, f"stats?{SPAN}")
    for name in ("visits", "pageviews", "searches", "events"):
        assert sum(row[name] for row in days) == total[name]


def test_weeks_begin_on_monday_and_months_on_the_first(client: FlaskClient) -> None:
    weeks = get(client, f"timeseries?{SPAN}&interval=week")["rows"]
    assert [row["time"] for row in weeks] == ["2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]
    months = get(client, f"timeseries?{SPAN}&interval=month&metric=searches")["rows"]
    assert [(row["time"][:10], row["value"]) for row in months] == [("2026-03-01", 3)]


@pytest.mark.parametrize("by", ["source", "channel", "device", "browser", "os", "country"])
def test_visits_by_a_property(client: FlaskClient, by: str) -> None:
    expected: dict[str, list[Visit]] = defaultdict(list)
    for visit in within("2026-03-27", "2026-03-31"):
        expected[getattr(visit, by)].append(visit)
    rows = get(client, f"breakdown?{SPAN}&by={by}")["rows"]
    assert {row["value"]: row for row in rows} == {
        value: {"value": value}
        | {name: numbers(visits)[name] for name in ("visitors", "visits", "pageviews", "events", "engaged_time")}
        for value, visits in expected.items()
    }
    assert [row["visitors"] for row in rows] == sorted((row["visitors"] for row in rows), reverse=True)


def test_pages_count_everybody_who_saw_them(client: FlaskClient) -> None:
    visits = within("2026-03-27", "2026-03-31")
    for row in get(client, f"breakdown?{SPAN}&by=page")["rows"]:
        saw = [visit for visit in visits if row["value"] in {event[2] for event in visit.of("pageview")}]
        assert row == {
            "value": row["value"],
            "visitors": visitors(saw),
            "visits": len(saw),
            "pageviews": sum(event[2] == row["value"] for visit in visits for event in visit.of("pageview")),
            "events": sum(event[2] == row["value"] for visit in visits for event in visit.events),
            "engaged_time": sum(v.engaged for v in visits if v.events[0][2] == row["value"]) / len(saw),
        }


@pytest.mark.parametrize(("by", "place"), [("entry_page", 0), ("exit_page", -1)])
def test_entries_and_exits(client: FlaskClient, by: str, place: int) -> None:
    expected: dict[str, int] = defaultdict(int)
    for visit in within("2026-03-27", "2026-03-31"):
        expected[visit.of("pageview")[place][2]] += 1
    assert {row["value"]: row["visits"] for row in get(client, f"breakdown?{SPAN}&by={by}")["rows"]} == expected


@pytest.mark.parametrize(("by", "kind"), [("search", "search"), ("event", "custom")])
def test_terms_and_named_events(client: FlaskClient, by: str, kind: str) -> None:
    expected: dict[str, list[int]] = defaultdict(list)
    for visit in within("2026-03-27", "2026-03-31"):
        for event in visit.of(kind):
            expected[event[3]].append(visit.visitor)
    rows = get(client, f"breakdown?{SPAN}&by={by}")["rows"]
    assert {row["value"]: (row["visitors"], row["events"]) for row in rows} == {
        value: (len(set(visitors)), len(visitors)) for value, visitors in expected.items()
    }


def test_a_limit_keeps_the_first(client: FlaskClient) -> None:
    every = get(client, f"breakdown?{SPAN}&by=page&limit=1000")["rows"]
    assert len(every) > 2
    assert get(client, f"breakdown?{SPAN}&by=page&limit=2")["rows"] == every[:2]


def test_sites_are_apart(client: FlaskClient) -> None:
    assert get(client, "stats?site=other.example&from=2026-03-29&to=2026-03-29")["pageviews"] == 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("stats", 400, "site is needed: one of example.com"),
        ("stats?site=nope.example&period=7d", 404, "footfall site add nope.example"),
        ("stats?site=example.com", 400, "from and to are needed"),
        ("stats?site=example.com&from=2026-03-27", 400, "to is needed too"),
        ("stats?site=example.com&to=2026-03-27", 400, "from is needed too"),
        ("stats?site=example.com&from=2026-03-32&to=2026-04-01", 400, "from must be a day as YYYY-MM-DD"),
        ("stats?site=example.com&from=2026-03-27&to=27.03.2026", 400, "to must be a day as YYYY-MM-DD"),
        ("stats?site=example.com&from=2026-03-28&to=2026-03-27", 400, "swap them"),
        ("stats?site=example.com&period=1y", 400, "period must be one of today, yesterday, 7d, 30d, month"),
        (f"stats?{SPAN}&timezone=Berlin", 400, "timezone 'Berlin' is not known"),
        (f"timeseries?{SPAN}&timezone=localtime", 400, "timezone 'localtime' is not known"),
        (f"timeseries?{SPAN}&timezone=europe/berlin", 400, "Did you mean Europe/Berlin?"),
        (f"timeseries?{SPAN}&metric=views", 400, "metric must be one of visitors, visits, pageviews"),
        (f"timeseries?{SPAN}&interval=minute", 400, "interval must be one of hour, day, week, month"),
        (
            "timeseries?site=example.com&from=2000-01-01&to=2026-01-01&interval=hour",
            400,
            "take a longer one, or fewer days",
        ),
        (f"breakdown?{SPAN}", 400, "by is needed: one of page, entry_page"),
        (f"breakdown?{SPAN}&by=colour", 400, "by must be one of page, entry_page"),
        (f"breakdown?{SPAN}&by=page&limit=0", 400, "limit must be a whole number from 1 to 1000, not '0'"),
        (f"breakdown?{SPAN}&by=page&limit=ten", 400, "limit must be a whole number"),
        (f"breakdown?{SPAN}&by=page&limit=1001", 400, "limit must be a whole number"),
        ("nothing", 404, "not found"),
    ],
)
def test_a_mistake_is_told_in_words(client: FlaskClient, path: str, status: int, words: str) -> None:
    response = client.get(f"/api/v1/{path}")
    assert response.status_code == status
    assert words in response.get_json()["error"]


def test_a_site_with_an_unknown_zone_says_what_to_correct_and_others_are_shown(
    client: FlaskClient, sites: dict[str, str]
) -> None:
    sites["other.example"] = "localtime"
    span = "from=2026-03-27&to=2026-03-31"
    for path in ("/other.example?", "/other.example/now?", "/api/v1/timeseries?site=other.example&"):
        answer = client.get(path + span)
        assert answer.status_code == 500
        assert "localtime" in answer.text
        assert "is not known: give an IANA name" in answer.text
    assert get(client, f"stats?site=other.example&{span}&timezone=UTC")["visits"] == 1
    assert get(client, f"stats?{SPAN}")["visits"]
    assert client.get("/").status_code == 200


def test_where_visitors_are_counted_approximately_it_is_said(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One visitor of these days has an id that lasts; as many are exact here, none more."""
    page = f"/example.com?{SPAN.partition('&')[2]}"
    assert "approximate" not in get(client, f"stats?{SPAN}")
    assert "≈" not in client.get(page).text
    monkeypatch.setattr("stores.days.EXACT_LASTING", 0)
    assert get(client, f"stats?{SPAN}")["approximate"] == {"visitors": 0.004}
    rows = get(client, f"breakdown?{SPAN}&by=page")["rows"]
    assert {row["value"] for row in rows if "approximate" in row} == {"/cart", "/a?<b>&\"'"}
    weeks = get(client, f"timeseries?{SPAN}&interval=week")["rows"]
    assert ["approximate" in row for row in weeks] == [False, True]
    assert not any("approximate" in row for row in get(client, f"timeseries?{SPAN}&interval=day")["rows"])
    assert "approximate" not in get(client, "stats?site=example.com&from=2026-03-30&to=2026-03-30")
    assert "≈</abbr> 6</strong>" in client.get(page).text
