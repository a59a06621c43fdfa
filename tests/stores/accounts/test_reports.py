"""Reports in the accounts file: what is added, tried and done is there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.accounts import FILE, Accounts
from stores.accounts.reports import MOST, mail_address
from stores.accounts.roles import AccountRefused

SITE = "example.com"


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / FILE, Clock())


def test_a_report_stays_over_a_restart_with_what_became_of_it(accounts: Accounts, tmp_path: Path) -> None:
    added = accounts.reports.add(SITE, " Ann@Example.COM ", "week")
    assert (added.address, added.done, added.sent, added.error) == ("Ann@example.com", None, None, "")
    accounts.reports.note_failed(added, "down")
    accounts.close()
    again = Accounts(tmp_path / FILE, Clock()).reports
    failed = again.get(SITE, "Ann@example.com", "week")
    assert (failed.tries, failed.next, failed.error) == (1, 1_060_000, "down")
    again.note_sent(failed, "2026-03-23")
    sent = again.get(SITE, "Ann@example.com", "week")
    assert (sent.done, sent.sent, sent.tries, sent.next, sent.error) == ("2026-03-23", 1_000_000, 0, 0, "")
    again.note_refused(sent, "2026-03-30", "550 no")
    refused = again.get(SITE, "Ann@example.com", "week")
    assert (refused.done, refused.sent, refused.error) == ("2026-03-30", 1_000_000, "550 no")
    assert again.of_key(added.key) == refused
    assert again.of_key("") is None


def test_no_user_is_needed_for_it_and_none_comes_of_it(accounts: Accounts) -> None:
    accounts.reports.add(SITE, "ann@example.com", "month")
    assert not accounts.users.any


def test_waits_grow_to_an_hour(accounts: Accounts) -> None:
    accounts.reports.add(SITE, "ann@example.com", "week")
    waits = []
    for _ in range(9):
        accounts.reports.note_failed(accounts.reports.get(SITE, "ann@example.com", "week"), "down")
        waits.append((accounts.reports.get(SITE, "ann@example.com", "week").next - Clock.now) // 60_000)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_cannot_be_is_refused_in_words(accounts: Accounts) -> None:
    reports = accounts.reports
    reports.add(SITE, "ann@example.com", "week")
    with pytest.raises(AccountRefused, match="gets a weekly report"):
        reports.add(SITE, "ann@EXAMPLE.com", "week")
    with pytest.raises(AccountRefused, match="every week or every month"):
        reports.add(SITE, "ann@example.com", "hour")
    with pytest.raises(AccountRefused, match="no monthly report"):
        reports.get(SITE, "ann@example.com", "month")
    for number in range(MOST - 1):
        reports.add(SITE, f"u{number}@example.com", "week")
    with pytest.raises(AccountRefused, match=f"has {MOST} reports"):
        reports.add(SITE, "one@example.com", "month")
    reports.remove(reports.get(SITE, "ann@example.com", "week"))
    reports.add(SITE, "one@example.com", "month")
    assert len(reports.all(SITE)) == MOST
    assert reports.all("other.example") == []


@given(st.text(max_size=40) | st.emails() | st.from_regex(r"\A[\w.<>,;:\"@ \r\n-]{1,30}@[\w.\r\n-]{1,20}\Z"))
def test_an_address_is_one_word_that_no_header_can_hide_in(text: str) -> None:
    try:
        address = mail_address(text)
    except AccountRefused:
        return
    assert mail_address(address) == address
    assert address.isascii() and address.isprintable() and address.count(" ") == 0
    local, _, domain = address.rpartition("@")
    assert local and domain == domain.lower()
