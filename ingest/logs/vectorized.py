"""The vectorised path of an import: the lines of a log are parsed, looked up and encoded many at a time, by columns.

`columns` takes the lines apart that leave nothing in doubt. All other lines are parsed by `formats`, one at a time.
What a client, a page or a visitor comes to is looked up once for all lines that have it in common, and from there on
every line takes the same way: `events` encodes them together.
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
from ingest.logs.columns import Found, columns_of, looked_up
from ingest.logs.events import LONG, EventWriter, Page, Visitor

_LINE = blake2b(digest_size=16)  # to be copied: setting one up takes as long as hashing a line
_ROWS = {"row": pl.UInt32(), "at": pl.Int64(), "page": pl.UInt32(), "visitor": pl.UInt32()}


_Read = Callable[..., formats.Request | str | None]


class LogLines:
    """Reads the lines of one file of this shape, see `formats.known`. Lines that repeat are counted within the file."""

    def __init__(self, shape: str, writer: EventWriter) -> None:
        self._shape = shape
        self._parse = formats.parser(shape)
        self._columns = columns_of(shape)
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
        rows, left = self._read_together(lines, batch, pages, visitors)
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
        sender_ids = self._sender_ids([lines[row].rstrip(b"\r\n") for row in rows["row"].to_list()])
        batch.accepted = self._writer.write(rows, sender_ids, pages, visitors)

    def _follow(self, lines: Sequence[bytes]) -> None:
        """Take the names of the fields from the comments that the lines begin with."""
        shape = self._shape
        for line in takewhile(formats.is_comment, lines):
            shape = formats.directive(formats.decoded(line).rstrip("\r\n"), shape)
        if shape != self._shape:
            self._shape, self._parse, self._columns = shape, formats.parser(shape), columns_of(shape)

    def _read_together(
        self, lines: Sequence[bytes], batch: Batch, pages: list[Page], visitors: list[Visitor]
    ) -> tuple[pl.DataFrame, list[int]]:
        """Read the lines that can be taken apart by columns, refuse some, and add pages and visitors of the others.

        Return the requests, as `_ROWS`, and the indexes of the lines that are left for `_read_one`: those of another
        form or without a client, and those to which something has to be said in words."""
        taken: list[pl.DataFrame] = []
        is_left = numpy.ones(len(lines), dtype=bool)
        for found in self._columns.found(lines):
            frame = self._with_outcomes(found, pages)
            is_left[frame["_row"].to_numpy()] = False
            for reason, count in frame["_refusal"].drop_nulls().value_counts().iter_rows():
                batch.refuse(reason, count)
            frame = frame.filter(pl.col("_page").is_not_null())
            taken.append(self._with_visitors(found, frame, visitors).select(**{name: f"_{name}" for name in _ROWS}))
        rows = pl.concat(taken) if taken else pl.DataFrame(schema=_ROWS)
        return rows if len(taken) < 2 else rows.sort("row"), numpy.flatnonzero(is_left).tolist()

    def _with_outcomes(self, found: Found, pages: list[Page]) -> pl.DataFrame:
        """Return those of the lines that are page views, with `_page`, or are refused, with `_refusal`."""

        def outcome(*case: str | None) -> tuple[str | None, int | None]:
            kept = sum(map(len, filter(None, case))) <= LONG
            its = (self._kept_outcome if kept else self._outcome_of)(found.request, *case)
            if isinstance(its, Page):
                pages.append(its)
                return None, len(pages) - 1
            return its, None

        frame = found.frame.filter(pl.col("_ip").is_not_null()).with_columns(_utc=pl.col("_at") // DAY)
        frame = looked_up(
            frame, ["_utc"], lambda utc: (utc is not None and self._writer.takes_day(utc),), {"_taken": pl.Boolean()}
        )
        frame = frame.filter("_taken")
        frame = looked_up(frame, found.page_by, outcome, {"_refusal": pl.String(), "_page": pl.UInt32()})
        return frame.filter(pl.col("_refusal").is_not_null() | pl.col("_page").is_not_null())

    def _with_visitors(self, found: Found, frame: pl.DataFrame, visitors: list[Visitor]) -> pl.DataFrame:
        agent_of = lru_cache(4_096)(found.agent)

        def visitor(ip: str, *agent: str | None) -> tuple[int]:
            visitors.append(self._writer.visitor(ip, agent_of(*agent)))
            return (len(visitors) - 1,)

        return looked_up(frame, ["_ip", *found.agent_by], visitor, {"_visitor": pl.UInt32()})

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

    def _outcome_of(self, read: _Read, *case: str | None) -> Page | str | None:
        """Return the page that a request asked for, or why it is no page view; None where that needs more words."""
        request = read(*case)
        if not isinstance(request, formats.Request):
            return None
        found = formats.refusal(request) or self._writer.page(request.host, request.target, request.referrer)
        return None if isinstance(found, Refusal) else found

    def _sender_ids(self, lines: list[bytes]) -> list[str]:
        """Return ids that differ for each line of the file, and are the same when the file is imported again."""
        repeats, ids = self._repeats, []
        for line in lines:
            hashed = _LINE.copy()
            hashed.update(line)
            digest = hashed.digest()
            repeat = repeats.get(digest, 0)
            repeats[digest] = repeat + 1
            ids.append(f"{digest.hex()}-{repeat}")
        return ids


def says_nothing(line: bytes) -> str | None:
    """Return why a line (without its end) holds nothing to understand: it is empty, or a comment."""
    if not line.strip():
        return "empty"
    return "comment" if formats.is_comment(line) else None
