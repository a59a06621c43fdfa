"""The vectorised path of an import: the lines of a log are parsed, looked up and encoded many at a time, by columns.

`usual` parses the lines that leave nothing in doubt: printable ASCII without a backslash, in the usual order. For
these it finds the same parts as `formats` does. All other lines are parsed by `formats`, one at a time. What a client,
a page or a visitor comes to is looked up once for all lines that have it in common, and from there on every line takes
the same way: `events` encodes them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import takewhile

import numpy
import polars as pl

from activity.enrich import DAY
from activity.refusal import Refusal
from ingest.logs import formats
from ingest.logs.batch import Batch
from ingest.logs.client import Client, client_of
from ingest.logs.events import LONG, EventWriter, Page, Visitor

_UNUSUAL = r"[^\t -\[\]-~]"
_PARTS = ["before", "request", "size", "referrer", "gap", "agent", "rest"]  # between the quotes
_STAMP = (
    r"^[0-9]{2}/[A-Za-z]{3}/[0-9]{4}:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-9]{2} [+-][0-9]{4}\]"
    r"(?:[ \t]+[^ \t]+)*[ \t]+$"
)
_SIZE = r"^[ \t]+[0-9]{3}[ \t]+(?:[0-9]+|-)(?:[ \t]+[^ \t]+)*"
_GAP = r"[ \t]+$"
_REST = r'^(?:[ \t]+(?:"[^"]*"|[^ \t"][^ \t]*))*[ \t]*$'
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN_CLIENT = rf"^({_OCTET}(?:\.{_OCTET}){{3}})[ \t]"
_INTERNAL = r"(?i)(?:^|[ \t,:\[\"])(?:10\.|172\.|192\.168\.|127\.|169\.254\.|100\.|::1|f[cde][0-9a-f]{0,2}:|::ffff:|0)"
_CHAIN = r'"[0-9A-Fa-f:]+[.:,]'
_LIKE_ADDRESSES = r"^[0-9A-Fa-f:., \t]+$"
_URL = r"^[A-Za-z][A-Za-z0-9+.-]*://"
_PRODUCT = r"^[A-GI-Za-z][A-Za-z0-9_.-]*/[0-9]"  # an agent, and no HTTP/1.1

_ROWS = {"row": pl.UInt32(), "at": pl.Int64(), "page": pl.UInt32(), "visitor": pl.UInt32()}


def usual(lines: Sequence[bytes], common: bool) -> pl.DataFrame:
    """Parse those lines of a combined or common log that have the usual form; line ends may be included.

    The frame has a row for each of them, in order: `row`, its index in `lines`; `client`, the text before the time;
    `date`, such as 17/May/2015, and `zone`, such as +0000; `time`, milliseconds since that date began; `request`,
    `status`, `referrer` and `agent` as they stand there; `behind`, the text behind them where a balancer may have put
    its client there. `common` leaves referrer and agent aside: they are null, as in a line that has neither."""
    frame = pl.LazyFrame({"line": _as_text(lines)}).with_row_index("row")
    line, before, size, rest = (pl.col(name) for name in ("line", "before", "size", "rest"))
    frame = (
        frame.with_columns(line.str.strip_chars_end("\r\n"))
        .filter(~line.str.contains(_UNUSUAL) & ~line.str.starts_with("#"))
        .select("row", line.str.splitn('"', len(_PARTS)).struct.rename_fields(_PARTS).struct.unnest())
        .with_columns(before.str.splitn("[", 2).struct.rename_fields(["client", "stamp"]).struct.unnest())
    )
    quoted = size.str.contains(_SIZE + _GAP) & pl.col("gap").str.contains("^" + _GAP) & rest.str.contains(_REST)
    quoted &= ~pl.col("referrer").str.contains(_LIKE_ADDRESSES) & ~pl.col("agent").str.contains(_LIKE_ADDRESSES)
    if not common:
        quoted &= _is_clear()
    bare = size.str.contains(_SIZE + r"[ \t]*$")
    stamp = pl.col("stamp")
    frame = frame.filter(
        stamp.str.contains(_STAMP) & pl.when(pl.col("referrer").is_null()).then(bare).otherwise(quoted)
    )
    hours, minutes, seconds = (stamp.str.slice(at, 2).cast(pl.Int64) for at in (12, 15, 18))
    nothing = pl.lit(None, dtype=pl.String)
    return frame.select(
        "row",
        "client",
        "request",
        date=stamp.str.slice(0, 11),
        zone=stamp.str.slice(21, 5),
        time=(hours * 3_600 + minutes * 60 + seconds) * 1_000,
        status=size.str.strip_chars_start(" \t").str.slice(0, 3),
        referrer=nothing if common else pl.col("referrer"),
        agent=nothing if common else pl.col("agent"),
        behind=pl.when(pl.col("client").str.contains(_INTERNAL) & rest.str.contains(_CHAIN)).then(rest),
    ).collect()


class LogLines:
    """Reads the lines of one file of this shape, see `formats.known`. Lines that repeat are counted within the file."""

    def __init__(self, shape: str, writer: EventWriter) -> None:
        self._shape = shape
        self._parse = formats.parser(shape)
        self._writer = writer
        self._repeats: dict[bytes, int] = {}
        self._kept_outcome = lru_cache(32_768)(self._outcome_of)

    def pieces(self, lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """Yield the lines in pieces of one shape; `read_all` takes them in this order."""
        start, shape = 0, self._shape
        if shape.startswith("w3c"):
            for index, line in enumerate(lines):
                if formats.is_comment(line):
                    changed = formats.directive(formats.decoded(line).rstrip("\r\n"), shape)
                    if changed != shape and index > start:
                        yield lines[start:index]
                        start = index
                    shape = changed
        yield lines[start:]

    def read_all(self, first: int, lines: Sequence[bytes], batch: Batch) -> None:
        """Put into `batch` what the lines come to; `first` is the number of the first line in its file."""
        if self._shape.startswith("w3c"):
            self._follow(lines)
            batch.shape = self._shape
        pages: list[Page] = []
        visitors: list[Visitor] = []
        rows, left = pl.DataFrame(schema=_ROWS), list(range(len(lines)))
        if self._shape in ("combined", "common"):
            rows, left = self._read_usual(lines, batch, pages, visitors)
        odd = []
        page_at: dict[int, int] = {}  # what is looked up once is one object
        visitor_at: dict[int, int] = {}
        for index in left:
            found = self._read_one(first + index, lines[index].rstrip(b"\r\n"), batch)
            if found is not None:
                at, page, visitor = found
                its_page, its_visitor = page_at.get(id(page)), visitor_at.get(id(visitor))
                if its_page is None:
                    its_page = page_at[id(page)] = len(pages)
                    pages.append(page)
                if its_visitor is None:
                    its_visitor = visitor_at[id(visitor)] = len(visitors)
                    visitors.append(visitor)
                odd.append((index, at, its_page, its_visitor))
        if odd:
            rows = pl.concat([rows, pl.DataFrame(odd, schema=_ROWS, orient="row")]).sort("row")
        sender_ids = [self._sender_id(lines[row].rstrip(b"\r\n")) for row in rows["row"].to_list()]
        batch.accepted = self._writer.write(rows, sender_ids, pages, visitors)

    def _follow(self, lines: Sequence[bytes]) -> None:
        """Take the names of the fields from the comments that the lines begin with."""
        shape = self._shape
        for line in takewhile(formats.is_comment, lines):
            shape = formats.directive(formats.decoded(line).rstrip("\r\n"), shape)
        if shape != self._shape:
            self._shape, self._parse = shape, formats.parser(shape)

    def _read_usual(
        self, lines: Sequence[bytes], batch: Batch, pages: list[Page], visitors: list[Visitor]
    ) -> tuple[pl.DataFrame, list[int]]:
        """Read the lines of the usual form, refuse some of them, and add the pages and visitors of the others.

        Return the requests, as `_ROWS`, and the indexes of the lines that are left for `_read_one`: those of another
        form or without a client, and those to which something has to be said in words."""

        def client(text: str | None, behind: str | None) -> Client | tuple[None, None]:
            found = None if text is None else client_of(text)
            if found is not None and behind is not None:
                found = formats.client_behind(found, formats.quoted_in(behind))
            return found or (None, None)

        def day(date: str, zone: str) -> tuple[int | None]:
            seconds = formats.apache_minute(f"{date}:00:00", zone)
            return (None if seconds is None else seconds * 1_000,)

        def outcome(host: str, request: str, status: str, referrer: str | None) -> tuple[str | None, int | None]:
            kept = len(request) + len(referrer or "") <= LONG
            found = (self._kept_outcome if kept else self._outcome_of)(host, request, status, referrer)
            if isinstance(found, Page):
                pages.append(found)
                return None, len(pages) - 1
            return (None if isinstance(found, Refusal) else found), None

        def visitor(ip: str, agent: str | None) -> tuple[int]:
            visitors.append(self._writer.visitor(ip, "" if agent == "-" else agent))
            return (len(visitors) - 1,)

        frame = usual(lines, self._shape == "common")
        frame = frame.with_columns(plain=_plain_client()).with_columns(
            client=pl.when(pl.col("plain").is_null()).then(pl.col("client"))
        )
        frame = _with(frame, ["client", "behind"], client, {"ip": pl.String(), "host": pl.String()})
        frame = frame.with_columns(ip=pl.coalesce("plain", "ip"), host=pl.coalesce("host", pl.lit("")))
        frame = _with(frame, ["date", "zone"], day, {"day": pl.Int64()})
        frame = frame.with_columns(at=pl.col("day") + pl.col("time")).with_columns(utc=pl.col("at") // DAY)
        frame = _with(
            frame, ["utc"], lambda utc: (utc is not None and self._writer.takes_day(utc),), {"taken": pl.Boolean()}
        )
        frame = frame.filter(pl.col("taken") & pl.col("ip").is_not_null())
        by = ["host", "request", "status", "referrer"]
        frame = _with(frame, by, outcome, {"refusal": pl.String(), "page": pl.UInt32()})
        frame = frame.filter(pl.col("refusal").is_not_null() | pl.col("page").is_not_null())
        left = numpy.delete(numpy.arange(len(lines)), frame["row"].to_numpy()).tolist()
        for reason, count in frame["refusal"].drop_nulls().value_counts().iter_rows():
            batch.refuse(reason, count)
        frame = frame.filter(pl.col("page").is_not_null())
        return _with(frame, ["ip", "agent"], visitor, {"visitor": pl.UInt32()}).select(_ROWS.keys()), left

    def _read_one(self, number: int, line: bytes, batch: Batch) -> tuple[int, Page, Visitor] | None:
        """Return time (milliseconds UTC), page and visitor of a line; None where it is refused or not understood."""
        if why := says_nothing(line):
            batch.refuse(why)
            return None
        if len(line) > formats.LONGEST:
            batch.not_understood.append((number, line, f"longer than {formats.LONGEST} bytes"))
            return None
        request = self._parse(formats.decoded(line))
        if isinstance(request, formats.NotUnderstood):
            batch.not_understood.append((number, line, request.why))
            return None
        refusal = formats.refusal(request)
        if refusal is not None:
            batch.refuse(refusal)
            return None
        page = self._writer.page(request.host, request.target, request.referrer)
        found = page if isinstance(page, Refusal) else self._writer.refusal_of(request.at) or page
        if isinstance(found, Refusal):
            batch.refuse(str(found.reason))
            batch.refused_lines.append((number, found.detail))
            return None
        return request.at, found, self._writer.visitor(request.ip, request.agent)

    def _outcome_of(self, host: str, request: str, status: str, referrer: str | None) -> Page | Refusal | str:
        """Return the page that a request asked for, or why it is no page view."""
        parsed = formats.request_of(Client("", host), 0, request, status, referrer, None)
        return formats.refusal(parsed) or self._writer.page(host, parsed.target, parsed.referrer)

    def _sender_id(self, line: bytes) -> str:
        """Return an id that differs for each line of the file, and is the same when the file is imported again."""
        digest = blake2b(line, digest_size=16).digest()
        repeat = self._repeats.get(digest, 0)
        self._repeats[digest] = repeat + 1
        return f"{digest.hex()}-{repeat}"


def says_nothing(line: bytes) -> str | None:
    """Return why a line (without its end) holds nothing to understand: it is empty, or a comment."""
    if not line.strip():
        return "empty"
    return "comment" if formats.is_comment(line) else None


def _as_text(lines: Sequence[bytes]) -> pl.Series:
    """Return the lines as text. Null are those longer than `formats.LONGEST`, and where some line is no UTF-8, all that
    are not ASCII."""
    raw = pl.Series("line", lines, dtype=pl.Binary)
    raw = raw.set(raw.bin.size() > formats.LONGEST, None)
    try:
        return raw.cast(pl.String)
    except pl.exceptions.ComputeError:  # polars converts all or none
        texts = [line.decode() if line is not None and line.isascii() else None for line in raw]
        return pl.Series("line", texts, dtype=pl.String)


def _plain_client() -> pl.Expr:
    """Return the first field before the time where it is an IPv4 address that `client_of` would return as it stands;
    null elsewhere."""
    address = pl.col("client").str.extract(_PLAIN_CLIENT)
    return pl.when(~address.str.starts_with("127.") & pl.col("behind").is_null()).then(address)


def _is_clear() -> pl.Expr:
    """Return whether the first two quoted fields after the bytes are those that `formats.referrer_and_agent` finds."""
    is_referrer = pl.col("referrer").is_in(["", "-"]) | pl.col("referrer").str.contains(_URL)
    more = pl.col("rest").str.contains('"', literal=True)
    is_agent = pl.col("agent").str.contains(_PRODUCT)
    return (is_agent & (is_referrer | ~more)) | (is_referrer & ~more)


def _with(
    frame: pl.DataFrame, by: list[str], lookup: Callable[..., tuple[object, ...]], schema: dict[str, pl.DataType]
) -> pl.DataFrame:
    """Add the columns of `schema`, which `lookup` returns for the columns `by`; it is called once for equal rows."""
    cases = frame.select(by).unique(maintain_order=True)
    answers = [lookup(*case) for case in cases.iter_rows()]
    columns = [
        pl.Series(name, [answer[index] for answer in answers], dtype=dtype)
        for index, (name, dtype) in enumerate(schema.items())
    ]
    return frame.join(cases.with_columns(columns), on=by, how="left", nulls_equal=True, maintain_order="left")
