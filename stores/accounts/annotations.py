"""Annotations: what happened to a site on a day, so that a number which moved has its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time

from stores.accounts.file import AccountsFile
from stores.accounts.roles import AccountRefused

LONGEST = 500  # characters
MOST = 10_000  # of a site

_BETWEEN = """
SELECT id, day, clock, words FROM annotations
WHERE site = :site AND day BETWEEN :first AND :last ORDER BY day, clock, id
"""


@dataclass(frozen=True)
class Annotation:
    """One of them: a day of the site, a time of it if that was told, and words."""

    id: int
    day: date
    clock: time | None
    words: str


class Annotations:
    """The annotations of one accounts file. Methods raise what `AccountsFile` raises."""

    def __init__(self, file: AccountsFile) -> None:
        self._file = file

    def between(self, site: str, first: date, last: date) -> list[Annotation]:
        """Those on the days from `first` to `last`, both included, in their order."""
        rows = self._file.rows(_BETWEEN, site=site, first=first.isoformat(), last=last.isoformat())
        return [
            Annotation(number, date.fromisoformat(day), time.fromisoformat(clock) if clock else None, words)
            for number, day, clock, words in rows
        ]

    def add(self, site: str, day: date, clock: time | None, words: str) -> None:
        """Add one. Raises `AccountRefused` for words that cannot be, or if there are too many."""
        words = " ".join(words.split())
        if not 0 < len(words) <= LONGEST or not words.isprintable():
            raise AccountRefused(f"an annotation has a text of 1 to {LONGEST} characters")
        with self._file.transaction() as db:
            if db.execute("SELECT count(*) FROM annotations WHERE site = ?", (site,)).fetchone()[0] >= MOST:
                raise AccountRefused(f"{site} has {MOST:,} annotations, which is the most: remove one first")
            db.execute(
                "INSERT INTO annotations (site, day, clock, words) VALUES (?, ?, ?, ?)",
                (site, day.isoformat(), clock.isoformat("minutes") if clock else "", words),
            )

    def remove(self, site: str, number: int) -> None:
        """Remove the one of this id. Raises `AccountRefused` if the site has none."""
        if not self._file.change("DELETE FROM annotations WHERE site = :site AND id = :id", site=site, id=number):
            raise AccountRefused(f"{site} has no such annotation any more")
