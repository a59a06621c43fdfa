"""What a part of a replay amounts to, put together shard by shard, and how it differs from what is stored.

Nearly always a replay finds what is stored. So the warehouse adds up checksums (`stores.checksum`) of the part's
events by shard, of its sessions and of its rollups, and only where these differ from those of the source, stored rows
are read: as an index, keys, times and a hash of the whole row, by which a row that is missing or differs is found
without a look-up by key. Only keys that are not stored in the part are looked up, since a copy of theirs may be stored
at another time. Rows to write again wait on disk, as many as they may be.

The sessions of a shard are final, but for visitors with events within a gap of the part's edges: theirs may go on
in the margins, so the events of these few are kept, and their sessions are formed together with the margins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from activity import columns, rollup, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, GAP_MS, HORIZON_MS
from activity.rollup import session_digest
from pipeline import losses
from pipeline.plan import Window
from pipeline.replay import changes
from pipeline.replay.journal import Report
from pipeline.run import Lookup
from stores import checksum
from stores.base import Unusable
from stores.warehouse import Warehouse

VISITOR = ["site", "visitor"]
# The key of a stored event and its time: what a row that deletes it consists of.
PLACE = [*session.IDENTITY, "occurred_at"]
_SEED = 0x5EED
NO_PLACES = pl.DataFrame(schema={name: COLUMNS[name] for name in PLACE})
_NO_HASH = pl.lit(None, dtype=pl.UInt64())
_MERGED = 1_500_000  # rows of a rollup that wait to be added up
_FEW = 20_000  # sessions that are read at once, rather than to look first which days of them differ


class StoredEvents:
    """The stored events of a window that no batch after `upto_batch` wrote, by shard of their visitors.

    Of a shard that the source gives the same way only the checksums are read. A shard whose checksums differ is read
    whole, as an index: keys, times and a hash of each row. So no row is found to differ by its checksum alone."""

    def __init__(self, warehouse: Warehouse, window: Window, upto_batch: int, shards: int) -> None:
        self._warehouse = warehouse
        self._window = window
        self._upto = upto_batch
        self._shards = shards
        self._threads = ThreadPoolExecutor(1, "checksums")  # the graph begins to read meanwhile
        self._adding = self._threads.submit(
            warehouse.event_checksums, window.site, window.start, window.end, upto_batch, shards
        )
        self._last: tuple[int, pl.DataFrame] | None = None  # what was read last is asked for again by the next step

    def close(self) -> None:
        """Wait for what was asked for."""
        self._threads.shutdown()

    @cached_property
    def _sums(self) -> dict[int, tuple[int, int, int]]:
        return self._adding.result()

    @property
    def rows(self) -> int:
        """How many they are."""
        return sum(rows for rows, _, _ in self._sums.values())

    def strangers(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Those of the keys of a shard (`session.IDENTITY`) that are not stored in the window."""
        if not keys.height:
            return keys
        shard = int(keys["visitor"][0]) % self._shards
        rows, of_keys, _ = self._sums.get(shard, (0, 0, 0))
        once = keys.unique() if keys.height > rows else keys
        if once.height == rows and checksum.total(checksum.row_checksums(once, session.IDENTITY)) == of_keys:
            return keys.clear()
        return keys.join(self.index(shard), on=session.IDENTITY, how="anti") if rows else keys

    def has(self, shard: int, events: pl.DataFrame) -> bool:
        """Whether exactly these events, each of them once, are stored of a shard."""
        rows, _, of_rows = self._sums.get(shard, (0, 0, 0))
        return events.height == rows and checksum.total(checksum.row_checksums(events, COLUMNS)) == of_rows

    def index(self, shard: int) -> pl.DataFrame:
        """The stored events of a shard: PLACE and `hash`, see `row_hash`."""
        if self._last is None or self._last[0] != shard:
            part, of = self._window, (shard, self._shards)
            slices = self._warehouse.events_between(part.site, None, part.start, part.end, self._upto, of)
            index = pl.concat([NO_PLACES.with_columns(hash=_NO_HASH), *(_indexed(frame) for frame in slices)])
            self._last = shard, index
        return self._last[1]

    def outside(self, shards: Collection[int]) -> pl.DataFrame:
        """The stored events of all but these shards (PLACE)."""
        return pl.concat([NO_PLACES, *(self.index(s).select(PLACE) for s in self._sums if s not in shards)])


