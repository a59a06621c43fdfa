"""Erasing visitors, or days that a site does not keep any longer, from the warehouse for good: their rows, the values
that only they had, and the files of both.

The engine removes rows by rewriting the parts that have them (a mutation), and removes the former files later. A
mutation's own text stays on disk, so none names a visitor: it asks the table `erasures`, which has the tombstones.
What has expired is found by site and time alone, in the months that have any of it.
Every statement may be run again after a crash, also while the engine still finishes one of before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import polars as pl

from activity import rollup, session
from activity.columns import COLUMNS
from activity.definitions import DAY_MS, GAP_MS
from activity.erasure import Erasures, Expiry, Tombstone
from stores.day_rows import declared
from stores.days import DayTables
from stores.warehouse import Warehouse

# Whose rows name a visitor, and so are found by him; the others are found by day.
_BY_VISITOR = ("event_rows", "session_rows", "day_visits", "open_visits")
_ROLLUPS = tuple(f"{grain}_rows" for grain in rollup.GRAINS)
_BY_DAY = ("day_values", "day_visits", "open_visits", "month_values")
_LETTERS, _DEEDS = "dead_letter_rows", "letter_deeds"
_IMPORTED = ("imported_days", "imported_parts")  # numbers alone, which only expire
_TABLES = (*_BY_VISITOR, *_ROLLUPS, _LETTERS, _DEEDS, "day_values", "month_values", "open_days", *_IMPORTED)
_DAY = timedelta(days=1)
_CLEANED_SECONDS = 60.0
_NEEDLES = 200  # the engine looks for 255 texts at a time

# The row of a user's tombstone has no visitor in it.
_THEM = "SELECT visitor FROM erasures WHERE epoch = {epoch:UInt64} AND user = ''"
_OF_THEM = f"site = {{site:String}} AND visitor IN ({_THEM})"
_HERE = "database = currentDatabase() AND table IN {tables:Array(String)}"


class Erased(NamedTuple):
    """Whom an erasure is about: a site, its number, and its visitors (`site`, `visitor`)."""

    site: str
    epoch: int
    visitors: pl.DataFrame


class Eraser:
    """Erases from one warehouse. Raises what `Warehouse` raises."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._tables = DayTables(warehouse)

    # -- tombstones -------------------------------------------------------------------------------------------

    def erasures(self) -> Erasures:
        """The tombstones in the tables `erasures` and `expiries`."""
        sql = "SELECT epoch, site, toUnixTimestamp64Milli(occurred_before) FROM expiries FINAL ORDER BY site"
        found = self._warehouse.query(sql).iter_rows()
        return Erasures(tuple(self._tombstones()), tuple(Expiry(*row) for row in found))

    def _tombstones(self) -> list[Tombstone]:
        sql = """
            SELECT DISTINCT epoch, site, received_before, lower(leftPad(hex(visitor), 16, '0')), user
            FROM erasures ORDER BY ALL"""
        return [
            Tombstone(epoch, site, before, "" if user else visitor, user)
            for epoch, site, before, visitor, user in self._warehouse.query(sql).iter_rows()
        ]

    def record(self, tombstones: Sequence[Tombstone], at: int) -> None:
        """Write the tombstones of one erasure into the table, once; `at` (ms) is when it was begun."""
        frame = pl.DataFrame(
            [(each.epoch, each.site, int(each.visitor or "0", 16), each.user, each.received_before, at)
             for each in tombstones],
            schema={"epoch": pl.UInt64, "site": pl.String, "visitor": pl.UInt64, "user": pl.String,
                    "received_before": pl.Int64, "erased_at": pl.Int64},
            orient="row",
        )  # fmt: skip
        self._warehouse.insert("erasures", frame, f"erasures/{tombstones[0].epoch}/{at}")

    def record_expiry(self, expiry: Expiry, at: int) -> None:
        """Write the tombstone of a site into the table, in the place of its former one; `at` as of `record`."""
        frame = pl.DataFrame(
            [(expiry.site, expiry.epoch, expiry.occurred_before, at)],
            schema={"site": pl.String, "epoch": pl.UInt64, "occurred_before": pl.Int64, "erased_at": pl.Int64},
            orient="row",
        )
        self._warehouse.insert("expiries", frame, f"expiries/{expiry.epoch}/{at}")

    def count_gone(self, outcome: str, site: str, hours: Mapping[int, int], block: str) -> None:
        """Tell the loss account how many events of which hours of receipt (ms) leave the log, once for a block.

        The outcome is "erased" or "expired"."""
        frame = pl.DataFrame(
            [(site, hour, outcome, "", events) for hour, events in sorted(hours.items())],
            schema={"site": pl.String, "hour": pl.Int64, "outcome": pl.String, "reason": pl.String, "events": pl.Int64},
            orient="row",
        )  # fmt: skip
        self._warehouse.insert("loss_account", frame, f"loss_account/{outcome}/{block}")

    # -- what is there ----------------------------------------------------------------------------------------

    def visitors_of(self, site: str, user: str) -> pl.DataFrame:
        """The visitors (`site`, `visitor`) with stored events of a user."""
        sql = "SELECT DISTINCT site, visitor FROM event_rows WHERE site = {site:String} AND user = {user:String}"
        found = self._warehouse.query(sql, {"site": site, "user": user})
        return found.select(pl.col("site").cast(pl.String), pl.col("visitor").cast(pl.UInt64))

    def days(self, site: str, visitors: pl.DataFrame) -> list[date]:
        """The UTC days on which any rows of these visitors' events or sessions lie, replaced ones included."""
        whose = "site = {site:String} AND visitor IN {visitors:Array(UInt64)}"
        sql = f"""
            SELECT DISTINCT day FROM (
                SELECT day FROM event_rows WHERE {whose} UNION ALL SELECT day FROM session_rows WHERE {whose}
            ) ORDER BY day"""
        return self._warehouse.query(sql, {"site": site, "visitors": visitors["visitor"].to_list()})["day"].to_list()

    def latest(self, site: str, visitors: pl.DataFrame) -> int:
        """When the last stored event of these visitors was received, in ms; 0 without any."""
        sql = """
            SELECT toUnixTimestamp64Milli(max(received_at)) FROM event_rows
            WHERE site = {site:String} AND visitor IN {visitors:Array(UInt64)}"""
        return int(self._warehouse.query(sql, {"site": site, "visitors": visitors["visitor"].to_list()}).item() or 0)

    def events(self, visitors: pl.DataFrame, days: Sequence[date]) -> pl.DataFrame:
        """The live events of these visitors; `days` are those of `days()`."""
        found = [pl.DataFrame(schema=COLUMNS)]
        if days and visitors.height:
            start, end = _span(days[0], days[-1])
            found += self._warehouse.events_between(str(visitors["site"][0]), visitors, start, end)
        return pl.concat(found)

    def sessions(self, site: str, day: date) -> pl.DataFrame:
        """The live sessions of a site that began on a UTC day (`session.COLUMNS`)."""
        return self._warehouse.sessions_between(site, *_span(day, day)).select(session.COLUMNS.keys())

    def letters(self, site: str, needles: Sequence[str]) -> list[str]:
        """The hashes of the stored dead letters that name one of some texts, or that are of the site's visitor.

        A letter may name it as it came or as it was mended. A needle that is a visitor's id is looked for in the column
        of visitors, too."""
        where = """(site IN ('', {site:String}) AND multiSearchAny(bytes, {needles:Array(String)}))
            OR (site = {site:String} AND visitor IN {needles:Array(String)})
            OR multiSearchAny(sender, {visitors:Array(String)})
            OR (site IN ('', {site:String}) AND id IN (
                SELECT id FROM letter_deeds AS d WHERE multiSearchAny(d.bytes, {needles:Array(String)})
            ))"""
        sql = f"SELECT DISTINCT {_HASH} AS hash FROM dead_letters WHERE {where}"
        found: set[str] = set()
        for start in range(0, len(needles), _NEEDLES):
            some = list(needles[start : start + _NEEDLES])
            # As `sender` may have it of another site: a visitor's id is of one site alone.
            visitors = [each for each in some if re.fullmatch("[0-9a-f]{16}", each)]
            given = {"needles": some, "visitors": visitors, "site": site}
            found |= set(self._warehouse.query(sql, given)["hash"])
        return sorted(found)

    def letter_ids(self, letters: Sequence[str]) -> list[str]:
        """The ids of the dead letters with these hashes."""
        sql = f"SELECT DISTINCT id FROM dead_letters WHERE {_OF_LETTERS} ORDER BY id"
        return self._warehouse.query(sql, {"hashes": list(letters)})["id"].to_list()

    def expired_days(self, expiry: Expiry) -> list[date]:
        """The UTC days on which any rows of events or sessions lie that have expired, replaced ones included."""
        sql = f"""
            SELECT DISTINCT day FROM (
                SELECT day FROM event_rows WHERE {_BEFORE} UNION ALL SELECT day FROM session_rows WHERE {_BEFORE}
            ) ORDER BY day"""
        return self._warehouse.query(sql, _given(sql, expiry))["day"].to_list()

    def expired(self, expiry: Expiry) -> tuple[int, int, int]:
        """How many live events and sessions, and how many dead letters, have expired."""
        counts = [f"SELECT count() FROM {table} FINAL WHERE {_BEFORE}" for table in ("event_rows", "session_rows")]
        counts.append(f"SELECT count() FROM {_LETTERS} WHERE {_RECEIVED_BEFORE}")
        events, sessions, letters = (int(self._warehouse.query(sql, _given(sql, expiry)).item()) for sql in counts)
        return events, sessions, letters

    def crossing(self, expiry: Expiry) -> pl.DataFrame:
        """The visitors (`site`, `visitor`) whose events may go on behind the moment without a gap."""
        # A session lasts less than two days, and may have been cut at the moment itself.
        sql = f"""
            SELECT DISTINCT site, visitor FROM session_rows FINAL
            WHERE {_BEFORE} AND day >= {{first:Date}} - 3 AND toUnixTimestamp64Milli(ended_at) >= {{near:Int64}}"""
        found = self._warehouse.query(sql, _given(sql, expiry) | {"near": expiry.occurred_before - GAP_MS})
        return found.select(pl.col("site").cast(pl.String), pl.col("visitor").cast(pl.UInt64))

    # -- erasing ----------------------------------------------------------------------------------------------

    def touched(self, erased: Erased, days: Sequence[date], letters: Sequence[str]) -> set[tuple[str, str]]:
        """The (table, partition)s of the pipeline whose parts erasing rewrites."""
        found = {(table, each) for table in ("event_rows", "session_rows") for each in self._of_them(table, erased)}
        found |= {(table, each) for table in _ROLLUPS for each in _months(days)}
        return found | {(_LETTERS, each) for each in self._partitions(_LETTERS, _OF_LETTERS, {"hashes": letters})}

    def touched_by_expiry(self, expiry: Expiry) -> set[tuple[str, str]]:
        """As `touched`, of what has expired, and with the tables that are built from others."""
        return {(table, each) for table, where in _EXPIRING.items()
                for each in self._partitions(table, where, _given(where, expiry))}  # fmt: skip

    def expire(self, expiry: Expiry, days: Sequence[date]) -> None:
        """Remove what has expired of a site. The days are those of `expired_days()`.

        Built days and months that had any of it do not count any more, and are built again; none is while this runs."""
        with self._warehouse.building:
            first = _first(expiry)
            # The day of a time zone may have hours of a UTC day before and after; a visit may go on to the next.
            around = {day + n * _DAY for day in days for n in (-1, 0, 1)} | {first, first + _DAY} if days else set()
            builds = self._invalidate(expiry.site, around)
            letters = f"SELECT DISTINCT id FROM dead_letters WHERE {_RECEIVED_BEFORE}"
            deeds = {"ids": self._warehouse.query(letters, _given(letters, expiry))["id"].to_list()}
            self._delete(_DEEDS, self._partitions(_DEEDS, _OF_DEEDS, deeds), _OF_DEEDS, deeds)
            # Of months that are kept, those that do not count any more only: the others are not built again.
            months = sorted({day.replace(day=1) for _, _, day in builds})
            for table, where in (_EXPIRING | {"month_values": _MONTHS}).items():
                if days or table not in _BY_DAY:
                    given = _given(where, expiry, months)
                    self._delete(table, self._partitions(table, where, given), where, given)

    def uncount(self, erased: Erased, events: pl.DataFrame) -> None:
        """Take events out of the rollups, once for each erasure."""
        for grain, length in rollup.GRAINS.items():
            parts = [rollup.roll_up(part.clear(), part, length) for part in events.iter_slices(125_000)]
            if parts:
                counts = pl.concat(parts).group_by(rollup.KEY).agg(pl.col(rollup.COUNTS).sum()).sort(rollup.KEY)
                rows = counts.select(pl.col(name).cast(kind) for name, kind in rollup.COLUMNS.items())
                self._warehouse.insert(f"{grain}_rows", rows, f"{grain}_rows/forget/{erased.epoch}")

    def erase(self, erased: Erased, days: Sequence[date], letters: Sequence[str]) -> None:
        """Remove the rows of the visitors, what only they had of the rollups, and these dead letters.

        The days are those of `days()`; their counts have to be taken out before (`uncount`). Days and months that were
        built with these rows do not count any more, and are built again; none is while this runs."""
        with self._warehouse.building:
            self._erase(erased, days, letters)

    def _erase(self, erased: Erased, days: Sequence[date], letters: Sequence[str]) -> None:
        around = sorted({day + n * _DAY for day in days for n in (-1, 0, 1)})
        builds = self._invalidate(erased.site, set(around))
        given = {"site": erased.site, "epoch": erased.epoch}
        for table in _BY_VISITOR:
            self._delete(table, self._of_them(table, erased), _OF_THEM, given)
        for table, column, dates in (
            ("day_values", "day", around),
            # Of months that do not count any more only: the others are not built again.
            ("month_values", "month", sorted({day.replace(day=1) for _, _, day in builds})),
        ):
            where = f"site = {{site:String}} AND {column} IN {{dates:Array(Date32)}}"
            those = {"site": erased.site, "dates": dates}
            self._delete(table, self._partitions(table, where, those), where, those)
        hashes = {"hashes": list(letters)}
        deeds = {"ids": self.letter_ids(letters)}
        self._delete(_DEEDS, self._partitions(_DEEDS, _OF_DEEDS, deeds), _OF_DEEDS, deeds)
        self._delete(_LETTERS, self._partitions(_LETTERS, _OF_LETTERS, hashes), _OF_LETTERS, hashes)
        for table in _ROLLUPS:
            # Merging drops the rows whose counts add up to nothing.
            for partition in _months(days):
                self._warehouse.command(f"OPTIMIZE TABLE {table} PARTITION ID '{partition}' FINAL")

    def _invalidate(self, site: str, days: set[date]) -> list[tuple[str, str, date]]:
        """Have these days of a site built again; returns those that were built before."""
        builds = [build for build in self._tables.builds() if build[0] == site and build[2] in days]
        if builds:
            self._tables.invalidate(sorted(builds))
        if days:
            self._warehouse.command("TRUNCATE TABLE open_days")
        return builds

    def clean(self) -> bool:
        """Have the files of replaced parts removed; returns whether they are gone by now."""
        for table in _TABLES:
            self._warehouse.command(f"SYSTEM START CLEANUP {table}")
        deadline = time.monotonic() + _CLEANED_SECONDS
        sql = f"SELECT DISTINCT table FROM system.parts WHERE NOT active AND {_HERE}"
        while left := self._warehouse.query(sql, {"tables": list(_TABLES)})["table"].to_list():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.25)
            for table in left:
                self._warehouse.command(f"SYSTEM START CLEANUP {table}")
        return True

    def set_aside(self) -> list[str]:
        """The parts that were set aside because they are broken: their files may hold anybody's rows."""
        sql = f"SELECT table || '/detached/' || name AS part FROM system.detached_parts WHERE {_HERE} ORDER BY part"
        return self._warehouse.query(sql, {"tables": list(_TABLES)})["part"].to_list()

    def _of_them(self, table: str, erased: Erased) -> list[str]:
        return self._partitions(table, _OF_THEM, {"site": erased.site, "epoch": erased.epoch})

    def _partitions(self, table: str, where: str, given: Mapping[str, object]) -> list[str]:
        # No alias that is the name of a column: the condition would mean that one.
        sql = f"SELECT DISTINCT _partition_id AS its_partition FROM {table} WHERE {where} ORDER BY its_partition"
        return self._warehouse.query(sql, given)["its_partition"].cast(pl.String).to_list()

    def _delete(self, table: str, partitions: Iterable[str], where: str, given: Mapping[str, object]) -> None:
        for partition in partitions:
            # The rewritten part is there when the statement returns.
            sql = f"ALTER TABLE {table} DELETE IN PARTITION ID '{partition}' WHERE {where} SETTINGS mutations_sync = 2"
            self._warehouse.command(sql, given)


