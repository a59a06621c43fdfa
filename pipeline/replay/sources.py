"""Where a replay reads raw events: pieces of the archive, or of the log, each with the times that it spans.

A part of the window asks for the pieces that touch it. Those of the archive are its files; they are listed anew for
each part, as of a moment at which the archive holds exactly what the loader has committed. The log is in order of
publication, so it is read once, and spilled to a folder by the day on which the events occurred.

Pieces are read in threads, ahead of the caller.

Margins. A session of the window may have begun before it or go on behind it, but only if its visitor has events
within a gap of the window's edge. So the margins are read from the edge outwards, with the columns of a session
alone, and only as far as the chains of such visitors reach: a few hours, hardly ever the whole day.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from activity import columns, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, FUTURE_MS, GAP_MS
from activity.event import TOPICS
from brokers.base import Position, TopicPartition
from pipeline import archive as archiving
from pipeline import erasure
from pipeline.archive import reading
from pipeline.checkpoint import Checkpoint, PartitionRange
from pipeline.io import BrokerFeed
from pipeline.live import Loader
from pipeline.plan import Window
from pipeline.rebuild import Busy, settled
from pipeline.run import RawColumns
from stores.base import Archive, ArchivedFile, Conflict, Positions, Unusable

_AHEAD = 3  # pieces
_JOINED = 65_536  # rows, from which on a frame is large enough
_SPILLED = 300_000  # events that wait in memory to be spilled
_TRIES = 5
_MONTH = 31  # days whose part of a manifest is looked at together


class Piece(NamedTuple):
    """Raw events that occurred from `first` to `last` (ms, inclusive), and how to read columns of theirs."""

    first: int
    last: int
    rows: int
    read: Callable[[Sequence[str]], pl.DataFrame]
    file: ArchivedFile | None = None  # of which it is, if a worker elsewhere can read it


class Frozen(NamedTuple):
    """A source as of one checkpoint: `pieces` hold each event up to `upto`, and none behind it."""

    checkpoint: Checkpoint
    upto: Positions
    pieces: list[Piece]


class Source(Protocol):
    """Where a replay reads. It is a context manager that lets go of what it has on disk."""

    def __enter__(self) -> Source:
        """The source itself."""

    def __exit__(self, *_: object) -> None:
        """Let go of everything."""

    def days(self) -> dict[int, int]:
        """About how many events each day (since the epoch) of the window has; days without events are left out."""

    def frozen(self, window: Window, *, again: bool) -> Frozen:
        """The pieces that a part needs, margins included. `again` after stored events were replaced meanwhile.

        Raises what reading the source raises."""


class ArchiveSource:
    """The files of the archive."""

    def __init__(self, loader: Loader, archive: Archive, window: Window, upto: Positions | None) -> None:
        self._loader = loader
        self._archive = archive
        self._window = window
        self._upto = upto  # None: what is committed
        self._erasures = partial(erasure.load, loader.checkpoint_store)

    def __enter__(self) -> ArchiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept."""

    def days(self) -> dict[int, int]:
        """See `Source.days`; by the manifest, a file's events spread evenly over its days."""
        self._flushed(self._upto if self._upto is not None else self._loader.checkpoint().positions)
        found: defaultdict[int, int] = defaultdict(int)
        begin, finish = self._window.start // DAY_MS, self._window.end // DAY_MS
        if begin == 0:
            times = [entry.min_occurred_at // DAY_MS for entry in self._archive.manifest(0, self._window.end).entries]
            begin = min(times, default=finish)
        for month in range(begin, finish, _MONTH):
            until = min(month + _MONTH, finish)
            for entry in self._archive.manifest(month * DAY_MS, until * DAY_MS).entries:
                days = range(entry.min_occurred_at // DAY_MS, entry.max_occurred_at // DAY_MS + 1)
                if self._window.site in (None, entry.site):
                    for day in days[max(0, month - days.start) : max(0, until - days.start)]:
                        found[day] += -(-entry.rows // len(days))
        return found

    def frozen(self, window: Window, *, again: bool) -> Frozen:  # noqa: ARG002 (it is listed anew each time)
        """See `Source.frozen`. Nothing is committed meanwhile, so that the archive and the checkpoint say the same."""
        for _ in range(_TRIES):
            with settled(self._loader) as checkpoint:
                upto = self._upto if self._upto is not None else checkpoint.positions
                self._flushed(upto)
                manifest = self._archive.manifest(*window.reads)
            if not _beyond(manifest.positions, upto):
                break
        else:
            raise Busy("other processes load and archive all the time; try again in a minute")
        erasures = self._erasures()
        pieces = [
            Piece(file.min_occurred_at, file.max_occurred_at, file.rows, reading(self._archive, file, erasures), file)
            for file in manifest.entries
            if window.site in (None, file.site)
        ]
        return Frozen(checkpoint, upto, pieces)

    def _flushed(self, upto: Positions) -> None:
        for attempt in range(_TRIES):
            try:
                loader = self._loader
                archiving.flush(
                    loader.runner, loader.broker, self._archive, upto, loader.unit.name, self._erasures
                )
                return
            except Conflict:  # the archive's own thread flushes too
                if attempt == _TRIES - 1:
                    raise


def _beyond(positions: Positions, upto: Positions) -> bool:
    """Whether any of the events' topics is further in `positions` than in `upto`."""
    for topic in TOPICS:
        for partition, text in positions.get(topic, {}).items():
            at = upto.get(topic, {}).get(partition)
            if at is None or Position.parse(at) < Position.parse(text):
                return True
    return False


class BrokerSource:
    """The records of the log, read once and spilled to a temporary folder by day."""

    def __init__(
        self, loader: Loader, window: Window, upto: Positions | None, progress: Callable[[int], None]
    ) -> None:
        """`progress` takes how many records were read so far."""
        self._loader = loader
        self._window = window
        self._upto = upto
        self._progress = progress
        self._folder = tempfile.TemporaryDirectory(prefix="footfall-")
        self._frozen: Frozen | None = None

    def __enter__(self) -> BrokerSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def days(self) -> dict[int, int]:
        """See `Source.days`."""
        found: defaultdict[int, int] = defaultdict(int)
        for piece in self._spilled(self._window).pieces:
            if piece.first // DAY_MS in self._window.days:
                found[piece.first // DAY_MS] += piece.rows
        return found

    def frozen(self, window: Window, *, again: bool) -> Frozen:
        """See `Source.frozen`. Reads the log once more with `again`, from the part on."""
        if again:
            self._folder.cleanup()
            self._folder = tempfile.TemporaryDirectory(prefix="footfall-")
            self._frozen = None
        whole = self._spilled(Window(window.site, window.start, self._window.end))
        begin, finish = window.reads
        return whole._replace(pieces=[p for p in whole.pieces if p.last >= begin and p.first < finish])

    def _spilled(self, window: Window) -> Frozen:
        if self._frozen is None:
            with settled(self._loader) as checkpoint:
                upto = self._upto if self._upto is not None else checkpoint.positions
            self._frozen = Frozen(checkpoint, upto, list(self._spill(window, upto)))
        return self._frozen

    def _spill(self, window: Window, upto: Positions) -> Iterator[Piece]:
        begin, finish = window.reads
        inside = pl.col("occurred_at").is_between(begin, finish, closed="left")
        inside = inside & (pl.col("site") == window.site) if window.site is not None else inside
        waiting: defaultdict[int, list[pl.DataFrame]] = defaultdict(list)
        rows = read = 0
        erasures = erasure.load(self._loader.checkpoint_store)
        for feed in self._feeds(begin, upto):
            for raw in feed.batches():
                if isinstance(raw, RawColumns):
                    read, found = read + raw.records, columns.as_texts(raw.frame)
                else:
                    read, found = read + len(raw.values), columns.decode(raw.values)[0]
                self._progress(read)
                frame = erasures.kept(found.select(COLUMNS.keys()).filter(inside))
                dated = frame.with_columns(_day=pl.col("occurred_at") // DAY_MS)
                for (day,), of_day in dated.partition_by("_day", as_dict=True, include_key=False).items():
                    waiting[int(str(day))].append(of_day)
                rows += frame.height
                if rows > _SPILLED:
                    yield from map(self._written, waiting.values())
                    waiting.clear()
                    rows = 0
        yield from map(self._written, waiting.values())

    def _written(self, frames: list[pl.DataFrame]) -> Piece:
        frame = pl.concat(frames)
        with tempfile.NamedTemporaryFile(dir=self._folder.name, suffix=".arrow", delete=False) as file:
            path = Path(file.name)
        try:
            frame.write_ipc(path, compression="lz4")
        except OSError as error:
            raise Unusable(f"{path.parent}: {error}: make room, or name another folder by TMPDIR") from error
        times = frame["occurred_at"]
        return Piece(int(times.min()), int(times.max()), frame.height,  # type: ignore[arg-type]
                     lambda names: pl.read_ipc(path, columns=list(names)))  # fmt: skip

    def _feeds(self, begin: int, upto: Positions) -> Iterator[BrokerFeed]:
        for topic in TOPICS:
            for partition, text in upto.get(topic, {}).items():
                # No event occurs later than FUTURE_MS after its receipt, so none that is earlier in the log is missed.
                since = begin - FUTURE_MS
                log = TopicPartition(topic, int(partition))
                after = self._loader.broker.position_at(log, since) if since > 0 else None
                if after is None or after < Position.parse(text):
                    reach = PartitionRange(topic, int(partition), str(after) if after else None, text)
                    yield BrokerFeed(self._loader.broker, reach)


def frames(pieces: Iterable[Piece], names: Sequence[str], keep: pl.Expr) -> Iterator[pl.DataFrame]:
    """These columns of the rows that `keep` selects, in order; pieces are read in threads ahead of the caller.

    Small pieces are joined, since each frame is cut by shard and exchanged by itself, at a cost by column."""

    def read(piece: Piece) -> pl.DataFrame:
        return piece.read(names).filter(keep)

    left = iter(pieces)
    waiting: list[pl.DataFrame] = []
    with ThreadPoolExecutor(2, "pieces") as threads:
        reading = deque(threads.submit(read, piece) for piece in islice(left, _AHEAD))
        while reading:
            waiting.append(reading.popleft().result())
            reading += (threads.submit(read, piece) for piece in islice(left, 1))
            if sum(frame.height for frame in waiting) >= _JOINED or not reading:
                joined = pl.concat(waiting)
                waiting.clear()
                if joined.height:
                    yield joined


_NARROW = [*session.STATE_COLUMNS, "bot"]
_VISITOR = ["site", "visitor"]


def margins(pieces: list[Piece], window: Window, crossing: pl.DataFrame) -> pl.DataFrame:
    """The events around the window that are of one chain with events in it (`session.STATE_COLUMNS`), and a few more.

    `crossing` has the events of the window of the visitors that have some within a gap of its edges."""
    begin, finish = window.reads
    before = [p._replace(first=-p.last, last=-p.first) for p in pieces if p.first < window.start]
    after = [piece for piece in pieces if piece.last >= window.end]
    time = pl.col("occurred_at")
    return pl.concat(
        [
            _outwards(before, crossing, -time, 1 - window.start, time.is_between(begin, window.start, closed="left")),
            _outwards(after, crossing, time, window.end, time.is_between(window.end, finish, closed="left")),
        ]
    )


def _outwards(
    pieces: list[Piece], crossing: pl.DataFrame, time: pl.Expr, edge: int, inside: pl.Expr
) -> pl.DataFrame:
    """The events behind the edge; `time` grows on the way out, as do the times of the pieces."""
    # How far the chain of each visitor reaches; those that end before the edge is near are over.
    reach = crossing.group_by(_VISITOR).agg(reach=time.max()).filter(pl.col("reach") + GAP_MS >= edge)
    found = session.empty_state()
    for piece in sorted(pieces, key=lambda piece: piece.first):
        if piece.first > _farthest(reach):
            # By what was found so far; it is worth a look only here.
            reach = _chained(reach, found, time).filter(pl.col("reach") + GAP_MS >= piece.first)
            if not reach.height:
                break
        frame = piece.read(_NARROW).filter(inside & (pl.col("bot") == "")).join(reach, on=_VISITOR, how="semi")
        if frame.height:
            found = pl.concat([found, frame.select(session.STATE_COLUMNS.keys())])
    return found


def _farthest(reach: pl.DataFrame) -> int:
    return int(reach["reach"].max()) + GAP_MS if reach.height else -(2**62)  # type: ignore[arg-type]


def _chained(reach: pl.DataFrame, found: pl.DataFrame, time: pl.Expr) -> pl.DataFrame:
    """How far the chains reach with the events that were found."""
    times = found.select(*_VISITOR, reach=time).join(reach, on=_VISITOR, how="semi")
    known = pl.concat([reach, times]).sort(*_VISITOR, "reach")
    gap = (pl.col("reach").diff() > GAP_MS).fill_null(False).cum_sum().over(_VISITOR)
    return known.filter(gap == 0).group_by(_VISITOR).agg(pl.col("reach").max())


def connected(crossing: pl.DataFrame, around: pl.DataFrame) -> pl.DataFrame:
    """Those of the events `around` the window that are of one chain with `crossing` events in it."""
    columns = [*_VISITOR, "occurred_at"]
    rows = pl.concat(
        [crossing.select(*columns, inside=pl.lit(value=True)), around.select(*columns, inside=pl.lit(value=False))]
    ).sort(columns)
    gap = (pl.col("occurred_at").diff() > GAP_MS).fill_null(value=False).cum_sum().over(_VISITOR)
    chained = rows.with_columns(chain=gap).filter(pl.col("inside").any().over(*_VISITOR, "chain"))
    return around.join(chained, on=columns, how="semi")
