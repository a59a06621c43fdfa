"""What is stored of what was sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import codec
from activity.beacon import Incoming, Search
from activity.compat.protocol import Tracked
from activity.enrich import NEWEST, OLDEST, SiteRules, enrich
from activity.event import Event, EventType, derived_id
from activity.geo import Place
from activity.incoming import Revenue
from activity.refusal import Reason, Refusal
from activity.user_agent import NO_AGENT, Agent

NOW = 1_700_000_000_000
SITE = SiteRules("example.com")
CHROME = Agent("Chrome", "130", "Linux", "", "desktop")
FRESH = "f" * 32


def send(kind: EventType = EventType.PAGEVIEW, site: SiteRules = SITE, **fields: Any) -> list[Event] | Refusal:
    options: dict[str, Any] = {
        name: fields.pop(name) for name in ("sent_at", "trusted", "place", "agent") if name in fields
    }
    given_fields: dict[str, Any] = {"site": site.domain, "type": kind, "url": "https://example.com/", **fields}
    incoming = Incoming(**given_fields)
    call: dict[str, Any] = {"agent": CHROME, "visitor": "0" * 16, "received_at": NOW, "fresh_id": FRESH, **options}
    return enrich(incoming, site=site, **call)


def stored(*args: Any, **fields: Any) -> Event:
    events = send(*args, **fields)
    assert isinstance(events, list), events
    assert codec.decode(codec.encode(events[0])) == events[0]
    return events[0]


def refused(*args: Any, **fields: Any) -> Refusal:
    refusal = send(*args, **fields)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def test_a_page_view() -> None:
    event = stored(
        url="https://www.Example.com/a?utm_source=n&x=1#top",
        referrer="https://www.bing.com/",
        title="A",
        place=Place("DE", "Berlin", "Berlin", "db@1"),
    )
    assert (event.url, event.host, event.path) == (
        "https://www.example.com/a?utm_source=n&x=1", "www.example.com", "/a",
    )  # fmt: skip
    assert (event.source, event.utm_source, event.referrer) == ("n", "n", "https://www.bing.com/")
    assert (event.browser, event.country, event.city) == ("Chrome", "DE", "Berlin")
    assert event.enriched_by.endswith("sources=7 place=db@1")
    assert (event.id, event.occurred_at, event.clamped, event.interactive) == (FRESH, NOW, False, True)


def test_a_referrer_has_no_session_ids_either() -> None:
    for sent, kept in (
        ("https://example.com/(S(lit3py55t21z5v55))/shop", "https://example.com/shop"),
        ("https://bücher.example/é;JSessionId=A1B?a=;jsessionid=2#x", "https://bücher.example/%C3%A9?a=#x"),
        ("http://[::1]:80/a;jsession%69d=A1/b;v=1", "http://[::1]:80/a/b;v=1"),
        ("https://example.com/é;v=1(S(a))/", "https://example.com/é;v=1(S(a))/"),
        ("https://example.com?a=/b;jsessionid=1", "https://example.com?a=/b"),
        ("https://me:secret@example.com/a?PHPSESSID=0a1b#x", "https://example.com/a#x"),
        ("https://example.com/a?b=é&CFID=1&CFTOKEN=2&c", "https://example.com/a?b=%C3%A9&c"),
        ("https://example.com/a?b=é&sid=1@x", "https://example.com/a?b=é&sid=1@x"),
        ("a newsletter;jsessionid=1 (S(a))", "a newsletter;jsessionid=1 (S(a))"),
    ):
        assert stored(referrer=sent).referrer == kept
    assert len(stored(referrer=f"https://example.com/;jsessionid=1/{'é' * 4000}").referrer) <= 4096
    # The id is made of what was sent, so what is imported again adds nothing.
    first, second = (stored(referrer=f"https://example.com/a;jsessionid={n}", ts=NOW, id="a") for n in "12")
    assert first.id != second.id
    assert msgspec.structs.replace(first, id=second.id) == second


@pytest.mark.parametrize(
    ("ts", "sent_at", "occurred_at", "clamped"),
    [
        (NOW - 5, None, NOW - 5, False),
        (1000, 3000, NOW - 2000, False),  # a clock that stands in 1970, corrected
        ("2023-11-14T22:13:19.995Z", None, NOW - 5, False),
        (NOW + NEWEST, None, NOW + NEWEST, False),
        (NOW + NEWEST + 1, None, NOW + NEWEST, True),
        (NOW - OLDEST, None, NOW - OLDEST, False),
        (NOW - OLDEST - 1, None, NOW - OLDEST, True),
        (10**10, None, NOW - OLDEST, True),
        (None, NOW + 9, NOW, False),
        ("", None, NOW, False),
    ],
)
def test_times(ts: int | str | None, sent_at: int | None, occurred_at: int, clamped: bool) -> None:
    event = stored(ts=ts, sent_at=sent_at)
    assert (event.occurred_at, event.clamped, event.sent_at) == (occurred_at, clamped, sent_at)


def test_times_of_trusted_senders_are_not_clamped() -> None:
    event = stored(ts="2015-05-17T10:05:03Z", trusted=True)
    assert (event.occurred_at, event.clamped) == (1_431_857_103_000, False)
    for trusted in (True, False):
        for sent_at in (None, NOW, NOW // 1000):
            assert "`ts` looks like seconds" in refused(ts=NOW // 1000, sent_at=sent_at, trusted=trusted).detail
    for ts in (0, -1, 5_123.4, "1970-01-03T00:00:00Z"):  # as of a clock that began with the page
        assert "`ts` is in January 1970" in refused(ts=ts).detail
    assert refused(ts=10**14, trusted=True).reason is Reason.INVALID_TIME
    assert refused(ts="yesterday").reason is Reason.INVALID_TIME
    assert refused(ts=float("inf")).reason is Reason.INVALID_TIME


def test_older_than_the_site_keeps() -> None:
    site = SiteRules("example.com", retention_days=30)
    assert stored(site=site, ts=NOW - 30 * 86_400_000, trusted=True).occurred_at < NOW
    refusal = refused(site=site, ts="2015-05-17T10:05:03Z", trusted=True)
    assert refusal.reason is Reason.TOO_OLD
    assert "2015-05-17" in refusal.detail
    # Whole days are kept, and what has expired before stays away though more is kept by now.
    first = NOW // 86_400_000 * 86_400_000 - 30 * 86_400_000
    assert stored(site=site, ts=first, trusted=True).occurred_at == first
    assert refused(site=site, ts=first - 1, trusted=True).reason is Reason.TOO_OLD
    gone = refused(site=SiteRules("example.com", expired_before=first), ts=first - 1, trusted=True)
    assert gone.reason is Reason.TOO_OLD and "nothing any more from before" in gone.detail


def test_a_search_in_the_address_is_a_second_event() -> None:
    events = send(url="https://example.com/find?q=red++shoes%20", id="1", name="", title="Results")
    assert isinstance(events, list)
    view, found = events
    assert (view.type, view.term, view.interactive) == (EventType.PAGEVIEW, "", True)
    assert (found.type, found.term, found.interactive) == (EventType.SEARCH, "red shoes", False)
    assert found.id == derived_id(view.id, "search")
    assert (found.visitor, found.occurred_at, found.path) == (view.visitor, view.occurred_at, view.path)


def test_search_events() -> None:
    given_term = stored(EventType.SEARCH, search=Search("hats", 0))
    assert (given_term.term, given_term.results, given_term.interactive) == ("hats", 0, True)
    assert stored(EventType.SEARCH, url="https://example.com/?s=caps").term == "caps"
    assert refused(EventType.SEARCH).reason is Reason.MISSING_FIELD
    with_count = send(url="https://example.com/?s=caps", search=Search("caps", 12))
    assert isinstance(with_count, list)
    assert with_count[1].results == 12


def test_a_site_names_its_own_search_parameters() -> None:
    site = SiteRules("example.com", search_parameters=("find",))
    for url, count in (("https://example.com/?q=a", 1), ("https://example.com/?find=a", 2)):
        events = send(site=site, url=url)
        assert isinstance(events, list)
        assert len(events) == count


@pytest.mark.parametrize(
    ("url", "referrer", "source"),
    [
        ("https://example.com/", "https://www.example.com/a", ""),
        ("https://example.com/", "https://blog.example.com/a", ""),
        ("https://example.com/", "https://shop.example.org/a", ""),
        ("https://staging.example.net/", "https://staging.example.net/a", ""),
        ("https://example.com/", "https://notexample.com/a", "notexample.com"),
    ],
)
def test_the_site_itself_is_no_source(url: str, referrer: str, source: str) -> None:
    site = SiteRules("example.com", origins=("https://www.shop.example.org",))
    assert stored(site=site, url=url, referrer=referrer).source == source


def test_pages_on_localhost_and_in_files_count() -> None:
    assert stored(url="http://localhost:5173/a").host == "localhost"
    assert stored(url="file:///home/me/a.html").path == "/home/me/a.html"
    for url in ("about:blank", "/a", "", "https://"):
        assert refused(url=url).reason is Reason.INVALID_URL


def test_what_the_kinds_of_events_need_and_count_as() -> None:
    assert refused(EventType.CUSTOM).reason is Reason.MISSING_FIELD
    custom = stored(EventType.CUSTOM, name="signup", props={"plan": "pro"}, user="u7")
    assert (custom.name, custom.props, custom.user, custom.interactive) == ("signup", {"plan": "pro"}, "u7", True)
    ping = stored(EventType.ENGAGEMENT, engaged_ms=1500.7)
    assert (ping.engaged_ms, ping.interactive) == (1500, False)
    assert stored(EventType.ENGAGEMENT, engaged_ms=-3).engaged_ms == 0
    assert stored(agent=NO_AGENT).bot == "no-agent"


def test_a_named_visitor_needs_the_key() -> None:
    assert refused(visitor="anna").reason is Reason.NOT_ALLOWED
    assert stored(visitor="anna", trusted=True).visitor == "0" * 16


@given(st.text(max_size=5), st.text(max_size=5), st.integers(0, NOW))
def test_ids_are_of_the_content_and_not_of_the_attempt(title: str, other: str, sent_at: int) -> None:
    first = stored(id="1", ts=NOW, title=title)
    assert stored(id="1", ts=NOW, title=title, sent_at=sent_at).id == first.id
    assert (stored(id="1", ts=NOW, title=other).id == first.id) == (title == other)
    assert stored(id="2", ts=NOW, title=title).id != first.id
    assert stored(ts=NOW, title=title).id == stored(ts=NOW, title=title).id != FRESH


def tracked(kind: EventType = EventType.PAGEVIEW, **fields: Any) -> list[Event] | Refusal:
    given_fields: dict[str, Any] = {"site": "", "type": kind, "url": "", **fields}
    item = Tracked(**given_fields)
    return enrich(item, site=SITE, agent=CHROME, visitor="0" * 16, received_at=NOW, fresh_id=FRESH, protocol="x")


def test_a_tracker_names_only_the_path_or_no_page_at_all() -> None:
    [view] = tracked(url="/a b?x=1", referrer="https://www.bing.com/")  # type: ignore[misc]
    assert (view.url, view.host, view.path) == ("https://example.com/a%20b?x=1", "example.com", "/a%20b")
    [signup] = tracked(EventType.CUSTOM, name="signup")  # type: ignore[misc]
    assert (signup.url, signup.host, signup.path, signup.site) == ("", "", "", "example.com")
    for of_app in ("app://localhost/a b?x=1", "com.acme.app://home/a b?x=1", "Capacitor://localhost/a b?x=1#top"):
        [screen] = tracked(url=of_app)  # type: ignore[misc]
        assert (screen.url, screen.path) == (view.url, "/a%20b")
    for bare in ("example.com/a b?x=1", "//www.example.com/a b?x=1", "shop.Example.com:443/a b?x=1"):
        [bare_view] = tracked(url=bare)  # type: ignore[misc]
        assert bare_view.path == "/a%20b" and bare_view.host.endswith("example.com")
    for other in ("//b.example/a", "//double/slash"):
        [within] = tracked(url=other)  # type: ignore[misc]
        assert (within.host, within.path) == ("example.com", other)
    for blank in ("about:blank", "blob:https://example.com/1", "null", "undefined", "data:text/html,a"):
        [nowhere] = tracked(EventType.CUSTOM, name="a", url=blank)  # type: ignore[misc]
        assert (nowhere.url, nowhere.path) == ("", "")
        assert isinstance(tracked(url=blank), Refusal)
    [start] = tracked(url="app://localhost")  # type: ignore[misc]
    assert start.path == "/"
    no_pages = [tracked(url=wrong) for wrong in ("", "http:///a", "mailto:a@b.example", "nonsense")]
    for wrong in (*no_pages, tracked(EventType.CUSTOM, name="a", url="nonsense")):
        assert isinstance(wrong, Refusal)
        assert wrong.reason is Reason.INVALID_URL
    assert refused(EventType.CUSTOM, name="signup", url="").reason is Reason.INVALID_URL, "ours has a page"


@given(st.integers(NOW - 1000, NOW), st.integers(0, NOW), st.text(max_size=5), st.text(max_size=5))
def test_what_a_tracker_sends_again_under_its_id_is_the_same_event(ts: int, sent_at: int, one: str, two: str) -> None:
    [first] = tracked(EventType.CUSTOM, name="a", id="1", ts=NOW, title=one)  # type: ignore[misc]
    [again] = tracked(EventType.CUSTOM, name="a", id="1", ts=ts, sent_at=sent_at, title=two)  # type: ignore[misc]
    assert (again.id == first.id) == (one == two)


@pytest.mark.parametrize(
    ("amount", "currency", "kept"),
    [
        (12.5, "eur", ("12.5", "EUR")),
        ("1234.50", "USD", ("1234.5", "USD")),
        (-3, "USD", ("-3", "USD")),  # money back
        (0, "", ("0", "")),
        (1_000_000, "JPY", ("1000000", "JPY")),
        (0.1 + 0.2, "EUR", ("0.3", "EUR")),
        ("twelve", "EUR", ("", "")),
        (float("nan"), "EUR", ("", "")),
        ("1e400", "EUR", ("", "")),
        (1, "euros", ("1", "")),
        ("1,234.50", "USD", ("1234.5", "USD")),
        ("1.234,50", "EUR", ("1234.5", "EUR")),
        ("12,50 eur", "", ("12.5", "EUR")),
        ("$1,234", "USD", ("1234", "USD")),
        ("1\u202f234,5 €", "EUR", ("1234.5", "EUR")),
        ("1.234.567", "EUR", ("1234567", "EUR")),
        ("1.234", "EUR", ("1.234", "EUR")),
        ("0,500", "KWD", ("0.5", "KWD")),
        ("1234,567", "KWD", ("1234.567", "KWD")),
        ("1,234,567", "JPY", ("1234567", "JPY")),
        ("12..5", "EUR", ("", "")),
    ],
)
def test_what_an_event_was_worth(amount: float | str, currency: str, kept: tuple[str, str]) -> None:
    event = stored(EventType.CUSTOM, name="order", revenue=Revenue(amount, currency))
    assert (event.revenue, event.currency) == kept


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_address_or_referrer_makes_it_raise(url: str, referrer: str) -> None:
    for prefix in ("", "https://", "http://e.com/?"):
        send(url=prefix + url, referrer=prefix + referrer)
