"""The account of each hour: what the log has against what archive and warehouse have, and every difference by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import polars as pl

from activity.columns import RECEIPTS
from activity.definitions import DAY_MS, HOUR_MS
from activity.erasure import NEEDED
from activity.event import DEAD_LETTER_TOPIC, TOPICS, EventType, topic_of
from brokers.base import Broker, Position, TopicPartition
from pipeline import erasure
from pipeline.all_units import merged
from pipeline.audit.records import EVENTS, Look, ahead, located, read
from pipeline.checkpoint import Checkpoint, CheckpointRepository
from pipeline.unit import all_of, layout, partition_numbers
from stores import receipts
from stores.archive import received_hour
from stores.base import Archive, ArchivedFile, CheckpointStore, Unreadable
from stores.receipts import Span
from stores.warehouse import KEYS, Warehouse

_AT_ONCE = 600_000  # events of the hours that are looked at together
_KEYS = list(KEYS)


class Mismatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events that are not where they should be: `where` they are missing, and which ones, as far as that is known."""

    where: str  # warehouse, archive, log, door
    events: int
    why: str
    topic: str = ""
    partition: int | None = None
    first: str = ""  # positions
    last: str = ""
    file: str = ""


class HourAccount(msgspec.Struct):
    """The account of an hour (its beginning, Unix ms), see `pipeline.audit`; `door` is what the door counted."""

    hour: int
    refused: int = 0
    refused_by: dict[str, int] = {}
    duplicate_at_door: int = 0
    door: int = 0  # accepted, as counted there
    accepted: int = 0
    stored: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    erased: int = 0
    expired: int = 0
    in_flight: int = 0
    beyond_log: int = 0
    mismatches: list[Mismatch] = []

    @property
    def received(self) -> int:
        """Events that came to the door or by an import."""
        return self.accepted + self.refused + self.duplicate_at_door

    @property
    def unaccounted(self) -> int:
        """How many accepted events are nowhere; negative when there is more than was accepted."""
        gone = self.dead_lettered + self.erased + self.expired + self.in_flight
        return self.accepted - self.stored - self.duplicate - gone

    @property
    def balanced(self) -> bool:
        """Whether the account sums, and everything is where it should be."""
        return not self.unaccounted and not self.mismatches

    @property
    def is_empty(self) -> bool:
        """Whether nothing was received in the hour, nor is missing of it."""
        return not (self.received or self.stored or self.mismatches)


def told(account: HourAccount) -> dict[str, Any]:
    """An account as a line of JSON."""
    line: dict[str, Any] = {
        "hour": datetime.fromtimestamp(account.hour / 1000, UTC).strftime("%Y-%m-%dT%H:00:00Z"),
        "received": account.received,
        "refused": account.refused,
        "refused_by": account.refused_by,
        "duplicate_at_door": account.duplicate_at_door,
    }
    for name in ("accepted", "stored", "duplicate", "dead_lettered", "erased", "expired", "in_flight", "beyond_log",
                 "unaccounted", "balanced"):  # fmt: skip
        line[name] = getattr(account, name)
    return line | ({"mismatches": msgspec.to_builtins(account.mismatches)} if account.mismatches else {})


