"""`sqlite:///path/to/file`: the log of one machine, in one SQLite file that several processes publish to and read.

Every publish is one transaction over all its topics, fsync'd before it returns (`synchronous=FULL`, WAL). Three rules
keep it right:

* The next offset is a stored row, taken by `UPDATE … RETURNING` under `BEGIN IMMEDIATE`. Computed as MAX + 1, it would
  start again at 0 once retention has emptied a partition.
* No statement stays open across a yield, because an open reader stops the WAL from being folded back.
* Retention goes by publish time and never passes a position that a group remembers.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    Columns,
    Description,
    Position,
    Record,
    Stored,
    StoredColumns,
    TopicInfo,
    TopicPartition,
    Unsent,
    Unsupported,
)
from brokers.checks import (
    check_partition,
    check_topic,
    hide_credentials,
    no_topic,
    other_count,
    read_options,
    whole_number,
)
from brokers.offset_log import OffsetLog, OffsetLogBroker
from brokers.routing import Outgoing, Router
from brokers.sqlite import erasing
from brokers.sqlite.batches import (
    INSERT,
    BrokenBatch,
    Row,
    of_one_time,
    pack,
    packed,
    rows_of,
    unpack,
    unpack_columns,
)
from brokers.sqlite.storage import SqliteFile, batch_of, first_at, remove, remove_topic, resume

_TAKE = "UPDATE logs SET next = next + ?, last_at = max(last_at, ?) WHERE id = ? RETURNING next, last_at"
_LOG = """
SELECT t.incarnation, l.first, l.next, l.id FROM topics t JOIN logs l ON l.topic = t.id
WHERE t.name = ? AND l.partition = ?
"""
_TOPICS = """
SELECT name, partitions, retention_ms, l.id FROM topics t JOIN logs l ON l.topic = t.id ORDER BY name, partition
"""
_CREATE = """
INSERT INTO topics (name, partitions, retention_ms, incarnation) VALUES (?, ?, ?, lower(hex(randomblob(8))))
ON CONFLICT (name) DO UPDATE SET retention_ms = excluded.retention_ms WHERE partitions = excluded.partitions
"""
_OPTIONS = {"timeout_ms": "10000", "max_record_bytes": "1000000", "retention_every_ms": "60000"}
_FEWEST = 32  # events of a block: fewer take more room than as records
_REMOVE_AT_ONCE = 1_000  # batches in one transaction of retention: a publisher waits for no more


class _SqliteLog(OffsetLog, frozen=True):
    id: int  # of its row in `logs`


class _Topic(msgspec.Struct):
    info: TopicInfo
    logs: list[int]  # ids by partition


class _InColumns(NamedTuple):
    """Events for one partition, see `batches.packed`."""

    topic: str
    partition: int
    events: int
    contents: list[tuple[int, bytes]]


class _Publish:
    """A call of `publish` in the queue for the writer, and what became of it."""

    __slots__ = ("columns", "done", "error", "outgoing")

    def __init__(self, outgoing: Outgoing, columns: list[_InColumns]) -> None:
        self.outgoing = outgoing
        self.columns = columns
        self.done = False
        self.error: Exception | None = None


class _MadeAgain(BrokerError):
    """A topic is not the one in memory: it was deleted, and perhaps created again."""


class SqliteBroker(OffsetLogBroker[_SqliteLog]):
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(True, "fsync'd before publish returns"),
        "shared": Capability(True, "any number of processes of one machine; not over a network file system"),
        "replication": Capability(False, "one copy: the file is as safe as its disk"),
        "retention": Capability(True, "by publish time, held back by remembered positions"),
    }

    def __init__(
        self,
        url: str,
        secrets: dict[str, str] | None = None,  # noqa: ARG002
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__()
        self.url = hide_credentials(url)
        options = read_options(url, _OPTIONS)
        self._retain_every_ms = whole_number(options, "retention_every_ms", least=0)
        self._file = SqliteFile(_path(url), self.url, whole_number(options, "timeout_ms") / 1000)
        self._router = Router(lambda name: len(self._topic(name).logs), whole_number(options, "max_record_bytes"))
        self._clock_ns = clock_ns
        self._retained_at = 0
        self._topics: dict[str, _Topic] = {}
        self._queue: list[_Publish] = []
        self._queueing = threading.Lock()
        self._writing = threading.Lock()

    def ping(self, timeout: float = 5.0) -> str:
        return f"SQLite {self._version(timeout)}"

    def describe(self, timeout: float = 5.0) -> Description:
        return Description("SQLite", self._version(timeout), 1, ("write-ahead log", "fsync at each commit"))

    def _version(self, timeout: float) -> str:
        return str(self._file.query("SELECT sqlite_version()", (), timeout)[0][0])

    def close(self) -> None:
        super().close()
        self._file.close()

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"{self.url} holds one copy: create {name} with replication=1, or use Kafka")
        with self._file.transaction() as db:
            db.execute(_CREATE, (name, partitions, retention_ms))
            topic, count = db.execute("SELECT id, partitions FROM topics WHERE name = ?", (name,)).fetchone()
            if count != partitions:
                raise other_count(name, count, partitions)
            db.executemany(
                "INSERT OR IGNORE INTO logs (topic, partition, first, next, last_at) VALUES (?, ?, 0, 0, 0)",
                [(topic, partition) for partition in range(partitions)],
            )

    def topics(self) -> dict[str, TopicInfo]:
        found: dict[str, _Topic] = {}
        for name, partitions, retention_ms, log in self._file.query(_TOPICS):
            if name not in found:
                found[name] = _Topic(TopicInfo(name, partitions, retention_ms), [])
            found[name].logs.append(log)
        self._topics = found
        return {name: topic.info for name, topic in found.items()}

    def partitions(self, topic: str) -> int:
        self.topics()
        return len(self._topic(topic).logs)

    def delete_topic(self, name: str) -> None:
        with self._file.transaction() as db:
            found = db.execute("SELECT id FROM topics WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise no_topic(name, self.url)
            remove_topic(db, found[0])
        self._topics.pop(name, None)

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        self.publish_columns((), records)

    def publish_columns(self, columns: Sequence[Columns], records: Sequence[Record]) -> None:
        try:
            outgoing = self._publish(columns, records)
        except _MadeAgain:
            self.topics()
            outgoing = self._publish(columns, records)
        self._retain_now_and_then()
        outgoing.raise_too_large()

    def _publish(self, columns: Sequence[Columns], records: Sequence[Record]) -> Outgoing:
        in_columns: list[_InColumns] = []
        few: list[Record] = []
        for topic, block in columns:
            for partition, its in self._router.split(topic, block):
                if its.size < _FEWEST:
                    few += (record._replace(partition=partition) for record in Columns(topic, its).records())
                else:
                    in_columns.append(_InColumns(topic, partition, its.size, packed(its)))
        outgoing = self._router.route([*records, *few] if few else records)
        try:
            self._submit(_Publish(outgoing, in_columns))
        except sqlite3.Error as error:
            raise Unsent(
                f"{self.url}: nothing was written ({error}): free disk space or mend the file, then send again",
                range(len(records)),
            ) from error
        return outgoing

    def _submit(self, publish: _Publish) -> None:
        """Return when it is durable, or raise what writing it raised. Concurrent publishes share a commit.

        The first thread becomes the writer. Those that arrive while it waits for the disk queue up, and the next
        writer commits them all at once. Nobody waits for company: alone, a publish is one commit."""
        with self._queueing:
            self._queue.append(publish)
        with self._writing:
            if not publish.done:
                with self._queueing:
                    group, self._queue = self._queue, []
                self._write(group)
        if publish.error:
            raise publish.error

    def _write(self, group: list[_Publish]) -> None:
        try:
            self._commit(group)
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
            else:  # the fault of one, perhaps, but not of all: commit each alone
                for publish in group:
                    self._write([publish])
        finally:
            for publish in group:
                publish.done = True

    def _commit(self, group: list[_Publish]) -> None:
        """Make all of them durable in one transaction, or raise and write nothing."""
        rows: list[Row] = []
        now = self._clock_ns() // 1_000_000

        def take(name: str, partition: int, count: int, time_ms: int) -> tuple[int, int, int]:
            log = self._topic(name).logs[partition]
            taken = db.execute(_TAKE, (count, time_ms, log)).fetchall()
            if not taken:
                raise _MadeAgain(name)
            return log, *taken[0]

        with self._file.transaction() as db:
            for publish in group:
                outgoing = publish.outgoing
                for (name, partition), indexes in outgoing.logs.items():
                    for time_ms, run in of_one_time(outgoing.records, indexes):
                        place = take(name, partition, len(run), now if time_ms is None else time_ms)
                        rows += pack(*place, outgoing.records, run)
                for name, partition, events, contents in publish.columns:
                    rows += rows_of(*take(name, partition, events, now), contents)
            db.executemany(INSERT, rows)

    # Reading

    def _read(self, log: _SqliteLog, start: int, count: int) -> list[Stored]:
        with self._file.reading() as db:
            try:
                return unpack(db, log.id, log.incarnation, start, min(start + count, log.end) - 1)
            except BrokenBatch as error:
                raise self._file.broken(log.partition, error) from error

    def read_columns(
        self, partition: TopicPartition, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored] | StoredColumns]:
        log = self._log(partition)
        start, last = log.start(after), log.check_kept(upto)
        while start <= last:
            pieces = self._read_pieces(log, start, min(batch, last + 1 - start))
            for piece in pieces or [[]]:
                if not piece or _first_offset(piece) != start:
                    raise self._log(partition).gone(start)
                yield piece
                start += piece.block.size if isinstance(piece, StoredColumns) else len(piece)

    def _read_pieces(self, log: _SqliteLog, start: int, count: int) -> list[list[Stored] | StoredColumns]:
        with self._file.reading() as db:
            try:
                return unpack_columns(db, log.id, log.incarnation, start, min(start + count, log.end) - 1)
            except BrokenBatch as error:
                raise self._file.broken(log.partition, error) from error

    def _first_at(self, log: _SqliteLog, timestamp_ms: int) -> int:
        with self._file.reading() as db:
            return first_at(db, log.id, log.first, log.end, timestamp_ms)

    def _time_of(self, log: _SqliteLog, offset: int) -> int | None:
        with self._file.reading() as db:
            batch = batch_of(db, log.id, offset)
        return None if batch is None else batch[1]

    def erase(
        self,
        partitions: Sequence[TopicPartition],
        containing: Sequence[bytes],
        wanted: Callable[[Sequence[Stored]], Sequence[bool]],
    ) -> int:
        erased = 0
        for partition in partitions:
            log = self._log(partition)
            try:
                erased += erasing.erase(self._file, log.id, log.incarnation, containing, wanted)
            except BrokenBatch as error:
                raise self._file.broken(partition, error) from error
        erasing.scrub(self._file, containing)
        return erased

    def resume_after(
        self, partition: TopicPartition, read: Position | None, last: Position, *, anew: bool
    ) -> Bounds | None:
        now, after = self._clock_ns() // 1_000_000, read.order[0] if read else -1
        with self._file.transaction() as db:
            lost = resume(db, partition, after, last, now, anew=anew)
        if lost is None:
            return None
        self._topics.clear()
        return Bounds(Position((lost,), last.incarnation), last)

    # Groups and retention

    def _remember(self, group: str, log: _SqliteLog, offset: int) -> None:
        with self._file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (group, log.id, offset))

    def _recall(self, group: str, log: _SqliteLog) -> int | None:
        found = self._file.query('SELECT "offset" FROM remembered WHERE log = ? AND reader = ?', (log.id, group))
        return found[0][0] if found else None

    def retain(self) -> int:
        """Remove records that are older than their topic's retention and that every group has read.

        Returns the number of records removed. Publishing does so every `retention_every_ms`. One call removes at most
        a thousand batches of a log: call again until it returns 0 to catch up."""
        removed = 0
        now = self._clock_ns() // 1_000_000
        for name, info in self.topics().items():
            if info.retention_ms < 0:
                continue
            for partition in range(info.partitions):
                log = self._log(TopicPartition(name, partition))
                end = self._first_at(log, now - info.retention_ms)
                if end > log.first:
                    with self._file.transaction() as db:
                        removed += remove(db, log.id, end, _REMOVE_AT_ONCE)
        return removed

    def _remove(self, log: _SqliteLog, end: int) -> None:
        with self._file.transaction() as db:
            while remove(db, log.id, end, _REMOVE_AT_ONCE):
                pass

    def _retain_now_and_then(self) -> None:
        now = self._clock_ns() // 1_000_000
        if abs(now - self._retained_at) >= self._retain_every_ms and not self.retain():
            self._retained_at = now  # as long as records are removed, the next publish goes on with it

    def _topic(self, name: str) -> _Topic:
        """Return the topic from memory. Only `publish` relies on it, because it notices a topic created again."""
        if name not in self._topics:
            self.topics()
        try:
            return self._topics[name]
        except KeyError:
            raise no_topic(name, self.url) from None

    def _log(self, partition: TopicPartition) -> _SqliteLog:
        rows = self._file.query(_LOG, partition)
        if not rows:
            check_partition(partition, self.partitions(partition.topic))
            raise no_topic(partition.topic, self.url)  # it was created between the two looks
        return _SqliteLog(partition, *rows[0])


def _first_offset(piece: list[Stored] | StoredColumns) -> int:
    first = piece.first if isinstance(piece, StoredColumns) else piece[0].position
    return first.order[0]


def _path(url: str) -> Path:
    """Return the path in `sqlite:///absolute/path` or `sqlite:relative/path`."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{url}: write sqlite:///absolute/path, with three slashes")
    return Path(unquote(parts.path))
