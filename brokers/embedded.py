"""`sqlite:///path/to/file`: the log of a laptop, in one SQLite file that several processes publish to and read.

Every publish is one transaction over all its topics, fsync'd before it returns (`synchronous=FULL`, WAL);
threads that publish at the same time share one (`brokers.group_commit`). Three rules keep it right:

* The next offset is a stored row, taken by `UPDATE … RETURNING` under `BEGIN IMMEDIATE`: computed as MAX + 1,
  it would start again at 0 after retention emptied a partition.
* No statement stays open across a yield, because an open reader stops the WAL from being folded back.
* Retention goes by publish time and never passes a position that a group remembered.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from brokers.base import (
    Bounds,
    BrokerError,
    Capability,
    NoSuchTopic,
    Position,
    Record,
    Stored,
    TopicInfo,
    Unsent,
    Unsupported,
)
from brokers.group_commit import GroupCommit
from brokers.options import check_topic, hide_credentials, read_options, whole_number
from brokers.outgoing import Outgoing, place
from brokers.positions import check_position, gone
from brokers.sqlite_file import SqliteFile, file_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    retention_ms INTEGER NOT NULL, incarnation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    last_at INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, at INTEGER NOT NULL,
    key BLOB, value BLOB, headers BLOB, PRIMARY KEY (topic, partition, "offset")) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remembered (
    reader TEXT NOT NULL, topic INTEGER NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, reader)) WITHOUT ROWID;
"""
_TAKE = """
UPDATE logs SET next = next + ?, last_at = max(last_at, ?) WHERE topic = ? AND partition = ? RETURNING next, last_at
"""
_READ = """
SELECT "offset", at, key, value, headers FROM records WHERE topic = ? AND partition = ? AND "offset" >= ? AND "offset" <= ?
ORDER BY "offset" LIMIT ?
"""
_TIME = 'SELECT at FROM records WHERE topic = ? AND partition = ? AND "offset" = ?'
_LOG = """
SELECT t.id, t.incarnation, l.first, l.next FROM topics t JOIN logs l ON l.topic = t.id
WHERE t.name = ? AND l.partition = ?
"""
_OPTIONS = {"timeout_ms": "10000", "max_record_bytes": "1000000", "retention_every_ms": "60000"}
_REMOVE_AT_ONCE = 5_000  # records a transaction of retention; publishers wait for one of them at most
_POLL_SECONDS = 0.02  # how soon a waiting reader sees what another process published

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class _Topic(msgspec.Struct, frozen=True):
    id: int
    info: TopicInfo
    incarnation: str


class _Ticket(msgspec.Struct):
    """One `publish` and where its records go."""

    records: Sequence[Record]
    outgoing: Outgoing


class _Log(msgspec.Struct, frozen=True):
    """One partition as it is now."""

    name: str
    partition: int
    topic: int
    incarnation: str
    first: int
    next: int

    def start(self, after: Position | None) -> int:
        """Offset of the record that follows `after`, once that is known to be a position of this log."""
        if after is None:
            return self.first
        check_position(self.name, self.partition, after, self.incarnation, self.next)
        start = after.order[0] + 1
        if start < self.first:
            raise gone(self.name, self.partition, start, self.first)
        return start


class _MadeAgain(BrokerError):
    """The topic is not the one that was known: it was deleted, and perhaps made again."""


