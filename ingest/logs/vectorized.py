"""The vectorised path of an import: the lines of a log are parsed, looked up and encoded many at a time, by columns.

`columns` takes the lines apart that leave nothing in doubt. All other lines are parsed by `formats`, one at a time.
What a client, a page or a visitor comes to is looked up once for all lines that have it in common, and from there on
every line takes the same way: `events` encodes them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count, repeat, takewhile
from typing import Any

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
        is_left = pl.Series([True]).new_from_index(0, len(lines))
        for found in self._columns.found(lines):
            frame, refused = self._with_pages(found, pages)
            is_left = is_left.scatter(frame["_row"], False).scatter(refused["_row"], False)
            for reason, its_lines in refused["_refusal"].value_counts().iter_rows():
                batch.refuse(reason, its_lines)
            taken.append(self._with_visitors(found, frame, visitors).select(**{name: f"_{name}" for name in _ROWS}))
        rows = pl.concat(taken) if taken else pl.DataFrame(schema=_ROWS)
        return rows if len(taken) < 2 else rows.sort("row"), is_left.arg_true().to_list()

    def _with_pages(self, found: Found, pages: list[Page]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the lines that are page views, with `_page`, and those that are refused, as `_row` and `_refusal`."""
        frame = found.frame.filter(pl.col("_ip").is_not_null()).with_columns(_utc=pl.col("_at") // DAY)
        frame = looked_up(
            frame, ["_utc"], lambda utc: (utc is not None and self._writer.takes_day(utc),), {"_taken": pl.Boolean()}
        )
        frame = frame.filter("_taken")
        refused = []
        if "_refusal" in frame.columns:
            refused = [frame.filter(pl.col("_refusal").is_not_null()).select("_row", "_refusal")]
            frame = frame.filter(pl.col("_refusal").is_null()).drop("_refusal")
        cases, columns, is_short = _cases(frame, found.page_by)
        outcomes = list(map(self._kept_outcome if is_short else self._outcome, repeat(found.request), *columns))
        numbers = count(len(pages))
        pages += [its for its in outcomes if type(its) is Page]
        cases = cases.with_columns(
            pl.Series("_page", [next(numbers) if type(its) is Page else None for its in outcomes], dtype=pl.UInt32),
            pl.Series("_refusal", [its if type(its) is str else None for its in outcomes], dtype=pl.String),
        )
        frame = frame.join(cases, on=found.page_by, how="left", nulls_equal=True, maintain_order="left")
        refused.append(frame.filter(pl.col("_refusal").is_not_null()).select("_row", "_refusal"))
        return frame.filter(pl.col("_page").is_not_null()), pl.concat(refused)

    def _outcome(self, read: _Read, *case: str | None) -> Page | str | None:
        kept = sum(map(len, filter(None, case))) <= LONG
        return (self._kept_outcome if kept else self._outcome_of)(read, *case)

    def _with_visitors(self, found: Found, frame: pl.DataFrame, visitors: list[Visitor]) -> pl.DataFrame:
        """Return the lines with `_visitor`."""
        by = ["_ip", *found.agent_by]
        cases, (ips, *columns), is_short = _cases(frame, by)
        agents = map(lru_cache(4_096)(found.agent), *columns) if columns else repeat(found.agent())
        first = len(visitors)
        visitors += map(self._writer.kept_visitor if is_short else self._writer.visitor, ips, agents)
        numbers = pl.int_range(first, len(visitors), dtype=pl.UInt32).alias("_visitor")
        return frame.join(cases.with_columns(numbers), on=by, how="left", nulls_equal=True, maintain_order="left")

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
        page = self._writer.page_of(request)
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
        found = formats.refusal(request) or self._writer.page_of(request)
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


def _cases(frame: pl.DataFrame, by: list[str]) -> tuple[pl.DataFrame, list[list[Any]], bool]:
    """Return the different rows of the columns `by`, the same as a list a column, and whether all of them are short."""
    cases = frame.select(by).unique(maintain_order=True)
    length = pl.sum_horizontal(pl.col(by).str.len_chars())
    return cases, [cases[name].to_list() for name in by], not cases.filter(length > LONG).height
