"""What is found in lines that are taken apart by columns, and how their times are read.

A time is read by columns where it is written as nearly all servers do; any other one by `formats.times`, once for all
lines that have it.

Columns that are no field of a log have names that begin with `_`, which no compact name of a field does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from ingest.logs import formats
from ingest.logs.formats.fields import REQUESTED, ZONES, Fields

ROWS = {"_row": pl.UInt32(), "_at": pl.Int64(), "_ip": pl.String()}  # of every `Found.frame`
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_NONE = pl.lit(None, pl.String())
_CLIENT = rf"^({IPV4})(?::[0-9]{{1,5}})?$"
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?$"
)
_APACHE = (
    r"^([0-9]{2}/[A-Za-z]{3}/[0-9]{4}):([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(?: ([+-][0-9]{4}))?$"
)
_SECONDS = r"^([1-9][0-9]{9})(?:\.([0-9]{1,9}))?$"
_DAY = r"^[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}$"  # and no whole time
_CLOCK = r"^([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])$"


class Found(NamedTuple):
    """Lines of which the fields are found, and how to read what many lines have in common."""

    frame: pl.DataFrame  # the columns `ROWS`: null where they are not found; and those that are named below. Where the
    # format tells early why a request is no page view, `_refusal`, too: null of the others
    page_by: list[str]  # the columns that `request` reads
    request: Callable[..., formats.Request | str | None]  # no `Request` where the line is not understood
    agent_by: list[str]  # the columns that `agent` reads
    agent: Callable[..., str | None]


class Columns(Protocol):
    """Takes the lines of one shape apart."""

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:
        """Yield what is found in some of these lines, `_row` is the index in `lines`; line ends may be included."""


class Named:
    """Reads lines whose fields have names, as `Fields` does."""

    def __init__(self, fields: Fields, sent: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """`sent` returns values, by their names, as the client sent them."""
        self._fields = fields
        self._sent = sent
        self._times, self._clients = fields.names("time"), fields.names("client", "forwarded")
        self._passed_on = fields.names("forwarded")
        self._requested, self._agents = fields.names(*REQUESTED), fields.names("agent")
        self.names = fields.names(*dict.fromkeys(("time", "client", "forwarded", *REQUESTED, "agent")))

    def found(self, frame: pl.DataFrame) -> Found:
        """Return what is found in a frame of `_row` and the `names`, without nulls."""
        frame = self._with_clients(frame).with_columns(_at=_times(frame, self._times, self._time))
        return Found(frame, self._requested, self.request, self._agents, self.agent)

    def _with_clients(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add `_ip`; of those that are no plain address, or passed on, it is looked up."""
        plain = pl.col(self._clients[0]).str.extract(_CLIENT) if self._fields.has_plain_client else _NONE
        if self._passed_on:
            plain = pl.when(pl.all_horizontal(pl.col(self._passed_on).is_in(["", "-"]))).then(plain)
        frame = frame.with_columns(_ip=plain)
        if not frame["_ip"].null_count():
            return frame
        others = frame.filter(pl.col("_ip").is_null()).select(self._clients)
        found = looked_up(others, self._clients, lambda *case: (self._client(*case),), {"_ip": pl.String()})["_ip"]
        ips = frame["_ip"]
        return frame.with_columns(_ip=ips.scatter(ips.is_null().arg_true(), found))

    def request(self, *values: str) -> formats.Request | str:
        """Return the request of these values of its fields, or which part is missing."""
        return self._fields.request(self._values(self._requested, values))

    def agent(self, *values: str) -> str | None:
        """Return the agent of these values of its fields."""
        return self._fields.agent(self._values(self._agents, values))

    def _client(self, *values: str) -> str | None:
        return self._fields.client(self._values(self._clients, values))

    def _time(self, *values: str) -> int | None:
        return self._fields.time(self._values(self._times, values))

    def _values(self, names: list[str], values: tuple[str, ...]) -> dict[str, str]:
        return self._sent(dict(zip(names, values, strict=True)))


def looked_up(
    frame: pl.DataFrame, by: list[str], lookup: Callable[..., tuple[object, ...]], schema: dict[str, pl.DataType]
) -> pl.DataFrame:
    """Add the columns of `schema`, which `lookup` returns for the columns `by`; it is called once for equal rows."""
    if not by:
        return frame.with_columns(pl.lit(value, dtype).alias(name) for value, (name, dtype) in zip(
            lookup(), schema.items(), strict=True))  # fmt: skip
    cases = frame.select(by).unique(maintain_order=True)
    answers = [lookup(*case) for case in cases.iter_rows()]
    columns = [
        pl.Series(name, [answer[index] for answer in answers], dtype=dtype)
        for index, (name, dtype) in enumerate(schema.items())
    ]
    return frame.join(cases.with_columns(columns), on=by, how="left", nulls_equal=True, maintain_order="left")


