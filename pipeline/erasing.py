"""The journal and the receipt of an erasure: what it has to do, and what it did. See `pipeline.forget`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import polars as pl

from activity.erasure import Erasures, Expiry, Tombstone, hashed_user
from pipeline.erasure import JOURNAL
from stores.base import CheckpointStore
from stores.erasure import Erased

VISITORS = {"site": pl.String(), "visitor": pl.UInt64()}

Receipt = dict[str, Any]


class Person(msgspec.Struct, frozen=True):
    """Who is to be forgotten: a visitor of a site (16 hex digits), or a user with all of his visitors."""

    site: str
    visitor: str = ""
    user: str = ""


class Journal(msgspec.Struct, frozen=True):
    """What one erasure has to do, and what it found. Times are ms. It has the user's id until it is done."""

    person: Person
    visitors: list[str]
    epoch: int
    received_before: int
    begun: int
    days: list[str]  # UTC days with rows of theirs
    events: int
    sessions: int
    letters: list[str]  # hashes, see `Eraser.letters`
    letter_ids: list[str]
    digests: dict[str, str]  # of the sessions of the site by day, as they were
    files: list[str] = []  # of the archive, which are replaced by others
    occurred_before: int = 0  # 0 where it is about a person; else the site's days before go, and `letters` is empty
    old_letters: int = 0

    @property
    def expiry(self) -> Expiry | None:
        """What has expired, None where it is about a person."""
        return Expiry(self.epoch, self.person.site, self.occurred_before) if self.occurred_before else None

    @property
    def erasures(self) -> Erasures:
        """The tombstones of this erasure."""
        return Erasures((), (self.expiry,)) if self.expiry else Erasures(tuple(self._tombstones()))

    def _tombstones(self) -> list[Tombstone]:
        site, before = self.person.site, self.received_before
        found = [Tombstone(self.epoch, site, before, visitor) for visitor in self.visitors]
        if self.person.user:
            found.append(Tombstone(self.epoch, site, before, user=hashed_user(site, self.person.user)))
        return found

    @property
    def needles(self) -> list[str]:
        """The texts by which a dead letter names one of them."""
        return needles_of(self.person, self.visitors)

    @property
    def erased(self) -> Erased:
        """Whom it is about, for the warehouse."""
        return Erased(self.person.site, self.epoch, visitors_of(self.person.site, self.visitors))


def receipt_of(journal: Journal, **removed: int) -> Receipt:
    """What a journal says of what goes; `removed` are further counts."""
    person = journal.person
    before = datetime.fromtimestamp(journal.received_before / 1000, UTC)
    letters = len(journal.letters) + journal.old_letters
    counts = {"events": journal.events, "sessions": journal.sessions, "dead_letters": letters}
    if journal.expiry:
        since = datetime.fromtimestamp(journal.occurred_before / 1000, UTC)
        told = {"site": person.site, "epoch": journal.epoch, "kept_since": str(since.date())}
        return told | {"removed": {"days": len(journal.days)} | counts | removed, "days": []}
    return {
        "site": person.site,
        "visitors": journal.visitors,
        "user": person.user,
        "epoch": journal.epoch,
        "received_before": before.isoformat(timespec="milliseconds"),
        "removed": counts | removed,
        "days": list(journal.digests),
    }


def read(store: CheckpointStore) -> tuple[Journal | None, str | None]:
    """The journal of the erasure that is under way, None without one, and its version."""
    found = store.load(JOURNAL)
    return (msgspec.json.decode(found[0], type=Journal), found[1]) if found else (None, None)


def write(store: CheckpointStore, journal: Journal) -> None:
    """Put the journal in place of the former one. Raises `Conflict`."""
    store.swap(JOURNAL, msgspec.json.encode(journal), read(store)[1])


def visitors_of(site: str, visitors: Iterable[str]) -> pl.DataFrame:
    """Visitors (16 hex digits) of a site as rows of `VISITORS`."""
    return pl.DataFrame([(site, int(visitor, 16)) for visitor in visitors], schema=VISITORS, orient="row")


def needles_of(person: Person, visitors: list[str]) -> list[str]:
    """The texts by which a dead letter names a person with these visitors."""
    if not person.user:
        return visitors
    user = person.user
    # As JSON has it, by any of its writers, and as a pixel's query, where a longer name is found, too: rather one
    # letter too many. `Erasures.named` reads the same.
    texts = [msgspec.json.encode(user).decode("utf-8", "replace"), json.dumps(user)]
    texts += [text.replace("/", "\\/") for text in texts]
    queries = [quote(user, safe=""), quote(user, safe="!*'()"), quote(user, safe="@+"), quote_plus(user)]
    queries += [re.sub("%..", lambda found: found[0].lower(), query) for query in queries]
    return [*visitors, *dict.fromkeys([*texts, *(f"user={query}" for query in queries)])]
