"""The examples by which each product's documentation explains its definitions, told again over our events.

The pages are those that `docs/rules.md` links.
"""

from __future__ import annotations

from typing import Any

import pytest

from activity.definitions import DAY_MS, GAP_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from activity.rules import OWN, PRODUCTS
from tests.activity.test_rules import BERLIN, T0, row, told, visits

NOON = T0 + 12 * HOUR_MS
MATOMO, GA4, PLAUSIBLE, UMAMI = (PRODUCTS[name] for name in ("matomo", "ga4", "plausible", "umami"))


def test_matomo_begins_a_visit_after_more_than_half_an_hour_without_an_action() -> None:
    """faq_36: an action more than 30 minutes after the last one begins a new visit of the same visitor."""
    within = [row(NOON, 1), row(NOON + GAP_MS, 2)]
    assert visits(within, MATOMO).height == 1
    assert visits([*within, row(NOON + 2 * GAP_MS + 1, 3)], MATOMO).height == 2


def test_matomo_begins_a_visit_with_each_new_campaign() -> None:
    """faq_36: a new campaign, or other parameters of one, begins a visit. Another web site's link does not."""
    newsletter: dict[str, Any] = {"utm_source": "newsletter", "utm_campaign": "spring"}
    clicks = [
        row(NOON, 1, **newsletter),
        row(NOON + MINUTE_MS, 2),
        row(NOON + 2 * MINUTE_MS, 3, **newsletter),  # the page once more
        row(NOON + 3 * MINUTE_MS, 4, referrer="https://other.example/", source="other.example"),
        row(NOON + 4 * MINUTE_MS, 5, utm_source="newsletter", utm_campaign="summer"),
    ]
    assert visits(clicks, MATOMO)["pageviews"].to_list() == [4, 1]
    assert visits(clicks, OWN).height == 1


def test_matomo_begins_a_visit_at_midnight_where_the_site_is() -> None:
    """faq_36: somebody who goes on over midnight, in the site's zone, has a second visit without any pause."""
    midnight = T0 + 22 * HOUR_MS  # in summer
    over = [row(midnight + (n - 1) * 5 * MINUTE_MS, n) for n in range(3)]
    assert visits(over, MATOMO, BERLIN)["pageviews"].to_list() == [1, 2]
    assert visits(over, MATOMO, "UTC").height == 1


@pytest.mark.parametrize("stay", [5 * SECOND_MS, 5 * MINUTE_MS])
def test_matomo_counts_a_page_and_nothing_else_as_a_bounce_of_no_length(stay: int) -> None:
    """The page on the bounce rate: whether five seconds or five minutes, it is a bounce, and its time is 0 seconds."""
    ping = row(NOON + stay, 2, type="engagement", interactive=False, engaged_ms=stay)
    expected = {"visits": 1, "views_per_visit": 1, "bounce_rate": 1, "seconds": 0}
    assert told(visits([row(NOON, 1), ping], MATOMO), MATOMO) == expected
    download = row(NOON + stay, 2, type="download")
    found = told(visits([row(NOON, 1), download], MATOMO), MATOMO)
    assert (found["bounce_rate"], found["seconds"]) == (0, stay / 1000)


def test_ga4_has_no_engaged_session_after_four_seconds() -> None:
    """answer/11109416: four seconds of engagement are measured and make no engaged session; ten do, or two views."""

    def stayed(ms: int) -> float:
        ping = row(NOON + ms, 2, type="engagement", interactive=False, engaged_ms=ms)
        return float(told(visits([row(NOON, 1), ping], GA4), GA4)["bounce_rate"])

    assert (stayed(4 * SECOND_MS), stayed(11 * SECOND_MS)) == (1, 0)
    two = visits([row(NOON, 1), row(NOON + SECOND_MS, 2)], GA4)
    assert told(two, GA4)["bounce_rate"] == 0


