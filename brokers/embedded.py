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
    Description,
    NoSuchTopic,
    Position,
    Record,
    Setting,
    Stored,
    TopicInfo,
    Unsent,
    Unsupported,
)
from brokers.group_commit import GroupCommit
from brokers.options import check_topic, hide_credentials, no_partition, other_count, read_options, whole_number
from brokers.outgoing import Outgoing, place
from brokers.positions import check_position, gone
from brokers.sqlite_batches import SCHEMA, holding, last_before, of_one_time, pack, remove, remove_all, unpack
from brokers.sqlite_file import SqliteFile, file_of

_TAKE = "UPDATE logs SET next = next + ?, last_at = max(last_at, ?) WHERE id = ? RETURNING next, last_at"
_LOG = """
SELECT l.id, t.incarnation, l.first, l.next FROM topics t JOIN logs l ON l.topic = t.id
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
_REMOVE_AT_ONCE = 1_000  # batches a transaction of retention: a publisher waits for no more
_POLL_SECONDS = 0.02  # how soon a waiting reader sees what another process published


class _Topic(msgspec.Struct):
    info: TopicInfo
    logs: list[int]  # by partition


class _Ticket(msgspec.Struct):
    """One `publish` and where its records go."""

    records: Sequence[Record]
    outgoing: Outgoing


class _Log(msgspec.Struct, frozen=True):
    """One partition as it is now."""

    topic: str
    partition: int
    id: int
    incarnation: str
    first: int
    next: int

    def start(self, after: Position | None) -> int:
        """Offset of the record that follows `after`, once that is known to be a position of this log."""
        if after is None:
            return self.first
        self.check(after)
        start = after.order[0] + 1
        if start < self.first:
            raise gone(self.topic, self.partition, start, self.first)
        return start

    def check(self, position: Position) -> None:
        check_position(self.topic, self.partition, position, self.incarnation, self.next)

    def position(self, offset: int) -> Position:
        return Position((offset,), self.incarnation)


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
        self,
        url: str,
        secrets: dict[str, str] | None = None,  # noqa: ARG002
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.url = hide_credentials(url)
        options = read_options(url, _OPTIONS)
        self._limit = whole_number(options, "max_record_bytes")
        self._retain_every_ms = whole_number(options, "retention_every_ms", least=0)
        self._file = SqliteFile(file_of(url), self.url, SCHEMA, whole_number(options, "timeout_ms") / 1000)
        self._clock_ns = clock_ns
        self._retained_at = 0
        self._known: dict[str, _Topic] = {}
        self._closing = threading.Event()
        self._commits: GroupCommit[_Ticket] = GroupCommit(self._commit)

    def ping(self, timeout: float = 5.0) -> str:
        return f"SQLite {self._version(timeout)}"

    def describe(self, timeout: float = 5.0) -> Description:
        return Description("SQLite", self._version(timeout), 1, ("write-ahead log", "fsync at each commit"))

    def _version(self, timeout: float) -> str:
        return str(self._file.ask("SELECT sqlite_version()", (), timeout)[0][0])

    def topic_settings(self, name: str, replication: int) -> dict[str, Setting]:  # noqa: ARG002
        self._topic(name)
        return {}

    # Topics

    def create_topic(self, name: str, partitions: int = 4, retention_ms: int = -1, replication: int = 1) -> None:
        check_topic(name, partitions, retention_ms, replication)
        if replication > 1:
            raise Unsupported(f"{self.url} holds one copy: create {name} with replication=1, or use Kafka")
        with self._file.transaction() as db:
            db.execute(_CREATE, (name, partitions, retention_ms))
            number, held = db.execute("SELECT id, partitions FROM topics WHERE name = ?", (name,)).fetchone()
            if held != partitions:
                raise other_count(name, held, partitions)
            db.executemany(
                "INSERT OR IGNORE INTO logs (topic, partition, first, next, last_at) VALUES (?, ?, 0, 0, 0)",
                [(number, partition) for partition in range(partitions)],
            )

    def topics(self) -> dict[str, TopicInfo]:
        known: dict[str, _Topic] = {}
        for name, partitions, retention_ms, log in self._file.ask(_TOPICS):
            if name not in known:
                known[name] = _Topic(TopicInfo(name, partitions, retention_ms), [])
            known[name].logs.append(log)
        self._known = known
        return {name: topic.info for name, topic in known.items()}

    def partitions(self, topic: str) -> int:
        self.topics()
        return len(self._topic(topic).logs)

    def delete_topic(self, name: str) -> None:
        with self._file.transaction() as db:
            found = db.execute("SELECT id FROM topics WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise NoSuchTopic(f"topic {name} does not exist on {self.url}")
            remove_all(db, found[0])
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
        outgoing = place(records, lambda name: len(self._topic(name).logs), self._limit)
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
        rows: list[tuple[int, int, bytes]] = []
        now = self._clock_ns() // 1_000_000
        with self._file.transaction() as db:
            for ticket in tickets:
                for (name, partition), indexes in ticket.outgoing.logs.items():
                    log = self._topic(name).logs[partition]
                    for time_ms, run in of_one_time(ticket.records, indexes):
                        taken = db.execute(_TAKE, (len(run), now if time_ms is None else time_ms, log)).fetchall()
                        if not taken:
                            raise _MadeAgain(name)
                        end, at = taken[0]
                        rows += pack(log, end, at, ticket.records, run)
            db.executemany("INSERT INTO batches VALUES (?, ?, ?)", rows)

    # Reading

    def bounds(self, topic: str, partition: int) -> Bounds | None:
        log = self._log(topic, partition)
        return Bounds(log.position(log.first), log.position(log.next - 1)) if log.first < log.next else None

    def read_range(
        self, topic: str, partition: int, after: Position | None, upto: Position, batch: int = 10_000
    ) -> Iterator[list[Stored]]:
        log = self._log(topic, partition)
        log.check(upto)
        start, last = log.start(after), upto.order[0]
        if last < log.first:
            raise gone(topic, partition, last, log.first)
        while start <= last:
            found = self._read(log, start, min(start + batch - 1, last))
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
            if left <= 0 or self._closing.wait(min(_POLL_SECONDS, left)):
                return []
            log = self._log(topic, partition)
            start = log.start(after)
        return self._read(log, start, start + limit - 1)

    def _read(self, log: _Log, start: int, last: int) -> list[Stored]:
        with self._file.reading() as db:
            try:
                return unpack(db, log.id, log.incarnation, start, min(last, log.next - 1))
            except msgspec.DecodeError as error:
                raise self._file.damaged(error) from error

    def end_before(self, topic: str, partition: int, after: Position | None, limit: int) -> Position | None:
        log = self._log(topic, partition)
        start = log.start(after)
        return log.position(min(start + limit, log.next) - 1) if start < log.next else None

    def position_at(self, topic: str, partition: int, timestamp_ms: int) -> Position | None:
        log = self._log(topic, partition)
        with self._file.reading() as db:
            found = last_before(db, log.id, log.first, log.next, timestamp_ms)
        return None if found is None else log.position(found)

    def timestamp_of(self, topic: str, partition: int, position: Position) -> int:
        log = self._log(topic, partition)
        log.check(position)
        with self._file.reading() as db:
            batch = holding(db, log.id, position.order[0]) if position.order[0] >= log.first else None
        if batch is None:
            raise gone(topic, partition, position.order[0], log.first)
        return batch[1]

    # Groups and retention

    def remember(self, group: str, topic: str, partition: int, position: Position) -> None:
        log = self._log(topic, partition)
        log.check(position)
        with self._file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (group, log.id, position.order[0]))

    def recall(self, group: str, topic: str, partition: int) -> Position | None:
        log = self._log(topic, partition)
        found = self._file.ask('SELECT "offset" FROM remembered WHERE log = ? AND reader = ?', (log.id, group))
        return log.position(found[0][0]) if found else None

    def retain(self) -> int:
        """Remove what is older than its topic's retention and passed by every group; how many records went.

        Publishing does so every `retention_every_ms`. At most a thousand batches of a log go in one call:
        call again until it returns 0 to catch up."""
        removed = 0
        now = self._clock_ns() // 1_000_000
        for name, info in self.topics().items():
            if info.retention_ms < 0:
                continue
            for partition in range(info.partitions):
                old = self.position_at(name, partition, now - info.retention_ms)
                if old is not None:
                    with self._file.transaction() as db:
                        removed += remove(db, self._log(name, partition).id, old.order[0] + 1, _REMOVE_AT_ONCE)
        return removed

    def remove_before(self, topic: str, partition: int, position: Position) -> None:
        """Drop the batches that lie before `position`, as retention would."""
        log = self._log(topic, partition)
        log.check(position)
        with self._file.transaction() as db:
            while remove(db, log.id, position.order[0], _REMOVE_AT_ONCE):
                pass

    def _retain_now_and_then(self) -> None:
        now = self._clock_ns() // 1_000_000
        if now - self._retained_at >= self._retain_every_ms and not self.retain():
            self._retained_at = now  # while something goes, the next publish goes on with it

    def close(self) -> None:
        self._closing.set()
        self._file.close()

    def _topic(self, name: str) -> _Topic:
        """From memory: only `publish` may, because it notices when the topic was made again."""
        if name not in self._known:
            self.topics()
        try:
            return self._known[name]
        except KeyError:
            raise NoSuchTopic(f"topic {name} does not exist on {self.url}: create it first") from None

    def _log(self, topic: str, partition: int) -> _Log:
        rows = self._file.ask(_LOG, (topic, partition))
        if not rows:
            raise no_partition(topic, partition, self.partitions(topic))
        return _Log(topic, partition, *rows[0])
