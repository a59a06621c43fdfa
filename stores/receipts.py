"""What the warehouse says of when events were received: the side of the audit that does not look at log or archive.

An event that was replaced by a lesser copy, received earlier, has a row of each until a merge drops the greater one. So
the rows of an hour are only candidates; which row of an event counts is asked by its key (`live`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import polars as pl

from activity.columns import COLUMNS, RECEIPTS
from activity.definitions import FUTURE_MS, HOUR_MS
from stores.clickhouse import Beside
from stores.warehouse import KEYS, Warehouse

_AT_ONCE = 250_000  # keys of a question
_SCHEMA = {name: COLUMNS[name] for name in RECEIPTS}

# No event occurs later than a minute after its receipt, so partitions of later months are left out.
_RECEIVED = """
    received_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
    AND received_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')"""
_STORED = f"{_RECEIVED} AND occurred_at < fromUnixTimestamp64Milli({{latest:Int64}}, 'UTC')"
_HOUR = f"intDiv(toUnixTimestamp64Milli({{column}}), {HOUR_MS}) * {HOUR_MS} AS hour"


class Span(NamedTuple):
    """Times of receipt, [start, end) in ms; both are full hours."""

    start: int
    end: int

    @property
    def hours(self) -> int:
        """How many hours it has."""
        return (self.end - self.start) // HOUR_MS

    @property
    def in_rows(self) -> dict[str, int]:
        """The parameters of a question about rows of events."""
        return {"start": self.start, "end": self.end, "latest": self.end + FUTURE_MS}


def rows_by_hour(warehouse: Warehouse, span: Span) -> dict[int, int]:
    """How many rows of events each hour of a span has, versions of an event counted apart."""
    hour = _HOUR.format(column="received_at")
    sql = f"SELECT {hour}, count() FROM event_rows WHERE {_STORED} GROUP BY hour"
    return {int(at): int(rows) for at, rows in warehouse.query(sql, span.in_rows).iter_rows()}


def rows(warehouse: Warehouse, span: Span) -> pl.DataFrame:
    """The rows of events received in a span (`RECEIPTS`), one of each event: the latest of those in the span."""
    sql = f"""
        SELECT {", ".join(RECEIPTS)}, batch, deleted FROM event_rows WHERE {_STORED}
        ORDER BY batch DESC, deleted LIMIT 1 BY {", ".join(KEYS)}"""
    found = warehouse.query(sql, span.in_rows)
    return found.filter(pl.col("deleted") == 0).select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items())


def live(warehouse: Warehouse, keys: pl.DataFrame) -> pl.DataFrame:
    """The stored events among some keys (`KEYS`), with their time of receipt: `RECEIPTS`."""
    return _of(warehouse, keys, _SCHEMA)


def types(warehouse: Warehouse, keys: pl.DataFrame) -> pl.DataFrame:
    """The stored events among some keys (`KEYS`), with their `type`."""
    return _of(warehouse, keys, {name: COLUMNS[name] for name in (*KEYS, "type")})


def _of(warehouse: Warehouse, keys: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    found = [pl.DataFrame(schema=schema)]
    for part in keys.select(KEYS.keys()).unique().iter_slices(_AT_ONCE):
        body = io.BytesIO()
        part.rechunk().write_ipc_stream(body, compat_level=pl.CompatLevel.oldest())
        sql = f"""
            SELECT {", ".join(schema)} FROM (
                SELECT {", ".join(schema)}, deleted FROM event_rows
                PREWHERE id_lo GLOBAL IN (SELECT id_lo FROM wanted)
                WHERE ({", ".join(KEYS)}) GLOBAL IN (SELECT {", ".join(KEYS)} FROM wanted)
                ORDER BY batch DESC, deleted LIMIT 1 BY {", ".join(KEYS)}
            ) WHERE deleted = 0"""
        answer = warehouse.query(sql, None, [Beside("wanted", KEYS, body.getvalue(), "ArrowStream")])
        found.append(answer.select(pl.col(name).cast(kind) for name, kind in schema.items()))
    return pl.concat(found)


def event_rows(warehouse: Warehouse) -> int:
    """How many rows of events there are, versions counted apart: as many as events when none was ever replaced."""
    return int(warehouse.query("SELECT count() FROM event_rows").item())


def letters(warehouse: Warehouse, span: Span, topics: Iterable[str]) -> pl.DataFrame:
    """How many dead letters were received by `hour`: `rows`, and whether they lay on one of these `topics` as
    `records`."""
    hour = _HOUR.format(column="received_at")
    sql = f"""
        SELECT {hour}, topic IN {{topics:Array(String)}} AS records, count() AS rows
        FROM dead_letter_rows WHERE {_RECEIVED} GROUP BY hour, records"""
    params = {"start": span.start, "end": span.end, "topics": list(topics)}
    schema = {"hour": pl.Int64(), "records": pl.Boolean(), "rows": pl.Int64()}
    return warehouse.query(sql, params).select(pl.col(name).cast(kind) for name, kind in schema.items())


def outcomes(warehouse: Warehouse, span: Span) -> pl.DataFrame:
    """The loss account of a span: `hour`, `outcome`, `reason` and how many `events`."""
    where = _RECEIVED.replace("received_at", "a.hour")
    hour = "toUnixTimestamp64Milli(a.hour) AS at"
    sql = f"""
        SELECT {hour}, outcome, reason, sum(a.events) AS counted FROM loss_account AS a
        WHERE {where} GROUP BY at, outcome, reason ORDER BY at, outcome, reason"""
    found = warehouse.query(sql, {"start": span.start, "end": span.end})
    schema = {"hour": pl.Int64(), "outcome": pl.String(), "reason": pl.String(), "events": pl.Int64()}
    return found.rename({"at": "hour", "counted": "events"}).select(pl.col(n).cast(k) for n, k in schema.items())
