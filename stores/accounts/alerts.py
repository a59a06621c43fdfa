"""Alerts: what is watched, whether it fires, and the notices about it that are still to be sent.

That an alert fires and its notice are written as one, so a crash loses no notice; a notice is sent at least once.
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from stores.accounts.file import AccountsFile
from stores.accounts.reports import mail_address
from stores.accounts.roles import AccountRefused

MOST = 50  # alerts of a site
SECRET_PREFIX = "whsec_"  # noqa: S105 - as Standard Webhooks spells secrets
_LONGEST, _LONGEST_ERROR = 1000, 500
_RETRY_MS, _RETRY_AT_LEAST_EVERY_MS = 60_000, 3_600_000
_GIVEN_UP_MS, _KEPT_MS = 86_400_000, 30 * 86_400_000
_COLUMNS = "id, site, kind, threshold, target, secret, created, firing, value, looked"
_DUE = "SELECT id, alert, state, at, value, tries FROM notices WHERE ended IS NULL AND next <= :now ORDER BY at, id"
_LAST_ERROR = "(SELECT error FROM notices WHERE alert = alerts.id ORDER BY at DESC, id LIMIT 1)"


@dataclass(frozen=True)
class Alert:
    """A value that is watched, of a site or of `ALL` for the installation; times are in ms.

    `target` is an e-mail address or a URL. `value` is that of the last look, None before it; `error` is why the last
    notice could not be sent, "" if it was."""

    id: int
    site: str
    kind: str
    threshold: float
    target: str
    secret: str
    created: int
    firing: bool
    value: float | None
    looked: int | None
    error: str

    @property
    def by_mail(self) -> bool:
        """Whether it is told by e-mail, and not to a webhook."""
        return "://" not in self.target


@dataclass(frozen=True)
class Notice:
    """A message of an alert, `state` "fired" or "over"; `at` is when (ms), `value` what it was then."""

    id: str
    alert: Alert
    state: str
    at: int
    value: float
    tries: int


class Alerts:
    """The alerts of one accounts file. `clock` returns Unix milliseconds. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    def all(self, site: str | None = None) -> list[Alert]:
        """All alerts, or those of a site, in the order in which they were added."""
        sql = f"SELECT {_COLUMNS}, {_LAST_ERROR} FROM alerts WHERE :site IS NULL OR site = :site ORDER BY id"
        return [_alert(row) for row in self._file.rows(sql, site=site)]

    def get(self, number: int, site: str | None = None) -> Alert:
        """The alert of this number, of this site if one is named. Raises `AccountRefused` if there is none."""
        for alert in self.all(site):
            if alert.id == number:
                return alert
        raise AccountRefused(f"there is no alert {number}: `footfall alert list` names those that there are")

    def add(self, site: str, kind: str, threshold: float, target: str) -> Alert:
        """Add an alert. Raises `AccountRefused` for a target that cannot be, and when a site has too many."""
        target = _target(target)
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        values = (site, kind, threshold, target, secret, self._clock())
        with self._file.transaction() as db:
            if db.execute("SELECT count(*) FROM alerts WHERE site = ?", (site,)).fetchone()[0] >= MOST:
                raise AccountRefused(f"there are {MOST} alerts already: remove one")
            try:
                sql = "INSERT INTO alerts (site, kind, threshold, target, secret, created) VALUES (?, ?, ?, ?, ?, ?)"
                number = db.execute(sql, values).lastrowid or 0
            except sqlite3.IntegrityError as error:
                raise AccountRefused("there is such an alert already") from error
        return self.get(number)

    def remove(self, alert: Alert) -> None:
        """Remove an alert with its notices; removing it again does nothing."""
        self._file.change("DELETE FROM alerts WHERE id = :id", id=alert.id)

    def note(self, alert: Alert, value: float, firing: bool) -> None:
        """Note the value of a look; if the alert fires from now on or no longer, there is a notice to be sent."""
        now = self._clock()
        with self._file.transaction() as db:
            sql = "UPDATE alerts SET value = ?, looked = ?, firing = ? WHERE id = ? AND firing = ?"
            found = db.execute(sql, (value, now, firing, alert.id, alert.firing)).rowcount
            if found and firing is not alert.firing:
                state = "fired" if firing else "over"
                values = (f"msg_{secrets.token_urlsafe(18)}", alert.id, state, now, value)
                db.execute("INSERT INTO notices (id, alert, state, at, value) VALUES (?, ?, ?, ?, ?)", values)

    def due(self) -> list[Notice]:
        """The notices whose next try has come, the oldest first."""
        rows = self._file.rows(_DUE, now=self._clock())
        alerts = {alert.id: alert for alert in self.all()} if rows else {}
        return [Notice(row[0], alerts[row[1]], *row[2:]) for row in rows if row[1] in alerts]

    def note_sent(self, notice: Notice) -> None:
        """Note that a notice was taken; those of a month ago are forgotten."""
        now = self._clock()
        with self._file.transaction() as db:
            db.execute("UPDATE notices SET ended = ?, error = '' WHERE id = ?", (now, notice.id))
            db.execute("DELETE FROM notices WHERE ended < ?", (now - _KEPT_MS,))

    def note_failed(self, notice: Notice, error: str) -> None:
        """Note that a try was in vain. The next is after a minute, later after up to an hour; a day later it is given
        up."""
        now = self._clock()
        wait = min(_RETRY_MS << min(notice.tries, 10), _RETRY_AT_LEAST_EVERY_MS)
        self._file.change(
            "UPDATE notices SET tries = tries + 1, next = :next, error = :error, ended = :ended WHERE id = :id",
            id=notice.id,
            next=now + wait,
            error=error[:_LONGEST_ERROR],
            ended=now if now - notice.at >= _GIVEN_UP_MS else None,
        )


def _alert(row: sqlite3.Row) -> Alert:
    number, site, kind, threshold, target, secret, created, firing, value, looked, error = row
    return Alert(
        number, site, kind, threshold, target, secret, created, bool(firing), value, looked, error or ""
    )


def _target(text: str) -> str:
    """An e-mail address or the URL of a webhook. Raises `AccountRefused`."""
    text = text.strip()
    if "://" not in text:
        return mail_address(text)
    try:
        split = urlsplit(text)
        fit = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0 and "@" not in split.netloc
    except ValueError:
        fit = False
    if not fit or not text.isascii() or not text.isprintable() or " " in text or len(text) > _LONGEST:
        raise AccountRefused(f"{text[:100]!r} is no address of a webhook such as https://hooks.example.com/footfall")
    return text
