"""The warehouse: ClickHouse, on a server or embedded in this process, behind one small class.

Frames. A frame's times are Int64 milliseconds UTC, its visitor and ids UInt64, its text String; the tables have
DateTime64(3, 'UTC'). `insert` and `query` convert by the column types that the warehouse itself names, so one takes
what the other returns. A text column that is no valid UTF-8 (the bytes of a dead letter) is Binary.

Tokens. `insert` writes one block under a token; the same token again writes nothing, also after a restart.
Without tokens an identical block would be dropped as well, and other data under a used token is dropped in
silence. So the caller makes a token that says exactly which rows of which intent it stands for.

Versions. The tables keep a row for each batch that wrote it, until a merge leaves the last. So what was live before a
batch can only be queried as long as that batch has written nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from threading import Lock
from typing import Any

import polars as pl
from clickhouse_connect.driver.client import Client

from activity import columns, rollup, session
from stores import checksum, clickhouse, frames, migrate
from stores.base import BrokenRows
from stores.clickhouse import Beside, Clients, ask, bound
from stores.read_only.client import LIMITS, Answer, ReadOnlyClient

KEYS = {"site": "String", "visitor": "UInt64", "id_hi": "UInt64", "id_lo": "UInt64"}
VISITORS = {"site": "String", "visitor": "UInt64"}

_PLACE = {name: columns.COLUMNS[name] for name in (*KEYS, "occurred_at")}

# The tables that the pipeline writes.
TABLES = ("event_rows", "session_rows", "rollup_1m_rows", "rollup_1h_rows", "dead_letter_rows")
# Those that are built from them and can be at any time; of open days only what a question needs to be right.
BUILT = ("day_values", "day_visits", "day_builds", "day_sites", "day_horizons", "month_values", "month_builds")

_PARTS = """
SELECT table, partition_id AS partition, min_block_number AS first, max_block_number AS last,
    toInt64(rows) AS rows, intDiv(toInt64(toUnixTimestamp(min_time)), 86400) AS first_day,
    intDiv(toInt64(toUnixTimestamp(max_time)), 86400) AS last_day
FROM system.parts
WHERE active AND rows > 0 AND database = currentDatabase() AND table IN {tables:Array(String)}
ORDER BY table, partition, first"""
_PARTITIONS = """
SELECT DISTINCT table, partition_id FROM system.parts
WHERE active AND database = currentDatabase() AND match(table, '_rows$|^(day|month|open)_')
    AND (partition_id = 'all' OR
        toUInt32OrZero(partition_id) BETWEEN toYYYYMM(toDate({first:Int32})) AND toYYYYMM(toDate({last:Int32})))
