"""Rows as files that a browser saves: CSV, JSON and Parquet, written as the rows come.

CSV is made for spreadsheets: a text that one of them would take for a formula gets an apostrophe in front. The other
formats are exact.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq
from flask import Response
from werkzeug.exceptions import NotFound

_PIECE = 64 << 10  # bytes: what waits for a slow reader is counted in pieces
_TIME = "%Y-%m-%dT%H:%M:%S%.3fZ"
# Spreadsheets skip blanks and invisible characters at the beginning, and read the full-width forms as the plain ones.
_FORMULA = r"^(?:[\p{Z}\p{C}]*[=+\-@＝＋－＠]|[\t\r\n])"


class Form(NamedTuple):
    """One kind of file: the ending of its name, its content type, and what writes frames of the same columns."""

    ending: str
    content_type: str
    write: Callable[[Iterable[pl.DataFrame]], Iterator[bytes]]


def defused(texts: pl.Expr) -> pl.Expr:
    """Texts with an apostrophe in front of those that a spreadsheet would run as a formula."""
    return texts.str.replace(_FORMULA, "'${0}")


def csv(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    """CSV in UTF-8 with a header; times in ISO 8601, UTC."""
    for at, frame in enumerate(frames):
        safe = frame.with_columns(defused(pl.col(pl.String)))
        yield safe.write_csv(include_header=at == 0, datetime_format=_TIME).encode()


def json_lines(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    """An object a row and line; times in ISO 8601, UTC, decimal numbers as text, so that all digits arrive."""
    for frame in frames:
        yield _for_json(frame).write_ndjson().encode()


def json(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    """One list with an object a row; for frames that fit into memory."""
    yield _for_json(pl.concat(frames)).write_json().encode()


def parquet(frames: Iterable[pl.DataFrame]) -> Iterator[bytes]:
    """Parquet with a row group a frame."""
    sink = _Sink()
    writer: pq.ParquetWriter | None = None
    for frame in frames:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if writer is None:
            writer = pq.ParquetWriter(sink, table.schema, compression="zstd")
        writer.write_table(table)
        yield sink.taken()
    if writer is not None:
        writer.close()
        yield sink.taken()


LISTS = {
    "csv": Form("csv", "text/csv; charset=utf-8", csv),
    "json": Form("json", "application/json", json),
    "parquet": Form("parquet", "application/vnd.apache.parquet", parquet),
}
ROWS = LISTS | {"json": Form("jsonl", "application/x-ndjson", json_lines)}


def form_of(forms: dict[str, Form], name: str) -> Form:
    """The form of this name. Raises `NotFound`."""
    if name not in forms:
        raise NotFound(f"there is no {name!r} of this; there are {', '.join(forms)}")
    return forms[name]


def attached(form: Form, name: str, frames: Iterable[pl.DataFrame]) -> Response:
    """A response that a browser saves under this name, with the ending of its form, written while it is sent.

    The first piece is written before there is a response, so what fails at once can still be told."""
    pieces = _pieces(form.write(frames))
    first = next(pieces, b"")

    def all_of_it() -> Iterator[bytes]:
        yield first
        yield from pieces

    response = Response(all_of_it(), content_type=form.content_type)
    response.headers.set("Content-Disposition", "attachment", filename=f"{name}.{form.ending}")
    return response


def _pieces(texts: Iterable[bytes]) -> Iterator[bytes]:
    for text in texts:
        for at in range(0, len(text), _PIECE):
            yield text[at : at + _PIECE]


def _for_json(frame: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    decimals = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Decimal)]
    return frame.with_columns(pl.col(times).dt.strftime(_TIME), pl.col(decimals).cast(pl.String))


class _Sink(io.BytesIO):
    """A file of which what was written is taken away; a place in it counts from the beginning nonetheless."""

    _taken = 0

    def tell(self) -> int:
        return self._taken + super().tell()

    def taken(self) -> bytes:
        """What was written since the last time."""
        written = self.getvalue()
        self._taken += len(written)
        self.seek(0)
        self.truncate()
        return written
