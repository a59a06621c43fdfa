"""The audit log: who did what, when and from where, to accounts, tokens and sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stores.accounts.file import AccountsFile

MOST = 100_000  # entries: the oldest make room
_LONGEST = 500  # characters of a text

_ADD = "INSERT INTO audit (at, who, address, deed, target) VALUES (?, ?, ?, ?, ?)"
_LATEST = """
SELECT id, at, who, address, deed, target FROM audit
WHERE :before IS NULL OR id < :before ORDER BY id DESC LIMIT :most
"""


class Entry(NamedTuple):
    """One deed. `at` is in ms, `address` "" for a command on the machine itself."""

    id: int
    at: int
    who: str
    address: str
    deed: str
    target: str


class AuditLog:
    """The entries of one accounts file. `clock` returns Unix milliseconds. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock

    def add(self, who: str, address: str, deed: str, target: str = "") -> None:
        """Add an entry. Longer texts than 500 characters are cut off."""
        texts = [text[:_LONGEST].encode("utf-8", "replace").decode() for text in (who, address, deed, target)]
        with self._file.transaction() as db:
            added = db.execute(_ADD, (self._clock(), *texts)).lastrowid or 0
            db.execute("DELETE FROM audit WHERE id <= ?", (added - MOST,))

    def latest(self, most: int, before: int | None = None) -> list[Entry]:
        """At most `most` entries, the latest first; with `before`, those that came before the entry of this id."""
        return [Entry(*row) for row in self._file.rows(_LATEST, most=most, before=before)]