class SqliteBroker:
    """See `brokers.base.Broker` for every method's guarantee."""

    capabilities = {
        "durable": Capability(True, "fsync'd before publish returns"),
        "shared": Capability(True, "any number of processes of one machine; not over a network file system"),
        "replication": Capability(False, "one copy: the file is as safe as its disk"),
        "retention": Capability(True, "by publish time, held back by remembered positions"),
    }

    def __init__(
        self, url: str, secrets: dict[str, str] | None = None, *, clock_ns: Callable[[], int] = time.time_ns  # noqa: ARG002
    ) -> None:
        self.url = hide_credentials(url)
        options = read_options(url, _OPTIONS)
        self._limit = whole_number(options, "max_record_bytes")
        self._retain_every_ms = whole_number(options, "retention_every_ms", least=0)
        self._file = SqliteFile(file_of(url), self.url, _SCHEMA, whole_number(options, "timeout_ms") / 1000)
        self._clock_ns = clock_ns
        self._retained_at = 0
        self._closing = threading.Event()
        self._known: dict[str, _Topic] = {}
        self._commits: GroupCommit[_Ticket] = GroupCommit(self._commit)

    def ping(self, timeout: float = 5.0) -> str:
        return f"SQLite {self._file.ask('SELECT sqlite_version()', (), timeout)[0][0]}"

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"{self.url} holds one copy: create {name} with replication=1, or use Kafka")
        with self._file.transaction() as db:
            db.execute(
                "INSERT INTO topics (name, partitions, retention_ms, incarnation) VALUES (?, ?, ?, lower(hex(randomblob(8))))"
                " ON CONFLICT (name) DO UPDATE SET retention_ms = excluded.retention_ms WHERE partitions = excluded.partitions",
                (name, partitions, retention_ms),
            )
            number, held = db.execute("SELECT id, partitions FROM topics WHERE name = ?", (name,)).fetchone()
            db.executemany(
                "INSERT OR IGNORE INTO logs VALUES (?, ?, 0, 0, 0)", [(number, each) for each in range(held)]
            )
        if held != partitions:
            raise ValueError(
                f"topic {name} has {held} partitions, not {partitions}: the number is fixed for its life, choose that"
                " number or another name"
            )

    def topics(self) -> dict[str, TopicInfo]:
        rows = self._file.ask("SELECT id, name, partitions, retention_ms, incarnation FROM topics")
        self._known = {row[1]: _Topic(row[0], TopicInfo(row[1], row[2], row[3]), row[4]) for row in rows}
        return {name: topic.info for name, topic in self._known.items()}

    def partitions(self, topic: str) -> int:
        return self._fresh(topic).info.partitions

    def delete_topic(self, name: str) -> None:
        topic = self._fresh(name)
        with self._file.transaction() as db:
            for table in ("logs", "records", "remembered"):
                db.execute(f"DELETE FROM {table} WHERE topic = ?", (topic.id,))  # noqa: S608
            db.execute("DELETE FROM topics WHERE id = ?", (topic.id,))
        self._known.pop(name, None)

    # Publishing

    def publish(self, records: Sequence[Record]) -> None:
        try:
            outgoing = self._publish(records)
        except _MadeAgain:
            self.topics()
            outgoing = self._publish(records)
        self._retain_now_and_then()
        outgoing.raise_too_large(records, self._limit)

    def _publish(self, records: Sequence[Record]) -> Outgoing:
        outgoing = place(records, lambda name: self._topic(name).info.partitions, self._limit)
        try:
            self._commits.submit(_Ticket(records, outgoing))
        except sqlite3.Error as error:
            raise Unsent(
                f"{self.url}: nothing was written ({error}): free disk space or mend the file, then send again",
                range(len(records)),
            ) from error
        return outgoing

    def _commit(self, tickets: list[_Ticket]) -> None:
        """Make all tickets durable in one transaction."""
        rows: list[tuple[int, int, int, int, bytes | None, bytes | None, bytes | None]] = []
        now = self._now()
        with self._file.transaction() as db:
            for ticket in tickets:
                records = ticket.records
                for (name, partition), indexes in ticket.outgoing.logs.items():
                    topic = self._topic(name).id
                    taken = db.execute(_TAKE, (len(indexes), now, topic, partition)).fetchall()
                    if not taken:
                        raise _MadeAgain(name)
                    end, at = taken[0]
                    for offset, index in enumerate(indexes, end - len(indexes)):
                        _, key, value, headers, _ = records[index]
                        rows.append((topic, partition, offset, at, key, value, _encode(headers) if headers else None))
            db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    # Reading

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        log = self._log(topic, partition)
        if log.first == log.next:
            return None
        return Bounds(Position((log.first,), log.incarnation), Position((log.next - 1,), log.incarnation))

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log = self._log(topic, partition)
        check_position(topic, partition, upto, log.incarnation, log.next)
        start, last = log.start(after), upto.order[0]
        while start <= last:
            found = self._read(log, start, last, batch)
            if not found or found[0].position.order[0] != start:
                raise gone(topic, partition, start, self._log(topic, partition).first)
            yield found
            start += len(found)

    def read_after(
        self, topic: str, partition: int, after: Position | None, limit: int = 10_000, wait: float = 0.0
    ) -> list[Stored]:
        log = self._log(topic, partition)
        start = log.start(after)
        deadline = time.monotonic() + wait
        while log.next <= start:
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            self._closing.wait(min(_POLL_SECONDS, left))
            log = self._log(topic, partition)
            start = log.start(after)
        return self._read(log, start, start + limit - 1, limit)

    def _read(self, log: _Log, start: int, last: int, limit: int) -> list[Stored]:
        incarnation = log.incarnation
        return [
            Stored(Position((offset,), incarnation), at, key, value, _decode(headers) if headers else ())
            for offset, at, key, value, headers in self._file.ask(_READ, (log.topic, log.partition, start, last, limit))
        ]

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        log = self._log(topic, partition)
        start = log.start(after)
        if start >= log.next:
            return None
        return Position((min(start + limit, log.next) - 1,), log.incarnation)

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        """Times never decrease along a log, so its offsets can be bisected."""
        log = self._log(topic, partition)
        low, high = log.first, log.next
        while low < high:
            middle = (low + high) // 2
            at = self._file.ask(_TIME, (log.topic, log.partition, middle))
            if not at:  # retention came between: look at what is left
                return self.position_at(topic, partition, timestamp_ms)
            if at[0][0] < timestamp_ms:
                low = middle + 1
            else:
                high = middle
        return Position((low - 1,), log.incarnation) if low > log.first else None

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        log = self._log(topic, partition)
        check_position(topic, partition, position, log.incarnation, log.next)
        found = self._file.ask(_TIME, (log.topic, log.partition, position.order[0]))
        if not found:
            raise gone(topic, partition, position.order[0], log.first)
        return int(found[0][0])

    # Groups and retention

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        log = self._log(topic, partition)
        check_position(topic, partition, position, log.incarnation, log.next)
        with self._file.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?)", (group, log.topic, partition, position.order[0])
            )

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        log = self._log(topic, partition)
        found = self._file.ask(
            'SELECT "offset" FROM remembered WHERE topic = ? AND partition = ? AND reader = ?',
            (log.topic, partition, group),
        )
        return Position((found[0][0],), log.incarnation) if found else None

    def retain(self) -> int:
        """Remove what is older than its topic's retention and passed by every group; how many records went."""
        removed, now = 0, self._now()
        for name, info in self.topics().items():
            if info.retention_ms < 0:
                continue
            for partition in range(info.partitions):
                upto = self.position_at(name, partition, now - info.retention_ms)
                if upto is not None:
                    removed += self._remove(self._topic(name).id, partition, upto.order[0] + 1)
        return removed

    def _remove(self, topic: int, partition: int, end: int) -> int:
        removed = 0
        while True:
            with self._file.transaction() as db:
                log = (topic, partition)
                first = db.execute(
                    'SELECT min(first + ?, ?, ifnull((SELECT min("offset") + 1 FROM remembered WHERE topic = l.topic'
                    " AND partition = l.partition), next)) FROM logs l WHERE topic = ? AND partition = ?",
                    (_REMOVE_AT_ONCE, end, *log),
                ).fetchone()
                if first is None:
                    return removed
                gone_now = db.execute(
                    'DELETE FROM records WHERE topic = ? AND partition = ? AND "offset" < ?', (*log, *first)
                ).rowcount
                if not gone_now:
                    return removed
                db.execute("UPDATE logs SET first = ? WHERE topic = ? AND partition = ?", (*first, *log))
                removed += gone_now

    def _retain_now_and_then(self) -> None:
        now = self._now()
        if now - self._retained_at >= self._retain_every_ms:
            self._retained_at = now
            self.retain()

    def close(self) -> None:
        self._closing.set()
        self._file.close()

    def _now(self) -> int:
        return self._clock_ns() // 1_000_000

    def _fresh(self, name: str) -> _Topic:
        self.topics()
        return self._topic(name)

    def _topic(self, name: str) -> _Topic:
        """From memory: only `publish` may, because it notices when the topic was made again."""
        found = self._known.get(name)
        if found is None:
            self.topics()
            found = self._known.get(name)
        if found is None:
            raise NoSuchTopic(f"topic {name} does not exist on {self.url}: create it first")
        return found

    def _log(self, topic: str, partition: int) -> _Log:
        rows = self._file.ask(_LOG, (topic, partition))
        if rows:
            return _Log(topic, partition, *rows[0])
        raise ValueError(f"topic {topic} has partitions 0 to {self.partitions(topic) - 1}, not {partition}")