_HASH = "hex(sipHash128(received_at, topic, reason, bytes))"
_OF_LETTERS = f"{_HASH} IN {{hashes:Array(String)}}"
_OF_DEEDS = "id IN {ids:Array(String)}"

# What has expired. The day of a time zone is one of the last two that may have a part of it, so these are built again.
_MOMENT = "fromUnixTimestamp64Milli({before:Int64}, 'UTC')"
_BEFORE = "site = {site:String} AND day < {first:Date}"
_RECEIVED_BEFORE = f"site = {{site:String}} AND received_at < {_MOMENT}"
_EXPIRING = {
    **dict.fromkeys(("event_rows", "session_rows"), _BEFORE),
    **dict.fromkeys(_ROLLUPS, f"site = {{site:String}} AND bucket < {_MOMENT}"),
    _LETTERS: _RECEIVED_BEFORE,
    **dict.fromkeys(_BY_DAY, "site = {site:String} AND day <= {first:Date} + 1"),
    "month_values": "site = {site:String} AND month <= toStartOfMonth({first:Date} + 1)",
    **dict.fromkeys(_IMPORTED, _BEFORE),
}
_MONTHS = """site = {site:String} AND month <= toStartOfMonth({first:Date} + 1)
    AND (month < toStartOfMonth({first:Date}) OR month IN {months:Array(Date32)})"""


def _first(expiry: Expiry) -> date:
    """The first day that is kept."""
    return date(1970, 1, 1) + timedelta(days=expiry.occurred_before // DAY_MS)


def _given(sql: str, expiry: Expiry, months: Sequence[date] = ()) -> dict[str, Any]:
    """The parameters of these conditions that a statement has."""
    site, before, first = expiry.site, expiry.occurred_before, _first(expiry)
    return declared(sql, {"site": site, "before": before, "first": first, "months": list(months)})


def _months(days: Sequence[date]) -> list[str]:
    """The partitions of the rollups with these days."""
    return sorted({f"{day:%Y%m}" for day in days})


def _span(first: date, last: date) -> tuple[int, int]:
    epoch = date(1970, 1, 1)
    return (first - epoch).days * 86_400_000, ((last - epoch).days + 1) * 86_400_000