def test_ga4_ends_a_session_by_half_an_hour_of_inactivity_alone() -> None:
    """answer/9191807: it times out after 30 minutes, and there is no limit to how long it can last."""
    reading = [row(NOON + n * 20 * MINUTE_MS, n, utm_campaign=f"c{n}") for n in range(300)]
    assert visits(reading, GA4, BERLIN).height == 1
    assert told(visits(reading, GA4, BERLIN), GA4)["seconds"] > 4 * DAY_MS / 1000
    assert visits([*reading, row(reading[-1]["occurred_at"] + GAP_MS + 1, 999)], GA4).height == 2


def test_plausible_counts_two_pages_ten_minutes_apart_as_a_visit_of_ten_minutes() -> None:
    """plausible.io/docs/dashboard-faq: a visitor lands at 12:00 and goes to another page at 12:10, and that is all."""
    found = visits([row(NOON, 1), row(NOON + 10 * MINUTE_MS, 2)], PLAUSIBLE)
    assert told(found, PLAUSIBLE) == {"visits": 1, "views_per_visit": 2, "bounce_rate": 0, "seconds": 600}


def test_plausible_bounces_without_a_second_page_or_a_custom_event() -> None:
    """metrics-definitions: custom events that are interactive save a visit from being a bounce, others do not."""
    ping = row(NOON + MINUTE_MS, 2, type="engagement", interactive=False, engaged_ms=MINUTE_MS)
    assert told(visits([row(NOON, 1), ping], PLAUSIBLE), PLAUSIBLE)["bounce_rate"] == 1
    signup = row(NOON + MINUTE_MS, 2, type="custom", name="signup")
    assert told(visits([row(NOON, 1), signup], PLAUSIBLE), PLAUSIBLE)["bounce_rate"] == 0
    # An event without any page: engaged by their words, one interaction by ours.
    assert told(visits([signup], PLAUSIBLE), PLAUSIBLE)["bounce_rate"] == 0
    assert told(visits([signup], OWN), OWN)["bounce_rate"] == 1


def test_plausible_counts_the_visits_of_no_length_into_the_mean() -> None:
    """metrics-definitions: all lengths over all visits, those with one page at 0 seconds included."""
    bounces = [row(NOON, n, visitor=n) for n in range(10, 13)]
    found = visits([row(NOON, 1), row(NOON + 2 * MINUTE_MS, 2), *bounces], PLAUSIBLE)
    assert told(found, PLAUSIBLE) == {"visits": 4, "views_per_visit": 1.25, "bounce_rate": 0.75, "seconds": 30}


def test_umami_gives_the_numbers_of_its_sample_response() -> None:
    """api/website-stats: 3018 views of 847 visitors in 984 visits, 537 of them bounces, and 150492 seconds in all."""
    rows = []
    number = 0
    for visit in range(984):
        visitor, hour = visit % 847, visit // 847  # 137 come again in the next hour
        begin = NOON + hour * HOUR_MS
        at_length = visit - 537  # the 447 that are no bounces share 2481 views and the seconds
        views = 1 if at_length < 0 else 5 + (at_length < 246)
        seconds = 0 if at_length < 0 else 336 + (at_length < 300)
        for view in range(views):
            at = begin + (seconds * SECOND_MS if view == views - 1 else view)
            rows.append(row(at, number, visitor=visitor))
            number += 1
    event = row(NOON + 50 * MINUTE_MS, number, type="custom", name="not a view")
    found = visits([*rows, event], UMAMI)
    assert found["visitor"].n_unique() == 847
    assert told(found, UMAMI) == {
        "visits": 984, "views_per_visit": 3018 / 984, "bounce_rate": 537 / 984, "seconds": 150_492 / 984,
    }  # fmt: skip


def test_umami_begins_a_visit_with_each_hour_of_the_clock_and_no_pause_in_it_does() -> None:
    """Of its source: the visit's id is a hash of the visitor and the hour."""
    ten = T0 + 10 * HOUR_MS
    assert visits([row(ten, 1), row(ten + 59 * MINUTE_MS, 2)], UMAMI).height == 1
    assert visits([row(ten + 59 * MINUTE_MS, 1), row(ten + 61 * MINUTE_MS, 2)], UMAMI).height == 2
