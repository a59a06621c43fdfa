"""Combined and common lines by columns.

`usual` parses the lines that leave nothing in doubt: without a backslash, in the usual order. For
these it finds the same parts as `formats.combined` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import polars as pl

from ingest.logs import formats
from ingest.logs.client import Client, client_of
from ingest.logs.columns.found import IPV4, Found, as_text, looked_up
from ingest.logs.formats.combined import NAMED, host_among
from ingest.logs.trust import trusted

_SHORT = 512  # characters: requests beyond are mostly unique, and would push the others out of a cache
_PARTS = ["before", "request", "size", "referrer", "gap", "agent", "rest"]  # between the quotes
_STAMP = (
    r"^[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-9]{2} [+-][0-9]{4}\]"
    r"(?:[ \t]+[^ \t]+)*[ \t]+$"
)
_SIZE = r"^[ \t]+[0-9]{3}[ \t]+(?:[0-9]+|-)(?:[ \t]+[^ \t]+)*"
_NEXT = r"^[ \t]+[0-9]{3}[ \t]+(?:[0-9]+|-)[ \t]+([^ \t]+)"
_GAP = r"[ \t]+$"
_REST = r'^(?:[ \t]+(?:"[^"]*"|[^ \t"][^ \t]*))*[ \t]*$'
_PLAIN_CLIENT = f"^{IPV4} - [^ ]+ $"
_INTERNAL = r"(?i)(?:^|[ \t,:\[\"])(?:10\.|172\.|192\.168\.|127\.|169\.254\.|100\.|::1|f[cde][0-9a-f]{0,2}:|::ffff:|0)"
_CHAIN = r'"(?:[0-9A-Fa-f:]+[.:,]|\[|unknown,|-,)'
_ENDS_AS_CHAIN = r'[0-9A-Fa-f:][.:][^"]*"'
_LIKE_ADDRESSES = r"^(?:unknown,?[ \t]*|-,[ \t]*)*[0-9A-Fa-f:., \t\[\]]+(?:unknown|[0-9A-Fa-f:., \t\[\]])*$"
_MAY_BE_HOST = r"(?:^|[ \t])[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*[A-Za-z]"
_IS_NO_REQUEST = r"^(?:/|[A-Za-z][A-Za-z0-9_.-]*/[0-9])"
_URL = r"^[A-Za-z][A-Za-z0-9+.-]*://"
_PRODUCT = r"^[A-GI-Za-z][A-Za-z0-9_.-]*/[0-9]"  # an agent, and no HTTP/1.1


class Combined:
    """Takes combined or common lines apart."""

    def __init__(self, common: bool) -> None:
        self._common = common
        self._kept_refusal = lru_cache(16_384)(_refusal)

    def found(self, lines: Sequence[bytes]) -> Iterator[Found]:
        """Yield what is found in the lines of the usual form."""
        frame = usual(lines, self._common).with_columns(plain=_plain_client()).with_columns(
            client=pl.when(pl.col("plain").is_null()).then(pl.col("client"))
        )
        by = ["client", "behind", "between", "next"]
        frame = looked_up(frame, by, _client, dict.fromkeys(["_ip", "host", "named"], pl.String()))
        frame = frame.with_columns(_ip=pl.coalesce("plain", "_ip"), host=pl.coalesce("host", pl.lit("")))
        named = ["named"] if frame["named"].fill_null("").ne("").any() else []
        frame = looked_up(frame, ["date", "zone"], _day, {"day": pl.Int64()})
        frame = frame.with_columns(_at=pl.col("day") + pl.col("time"))
        frame = looked_up(frame, ["request", "status"], self._refusal, {"_refusal": pl.String()})
        yield Found(frame, ["host", "request", "status", "referrer", *named], _request, ["agent"], _agent)

    def _refusal(self, request: str, status: str) -> tuple[str | None]:
        return (self._kept_refusal if len(request) <= _SHORT else _refusal)(request, status)


def usual(lines: Sequence[bytes], common: bool) -> pl.DataFrame:
    """Parse those lines of a combined or common log that have the usual form; line ends may be included.

    The frame has a row for each of them, in order: `_row`, its index in `lines`; `client`, the text before the time;
    `date`, such as 17/May/2015, and `zone`, such as +0000; `time`, milliseconds since that date began; `request`,
    `status`, `referrer` and `agent` as they stand there; `behind`, the text behind them where a balancer may have put
    its client there. `common` leaves referrer and agent aside: they are null, as in a line that has neither."""
    frame = pl.LazyFrame({"line": as_text(lines)}).with_row_index("_row")
    line, before, size, rest = (pl.col(name) for name in ("line", "before", "size", "rest"))
    frame = (
        frame.filter(~line.str.contains("\\", literal=True) & ~line.str.starts_with("#"))
        .select("_row", line.str.splitn('"', len(_PARTS)).struct.rename_fields(_PARTS).struct.unnest())
        .with_columns(before.str.splitn("[", 2).struct.rename_fields(["client", "stamp"]).struct.unnest())
    )
    quoted = size.str.contains(_SIZE + _GAP) & pl.col("gap").str.contains("^" + _GAP) & rest.str.contains(_REST)
    quoted &= ~pl.col("referrer").str.contains(_LIKE_ADDRESSES) & ~pl.col("agent").str.contains(_LIKE_ADDRESSES)
    if not common:
        quoted &= _is_clear()
    bare = size.str.contains(_SIZE + r"[ \t]*$")
    frame = frame.filter(~pl.col("request").str.contains(_IS_NO_REQUEST))
    frame = frame.filter(~size.str.contains(NAMED))
    stamp = pl.col("stamp")
    if trusted() is not None:  # with a second time there, one came with the request
        frame = frame.filter(~stamp.str.contains("[", literal=True))
    frame = frame.filter(
        stamp.str.contains(_STAMP) & pl.when(pl.col("referrer").is_null()).then(bare).otherwise(quoted)
    )
    hours, minutes, seconds = (stamp.str.slice(at, 2).cast(pl.Int64) for at in (12, 15, 18))
    nothing = pl.lit(None, dtype=pl.String)
    chain = _CHAIN if trusted() is None else _ENDS_AS_CHAIN
    found = frame.select(
        "_row",
        "client",
        "request",
        date=stamp.str.slice(0, 11),
        zone=stamp.str.slice(21, 5),
        time=(hours * 3_600 + minutes * 60 + seconds) * 1_000,
        status=size.str.strip_chars_start(" \t").str.slice(0, 3),
        referrer=nothing if common else pl.col("referrer"),
        agent=nothing if common else pl.col("agent"),
        behind=pl.when((_may_be_a_proxy() & rest.str.contains(chain)) | rest.str.contains(NAMED)).then(rest),
        between=stamp.str.slice(27),
        next=size,
    ).collect()
    return found.with_columns(_hosts(found["between"]), _hosts(found["next"], _NEXT))


def _client(
    text: str | None, behind: str | None, between: str | None, following: str | None
) -> Client | tuple[None, None, None]:
    found = None if text is None else client_of(text)
    if found is not None and not found.host and (between or following):
        found = found._replace(host=host_among((between or "").split(), following or ""))
    if found is not None and behind is not None:
        found = formats.client_behind(found, formats.fields_behind_agent(behind))
    return found or (None, None, None)


def _hosts(text: pl.Series, pattern: str = "") -> pl.Series:
    """Return the texts, or what the pattern finds in them, where that may be a host; null elsewhere."""
    if not text.str.contains(".", literal=True).any():
        return pl.Series(text.name, [None], dtype=pl.String).new_from_index(0, len(text))
    found = text.str.extract(pattern) if pattern else text
    return found.set(~found.str.contains(_MAY_BE_HOST).fill_null(value=False), None)


def _day(date: str, zone: str) -> tuple[int | None]:
    seconds = formats.apache_minute(f"{date}:00:00", zone)
    return (None if seconds is None else seconds * 1_000,)


def _request(
    host: str, request: str, status: str, referrer: str | None, named: str | None = None
) -> formats.Request:
    return formats.request_of(Client("", host, named or ""), 0, request, status, referrer, None)


def _refusal(request: str, status: str) -> tuple[str | None]:
    return (formats.refusal(_request("", request, status, None)),)


def _agent(text: str | None) -> str | None:
    return "" if text == "-" else text


def _may_be_a_proxy() -> pl.Expr:
    return pl.col("client").str.contains(_INTERNAL) if trusted() is None else pl.lit(True)


def _plain_client() -> pl.Expr:
    """Return the first field before the time where it is an IPv4 address that `client_of` would return as it stands;
    null elsewhere."""
    client = pl.col("client")
    alone = pl.all_horizontal(pl.col("behind", "between", "next").is_null())
    is_plain = client.str.contains(_PLAIN_CLIENT) & (~_may_be_a_proxy() | client.str.ends_with(" - - "))
    return pl.when(is_plain & alone).then(client.str.splitn(" ", 2).struct[0])


def _is_clear() -> pl.Expr:
    """Return whether the first two quoted fields after the bytes are those that `formats.referrer_and_agent` finds."""
    is_referrer = pl.col("referrer").is_in(["", "-"]) | pl.col("referrer").str.contains(_URL)
    more = pl.col("rest").str.contains('"', literal=True)
    is_agent = pl.col("agent").str.contains(_PRODUCT)
    return (is_agent & (is_referrer | ~more)) | (is_referrer & ~more)
