"""Tokens of the API, for programs: what each may do, and for which site. Only a hash of a token is stored."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stores.accounts.file import AccountsFile
from stores.accounts.roles import AccountRefused, Grants, Role
from stores.accounts.users import digest

SCOPES = {
    "read": "the pages, the stats API and /metrics",
    "sql": "statements of POST /sql",
    "write": "changes of a site",
}
PREFIX = "footfall_"  # by which a scanner knows a token that was published by mistake

_LONGEST_NAME = 100
_USED_EVERY_MS = 60_000
_TOKENS = "SELECT name, scopes, site, created, used, expires FROM tokens"


@dataclass(frozen=True)
class Token:
    """A token without its secret. Times are in ms; `used` and `expires` are None if it never was and never does."""

    name: str
    scopes: frozenset[str]
    site: str  # or `ALL`
    created: int
    used: int | None
    expires: int | None

    @property
    def grants(self) -> Grants:
        """The role that a program with this token has."""
        return Grants({self.site: Role.ADMIN if "write" in self.scopes else Role.VIEWER})


class Tokens:
    """The tokens of one accounts file. `clock` returns Unix milliseconds. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    def all(self) -> list[Token]:
        """All tokens, by name, those that have run out included."""
        return [_token(row) for row in self._file.rows(f"{_TOKENS} ORDER BY name")]

    def add(self, name: str, scopes: Iterable[str], site: str, days: int | None = None) -> str:
        """The secret of a new token, told only now. Raises `AccountRefused` for a name or scope that cannot be.

        `days` is how long it holds; None is until it is removed."""
        name, scopes = name.strip(), frozenset(scopes)
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise AccountRefused(f"{name[:_LONGEST_NAME]!r} is no name of a token: write what uses it, such as grafana")
        if not scopes or scopes - SCOPES.keys():
            raise AccountRefused(f"a token needs a scope, of {', '.join(SCOPES)}")
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        values = {
            "name": name,
            "key": digest(secret),
            "scopes": " ".join(sorted(scopes)),
            "site": site,
            "created": now,
            "expires": None if days is None else now + days * 86_400_000,
        }
        with self._file.transaction() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise AccountRefused(f"there is a token {name} already")
            db.execute(
                "INSERT INTO tokens (name, key, scopes, site, created, expires)"
                " VALUES (:name, :key, :scopes, :site, :created, :expires)",
                values,
            )
        return secret

    def remove(self, name: str) -> None:
        """Remove a token; it opens nothing any more. Raises `AccountRefused` if there is none of this name."""
        if not self._file.change("DELETE FROM tokens WHERE name = :name", name=name.strip()):
            raise AccountRefused(f"there is no token {name!r}: `footfall token list` names those that there are")

    def of_secret(self, secret: str) -> Token | None:
        """The token with this secret, and notes that it is used; None if there is none, or it has run out."""
        now, key = self._clock(), digest(secret)
        rows = self._file.rows(f"{_TOKENS} WHERE key = :key AND (expires IS NULL OR expires > :now)", key=key, now=now)
        if not rows:
            return None
        found = _token(rows[0])
        if found.used is None or found.used <= now - _USED_EVERY_MS:
            self._file.change("UPDATE tokens SET used = :now WHERE key = :key", now=now, key=key)
        return found


def _token(row: sqlite3.Row) -> Token:
    name, scopes, site, created, used, expires = row
    return Token(name, frozenset(scopes.split()), site, created, used, expires)