def _indexed(events: pl.DataFrame) -> pl.DataFrame:
    return events.select(*PLACE, hash=row_hash(events))


def row_hash(events: pl.DataFrame) -> pl.Series:
    """A hash of each row over all event columns; within one process, equal rows have equal hashes."""
    return events.select(COLUMNS.keys()).hash_rows(seed=_SEED)


class Built:
    """What the raw events of a part amount to. Its methods take what the graph gives, a shard at a time."""

    # Of these sinks hardly any row is kept, so their texts may stay ids.
    WITH_IDS = frozenset({"events", "state"})

    def __init__(self, window: Window, stored: StoredEvents, watermark: int) -> None:
        self.window = window
        self.stored = stored
        self.rollups: list[pl.DataFrame] = []
        self.open_events: list[pl.DataFrame] = []  # of sessions still open at the watermark (`session.STATE_COLUMNS`)
        # Stored copies (PLACE) that are at another day in the source, or replaced by a copy there.
        self.moved: list[pl.DataFrame] = [NO_PLACES]
        self.repaired: set[tuple[str, int]] = set()  # (site, day)s with event rows to write again
        self.lacking_around = NO_PLACES  # stored events of its sessions outside of it that the source lacks (PLACE)
        self._left: list[pl.DataFrame] = []  # stored events of the shards taken that the source does not have (PLACE)
        self._taken: list[int] = []
        self._watermark = watermark
        self._counts: list[pl.DataFrame] = []
        self._sessions: list[pl.DataFrame] = []
        self._crossing: list[pl.DataFrame] = []
        self._folder = tempfile.TemporaryDirectory(prefix="footfall-")
        self._repairs: list[Path] = []

    def __enter__(self) -> Built:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        self.stored.close()

    def lookup(self, warehouse: Warehouse) -> Lookup:
        """Looks keys up among the events that are stored outside the window."""

        def look_up(keys: pl.DataFrame) -> pl.DataFrame:
            found = warehouse.lookup_events(self.stored.strangers(keys), 2**63 - 1)
            return found.filter(~self.window.within("occurred_at"))

        return look_up

    def take_events(self, frame: pl.DataFrame, block: str) -> None:
        """The event rows of a shard: compare them with what is stored there."""
        fresh = frame
        if frame["deleted"].any():
            fresh = frame.filter(~pl.col("deleted"))
            self.moved.append(columns.as_texts(frame.filter("deleted").select(PLACE)))
        persons = fresh.select("site", "bot", day=pl.col("occurred_at") // DAY_MS).filter(pl.col("bot") == "")
        self._counts.append(columns.as_texts(persons.group_by("site", "day").agg(events=pl.len())))
        self._taken.append(int(block))
        if not self.stored.has(int(block), fresh):
            self._differ(int(block), columns.as_texts(fresh))

    def _differ(self, shard: int, fresh: pl.DataFrame) -> None:
        """Find out in what the stored events of a shard differ from those of the source."""
        keys = fresh.select(*session.IDENTITY, now="occurred_at", hash_now=row_hash(fresh)).with_row_index("row")
        met = self.stored.index(shard).join(keys, on=session.IDENTITY, how="left")
        self._left.append(met.filter(pl.col("row").is_null()).select(PLACE))
        # A row is replaced by one with the same key, and the key includes the day.
        gone = met.filter(pl.col("occurred_at") // DAY_MS != pl.col("now") // DAY_MS)
        self.moved.append(gone.select(PLACE))
        same = met.filter((pl.col("occurred_at") == pl.col("now")) & (pl.col("hash") == pl.col("hash_now")))
        if same.height < fresh.height:
            is_missing = np.ones(fresh.height, bool)
            is_missing[same["row"].to_numpy()] = False
            missing = fresh.filter(is_missing)
            self.repaired |= days_of(missing, "occurred_at")
            path = Path(self._folder.name) / f"{len(self._repairs)}.arrow"
            try:
                missing.write_ipc(path, compression="lz4")
            except OSError as error:
                raise Unusable(f"{path.parent}: {error}: make room, or name another folder by TMPDIR") from error
            self._repairs.append(path)

    def unknown(self) -> pl.DataFrame:
        """The stored events that the source does not have in the window (PLACE)."""
        return pl.concat([self.stored.outside(self._taken), *self._left])

    def repairs(self) -> Iterator[pl.DataFrame]:
        """The event rows to write again, shard by shard: event columns and `deleted`."""
        for path in self._repairs:
            yield pl.read_ipc(path)

    def take_sessions(self, frame: pl.DataFrame, _block: str) -> None:
        """The session rows of a shard."""
        near = (pl.col("started_at") < self.window.start + GAP_MS) | (pl.col("ended_at") >= self.window.end - GAP_MS)
        crossing = frame.filter(near).select(VISITOR).unique()
        self._sessions.append(frame.join(crossing, on=VISITOR, how="anti").select(session.COLUMNS.keys()))

    def take_state(self, frame: pl.DataFrame, _block: str) -> None:
        """The persons' events of a shard, all of them, since nothing was open before."""
        time = pl.col("occurred_at")
        near = (time < self.window.start + GAP_MS) | (time >= self.window.end - GAP_MS)
        crossing = frame.filter(near).select(VISITOR).unique()
        self._crossing.append(columns.as_texts(frame.join(crossing, on=VISITOR, how="semi")))
        if self._may_be_open(frame):
            self._keep_open(columns.as_texts(frame.join(crossing, on=VISITOR, how="anti")))

    def _may_be_open(self, events: pl.DataFrame) -> bool:
        return bool(events.height) and int(events["occurred_at"].max()) + GAP_MS >= self._watermark - HORIZON_MS  # type: ignore[arg-type]

    def _keep_open(self, events: pl.DataFrame) -> None:
        if self._may_be_open(events):
            self.open_events.append(session.prune(events, self._watermark)[0])

    def take_rollup(self, frame: pl.DataFrame, _block: str) -> None:
        """The signed counts of a shard, by the minute."""
        # What a copy at another time had counted is not known there: the replay of that day compares it.
        self.rollups.append(frame.filter(self.window.within("bucket")))
        if sum(part.height for part in self.rollups) > _MERGED + self.rollups[0].height:
            self.rollups = [added_up(self.rollups)]

    def crossing(self) -> pl.DataFrame:
        """The events of the visitors whose sessions may go on in the margins."""
        return pl.concat([session.empty_state(), *self._crossing])

    def close_margins(self, around: pl.DataFrame) -> None:
        """Take the events around the window that `crossing` visitors have there: now the sessions are complete."""
        whole = session.canonical(pl.concat([*self._crossing, around]))
        self._sessions.append(session.sessions(whole))
        self._keep_open(whole)
        self._crossing = []

    def sessions(self) -> pl.DataFrame:
        """Give away the sessions that start in the window (`session.COLUMNS`)."""
        formed = [frame.filter(self.window.within("started_at")) for frame in self._sessions]
        self._sessions = []
        return pl.concat([session.empty_sessions(), *formed])

    def counts(self) -> dict[tuple[str, int], int]:
        """How many events of persons each site and day (since the epoch) has."""
        none = pl.DataFrame(schema={"site": pl.String(), "day": pl.Int64(), "events": pl.UInt32()})
        summed = pl.concat([none, *self._counts]).group_by("site", "day").agg(pl.col("events").sum())
        return {(site, day): events for site, day, events in summed.iter_rows()}


def added_up(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The sum of signed counts (`rollup.COLUMNS`)."""
    whole = pl.concat([pl.DataFrame(schema=rollup.COLUMNS), *(part.select(rollup.COLUMNS.keys()) for part in parts)])
    return whole.group_by(rollup.KEY).agg(pl.col(rollup.COUNTS).sum()).select(rollup.COLUMNS.keys())


def difference(rebuilt: Iterable[pl.DataFrame], stored: pl.DataFrame) -> pl.DataFrame:
    """What has to be added to the stored counts so that they become the sum of the rebuilt ones (`rollup.COLUMNS`)."""
    summed = added_up([*rebuilt, stored.with_columns(-pl.col(rollup.COUNTS))])
    return summed.filter(pl.any_horizontal(pl.col(name) != 0 for name in rollup.COUNTS))


def coarser(by_minute: pl.DataFrame, grain_ms: int) -> pl.DataFrame:
    """Counts by the minute as counts by a longer grain (ms): they add up."""
    return by_minute.with_columns(pl.col("bucket") // grain_ms * grain_ms)


def days_of(rows: pl.DataFrame, time: str) -> set[tuple[str, int]]:
    """The (site, day)s of rows, by the column `time` (ms)."""
    return set(rows.select("site", pl.col(time) // DAY_MS).unique().iter_rows())


def stored_sessions(warehouse: Warehouse, window: Window, rebuilt: pl.DataFrame) -> pl.DataFrame:
    """The stored sessions that start in the window: the `rebuilt` ones, if they are the same.

    Where they are not, a long window is halved until it has few sessions or is a day, and only halves that differ are
    read."""
    of_rebuilt = rebuilt.height, checksum.total(checksum.row_checksums(rebuilt, session.COLUMNS))
    if warehouse.sessions_checksum(window.site, window.start, window.end) == of_rebuilt:
        return rebuilt
    if rebuilt.height <= _FEW or len(window.days) == 1:
        return warehouse.sessions_between(window.site, window.start, window.end)
    middle = window.days[len(window.days) // 2] * DAY_MS
    halves = Window(window.site, window.start, middle), Window(window.site, middle, window.end)
    return pl.concat(stored_sessions(warehouse, half, rebuilt.filter(half.within("started_at"))) for half in halves)


def changed_sessions(stored: pl.DataFrame, rebuilt: pl.DataFrame) -> pl.DataFrame:
    """`session.difference` of two sets of sessions, which most often are equal."""
    if stored is rebuilt:
        return session.difference(stored.clear(), rebuilt.clear())
    return session.difference(stored, rebuilt)


def changed_rollup(warehouse: Warehouse, window: Window, grain: str, by_minute: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """What has to be added to a stored rollup so that it has these counts (`rollup.COLUMNS`)."""
    counts = [coarser(counted, rollup.GRAINS[grain]) for counted in by_minute]
    sums = [checksum.counts_checksum(counted, rollup.KEY, rollup.COUNTS) for counted in counts]
    if warehouse.rollup_checksum(grain, window.site, window.start, window.end) == sum(sums) % 2**64:
        return pl.DataFrame(schema=rollup.COLUMNS)
    return difference(counts, warehouse.rollups_between(grain, window.site, window.start, window.end))


class Digested(NamedTuple):
    """The sessions of a site and day in short."""

    sessions: int
    visitors: int
    sha256: str


def digested(rebuilt: pl.DataFrame) -> dict[tuple[str, int], Digested]:
    """The sessions by site and day (since the epoch) on which they start."""
    dated = rebuilt.with_columns(day=pl.col("started_at") // DAY_MS).partition_by("site", "day", as_dict=True)
    return {
        (str(site), int(str(day))): Digested(some.height, some["visitor"].n_unique(), session_digest(some))
        for (site, day), some in dated.items()
    }


def reports(
    counts: Mapping[tuple[str, int], int],
    stored: pl.DataFrame,
    rebuilt: Mapping[tuple[str, int], Digested],
    changed: pl.DataFrame,
    differing: Mapping[str, set[tuple[str, int]]],
) -> list[Report]:
    """A line a site and day. `changed` are the session rows that make the `stored` ones the `rebuilt` ones;

    `differing` has the site-days whose events or rollups were not as they should be."""
    none = Digested(0, 0, session_digest(session.empty_sessions()))
    differing = {**differing, "sessions": days_of(changed, "started_at")}
    changed_days = changes.by_day(stored, changed)
    made: list[Report] = []
    keys = {*rebuilt, *counts, *days_of(stored, "started_at")}.union(*differing.values())
    for site, day in sorted(keys, key=lambda key: (key[1], key[0])):
        sessions = rebuilt.get((site, day), none)
        differs = sorted(what for what, days in differing.items() if (site, day) in days)
        made.append(
            {
                "site": site,
                "day": str(losses.day(day)),
                "events": counts.get((site, day), 0),
                **sessions._asdict(),
                "equal": not differs,
                "differs": differs,
                "changes": changed_days.get((site, day)) or changes.none(),
            }
        )
    return made
