"""Shares: addresses with a token by which anybody reads the pages of one site. Only a hash of a token is stored."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stores.accounts.file import AccountsFile
from stores.accounts.passwords import Passwords
from stores.accounts.roles import AccountRefused, Grants, Role
from stores.accounts.users import digest

MOST = 1_000  # of a site

_LONGEST_NAME = 100
_MOST_ORIGINS, _LONGEST_ORIGIN = 20, 300
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]{1,5})?")
_USED_EVERY_MS = 60_000
_SHARES = "SELECT id, site, name, made_by, created, used, expires, password, files, origins FROM shares"
_HOLDS = "(expires IS NULL OR expires > :now)"


@dataclass(frozen=True)
class Share:
    """A share without its token. Times are in ms; `used` and `expires` are None if it never was and never does.

    `password` is the hash of one, None if none is asked for; `files` says whether rows and lists may be saved;
    `origins` may show it in a frame."""

    id: int
    site: str
    name: str
    made_by: str
    created: int
    used: int | None
    expires: int | None
    password: str | None
    files: bool
    origins: tuple[str, ...]

    @property
    def grants(self) -> Grants:
        """The role of whoever comes by it."""
        return Grants({self.site: Role.VIEWER})


class Shares:
    """The shares of one accounts file. `clock` returns Unix milliseconds. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, passwords: Passwords, clock: Callable[[], int]) -> None:
        self._file = file
        self._passwords = passwords
        self._clock = clock

    def all(self, site: str | None = None) -> list[Share]:
        """The shares of a site, or of all, by name, those that have run out included."""
        rows = self._file.rows(f"{_SHARES} WHERE :site IS NULL OR site = :site ORDER BY site, name", site=site)
        return [_share(row) for row in rows]

    def add(
        self, site: str, name: str, made_by: str, *, days: int | None = None, password: str = "",
        files: bool = False, origins: Iterable[str] = (),
    ) -> str:  # fmt: skip
        """The token of a new share, told only now. Raises `AccountRefused` for what cannot be.

        `days` is how long it holds, None until it is withdrawn; without `password` none is asked for."""
        name, framed = name.strip(), _checked(origins)
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise AccountRefused(f"{name[:_LONGEST_NAME]!r} is no name of a share: write for whom it is")
        if password and framed:
            raise AccountRefused("a share in a frame has no password, since frames of other sites keep no cookie")
        token, now = secrets.token_urlsafe(32), self._clock()
        values = {
            "site": site,
            "name": name,
            "key": digest(token),
            "made_by": made_by,
            "created": now,
            "expires": None if days is None else now + days * 86_400_000,
            "password": self._passwords.hashed(password) if password else None,
            "files": files,
            "origins": " ".join(framed),
        }
        with self._file.transaction() as db:
            if db.execute("SELECT 1 FROM shares WHERE site = ? AND name = ?", (site, name)).fetchone():
                raise AccountRefused(f"{site} has a share {name!r} already: withdraw it, or take another name")
            if db.execute("SELECT count(*) FROM shares WHERE site = ?", (site,)).fetchone()[0] >= MOST:
                raise AccountRefused(f"{site} has {MOST:,} shares, which is the most: withdraw one first")
            db.execute(
                "INSERT INTO shares (site, name, key, made_by, created, expires, password, files, origins)"
                " VALUES (:site, :name, :key, :made_by, :created, :expires, :password, :files, :origins)",
                values,
            )
        return token

    def remove(self, site: str, name: str) -> None:
        """Withdraw a share; its address opens nothing any more. Raises `AccountRefused` if there is none."""
        if not self._file.change("DELETE FROM shares WHERE site = :site AND name = :name", site=site, name=name):
            raise AccountRefused(f"{site} has no share {name[:_LONGEST_NAME]!r}")

    def of_token(self, token: str) -> Share | None:
        """The share with this token, and notes that it is used; None if there is none, or it has run out."""
        now, key = self._clock(), digest(token)
        rows = self._file.rows(f"{_SHARES} WHERE key = :key AND {_HOLDS}", key=key, now=now)
        if not rows:
            return None
        found = _share(rows[0])
        if found.used is None or found.used <= now - _USED_EVERY_MS:
            self._file.change("UPDATE shares SET used = :now WHERE key = :key", now=now, key=key)
        return found

    def opens(self, share: Share, password: str) -> bool:
        """Whether this is the password of a share that has one."""
        return share.password is not None and self._passwords.match(share.password, password)


def _share(row: sqlite3.Row) -> Share:
    number, site, name, made_by, created, used, expires, password, files, origins = row
    return Share(
        number, site, name, made_by, created, used, expires, password, bool(files), tuple(origins.split())
    )


def _checked(origins: Iterable[str]) -> list[str]:
    """Origins in their one spelling. Raises `AccountRefused`."""
    found = list(dict.fromkeys(each.strip().lower().rstrip("/") for each in origins if each.strip()))
    for each in found:
        if len(each) > _LONGEST_ORIGIN or not _ORIGIN.fullmatch(each):
            raise AccountRefused(
                f"{each[:100]!r} is no origin: write scheme and host, such as https://intranet.example.com"
            )
    if len(found) > _MOST_ORIGINS:
        raise AccountRefused(f"a share has {_MOST_ORIGINS} origins at most, not {len(found)}")
    return found
