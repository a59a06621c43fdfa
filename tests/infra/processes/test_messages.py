"""The thread that sends reports, over a real mail server: once each, again after a failure, and not twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from infra.errors import Failed
from infra.processes.messages import Messenger
from infra.settings import Settings
from infra.wiring import Parts
from stores.accounts import FILE, Accounts
from tests.mailbox import Mailbox, free_port, serving

ZONE = "Europe/Berlin"
SITE = "example.com"


class Clock:
    """Unix ms, as far as the test turned it."""

    def __init__(self) -> None:
        self.now = self.at(27, 12)

    @staticmethod
    def at(day: int, hour: int) -> int:
        """An hour of March 2026; the 30th is a Monday."""
        return round(datetime(2026, 3, day, hour, tzinfo=ZoneInfo(ZONE)).timestamp() * 1000)

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def box() -> Mailbox:
    return Mailbox(free_port())


@pytest.fixture
def parts(tmp_path: Path, box: Mailbox, clock: Clock) -> Iterator[Parts]:
    given = {"data": tmp_path, "smtp": f"smtp://127.0.0.1:{box.port}", "mail_from": "f@example.com"}
    with Parts(Settings.load({}, given)) as opened:
        opened.accounts = Accounts(tmp_path / FILE, clock)
        yield opened
        opened.accounts.close()


@pytest.fixture
def messenger(parts: Parts, clock: Clock) -> Messenger:
    return Messenger(parts, lambda: {SITE: ZONE}, clock)


def test_a_week_is_sent_once_even_over_a_restart(
    messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock
) -> None:
    parts.accounts.reports.add(SITE, "ann@example.com", "week")
    parts.accounts.reports.add(SITE, "bob@example.com", "month")
    parts.accounts.reports.add("gone.example", "ann@example.com", "week")
    with serving(box):
        messenger.step()
        assert box.messages == []
        clock.now = clock.at(30, 5)
        messenger.step()
        assert box.messages == []
        clock.now = clock.at(30, 7)
        for _ in range(3):
            assert Messenger(parts, lambda: {SITE: ZONE}, clock).step() == ""
        assert box.recipients == ["ann@example.com"]
        assert box.messages[0]["Subject"] == "example.com: week of 23 March 2026"
        clock.now += 3 * 7 * 86_400_000  # of weeks that passed while nothing ran, the last one is sent
        messenger.step()
    assert box.recipients == ["ann@example.com", "ann@example.com", "bob@example.com"]
    assert [message["Subject"].partition(": ")[2] for message in box.messages[1:]] == [
        "week of 13 April 2026",
        "March 2026",
    ]


def test_a_server_that_is_down_is_tried_again_until_it_is_back(
    messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock
) -> None:
    parts.accounts.reports.add(SITE, "ann@example.com", "week")
    clock.now = clock.at(30, 7)
    assert "cannot be used" in messenger.step()
    [failed] = parts.accounts.reports.all()
    assert (failed.tries, "cannot be used" in failed.error) == (1, True)
    with serving(box):
        messenger.step()
        assert box.messages == []  # its next try has not come
        clock.now = failed.next
        assert messenger.step() == ""
    assert box.recipients == ["ann@example.com"]
    [sent] = parts.accounts.reports.all()
    assert (sent.tries, sent.error, sent.sent) == (0, "", clock.now)


def test_a_refused_recipient_holds_up_nobody_and_is_tried_with_the_next_week(
    messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock
) -> None:
    for name in ("a-gone", "b-busy", "c-ann"):
        parts.accounts.reports.add(SITE, f"{name}@example.com", "week")
    box.refused = {"a-gone@example.com": "550 no such user", "b-busy@example.com": "451 later"}
    clock.now = clock.at(30, 7)
    with serving(box):
        assert "451 later" in messenger.step()
        assert box.recipients == ["c-ann@example.com"]
        box.refused = {}
        clock.now += 60_000
        messenger.step()
        assert box.recipients == ["c-ann@example.com", "b-busy@example.com"]
        gone = parts.accounts.reports.get(SITE, "a-gone@example.com", "week")
        assert (gone.error, gone.sent) == ("the mail server refuses a-gone@example.com: 550 no such user", None)
        clock.now += 7 * 86_400_000
        messenger.step()
    assert sorted(box.recipients[2:]) == ["a-gone@example.com", "b-busy@example.com", "c-ann@example.com"]


def test_numbers_that_cannot_be_read_are_sent_when_they_can(
    messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock
) -> None:
    parts.accounts.reports.add(SITE, "ann@example.com", "week")
    clock.now = clock.at(30, 7)
    with serving(box):
        parts.warehouse.command("RENAME TABLE session_rows TO away")
        assert "session_rows" in messenger.step()
        assert box.messages == []
        parts.warehouse.command("RENAME TABLE away TO session_rows")
        assert messenger.step() == ""
    assert box.recipients == ["ann@example.com"]


def test_sending_now_is_beside_the_plan(messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock) -> None:
    parts.accounts.reports.add(SITE, "ann@example.com", "month")
    with pytest.raises(Failed, match="cannot be used"):
        messenger.send(SITE, "ann@example.com", "month")
    with serving(box):
        assert messenger.send(SITE, "ann@example.com", "month").first.isoformat() == "2026-02-01"
    assert box.recipients == ["ann@example.com"]
    [kept] = parts.accounts.reports.all()
    assert (kept.done, kept.error) == (None, "")


def test_it_ends_between_two_messages_when_the_core_stops(
    messenger: Messenger, parts: Parts, box: Mailbox, clock: Clock
) -> None:
    for name in ("ann", "bob"):
        parts.accounts.reports.add(SITE, f"{name}@example.com", "week")
    clock.now = clock.at(30, 7)
    with serving(box):
        messenger.step(lambda: len(box.messages) == 1)
        assert box.recipients == ["ann@example.com"]
        messenger.step()
    assert box.recipients == ["ann@example.com", "bob@example.com"]
