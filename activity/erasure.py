"""What was forgotten: tombstones of visitors, users and dead letters, and what they cover.

A tombstone covers the events of a visitor, or of a user, of one site that were received before a moment. The raw
records of these events may still be somewhere (a broker keeps them until its retention is over, and somebody may have
a copy of a log file), so everything that reads raw events leaves out what is covered. An imported event has the time of
its import as `received_at`, and happened before: it is covered too if it occurred before the moment.

A tombstone has to name the visitor, whose id is a keyed hash already. A user's id is what the sender says it is, often
a mail address, so only a hash of it is kept. A dead letter that names one of them is known by a hash of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b, sha256

import msgspec
import polars as pl

IMPORTED = "import"  # the `protocol` of events from log files

# The columns by which `Erasures` decides.
NEEDED = ["site", "visitor", "user", "received_at", "occurred_at", "protocol"]


class Tombstone(msgspec.Struct, frozen=True):
    """One visitor (16 hex digits), or one user by `hashed_user`, of a site is forgotten up to a moment (ms).

    Or one dead letter is, by `hashed_letter`. `epoch` numbers the erasures of a deployment from 1; one erasure may make
    several tombstones."""

    epoch: int
    site: str
    received_before: int
    visitor: str = ""
    user: str = ""
    letter: str = ""


class Erasures(msgspec.Struct, frozen=True):
    """All tombstones of a deployment. It is true when there are any."""

    tombstones: tuple[Tombstone, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tombstones)

    @property
    def epoch(self) -> int:
        """The number of the last erasure, 0 when there was none."""
        return max((each.epoch for each in self.tombstones), default=0)

    @property
    def sites(self) -> set[str]:
        """The sites that have tombstones."""
        return {each.site for each in self.tombstones}

    @property
    def letters(self) -> set[str]:
        """The hashes of the dead letters that are forgotten."""
        return {each.letter for each in self.tombstones if each.letter}

    def covered(self, events: pl.DataFrame) -> pl.Series:
        """Which of these events are forgotten; `events` has at least the columns `NEEDED`."""
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
        """Whether what a visitor (16 hex digits) sent to a site at a moment (ms) is forgotten."""
        return any(
            each.visitor == visitor and each.site == site and received_at < each.received_before
            for each in self.tombstones
            if each.visitor
        )

    def kept(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events that are not forgotten."""
        return events.filter(~self.covered(events)) if self.tombstones and events.height else events


NONE = Erasures()


def hashed_user(site: str, user: str) -> str:
    """What a tombstone has of a user's id: 32 hex digits."""
    return blake2b(f"{site}\0{user}".encode("utf-8", "surrogatepass"), digest_size=16, person=b"forgotten").hexdigest()


def hashed_letter(received_at: int, topic: str, reason: str, received: bytes) -> str:
    """What a tombstone has of a dead letter: 32 hex digits. `stores.erasure` has the same in SQL."""
    return sha256(f"{received_at}\0{topic}\0{reason}\0".encode() + received).hexdigest()[:32]


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
