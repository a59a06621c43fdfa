"""What the API is to answer, of all visits or of those that filters choose, from the Parquet archive alone with Polars.

It knows its own rules of a copy, a visit, a day and a filter, and imports nothing of the product. Visits that go on for
a day, which are cut at midnight, are not for it.

A filter is [operator, dimension, texts] as in an address. It meets a visit as a whole. `is` and `contains` take the
visits of which one value is, or has in it, one of the texts; `is_not` and `contains_not` take all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import polars as pl

from tests.oracles.journeys import Did

GAP = 1_800_000
HOUR = 3_600_000
DAY = 24 * HOUR

OF_VISITS = (
    *("entry_page", "exit_page", "source", "channel", "campaign", "country", "region", "city", "language"),
    *("device", "browser", "os", "utm_source", "utm_medium", "utm_term", "utm_content"),
)
NAMED = ("entry_page", "exit_page", "campaign", *OF_VISITS[-4:])  # a visit without one is none of the list's
OF_EVENTS = {
    "page": ("path", "pageview"), "search": ("term", "search"), "event": ("name", "custom"),
    "outbound": ("target", "outbound"), "download": ("target", "download"), "not_found": ("path", "not_found"),
}  # fmt: skip
GOALS = ("page", "event")
PROPERTY = "prop:"
SUMS = ("bounces", "engaged", "engaged_ms", "duration_ms", "pageviews", "searches", "events", "bots", "without_results")
_IN_ORDER = ("occurred_at", "id_hi", "id_lo")
_FACT = ("dimension", "day", "hour", "value", "counted", "lasts", "visitor", "visit")

Filter = tuple[str, str, Sequence[str]]


class Site:
    """The events and visits of a site in an archive, their days and hours those of a time zone."""

    def __init__(self, archive: Path, site: str, zone: str) -> None:
        raw = pl.read_parquet(archive / f"site={site}" / "**" / "*.parquet", hive_partitioning=False)
        at, kind = pl.col("occurred_at"), pl.col("type")
        local = pl.from_epoch(at, "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        self.zone = ZoneInfo(zone)
        self.events = (
            raw.sort("received_at")
            .unique(["site", "visitor", "id_hi", "id_lo"], keep="first", maintain_order=True)
            .sort("visitor", "occurred_at", "id_hi", "id_lo")
            .rename({"utm_campaign": "campaign"})
            .with_columns(
                value=pl.lit("events"), counted=False, bounces=0, engaged=0, duration_ms=0,
                target=_target(), day=local.dt.date(),
                # The zones of tests have changed their clocks by full hours.
                hour=at - local.dt.minute().cast(pl.Int64) * 60_000 - at % 60_000,
                lasts=(pl.col("protocol") == "import") | pl.col("enriched_by").str.ends_with(" visitor=named"),
                events=(pl.col("bot") == "").cast(pl.Int64), bots=(pl.col("bot") != "").cast(pl.Int64),
            )
            .with_columns(
                pageviews=(kind == "pageview") * pl.col("events"),
                searches=(kind == "search") * pl.col("events"),
                without_results=(pl.col("results") == 0).fill_null(False).cast(pl.Int64) * pl.col("events"),
            )
        )  # fmt: skip
        self.persons = self.events.filter(pl.col("bot") == "").with_columns(
            visit=(at.diff().over("visitor") > GAP).fill_null(True).cum_sum().cast(pl.Int64)
        )
        viewed = pl.col("path").filter(kind == "pageview")
        # Where a visit came from is told by its first event that is a page view or names an origin.
        tells = (kind == "pageview") | (pl.concat_str("source", "medium", "campaign") != "")
        told = OF_VISITS[2:]
        self.visits = (
            self.persons.group_by("visit")
            .agg(
                pl.col("visitor", "day", "hour", "lasts").first(),
                pl.col("pageviews", "searches", "events", "bots", "engaged_ms").sum(),
                *(pl.coalesce(pl.col(name).filter(tells).first(), pl.col(name).first()) for name in told),
                entry_page=viewed.first().fill_null(""),
                exit_page=viewed.last().fill_null(""),
                bounces=(pl.col("interactive").sum() <= 1).cast(pl.Int64),
                duration_ms=at.max() - at.min(),
            )
            .with_columns(
                without_results=0, counted=True,
                engaged=((pl.col("pageviews") > 1) | (pl.col("engaged_ms") > 10_000)).cast(pl.Int64),
            )
        )  # fmt: skip
        assert self.visits.filter(pl.col("duration_ms") >= DAY).is_empty()
        self.facts = pl.concat(self._of_dimensions(), how="vertical_relaxed")

    def _of_dimensions(self) -> Iterable[pl.DataFrame]:
        """What is counted for each dimension: visits, or events that a visit or a bot has. "" is all that happened."""
        of_bots = self.events.filter(pl.col("bot") != "").with_columns(visit=pl.lit(0, pl.Int64))
        parts = {"": [self.visits.with_columns(value=pl.lit("")), of_bots, self.persons]}
        parts[""][1:] = [frame.with_columns(without_results=0, engaged_ms=0) for frame in parts[""][1:]]
        for name in OF_VISITS:
            of_value = self.visits.with_columns(value=name)
            parts[name] = [of_value.filter(pl.col("value") != "") if name in NAMED else of_value]
        for name, (column, kind) in OF_EVENTS.items():
            is_one = pl.col("type") == kind
            of_value = self.persons.filter(pl.col(column) != "", (name == "page") | is_one)
            if name != "page":  # where a visit was engaged is told of pages
                of_value = of_value.with_columns(engaged_ms=0)
            if name != "search":  # and searches without results of their terms
                of_value = of_value.with_columns(without_results=0)
            parts[name] = [of_value.with_columns(value=column, counted=is_one)]
        for name, frames in parts.items():
            for frame in frames:
                yield frame.with_columns(dimension=pl.lit(name)).select(*_FACT, pl.col(SUMS).cast(pl.Int64))

    def chosen(self, filters: Sequence[Filter] = ()) -> Chosen:
        """What filters choose, all at once. Bots are chosen where there is no filter only."""
        if not filters:
            return Chosen(self.zone, self.facts, self.visits)
        left, landed = self.left(filters), self.visits
        for operator, dimension, texts in filters:
            if dimension == "page" and not operator.endswith("_not"):
                entered = self._meeting("entry_page", operator, texts)
                landed = landed.filter(pl.col("visit").is_in(entered.implode()))
        facts = self.facts.filter(pl.col("visit").is_in(left["visit"].implode()))
        return Chosen(self.zone, facts, landed.join(left.select("visit"), on="visit", how="semi"))

    def left(self, filters: Sequence[Filter]) -> pl.DataFrame:
        """The visits that meet all filters."""
        left = self.visits
        for operator, dimension, texts in filters:
            met = pl.col("visit").is_in(self._meeting(dimension, operator, texts).implode())
            left = left.filter(~met if operator.endswith("_not") else met)
        return left

    def tracks(self, filters: Sequence[Filter], first: date, last: date) -> dict[int, list[Did]]:
        """What the visits that meet all filters did, of those that began on these days, in order; pages as people read
        them."""
        began = self.left(filters).filter(pl.col("day").is_between(first, last)).select("visit")
        tracks: dict[int, list[Did]] = {visit: [] for visit in began["visit"]}
        for row in self.persons.join(began, on="visit", how="semi").sort(_IN_ORDER).iter_rows(named=True):
            things = {
                "pageview": [("page", unquote(row["path"]))],
                "search": [("search", row["term"])],
                "outbound": [("outbound", row["target"])],
                "download": [("download", row["target"])],
                "not_found": [("not_found", unquote(row["path"]))],
                "custom": [("event", row["name"]), *((PROPERTY + n, v) for n, v in _texts(row["props"]).items())],
            }.get(row["type"], [])
            tracks[row["visit"]].append(Did(row["occurred_at"], things, row["results"]))
        return tracks

    def _meeting(self, dimension: str, operator: str, texts: Sequence[str]) -> pl.Series:
        """The visits of which a value is, or has in it, one of the texts."""

        def fits(value: str, is_path: bool) -> bool:
            forms = [(text, value) for text in texts]
            if is_path:  # in an address bar é may stand for itself
                forms += [(unquote(text), unquote(value)) for text in texts]
            return any(text in whole if operator.startswith("contains") else text == whole for text, whole in forms)

        pairs = self.values_of_visits(dimension)
        return pl.Series([visit for visit, value, is_path in pairs if fits(value, is_path)], dtype=pl.Int64).unique()

    def values_of_visits(self, dimension: str) -> list[tuple[int, str, bool]]:
        """Visits with each value that they have, and whether it is a path."""
        if dimension in OF_VISITS:
            return [(*pair, dimension.endswith("_page")) for pair in self.visits.select("visit", dimension).rows()]
        if dimension.startswith(PROPERTY):
            custom = self.persons.filter(pl.col("type") == "custom").select("visit", "props")
            found = [(visit, _texts(props)) for visit, props in custom.rows()]
            name = dimension.removeprefix(PROPERTY)
            return [(visit, props[name], False) for visit, props in found if name in props]
        pairs: list[tuple[int, str, bool]] = []
        for name in GOALS if dimension == "goal" else (dimension,):
            column, kind = OF_EVENTS[name]
            own = self.persons.filter(pl.col("type") == kind, pl.col(column) != "")
            pairs += [(*pair, column == "path") for pair in own.select("visit", column).rows()]
        return pairs


def _target() -> pl.Expr:
    """Where a link out or a download leads."""
    url = pl.col("props").str.json_path_match("$.url").fill_null("")
    return pl.when(url != "").then(url).when(pl.col("name") != "").then("name").otherwise("path")


def _texts(props: str) -> dict[str, str]:
    """Properties by name: texts as they are, all else as JSON has it."""
    given = json.loads(props or "{}", parse_int=str, parse_float=str)
    plain = {name: value for name, value in given.items() if isinstance(value, str)}
    return plain | {name: json.dumps(value) for name, value in given.items() if name not in plain}


@dataclass
class Chosen:
    """The answers for some visits: the facts of these, and the visits whose bounces are told."""

    zone: ZoneInfo
    facts: pl.DataFrame
    landed: pl.DataFrame

    def values(self, dimension: str, *when: pl.Expr) -> pl.DataFrame:
        """Days add up, but for visitors whose ids last."""
        visitor, counted = pl.col("visitor"), pl.col("counted")
        found = self.facts.filter(pl.col("dimension") == dimension, *when)
        lasting = found.filter("counted", "lasts").group_by("value").agg(lasting=visitor.n_unique())
        by_day = found.group_by("value", "day").agg(
            pl.col(SUMS).sum(),
            visitors=visitor.filter(counted, ~pl.col("lasts")).n_unique(),
            visits=pl.col("visit").filter("counted").n_unique(),
        )
        sums = by_day.group_by("value").agg(pl.col("visitors", "visits", *SUMS).sum())
        visitors = pl.col("visitors") + pl.col("lasting").fill_null(0)
        return sums.join(lasting, on="value", how="left").with_columns(visitors=visitors).drop("lasting")

    def numbers(self, *when: pl.Expr) -> dict[str, float]:
        """The headline numbers of what happened then."""
        rows = {row["value"]: row for row in self.values("", *when).iter_rows(named=True)}
        nothing = dict.fromkeys(("visitors", "visits", *SUMS), 0)
        found, own, landed = rows.get("events", nothing), rows.get("", nothing), self.landed.filter(*when)
        visits = own["visits"]
        return {name: found[name] for name in ("pageviews", "searches", "events", "bots")} | {
            "visitors": own["visitors"],
            "visits": visits,
            "views_per_visit": found["pageviews"] / visits if visits else 0,
            "bounce_rate": landed["bounces"].sum() / landed.height if landed.height else 0,
            "visit_duration": own["duration_ms"] / visits / 1000 if visits else 0,
            "engagement_rate": own["engaged"] / visits if visits else 0,
            "engaged_time": own["engaged_ms"] / visits / 1000 if visits else 0,
        }

    def stats(self, first: date, last: date) -> dict[str, float]:
        return self.numbers(pl.col("day").is_between(first, last))

    def breakdown(self, by: str, first: date, last: date) -> list[dict[str, Any]]:
        last_by = {**dict.fromkeys(OF_EVENTS, "events"), "page": "pageviews"}.get(by, "visits")
        found = self.values(by, pl.col("day").is_between(first, last))
        found = found.filter(pl.col("visitors") > 0)  # a page that was viewed
        found = found.sort("visitors", last_by, "value", descending=[True, True, False])
        found = found.with_columns(engaged_time=pl.col("engaged_ms") / pl.col("visits") / 1000)
        rows = found.select("value", "visitors", "visits", "pageviews", "events", "engaged_time").to_dicts()
        is_path = by.endswith("page") or by == "not_found"
        return [row | {"value": unquote(row["value"])} if is_path else row for row in rows]

    def timeseries(self, interval: str, first: date, last: date) -> list[dict[str, Any]]:
        """The numbers of each step of the range, also of those without any."""
        rows = []
        for begin, when in self._hours(first, last) if interval == "hour" else self._steps(interval, first, last):
            numbers = self.numbers(pl.col("day").is_between(first, last), when)
            del numbers["bots"]
            rows.append({"time": begin.isoformat(), "value": numbers["visitors"], **numbers})
        return rows

    def _hours(self, first: date, last: date) -> Iterable[tuple[datetime, pl.Expr]]:
        begin, end = (self._start(day).timestamp() * 1000 for day in (first, last + timedelta(days=1)))
        for hour in range(round(begin), round(end), HOUR):
            yield datetime.fromtimestamp(hour / 1000, self.zone), pl.col("hour") == hour

    def _steps(self, interval: str, first: date, last: date) -> Iterable[tuple[datetime, pl.Expr]]:
        begins = {
            "day": lambda day: day,
            "week": lambda day: day - timedelta(days=day.weekday()),
            "month": lambda day: day.replace(day=1),
        }[interval]
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        for begin in dict.fromkeys(map(begins, days)):
            yield self._start(begin), pl.col("day").is_in([day for day in days if begins(day) == begin])

    def _start(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone)