ORDER BY ALL"""
_CHUNK_ROWS = 125_000
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Warehouse:
    """Reads and writes one warehouse. Safe for threads. An embedded one belongs to this process until `close`.

    Methods that reach the engine raise `StoreUnreachable` when it does not answer, `BrokenRows` when stored rows cannot
    be read, and `QueryFailed` when it breaks off a statement. Batches are numbers that only grow; spans are
    [start, end) in ms; `site` None is all sites. An event or session is live when its last row does not say that it is
    deleted."""

    def __init__(self, url: str) -> None:
        settings = {
            "output_format_arrow_string_as_string": "0",
            "session_timezone": "UTC",
            # All rows of one key have one day, so versions of a row never lie in two partitions.
            "do_not_merge_across_partitions_select_final": "1",
        }
        self._clients = Clients(url, settings)
        self.over_cluster = bool(self._clients.cluster)  # whose shards the tables are spread over
        self._read_only = ReadOnlyClient(self._clients)
        self.url = self._clients.safe_url
        self._types: dict[str, dict[str, str]] = {}
        self._own_defaults: dict[str, frozenset[str]] = {}  # columns whose default is not 0, "" or NULL, by table
        self.broken: BrokenRows | None = None  # what a read met last, until it is repaired
        self.building = Lock()  # held while a day or month is built, and while rows are erased
        try:
            self._clients.own()
        except BaseException:
            self._clients.close()
            raise

    def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the names of the migrations that were applied.

        Raises `Unusable` when another version of Footfall owns the schema."""
        done = migrate.apply(self.query, self.command, self._clients.cluster)
        self._types.clear()
        self.broken = None
        if done:
            self._read_only.reset()
        return done

    def insert(self, table: str, frame: pl.DataFrame, token: str) -> None:
        """Write a frame as one block, once for its token. Columns go by name; those left out get their default.

        Raises ValueError when the table lacks a column of the frame."""
        if frame.is_empty():
            return
        sent = self._to_table(table, frame)
        body = frames.arrow(sent)
        block = str(max(frame.height, 1_048_576))
        settings = {
            "insert_deduplication_token": token,
            "insert_deduplicate": "1",
            "async_insert": "0",
            "optimize_on_insert": "0",  # a block has each key once, and merging it anyway costs as much as the rest
            "max_insert_block_size": block,
            "min_insert_block_size_rows": block,
            "min_insert_block_size_bytes": "0",
        }
        with self._clients.lend() as client:
            client.raw_insert(table, sent.columns, body, settings=settings | self._over_shards, fmt="ArrowStream")

    def ask(self, question: str, **params: Any) -> pl.DataFrame:
        """The answer to a question of `sql/query`, see `clickhouse.names()`; the engine binds the parameters.

        Raises ValueError when there is no such question, or it declares no such parameter."""
        return self.query(clickhouse.question(question), params)

    def query(
        self, sql: str, params: Mapping[str, Any] | None = None, beside: Sequence[Beside] = (), ids: bool = False
    ) -> pl.DataFrame:
        """The answer to a statement of ours, as a frame; `{name:Type}` in it takes a parameter, which is bound.

        `beside` are tables that the statement may ask too; `ids` are as `frames.answer` takes them."""
        with self._lent() as client, clickhouse.there(client, beside, self._clients.embedded) as sent:
            return frames.answer(client, sql, params, sent, ids)

    def table_of(
        self, name: str, sql: str, params: Mapping[str, Any], types: Mapping[str, str], beside: Sequence[Beside] = ()
    ) -> Beside:
        """The answer to a statement, with columns of these types, to be asked as a table `name` beside another one."""
        with self._lent() as client, clickhouse.there(client, beside, self._clients.embedded) as sent:
            return Beside(name, types, ask(client, sql, "Native", params, sent), "Native")

    @contextmanager
    def _lent(self) -> Iterator[Client]:
        try:
            with self._clients.lend() as client:
                yield client
        except BrokenRows as error:
            self.broken = error
            raise

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """Run a statement of ours that answers nothing, with bound parameters."""
        with self._lent() as client:
            client.command(sql, parameters=bound(sql, params), settings=self._over_shards)

    @property
    def _over_shards(self) -> dict[str, str]:
        """Settings for what is written to a cluster: by itself it answers first, and gives rows to the shards later."""
        return {"distributed_foreground_insert": "1"} if self.over_cluster else {}

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._clients.database

    def read_only(
        self,
        statement: str,
        fmt: str = "TabSeparated",
        params: Mapping[str, str] | None = None,
        *,
        escaped: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a user's statement, in `fmt` unless the statement ends with a FORMAT of its own.

        `escaped` parameters are as clients of the engine write them. `settings` are those of `inspection.CHOSEN`.
        Raises `QueryRefused` when it is not a plain question to this database's tables, or reaches a limit;
        `TooManyQueries` when others are being answered and its turn does not come."""
        return self._read_only.answer(statement, fmt, params or {}, LIMITS, escaped, settings or {})

    def lookup_events(self, keys: pl.DataFrame, before_batch: int) -> pl.DataFrame:
        """The events live before a batch whose `site`, `visitor`, `id_hi`, `id_lo` are among the keys.

        Returns all event columns. Call it before the batch writes: what the batch replaces may be gone afterwards."""
        wanted = keys.select(KEYS.keys()).unique()
        if wanted.is_empty():
            return pl.DataFrame(schema=columns.COLUMNS)
        names = ", ".join(columns.COLUMNS)
        sql = f"""
            SELECT {names} FROM (
                SELECT {names}, deleted FROM event_rows
                PREWHERE id_lo IN (SELECT id_lo FROM wanted)
                WHERE batch < {{before:UInt64}} AND site IN (SELECT site FROM wanted)
                  AND (site, visitor, id_hi, id_lo) IN (SELECT site, visitor, id_hi, id_lo FROM wanted)
                ORDER BY batch DESC, deleted
                LIMIT 1 BY site, visitor, id_hi, id_lo
            ) WHERE deleted = 0"""
        params = {"before": before_batch}
        found = self.query(sql, params, [frames.wanted(wanted, KEYS)])
        return frames.shaped(found, columns.COLUMNS)

    def events_between(
        self,
        site: str | None,
        visitors: pl.DataFrame | None,
        start_ms: int,
        end_ms: int,
        upto_batch: int = 2**63 - 1,
        shard: tuple[int, int] = (0, 1),
        kinds: Mapping[str, pl.DataType] = columns.COLUMNS,
    ) -> Iterator[pl.DataFrame]:
        """Live events that occurred in a span, in frames of about 125,000 rows with event columns of these types.

        Days come in order: several in a frame where they have few rows, one in several frames where it has more.
        `visitors` (`site`, `visitor`) restricts them to some; None is all. Events that a batch after `upto_batch` wrote
        are left out, and those of visitors outside of `shard`: a number, and of how many shards."""
        params = _span(site, start_ms, end_ms) | {"upto": upto_batch, "shard": shard[0], "shards": shard[1]}
        where = f"batch <= {{upto:UInt64}} AND {_within('occurred_at', site)}"
        where += " AND visitor % {shards:UInt32} = {shard:UInt32}"
        if visitors is not None:
            where += " AND (site, visitor) IN (SELECT site, visitor FROM wanted)"
        counted = f"SELECT day, count() AS rows FROM event_rows WHERE {where} GROUP BY day ORDER BY day"
        share_of_days = f"""
            SELECT {", ".join(kinds)} FROM event_rows FINAL
            WHERE {where} AND day BETWEEN {{first:Date}} AND {{last:Date}}
                AND visitor BETWEEN {{least:UInt64}} AND {{most:UInt64}}"""
        for first, last, count in _read_at_once(self._among(counted, params, visitors)):
            shares = count // _CHUNK_ROWS + 1
            # Visitors are hashes, and rows are stored in their order: a range of visitors is read without the others.
            for share in range(shares):
                least, most = (2**64 * share // shares, 2**64 * (share + 1) // shares - 1)
                here = params | {"first": _iso(first), "last": _iso(last), "least": least, "most": most}
                found = self._among(share_of_days, here, visitors, pl.Categorical in kinds.values())
                frame = frames.shaped(found, kinds)
                if not frame.is_empty():
                    yield frame

    def event_checksums(
        self, site: str | None, start_ms: int, end_ms: int, upto_batch: int, shards: int
    ) -> dict[int, tuple[int, int, int]]:
        """By shard: how many live events occurred in a span, and the checksums of their keys and of their columns.

        A shard is the remainder of the visitor. Events that a batch after `upto_batch` wrote are left out."""
        types = self.types_of("event_rows")
        keys = checksum.row_checksum_sql(types, KEYS, "key")
        rows = checksum.row_checksum_sql(types, columns.COLUMNS, "row")
        params = _span(site, start_ms, end_ms) | {"upto": upto_batch, "shards": shards}
        where = f"batch <= {{upto:UInt64}} AND {_within('occurred_at', site)}"
        sums = f"SELECT visitor % {{shards:UInt32}}, count(), sum({keys}), sum({rows})"
        # Merging all columns costs as much as adding them up, and hardly any event is stored in several versions.
        versions = f"uniqExact({keys}) AS once, sum(deleted) AS gone"
        found = self.query(f"{sums}, {versions} FROM event_rows WHERE {where} GROUP BY 1", params)
        if any(count != once or gone for _, count, _, _, once, gone in found.iter_rows()):
            found = self.query(f"{sums} FROM event_rows FINAL WHERE {where} GROUP BY 1", params)
        return {shard: (count, key, row) for shard, count, key, row, *_ in found.iter_rows()}

    def places_around(
        self, visitors: pl.DataFrame, start_ms: int, end_ms: int, days: range, upto_batch: int
    ) -> pl.DataFrame:
        """The keys (`KEYS`) and times (`occurred_at`) of the live events by persons in a span, but not on these days.

        Of these visitors (`site`, `visitor`), and without events that a batch after `upto_batch` wrote."""
        # All versions of a row have its visitor, so it may be looked at before they become one; other columns may not.
        sql = f"""
            SELECT {", ".join(KEYS)}, occurred_at FROM event_rows FINAL
            PREWHERE visitor IN (SELECT visitor FROM wanted)
            WHERE {_within("occurred_at", None)} AND bot = '' AND batch <= {{upto:UInt64}}
              AND (day < toDate({{first:Int32}}) OR day >= toDate({{next:Int32}}))
              AND (site, visitor) IN (SELECT site, visitor FROM wanted)"""
        params = _span(None, start_ms, end_ms) | {"upto": upto_batch, "first": days.start, "next": days.stop}
        return frames.shaped(self._among(sql, params, visitors), _PLACE)

    def events_of(self, first: int, last: int, site: str | None, start_ms: int, end_ms: int) -> pl.DataFrame:
        """Live events that occurred in a span and were written by the batches `first`..`last`; all event columns."""
        where = f"batch BETWEEN {{first:UInt64}} AND {{last:UInt64}} AND {_within('occurred_at', site)}"
        sql = f"SELECT {', '.join(columns.COLUMNS)} FROM event_rows FINAL WHERE {where}"
        found = self.query(sql, {"first": first, "last": last} | _span(site, start_ms, end_ms))
        return frames.shaped(found, columns.COLUMNS)

    def sessions_between(self, site: str | None, start_ms: int, end_ms: int) -> pl.DataFrame:
        """Live sessions that started in a span (`session.COLUMNS`)."""
        names = ", ".join(session.COLUMNS)
        sql = f"SELECT {names} FROM session_rows FINAL WHERE {_within('started_at', site)}"
        found = self.query(sql, _span(site, start_ms, end_ms))
        return frames.shaped(found, session.COLUMNS)

    def sessions_checksum(self, site: str | None, start_ms: int, end_ms: int) -> tuple[int, int]:
        """How many live sessions started in a span, and their checksum over `session.COLUMNS`."""
        rows = checksum.row_checksum_sql(self.types_of("session_rows"), session.COLUMNS, "row")
        sql = f"SELECT count(), sum({rows}) FROM session_rows FINAL WHERE {_within('started_at', site)}"
        return self.query(sql, _span(site, start_ms, end_ms)).row(0)

    def rollup_checksum(self, grain: str, site: str | None, start_ms: int, end_ms: int) -> int:
        """The checksum of what `rollups_between` returns, see `rollup.KEY` and `rollup.COUNTS`."""
        counts = checksum.counts_checksum_sql(self.types_of(f"{grain}_rows"), rollup.KEY, rollup.COUNTS)
        sql = f"SELECT {counts} FROM {grain}_rows WHERE {_within('bucket', site, by_day=False)}"
        return int(self.query(sql, _span(site, start_ms, end_ms)).item())

    def rollups_between(self, grain: str, site: str | None, start_ms: int, end_ms: int) -> pl.DataFrame:
        """Sums of `rollup_1m` or `rollup_1h` whose bucket starts in a span (`rollup.COLUMNS`).

        Raises ValueError for another grain."""
        if grain not in rollup.GRAINS:
            raise ValueError(f"{grain!r} is no rollup; there are {', '.join(rollup.GRAINS)}")
        names = ", ".join(rollup.COLUMNS)
        sql = f"SELECT {names} FROM {grain} WHERE {_within('bucket', site, by_day=False)}"
        found = self.query(sql, _span(site, start_ms, end_ms))
        return frames.shaped(found, rollup.COLUMNS)

    def parts(self) -> pl.DataFrame | None:
        """The parts of the pipeline's and of the day tables, each with its blocks, rows and days since the epoch.

        `table`, `partition`, `first`, `last`, `rows`, `first_day`, `last_day`, see `pipeline.losses`. None over a
        cluster, which restores its own."""
        if self.over_cluster:
            return None
        return self.query(_PARTS, {"tables": [*TABLES, *BUILT]})

    def broken_parts(self, first_day: int, last_day: int) -> list[tuple[str, str, str]]:
        """Table, part and what is wrong with it, for the parts whose files fail their checksums.

        Looks at all months that these days (since the epoch) touch, and reads every byte of them. Empty over a
        cluster."""
        if self.over_cluster:
            return []
        found = []
        for table, partition in self.query(_PARTITIONS, {"first": first_day, "last": last_day}).iter_rows():
            checked = self.query(
                f"CHECK TABLE {table} PARTITION ID '{partition}' "
                "SETTINGS check_query_single_value_result = 0"
            )
            found += [(table, part, why) for part, passed, why in checked.iter_rows() if not passed]
        return found

    def set_part_aside(self, table: str, part: str) -> None:
        """Detach a part: its rows no longer count, its files stay in the table's folder `detached`.

        No batch tells of that, so all days have to be built again. Not for a cluster, see `broken_parts`."""
        self.command(f"ALTER TABLE {table} DETACH PART {{part:String}}", {"part": part})
        self.command("TRUNCATE TABLE day_sites")
        self.command("TRUNCATE TABLE day_builds")
        self.command("TRUNCATE TABLE open_days")

    def dead_letters_between(self, first_day: int, last_day: int) -> pl.DataFrame:
        """Dead letters received on days (since the epoch): the first five columns of the view, bytes as Binary."""
        sql = """
            SELECT received_at, topic, reason, bytes, id FROM dead_letter_rows
            WHERE toDate(received_at, 'UTC') BETWEEN toDate({first:Int32}) AND toDate({last:Int32})"""
        found = self.query(sql, {"first": first_day, "last": last_day})
        return found.with_columns(pl.col("bytes").cast(pl.Binary))

    def stored_dead_letters(self, topic: str, lines: Sequence[str]) -> set[str]:
        """Which of these bytes, in base64, are stored as dead letters of a topic."""
        sql = """
            SELECT DISTINCT base64Encode(bytes) AS line FROM dead_letter_rows
            WHERE topic = {topic:String} AND base64Encode(bytes) IN {lines:Array(String)}"""
        return set(self.query(sql, {"topic": topic, "lines": list(lines)})["line"])

    def has_events(self, site: str) -> bool:
        """Whether any event of a site is stored."""
        return self.query("SELECT 1 FROM event_rows WHERE site = {site:String} LIMIT 1", {"site": site}).height > 0

    def last_batch(self) -> int:
        """The highest batch number of any stored event or session; 0 for an empty warehouse."""
        sql = "SELECT max(b) FROM (SELECT max(batch) b FROM event_rows UNION ALL SELECT max(batch) FROM session_rows)"
        return int(self.query(sql).item())

    def count_events(self) -> int:
        """How many events are live, of all sites and days."""
        return int(self.query("SELECT count() FROM event_rows FINAL").item())

    def rows_of(self, table: str, batch: int) -> int:
        """How many rows a batch wrote into a table, as long as no later batch replaces some.

        Raises ValueError for a table that the pipeline does not write."""
        if table not in TABLES:
            raise ValueError(f"{table!r} is no table of the pipeline")
        return int(self.query(f"SELECT count() FROM {table} WHERE batch = {{b:UInt64}}", {"b": batch}).item())

    def rows_around(self, batch: int) -> pl.DataFrame:
        """Whose events and sessions a batch wrote, and when they are: `site`, `visitor`, `occurred_at` (ms)."""
        found = " UNION ALL ".join(
            f"SELECT site, visitor, {at} AS occurred_at FROM {table} WHERE batch = {{b:UInt64}}"
            for table, at in (("event_rows", "occurred_at"), ("session_rows", "started_at"))
        )
        rows = self.query(f"SELECT DISTINCT * FROM ({found})", {"b": batch})
        return frames.shaped(rows, {name: columns.COLUMNS[name] for name in rows.columns})

    def close(self) -> None:
        """Close all clients, and give up an embedded warehouse."""
        self._read_only.close()
        self._clients.close()

    def _among(self, sql: str, params: Mapping[str, Any], some: pl.DataFrame | None, ids: bool = False) -> pl.DataFrame:
        beside = [] if some is None else [frames.wanted(some.select(VISITORS.keys()).unique(), VISITORS)]
        return self.query(sql, params, beside, ids)

    def _to_table(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        types = self.types_of(table)
        strange = [name for name in frame.columns if name not in types]
        if strange:
            raise ValueError(f"table {table} has no column {', '.join(strange)}; it has {', '.join(types)}")
        sent = frames.without_empty(frame, types, self._own_defaults[table])
        times = [name for name in sent.columns if "DateTime64" in types[name] and sent[name].dtype == pl.Int64]
        sent = sent.with_columns(pl.col(times).cast(frames.TIME)).rechunk()
        return columns.as_ids(sent) if sent.height >= columns.MANY else sent

    def types_of(self, table: str) -> dict[str, str]:
        """The columns of a table with their types. Raises ValueError for what cannot be a table's name."""
        if table not in self._types:
            if not _NAME.fullmatch(table):
                raise ValueError(f"{table!r} is no table's name")
            described = self.query(f"DESCRIBE TABLE {table}")
            self._own_defaults[table] = frozenset(described.filter(pl.col("default_type") != "")["name"])
            self._types[table] = dict(zip(described["name"], described["type"], strict=True))
        return self._types[table]


def _read_at_once(counted: pl.DataFrame) -> Iterator[tuple[Any, Any, int]]:
    """Days that are read together: the first, the last, and their rows; `counted` has `day` and `rows`, in order."""
    days, total = list[Any](), 0
    for day, rows in [*counted.iter_rows(), (None, _CHUNK_ROWS + 1)]:
        if days and total + rows > _CHUNK_ROWS:
            yield days[0], days[-1], total
            days, total = [], 0
        days.append(day)
        total += rows


def _within(column: str, site: str | None, *, by_day: bool = True) -> str:
    start, end = "fromUnixTimestamp64Milli({start:Int64}, 'UTC')", "fromUnixTimestamp64Milli({end:Int64}, 'UTC')"
    terms = [f"{column} >= {start}", f"{column} < {end}"]
    if by_day:
        terms.append(f"day BETWEEN toDate({start}, 'UTC') AND toDate({end}, 'UTC')")
    if site is not None:
        terms.append("site = {site:String}")
    return " AND ".join(terms)


def _span(site: str | None, start_ms: int, end_ms: int) -> dict[str, Any]:
    """The parameters that `_within` uses."""
    return {"start": start_ms, "end": end_ms} | ({} if site is None else {"site": site})


def _iso(day: Any) -> str:
    return day.isoformat() if isinstance(day, date) else str(day)
