"""Lines of a combined or common log read many at a time, by columns.

Only lines of which nothing is in doubt are read here: printable ASCII without a backslash, in the usual shape. For
these the pattern below finds the same parts as `access_log`; a law in the tests says so. All others are left to be
read one by one. What a client, a request or a visitor comes to is asked once for all lines that have it in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from infra import access_log
from infra.log_client import Client

_GAP = r"[ \t]+"
_QUOTED = r'"([ !#-\[\]-~\t]*)"'
_BARE = r"(?:[ \t]+[!#-\[\]-~][!-\[\]-~]*)*"  # fields without quotes around them, no backslash
_MORE = r'((?:[ \t]+(?:"[ !#-\[\]-~\t]*"|[!#-\[\]-~][!-\[\]-~]*))*)'
_LINE = (
    r"^([ -Z\]-~\t]*)"
    r"\[([0-9]{2}/[A-Za-z]{3}/[0-9]{4}):([01][0-9]|2[0-3]):([0-5][0-9]):([0-9]{2})[ \t]+([+-][0-9]{4})\]"
    rf"{_BARE}{_GAP}{_QUOTED}{_GAP}([0-9]{{3}}){_GAP}(?:[0-9]+|-){_BARE}"
    rf"(?:{_GAP}{_QUOTED}{_GAP}{_QUOTED}{_MORE})?[ \t]*$"
)
_NAMES = ["head", "date", "hour", "minute", "second", "zone", "request", "status", "referrer", "agent", "more"]
_REQUEST = ["host", "request", "status", "referrer"]
_URL = r"^[A-Za-z][A-Za-z0-9+.-]*://"


class Accepted(NamedTuple):
    """Lines that are page views, a list entry each; `page` and `visitor` are indexes of what the callers made."""

    lines: list[bytes]
    at: list[int]  # ms
    page: list[int]
    visitor: list[int]


class Read(NamedTuple):
    accepted: Accepted
    refused: dict[str, int]
    left: list[int]  # indexes of the lines to be read one by one, in order


def read(
    lines: Sequence[bytes],
    common: bool,
    client: Callable[[str], Client | None],
    outcome: Callable[[str, str, str, str | None], tuple[str | None, int | None]],
    visitor: Callable[[str, str | None], int],
    times: tuple[int, int],
) -> Read:
    """Read `lines` (line ends included). `common` leaves referrer and agent aside.

    `client` is asked once for each text before the time, `outcome` once for each host, request, status and referrer
    that occur: why this is no page view, or a number to stand for the page. `visitor` is asked once for each address
    and agent, for a number too. Lines without a client, or of a time outside `times` (ms, from and before), are
    left."""
    texts = [
        line.decode("ascii") if len(line) <= access_log.LONGEST and line.isascii() else None for line in lines
    ]
    raw = pl.Series("line", texts, dtype=pl.String).str.strip_chars_end("\r\n")
    groups = raw.str.extract_groups(_LINE).struct.rename_fields(_NAMES).struct.unnest()
    if common:
        nothing = pl.lit(None, dtype=pl.String)
        groups = groups.with_columns(referrer=nothing, agent=nothing)
    frame = groups.with_columns(line=raw, row=pl.int_range(len(lines), dtype=pl.UInt32))
    frame = _with_times(frame, times)
    frame = _asked(frame, ["head"], _client_asked(client), {"ip": pl.String(), "host": pl.String()})
    known = pl.col("at").is_not_null() & pl.col("ip").is_not_null() & (pl.lit(common) | _is_clear())
    frame = frame.with_columns(known=known.fill_null(value=False))
    left = frame.filter(~pl.col("known"))["row"].to_list()
    frame = _asked(frame.filter("known"), _REQUEST, outcome, {"refusal": pl.String(), "page": pl.UInt32()})
    refused = frame.filter(pl.col("refusal").is_not_null()).group_by("refusal").len()
    frame = frame.filter(pl.col("refusal").is_null())
    frame = _asked(
        frame,
        ["ip", "agent"],
        lambda ip, agent: (visitor(ip, "" if agent == "-" else agent),),
        {"visitor": pl.UInt32()},
    )
    return Read(
        Accepted(
            frame["line"].cast(pl.Binary).to_list(),
            frame["at"].to_list(),
            frame["page"].to_list(),
            frame["visitor"].to_list(),
        ),
        dict(refused.iter_rows()),
        left,
    )


def _is_clear() -> pl.Expr:
    """Whether the first two quoted fields after the bytes are referrer and agent, as `access_log` finds them."""
    only = pl.col("more").is_null() | ~pl.col("more").str.contains('"', literal=True)
    may_be = pl.col("referrer").is_in(["", "-"]) | pl.col("referrer").str.contains(_URL)
    return only | (may_be & ~pl.col("agent").str.contains(_URL))


def _client_asked(client: Callable[[str], Client | None]) -> Callable[[str | None], tuple[object, ...]]:
    nobody = (None, None)
    return lambda head: nobody if head is None else client(head) or nobody


def _with_times(frame: pl.DataFrame, times: tuple[int, int]) -> pl.DataFrame:
    """With `at` in milliseconds, null where there is no such time."""
    frame = _asked(frame, ["date", "zone"], _day, {"day": pl.Int64()})
    hour, minute, second = (pl.col(name).cast(pl.Int64) for name in ("hour", "minute", "second"))
    at = (pl.col("day") + hour * 3_600 + minute * 60 + second) * 1000
    return frame.with_columns(at=pl.when(at.is_between(*times, closed="left")).then(at))


def _day(date: str | None, zone: str | None) -> tuple[int | None]:
    return (None if date is None or zone is None else access_log.apache_minute(f"{date}:00:00", zone),)


def _asked(
    frame: pl.DataFrame, by: list[str], ask: Callable[..., tuple[object, ...]], answers: dict[str, pl.DataType]
) -> pl.DataFrame:
    """With the columns `answers` of what `ask` says of the columns `by`, asked once for all rows of the same."""
    cases = frame.select(by).unique(maintain_order=True)
    found = pl.DataFrame([ask(*case) for case in cases.iter_rows()], schema=answers, orient="row")
    answered = pl.concat([cases, found], how="horizontal")
    return frame.join(answered, on=by, how="left", nulls_equal=True, maintain_order="left")
