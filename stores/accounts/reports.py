"""Reports by e-mail: which are sent to whom, which were sent, and why the last one was not.

What was sent is noted right after the mail server took it. A crash in between has it sent once more; nothing else does.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address

from stores.accounts.file import AccountsFile
from stores.accounts.roles import AccountRefused

EVERY = {"week": "weekly", "month": "monthly"}
MOST = 50  # reports of a site: whoever may change it must not make this server send mail without end

_LONGEST = 254
_LONGEST_ERROR = 500
_RETRY_MS, _RETRY_AT_LEAST_EVERY_MS = 60_000, 3_600_000
_COLUMNS = "id, site, every, address, key, created, done, sent, tries, next, error"


@dataclass(frozen=True)
class Report:
    """A report of a site after each week or month. Times are in ms.

    `done` is the first day (ISO) of the last period that needs no message any more, because it was sent or refused.
    `next` is when to try again after `tries` in vain, whose last `error` is in words; "" if there was none."""

    id: int
    site: str
    every: str
    address: str
    key: str
    created: int
    done: str | None
    sent: int | None
    tries: int
    next: int
    error: str


class Reports:
    """The reports of one accounts file. `clock` returns Unix milliseconds. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    def all(self, site: str | None = None) -> list[Report]:
        """All reports, or those of a site, by site and address."""
        sql = f"SELECT {_COLUMNS} FROM reports WHERE :site IS NULL OR site = :site ORDER BY site, address, every"
        return [Report(*row) for row in self._file.rows(sql, site=site)]

    def get(self, site: str, address: str, every: str) -> Report:
        """One report. Raises `AccountRefused` if there is none."""
        for report in self.all(site):
            if (report.address, report.every) == (address, every):
                return report
        raise AccountRefused(f"there is no {EVERY.get(every, every)} report of {site} to {address}")

    def of_key(self, key: str) -> Report | None:
        """The report whose reader has this key."""
        rows = self._file.rows(f"SELECT {_COLUMNS} FROM reports WHERE key = :key", key=key)
        return Report(*rows[0]) if rows else None

    def add(self, site: str, address: str, every: str) -> Report:
        """Add a report. Raises `AccountRefused` for an address that cannot be, and when a site has too many."""
        address = mail_address(address)
        if every not in EVERY:
            raise AccountRefused(f"a report comes every {' or every '.join(EVERY)}, not every {every!r}")
        values = (site, every, address, secrets.token_urlsafe(24), self._clock())
        with self._file.transaction() as db:
            if db.execute("SELECT count(*) FROM reports WHERE site = ?", (site,)).fetchone()[0] >= MOST:
                raise AccountRefused(f"{site} has {MOST} reports already: remove one, or send them to a mailing list")
            try:
                db.execute("INSERT INTO reports (site, every, address, key, created) VALUES (?, ?, ?, ?, ?)", values)
            except sqlite3.IntegrityError as error:
                raise AccountRefused(f"{address} gets a {EVERY[every]} report of {site} already") from error
        return self.get(site, address, every)

    def remove(self, report: Report) -> None:
        """Remove a report; removing it again does nothing."""
        self._file.change("DELETE FROM reports WHERE id = :id", id=report.id)

    def note_sent(self, report: Report, first_day: str) -> None:
        """Note that the report of the period that began on this day (ISO) was sent."""
        sql = "UPDATE reports SET done = :day, sent = :now, tries = 0, next = 0, error = '' WHERE id = :id"
        self._file.change(sql, id=report.id, day=first_day, now=self._clock())

    def note_refused(self, report: Report, first_day: str, error: str) -> None:
        """Note that the mail server refuses this message for good: the next period is tried again."""
        sql = "UPDATE reports SET done = :day, tries = 0, next = 0, error = :error WHERE id = :id"
        self._file.change(sql, id=report.id, day=first_day, error=error[:_LONGEST_ERROR])

    def note_failed(self, report: Report, error: str) -> None:
        """Note that a try was in vain. The next is after a minute, then after twice as long each time, to an hour."""
        wait = min(_RETRY_MS << min(report.tries, 10), _RETRY_AT_LEAST_EVERY_MS)
        sql = "UPDATE reports SET tries = tries + 1, next = :next, error = :error WHERE id = :id"
        self._file.change(sql, id=report.id, next=self._clock() + wait, error=error[:_LONGEST_ERROR])


def mail_address(text: str) -> str:
    """An e-mail address in one spelling. Raises `AccountRefused` if it is none, or has letters beyond ASCII."""
    text = text.strip()
    try:
        found = Address(addr_spec=text)
    except (MessageError, ValueError, IndexError):
        found = Address()
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= _LONGEST
    if not plain or not found.username or not found.domain:
        raise AccountRefused(f"{text[:_LONGEST]!r} is no e-mail address such as ann@example.com")
    return f"{found.username}@{found.domain.lower()}"
