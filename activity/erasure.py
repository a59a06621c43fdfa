"""What was forgotten or has expired: tombstones of visitors, users and sites, and which events they cover.

A tombstone covers the events of a visitor, or of a user, of one site that were received before a moment. The raw
records of these events may still be somewhere (a broker keeps them until its retention is over, and somebody may have
a copy of a log file), so everything that reads raw events leaves out what is covered. An imported event has the time of
its import as `received_at`, and happened before: it is covered too if it occurred before the moment.

The tombstone of a site covers what occurred before a moment, because the site does not keep it any longer. There is one
a site, and its moment only moves on.

A tombstone has to name the visitor, whose id is a keyed hash already. A user's id is what the sender says it is, often
a mail address, so only a hash of it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

import msgspec
import polars as pl

IMPORTED = "import"  # the `protocol` of events from log files

# The columns by which `Erasures` decides.
NEEDED = ["site", "visitor", "user", "received_at", "occurred_at", "protocol"]


class Tombstone(msgspec.Struct, frozen=True):
    """One visitor (16 hex digits), or one user by `hashed_user`, of a site is forgotten up to a moment (ms).

    `epoch` numbers the erasures of a deployment from 1; one erasure may make several tombstones."""

    epoch: int
    site: str
    received_before: int
    visitor: str = ""
    user: str = ""


class Expiry(msgspec.Struct, frozen=True):
    """The tombstone of a site: what occurred before a moment (ms) has expired. `epoch` is as of `Tombstone`."""

    epoch: int
    site: str
    occurred_before: int


class Erasures(msgspec.Struct, frozen=True):
    """All tombstones of a deployment, of sites one each. It is true when there are any."""

    tombstones: tuple[Tombstone, ...] = ()
    expiries: tuple[Expiry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tombstones or self.expiries)

    @property
    def epoch(self) -> int:
        """The number of the last erasure, 0 when there was none."""
        return max([0, *(each.epoch for each in self.tombstones), *(each.epoch for each in self.expiries)])

    @property
    def sites(self) -> set[str]:
        """The sites that have tombstones."""
        return {each.site for each in self.tombstones} | {each.site for each in self.expiries}

    def of_site(self, site: str) -> Erasures:
        """The tombstones of one site."""
        return Erasures(
            tuple(each for each in self.tombstones if each.site == site),
            tuple(each for each in self.expiries if each.site == site),
        )

    def joined(self, other: Erasures) -> Erasures:
        """The tombstones of both; of each site the one that reaches farther."""
        fresh = [each for each in other.tombstones if each not in self.tombstones]
        ascending = sorted(
            (*self.expiries, *other.expiries), key=lambda each: (each.site, each.occurred_before, each.epoch)
        )
        return Erasures((*self.tombstones, *fresh), tuple({each.site: each for each in ascending}.values()))

    def expired_before(self, site: str) -> int:
        """The moment (ms) before which everything of a site has expired; 0 where nothing has."""
        return max((each.occurred_before for each in self.expiries if each.site == site), default=0)

    def concerns(self, site: str, since: int) -> bool:
        """Whether any event of a site may be covered that occurred at a moment (ms) or later."""
        return since < self.expired_before(site) or any(each.site == site for each in self.tombstones)

    def covered(self, events: pl.DataFrame) -> pl.Series:
        """Which of these events are forgotten or have expired; `events` has at least the columns `NEEDED`."""
        expired = self.expired(events)
        return self._forgotten(events) | expired if self.tombstones else expired

    def expired(self, events: pl.DataFrame) -> pl.Series:
        """Which of these events have expired; `events` has at least `site` and `occurred_at`."""
        if not self.expiries:
            return pl.repeat(value=False, n=events.height, dtype=pl.Boolean(), eager=True)
        by_site = [
            (pl.col("site") == each.site) & (pl.col("occurred_at") < each.occurred_before) for each in self.expiries
        ]
        return events.select(covered=pl.any_horizontal(by_site)).to_series()

    def _forgotten(self, events: pl.DataFrame) -> pl.Series:
        imported = pl.when(pl.col("protocol") == IMPORTED).then(pl.min_horizontal("received_at", "occurred_at"))
        time = imported.otherwise(pl.col("received_at"))
        told = events.select(pl.col("site").cast(pl.String), "visitor", pl.col("user").cast(pl.String), time=time)
        before = pl.lit(None, pl.Int64)
        if visitors := [each for each in self.tombstones if each.visitor]:
            moments = [(each.site, int(each.visitor, 16), each.received_before) for each in visitors]
            told = _with(told, moments, "visitor", pl.UInt64())
            before = pl.max_horizontal(before, "of_visitor")
        if users := {(each.site, each.user): each.received_before for each in _ascending(self.tombstones) if each.user}:
            found = told.filter(pl.col("user") != "", pl.col("site").is_in([site for site, _ in users]))
            hashed = ((site, user, hashed_user(site, user)) for site, user in _distinct(found))
            named = [(site, user, users[site, hash_]) for site, user, hash_ in hashed if (site, hash_) in users]
            told = _with(told, named, "user", pl.String())
            before = pl.max_horizontal(before, "of_user")
        return told.select((pl.col("time") < before).fill_null(value=False).alias("covered")).to_series()

    def covers(self, site: str, visitor: str, received_at: int) -> bool:
        """Whether what a visitor (16 hex digits, or "") sent to a site at a moment (ms) is forgotten or has expired."""
        return received_at < self.expired_before(site) or any(
            each.visitor == visitor and each.site == site and received_at < each.received_before
            for each in self.tombstones
            if each.visitor
        )

    def named(self, site: str, texts: Iterable[bytes], received_at: int) -> bool:
        """Whether a text received by a site ("" if it is not known) at a moment (ms) names somebody who is forgotten.

        It does by a visitor's id, and by a user's as a string of JSON or as `user=` of a query."""
        theirs = [
            each for each in self.tombstones
            if received_at < each.received_before and site in ("", each.site)
        ]  # fmt: skip
        if not theirs:
            return False
        all_texts = b"\n".join(texts)
        visitors = {found.decode() for found in _VISITOR.findall(all_texts)}
        if any(each.visitor in visitors for each in theirs if each.visitor):
            return True
        hashes: dict[str, set[str]] = {}
        for each in theirs:
            if each.user:
                hashes.setdefault(each.site, set()).add(each.user)
        users = set(_users(all_texts)) if hashes else ()
        return any(hashed_user(of, user) in forgotten for of, forgotten in hashes.items() for user in users)

    def kept(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events that are neither forgotten nor expired."""
        return events.filter(~self.covered(events)) if self and events.height else events