def as_text(lines: Sequence[bytes]) -> pl.Series:
    """Return the lines as text, without their ends. Null are those longer than `formats.LONGEST` or coloured, and where
    some line is no UTF-8, all that are not ASCII."""
    raw = pl.Series("line", lines, dtype=pl.Binary)
    raw = raw.set((raw.bin.size() > formats.LONGEST) | raw.bin.contains(b"\x1b"), None)
    try:
        text = raw.cast(pl.String)
    except pl.exceptions.ComputeError:  # polars converts all or none
        texts = [line.decode() if line is not None and line.isascii() else None for line in raw]
        text = pl.Series("line", texts, dtype=pl.String)
    return text.str.strip_chars_end("\r\n")


def _times(frame: pl.DataFrame, names: list[str], time: Callable[..., int | None]) -> pl.Series:
    """Return the milliseconds UTC of each row, null where it has no time; `time` reads the values of `names`."""
    quick = _quick_times(frame, names, time)
    left = frame.filter(quick.is_null()).select(names).with_row_index("_left") if quick.null_count() else None
    if left is None:
        return quick
    slow = looked_up(left, names, lambda *case: (time(*case),), {"_at": pl.Int64()})["_at"]
    return quick.scatter(quick.is_null().arg_true(), slow)


def _quick_times(frame: pl.DataFrame, names: list[str], time: Callable[..., int | None]) -> pl.Series:
    """Return the times that are written as the first one is, in one of the usual notations; null for the others."""
    first, empty = frame[names[0]], [""] * (len(names) - 1)
    if names[:2] == ["date", "time"] and not set(names[2:3]) & set(ZONES):  # in two fields: what they say together
        clock = frame["time"].str.extract_groups(_CLOCK).struct.unnest()
        plain = frame.select(pl.when(pl.col("date").str.contains(_DAY)).then(pl.col("date")))
        days = looked_up(
            plain,
            ["date"],
            lambda date: (None if date is None else time(date, "00:00:00", *empty[1:]),),
            {"_day": pl.Int64()},
        )["_day"]
        return days + _clock(clock, "1", "2", "3")
    sample = first[:1]
    if sample.str.contains(_ISO).any():
        found = first.str.extract_groups(_ISO).struct.unnest()
        days = _days(found, "6", lambda date, zone: time(f"{date}T00:00:00{zone}", *empty))
        return days + _clock(found, "2", "3", "4") + _rounded(found["5"])
    if sample.str.contains(_APACHE).any():
        found = first.str.extract_groups(_APACHE).struct.unnest()
        days = _days(found, "6", lambda date, zone: time(f"{date}:00:00:00 {zone}", *empty))
        fraction = found["5"].fill_null("").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64)
        return days + _clock(found, "2", "3", "4") + fraction
    if sample.str.contains(_SECONDS).any():
        found = first.str.extract_groups(_SECONDS).struct.unnest()
        return found["1"].cast(pl.Int64) * 1_000 + _rounded(found["2"])
    return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(frame))


def _days(found: pl.DataFrame, zone: str, day: Callable[[str, str], int | None]) -> pl.Series:
    """Return when the dates of the column `1` begin in the zone that the column `zone` names."""

    def begin(date: str | None, its_zone: str | None) -> tuple[int | None]:
        return (None if date is None else day(date, its_zone or ""),)

    return looked_up(found.select("1", zone), ["1", zone], begin, {"_day": pl.Int64()})["_day"]


def _clock(found: pl.DataFrame, hours: str, minutes: str, seconds: str) -> pl.Series:
    numbers = found.select(
        (pl.col(hours).cast(pl.Int64) * 3_600 + pl.col(minutes).cast(pl.Int64) * 60 + pl.col(seconds).cast(pl.Int64))
        * 1_000
    )
    return numbers.to_series()


def _rounded(fraction: pl.Series) -> pl.Series:
    """Return the milliseconds of a fraction of a second, rounded; null where it is too near to the middle of two."""
    micro = fraction.fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    rest = micro % 1_000
    return micro.to_frame("micro").select(
        pl.when((rest < 499) | (rest > 500)).then((pl.col("micro") + 500) // 1_000)
    ).to_series()  # fmt: skip
