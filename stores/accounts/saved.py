"""Filters and steps that were saved under a name for a site: segments, goals and funnels.

Each belongs to everybody who sees the site, or to one user who alone sees it. What they hold is text to this module.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from stores.accounts.file import AccountsFile
from stores.accounts.roles import AccountRefused

MOST = 100  # of a kind, for a site and a user

_LONGEST_NAME = 100
_SAVED = "SELECT kind, name, content, user IS NOT NULL AS own FROM saved"
_THIS = "site = :site AND kind = :kind AND name = :name AND user IS :user"


class Kind(StrEnum):
    """What the filters are for: to choose visits, to say what is to be achieved, or to be done one after the other."""

    SEGMENT = "segment"
    GOAL = "goal"
    FUNNEL = "funnel"


@dataclass(frozen=True)
class Saved:
    """Filters with a name. `content` is their text in an address; `own` says that only its user sees it."""

    kind: Kind
    name: str
    content: str
    own: bool


class SavedFilters:
    """The saved filters of one accounts file. `user` is the id of a user, None for what all see.

    Methods raise `AccountRefused` for what cannot be, and what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile) -> None:
        self._file = file

    def seen(self, site: str, kind: Kind, user: int | None) -> list[Saved]:
        """What this user sees, by name. The own one comes in place of another of its name."""
        those = "site = :site AND kind = :kind AND (user IS NULL OR user = :user)"
        rows = self._file.rows(f"{_SAVED} WHERE {those} ORDER BY name, own", site=site, kind=kind, user=user)
        return list({row["name"]: _saved(row) for row in rows}.values())

    def add(self, site: str, kind: Kind, name: str, content: str, user: int | None) -> str:
        """Save filters; returns the name without blanks around it."""
        name = _checked(name)
        with self._file.transaction() as db:
            _refuse_taken(db, site, kind, name, user)
            held = "SELECT count(*) FROM saved WHERE site = ? AND kind = ? AND user IS ?"
            if db.execute(held, (site, kind, user)).fetchone()[0] >= MOST:
                raise AccountRefused(f"{site} has {MOST} {kind}s, which is the most: remove one first")
            db.execute(
                "INSERT INTO saved (site, kind, name, content, user) VALUES (?, ?, ?, ?, ?)",
                (site, kind, name, content, user),
            )
        return name

    def replace(self, site: str, kind: Kind, name: str, content: str, user: int | None) -> None:
        """Save other filters under a name that there is."""
        statement = f"UPDATE saved SET content = :content WHERE {_THIS}"
        replaced = self._file.change(statement, site=site, kind=kind, name=name, user=user, content=content)
        _refuse_missing(replaced, site, kind, name)

    def rename(self, site: str, kind: Kind, name: str, new: str, user: int | None) -> str:
        """Give it another name, which is returned without blanks around it."""
        new = _checked(new)
        with self._file.transaction() as db:
            if new != name:
                _refuse_taken(db, site, kind, new, user)
            values = {"site": site, "kind": kind, "name": name, "user": user, "new": new}
            renamed = db.execute(f"UPDATE saved SET name = :new WHERE {_THIS}", values).rowcount
            _refuse_missing(renamed, site, kind, name)
        return new

    def remove(self, site: str, kind: Kind, name: str, user: int | None) -> None:
        """Remove it."""
        statement = f"DELETE FROM saved WHERE {_THIS}"
        _refuse_missing(self._file.change(statement, site=site, kind=kind, name=name, user=user), site, kind, name)


def _saved(row: sqlite3.Row) -> Saved:
    return Saved(Kind(row["kind"]), row["name"], row["content"], bool(row["own"]))


def _checked(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise AccountRefused(f"{name[:_LONGEST_NAME]!r} is no name: write 1 to {_LONGEST_NAME} characters on one line")
    return name


def _refuse_taken(db: sqlite3.Connection, site: str, kind: Kind, name: str, user: int | None) -> None:
    values = {"site": site, "kind": kind, "name": name, "user": user}
    if db.execute(f"SELECT 1 FROM saved WHERE {_THIS}", values).fetchone():
        raise AccountRefused(f"{site} has a {kind} {name!r} already: take another name, or remove that one first")


def _refuse_missing(changed: int, site: str, kind: Kind, name: str) -> None:
    if not changed:
        raise AccountRefused(f"{site} has no {kind} {name[:_LONGEST_NAME]!r} that you may change")