NONE = Erasures()


def hashed_user(site: str, user: str) -> str:
    """What a tombstone has of a user's id: 32 hex digits."""
    return blake2b(f"{site}\0{user}".encode("utf-8", "surrogatepass"), digest_size=16, person=b"forgotten").hexdigest()


# Each place where one may begin, as a text that cannot be read has quotes anywhere.
_VISITOR = re.compile(rb"(?=([0-9a-f]{16}))")
_STRING = re.compile(rb'(?=("(?:[^"\\]|\\.)*"))')
_QUERY = re.compile(rb"user=([^&#\s\"]*)")


def _users(text: bytes) -> Iterator[str]:
    """What may be the id of a user."""
    for found in _STRING.findall(text):
        try:
            yield msgspec.json.decode(found, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    for found in _QUERY.findall(text):
        yield unquote_to_bytes(found).decode("utf-8", "replace")
        yield unquote_to_bytes(found.replace(b"+", b" ")).decode("utf-8", "replace")


def _ascending(tombstones: Iterable[Tombstone]) -> list[Tombstone]:
    return sorted(tombstones, key=lambda each: each.received_before)


def _distinct(events: pl.DataFrame) -> Iterable[tuple[str, str]]:
    return events.select("site", "user").unique().iter_rows()


def _with(
    told: pl.DataFrame, moments: Sequence[tuple[str, int | str, int]], name: str, kind: pl.DataType
) -> pl.DataFrame:
    """The frame with the moment before which the `name` of each row is forgotten, as `of_<name>` (ms, or null)."""
    schema = {"site": pl.String(), name: kind, f"of_{name}": pl.Int64()}
    latest = pl.DataFrame(moments, schema=schema, orient="row").group_by("site", name).max()
    return told.join(latest, on=["site", name], how="left", maintain_order="left")
