"""Sessions and addresses of the walls; what they do to requests is in tests/e2e/test_walls.py."""

from __future__ import annotations

import time

import pytest

from dashboards.access import Access
from dashboards.access.attempts import WRONG
from dashboards.access.rules import SESSION_SECONDS


def test_a_session_outlives_a_restart_and_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Access(secret="one").start_session()
    again = Access(secret="one")
    assert again.of_session(session)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_SECONDS - 2)
    assert again.of_session(session)
    monkeypatch.setattr(time, "time", lambda: now + SESSION_SECONDS + 2)
    assert not again.of_session(session)


def test_another_secret_ends_every_session_and_none_admits_nobody() -> None:
    assert not Access(secret="two").of_session(Access(secret="one").start_session())
    nothing = Access()
    assert not nothing.closed
    assert not nothing.admits("")
    assert not nothing.of_session(nothing.start_session())


def test_two_sessions_differ() -> None:
    access = Access(secret="one")
    assert access.start_session() != access.start_session()


@pytest.mark.parametrize(
    ("wrong", "waits", "does_not"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2::3", "2001:db8:1:ffff::9", "2001:db8:2::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_who_guesses_waits_with_the_neighbours_of_its_network(wrong: str, waits: str, does_not: str) -> None:
    access = Access(secret="one")
    for _ in range(WRONG[0].amount):
        assert access.attempts.waits(wrong) is None
        access.attempts.count_wrong(wrong)
    assert access.attempts.waits(waits) is not None
    assert access.attempts.waits(does_not) is None


@pytest.mark.parametrize(
    ("told", "opened"),
    [
        ("https://zählen.example/stats", "xn--zhlen-gra.example"),
        ("http://Stats.Example.com:8080", "stats.example.com:8080"),
        ("http://[2001:db8::1]:8421", "[2001:0db8:0:0::1]"),
    ],
)
def test_the_dashboards_address_is_known_as_browsers_write_it(told: str, opened: str) -> None:
    access = Access(url=told)
    assert access.hosts.wrong_host(opened, None) is None
    assert access.hosts.wrong_host("x" + opened, None) is not None
