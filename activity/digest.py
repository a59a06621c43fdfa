"""The digest of a day's sessions: equal digests are the proof that a replay rebuilt what the live run made.

One line a session of one site that started on the UTC day, sessions still open included. Fields in the order of
`FIELDS`, separated by tabs: `visitor` and `session_id` as 16 hex digits, times in milliseconds, numbers in decimal,
truths as 0 or 1, texts with backslash, tab, newline and carriage return written as \\\\, \\t, \\n, \\r. Lines are
sorted by (`visitor`, `session_id`), which is the order of their bytes, and each ends with a newline. The digest is
the SHA-256 of the UTF-8 bytes. No row version and no float takes part.
"""

from __future__ import annotations

import hashlib

import polars as pl

from activity.session import COLUMNS

FIELDS: tuple[str, ...] = tuple(name for name in COLUMNS if name != "site")


def lines(sessions: pl.DataFrame) -> pl.Series:
    """The sorted lines of one site's sessions of one day, without their newlines."""
    ordered = sessions.sort("visitor", "session_id")
    return ordered.select(pl.concat_str([_text(name) for name in FIELDS], separator="\t")).to_series()


def digest(sessions: pl.DataFrame) -> str:
    """SHA-256 in hex over the lines; of no sessions, that of nothing."""
    whole = hashlib.sha256()
    for line in lines(sessions).to_list():
        whole.update(line.encode())
        whole.update(b"\n")
    return whole.hexdigest()


def _text(name: str) -> pl.Expr:
    column, kind = pl.col(name), COLUMNS[name]
    if isinstance(kind, pl.UInt64):
        return hex16(name)
    if isinstance(kind, pl.Boolean):
        return column.cast(pl.UInt8).cast(pl.String)
    if isinstance(kind, pl.String):
        escaped = column.str.replace_all("\\", "\\\\", literal=True)
        for raw, written in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            escaped = escaped.str.replace_all(raw, written, literal=True)
        return escaped
    return column.cast(pl.String)


def hex16(name: str) -> pl.Expr:
    """A column of 64-bit numbers as 16 hex digits each: sixteen vector operations rather than a call a row."""
    digits = pl.Series("digit", list("0123456789abcdef"))
    column = pl.col(name)
    parts = [
        pl.lit(digits).gather(((column // (1 << shift)) % 16).cast(pl.UInt32)) for shift in range(60, -4, -4)
    ]
    return pl.concat_str(parts)