@dataclass(frozen=True)
class Sources:
    """What the audit asks."""

    broker: Broker
    warehouse: Warehouse
    archive: Archive
    checkpoints: CheckpointStore

    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint of all units as it is now; None before the first one. Raises `Damaged`."""
        units = all_of(layout(self.checkpoints).of)
        found = [CheckpointRepository(self.checkpoints, unit.name).load() for unit in units]
        there = [checkpoint for checkpoint in found if checkpoint is not None]
        return merged(there) if there else None


def audit(sources: Sources, span: Span) -> Iterator[HourAccount]:
    """The accounts of the hours of a span in which anything was received, in order.

    Nothing is held up meanwhile: what arrives or is loaded while it looks is in flight. Raises what the broker and the
    stores raise."""
    for window in ahead(map(partial(_look, sources), _windows(sources, span))):
        accounts = window.accounts()
        wrong = {found.where for each in accounts for found in each.mismatches if not found.file}
        if wrong:
            # More records can explain only what the log or the door is said to lack.
            look = Look(whole=bool(wrong & {"log", "door"}), exact=True, erasures=erasure.load(sources.checkpoints))
            accounts = _Window(sources, window.span, look).accounts()
        yield from (each for each in accounts if not each.is_empty or span.hours == 1)


def _look(sources: Sources, span: Span) -> _Window:
    return _Window(sources, span, Look(erasures=erasure.load(sources.checkpoints)))


def _windows(sources: Sources, span: Span) -> Iterator[Span]:
    """The span from the first hour to the last of which anything is known, hours with few events together."""
    if span.hours == 1:
        yield span
        return
    weights, archived = defaultdict(int, receipts.rows_by_hour(sources.warehouse, span)), defaultdict[int, int](int)
    for entry in sources.archive.received(span.start, span.end).entries:
        archived[received_hour(entry)] += entry.rows
    for hour, rows in archived.items():
        weights[hour] = max(weights[hour], rows)
    hours = [*weights, *receipts.outcomes(sources.warehouse, span)["hour"]]
    for topic in (*TOPICS, DEAD_LETTER_TOPIC):
        for number in range(sources.broker.partitions(topic)):
            partition = TopicPartition(topic, number)
            if (bounds := sources.broker.bounds(partition)) is not None:
                # What was received before that waited in a spool for a day at most, or the archive has it.
                hours.append(sources.broker.timestamp_of(partition, bounds.first) - DAY_MS)
                hours.append(sources.broker.timestamp_of(partition, bounds.last))
    if not hours:
        return
    start = max(span.start, min(hours) // HOUR_MS * HOUR_MS)
    end = min(span.end, max(hours) // HOUR_MS * HOUR_MS + HOUR_MS)
    begun, weight = start, 0
    for hour in range(start, end, HOUR_MS):
        if weight and weight + weights[hour] > _AT_ONCE:
            yield Span(begun, hour)
            begun, weight = hour, 0
        weight += weights[hour]
    if begun < end:
        yield Span(begun, end)


class _Window:
    """One look at some hours.

    The order of asking matters: first how far loader and archive are, then what is stored, then the log. So every row
    that is stored has its record among those that are read."""

    def __init__(self, sources: Sources, span: Span, look: Look) -> None:
        self._sources = sources
        self.span = span
        self._erasures = look.erasures
        self._hours = {hour: HourAccount(hour) for hour in range(span.start, span.end, HOUR_MS)}
        checkpoint = sources.checkpoint()
        committed = checkpoint.positions if checkpoint else {}
        self._manifest = sources.archive.received(span.start, span.end)
        self._outcomes = receipts.outcomes(sources.warehouse, span)
        self._letters = receipts.letters(sources.warehouse, span, TOPICS)
        self._stored = receipts.rows(sources.warehouse, span)
        # Where no event was ever replaced, each has one row, and those of the hours are all there is to know of them.
        self._replaced = checkpoint is None or checkpoint.events != receipts.event_rows(sources.warehouse)
        self._records = read(sources.broker, span, look, committed, self._manifest.positions)

    def accounts(self) -> list[HourAccount]:
        """The account of each hour."""
        events = self._records.events
        beyond = self._archived(events)
        if beyond.height:
            events = pl.concat([events, beyond.select(events.columns)])
        self._files()
        self._events(events, beyond)
        self._dead_letters()
        self._at_the_door()
        return list(self._hours.values())

    # -- the archive ------------------------------------------------------------------------------------------

    def _archived(self, events: pl.DataFrame) -> pl.DataFrame:
        """Compare log and archive; returns what only the archive has (`EVENTS` and its place)."""
        ours = events.filter(pl.col("archived") & ~pl.col("erased"))
        in_log = dict(ours.group_by("hour").len().iter_rows())
        in_files: defaultdict[int, int] = defaultdict(int)
        for entry in self._manifest.entries:
            in_files[received_hour(entry)] += entry.rows
        differ = [hour for hour in self._hours if in_files[hour] != in_log.get(hour, 0)]
        if not differ:
            return _nothing_beyond()
        ours = _numbered(ours.filter(pl.col("hour").is_in(differ)))
        theirs = self._rows_of([entry for entry in self._manifest.entries if received_hour(entry) in differ])
        theirs = _numbered(theirs.filter(~pl.col("erased")))
        place = [*RECEIPTS, "copy"]
        lacking = ours.join(theirs, on=place, how="anti")
        for (hour,), rows in lacking.partition_by("hour", as_dict=True).items():
            # Rows of a file that cannot be read are lacking only if the manifest has too few of them.
            if in_files[int(str(hour))] < in_log[int(str(hour))]:
                self._name("archive", "the log has them, the archive lacks them", rows)
        beyond = theirs.join(ours, on=place, how="anti").drop("copy")
        removed = self._is_removed(beyond)
        for (hour, topic, number), rows in beyond.filter(~removed).partition_by(
            "hour", "topic", "partition", as_dict=True
        ).items():
            self._add(int(str(hour)), _of_rows("log", "the archive has them, the log lacks them", rows, topic, number))
        return beyond.with_columns(
            chunk=pl.lit(None, pl.UInt32()),
            row=pl.lit(None, pl.UInt32()),
            committed=pl.lit(True),
            archived=pl.lit(True),
            expired=pl.lit(False),
        )

    def _rows_of(self, entries: list[ArchivedFile]) -> pl.DataFrame:
        names = [*RECEIPTS, "topic", "partition", "position", "published_at"]
        frames = [_nothing_beyond().select(*names, "hour", "erased")]
        needed = dict.fromkeys([*names, *(NEEDED if self._erasures else ())])
        for entry in entries:
            try:
                rows = self._sources.archive.read(entry.path, list(needed), entry)
            except Unreadable as error:
                self._add(received_hour(entry), Mismatch("archive", entry.rows, error.why, file=entry.path))
                continue
            erased = self._erasures.covered(rows) if self._erasures else pl.lit(value=False)
            hour = pl.lit(received_hour(entry), pl.Int64())
            frames.append(rows.select(*names, hour=hour, erased=erased))
        return pl.concat(frames)

    def _is_removed(self, beyond: pl.DataFrame) -> pl.Series:
        """Which of these rows of the archive retention has removed from the log."""
        return self._removed(beyond.select("topic", "partition", pl.col("published_at").alias("at")))

    def _removed(self, places: pl.DataFrame) -> pl.Series:
        """Whether what came to a `topic` and `partition` at a time, `at`, is before all that is kept there."""
        since, topics = self._records.kept_since, self._sources.broker.topics()
        removed = []
        for topic, number, at in places.iter_rows():
            first = since.get(TopicPartition(topic, number))
            # Of an empty partition everything is gone, unless it is kept for ever.
            removed.append(topics[topic].retention_ms >= 0 if first is None else at <= first)
        return pl.Series(removed, dtype=pl.Boolean)

    def _files(self) -> None:
        """Name the files of the manifest that are gone or have another size."""
        there: dict[str, dict[str, int]] = {}
        for entry in self._manifest.entries:
            folder = entry.path.rpartition("/")[0]
            if folder not in there:
                there[folder] = self._sources.archive.sizes(folder)
            size = there[folder].get(entry.path)
            known = {found.file for found in self._hours[received_hour(entry)].mismatches}
            if size == entry.bytes or entry.path in known:
                continue
            why = "the file is missing" if size is None else f"it has {size} bytes, the manifest says {entry.bytes}"
            self._add(received_hour(entry), Mismatch("archive", entry.rows, why, file=entry.path))

    # -- the warehouse ----------------------------------------------------------------------------------------

    def _events(self, events: pl.DataFrame, beyond: pl.DataFrame) -> None:
        """Look every committed event up, and every stored one in the log."""
        due = events.filter(pl.col("committed") & ~pl.col("erased"))
        wanted = due.group_by(*_KEYS, "hour").len("copies")
        live = self._live(wanted)
        found = wanted.join(live.select(*_KEYS, at=_hour("received_at")), on=_KEYS, how="left").with_columns(
            here=(pl.col("at") == pl.col("hour")).fill_null(value=False),
            earlier=(pl.col("at") < pl.col("hour")).fill_null(value=False),
        )
        lost = ~pl.col("here") & ~pl.col("earlier")
        sums = found.group_by("hour").agg(
            stored=pl.col("here").sum(),
            duplicate=pl.col("copies").sum() - (~pl.col("earlier")).sum(),
        )
        for hour, stored, duplicate in sums.iter_rows():
            self._hours[hour].stored = stored
            self._hours[hour].duplicate = duplicate
        for hour, erased, expired, waiting, accepted in events.group_by("hour").agg(
            (pl.col("erased") & ~pl.col("expired")).sum(),
            pl.col("expired").sum(),
            (~pl.col("committed") & ~pl.col("erased")).sum().alias("waiting"),
            pl.len(),
        ).iter_rows():
            each = self._hours[hour]
            each.erased, each.expired, each.in_flight, each.accepted = erased, expired, waiting, accepted
        for hour, count in beyond.group_by("hour").len().iter_rows():
            self._hours[hour].beyond_log = count
        missing = found.filter(lost).select(*_KEYS, "hour").join(due, on=[*_KEYS, "hour"], how="inner")
        self._missing(missing.unique([*_KEYS, "hour"], keep="first", maintain_order=True), beyond)
        here = live.with_columns(hour=_hour("received_at")).filter(pl.col("hour").is_in(list(self._hours)))
        self._unknown(here.join(events, on=[*_KEYS, "hour"], how="anti"))

    def _live(self, wanted: pl.DataFrame) -> pl.DataFrame:
        """The stored events among those that are `wanted` and those of the hours (`RECEIPTS`)."""
        keys, warehouse = wanted.select(_KEYS).unique(), self._sources.warehouse
        if self._replaced:
            return receipts.live(warehouse, pl.concat([keys, self._stored.select(_KEYS)]))
        elsewhere = keys.join(self._stored, on=_KEYS, how="anti")
        return pl.concat([self._stored, receipts.live(warehouse, elsewhere)])

    def _missing(self, missing: pl.DataFrame, beyond: pl.DataFrame) -> None:
        """Name the committed records whose events are not stored."""
        why = "not stored, though the loader has taken them"
        for rows in missing.filter(pl.col("chunk").is_not_null()).partition_by("hour"):
            self._name("warehouse", why, rows)
        of_files = missing.filter(pl.col("chunk").is_null()).select(*_KEYS, "received_at")
        which = [*_KEYS, "received_at"]
        rows = beyond.join(of_files, on=which, how="semi").unique(which, keep="first", maintain_order=True)
        for (hour, topic, number), part in rows.partition_by("hour", "topic", "partition", as_dict=True).items():
            self._add(int(str(hour)), _of_rows("warehouse", why, part, topic, number))

    def _unknown(self, unknown: pl.DataFrame) -> None:
        """Take stored events that neither log nor archive has for accepted where the log begins later; name the others.
        """
        if not unknown.height:
            return
        broker, warehouse = self._sources.broker, self._sources.warehouse
        numbers = partition_numbers(unknown, broker.partitions(TOPICS[0]))
        rows = unknown.join(numbers, on=["site", "visitor"]).join(receipts.types(warehouse, unknown), on=_KEYS)
        topics = pl.Series([topic_of(EventType(kind)) for kind in rows["type"]], dtype=pl.String)
        rows = rows.with_columns(topic=topics)
        rows = rows.with_columns(removed=self._removed(rows.select("topic", "partition", at="received_at")))
        for (hour, topic, number), part in rows.partition_by("hour", "topic", "partition", as_dict=True).items():
            each, removed = self._hours[int(str(hour))], part.filter("removed").height
            each.stored += part.height
            each.accepted += removed
            each.beyond_log += removed
            if left := part.height - removed:
                why = "stored, though neither the log nor the archive has them"
                self._add(each.hour, Mismatch("log", left, why, str(topic), int(str(number))))

    def _dead_letters(self) -> None:
        """Compare what is no event with the table of dead letters."""
        ours, stored = self._records.letters, defaultdict(int)
        for hour, records, rows in self._letters.iter_rows():
            stored[hour, records] = rows
        for hour, each in self._hours.items():
            for records in (True, False):
                mine = ours.filter((pl.col("hour") == hour) & (pl.col("records") == records)) if ours.height else ours
                due, there = mine.filter("committed").height, stored[hour, records]
                if there < due:
                    self._name("warehouse", f"{due - there} of them are not among the dead letters", mine, due - there)
                if records:
                    # Those beyond are loaded already, or the log has them no more.
                    gone = max(0, there - mine.height)
                    each.dead_lettered = min(there, due) + gone
                    each.in_flight += mine.height - due
                    each.accepted += mine.height + gone
                    each.beyond_log += gone

    # -- the door ---------------------------------------------------------------------------------------------

    def _at_the_door(self) -> None:
        for hour, outcome, reason, events in self._outcomes.iter_rows():
            each = self._hours[hour]
            match outcome:
                case "accepted":
                    each.door += events
                case "duplicate":
                    each.duplicate_at_door += events
                case "refused":
                    each.refused += events
                    each.refused_by[reason] = each.refused_by.get(reason, 0) + events
                case "erased":  # out of the log, too; so the log cannot say that they were accepted
                    each.erased += events
                    each.accepted += events
                case "expired":
                    each.expired += events
                    each.accepted += events
        since = [at for at in self._records.kept_since.values() if at is not None]
        for each in self._hours.values():
            # Of hours that the log does not have whole, what was forgotten can no longer be told from what is lost.
            forgotten = bool(self._erasures) and (not since or max(since) > each.hour)
            if each.door > each.accepted and not forgotten:
                lost = each.door - each.accepted
                self._add(each.hour, Mismatch("door", lost, "the door accepted more than there is in log or archive"))

    # -- names ------------------------------------------------------------------------------------------------

    def _name(self, where: str, why: str, rows: pl.DataFrame, events: int | None = None) -> None:
        """Add mismatches that name where rows of one hour lie in the log."""
        for found in located(self._sources.broker, self._records, rows):
            count = found.records if events is None else events
            topic, number = found.partition
            self._add(rows["hour"][0], Mismatch(where, count, why, topic, number, found.first, found.last))

    def _add(self, hour: int, mismatch: Mismatch) -> None:
        self._hours[hour].mismatches.append(mismatch)


def _hour(name: str) -> pl.Expr:
    return pl.col(name) // HOUR_MS * HOUR_MS


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Equal receipts are numbered: a record that came twice has to be archived twice."""
    return rows.with_columns(copy=pl.int_range(pl.len()).over(RECEIPTS))


def _nothing_beyond() -> pl.DataFrame:
    place = {"topic": pl.String(), "partition": pl.Int32(), "position": pl.String(), "published_at": pl.Int64()}
    return pl.DataFrame(schema=EVENTS | place)


def _of_rows(where: str, why: str, rows: pl.DataFrame, topic: object, number: object) -> Mismatch:
    """The mismatch of rows of the archive that are of one partition."""
    positions = sorted(map(Position.parse, rows["position"]))
    first, last = str(positions[0]), str(positions[-1])
    return Mismatch(where, rows.height, why, str(topic), int(str(number)), first, last)
