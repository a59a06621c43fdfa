"""Lines of a log taken apart many at a time: a module for each way in which formats write their fields.

Each of them takes only lines that leave nothing in doubt, and finds the same values as the parser of the format. The
others are left for that parser, a line at a time.
"""

from __future__ import annotations

from ingest.logs import formats
from ingest.logs.columns.combined import Combined
from ingest.logs.columns.found import Columns, Found, looked_up
from ingest.logs.columns.json_lines import JsonLines
from ingest.logs.columns.texts import HaProxyLines, OneByOne, Texts

__all__ = ["Columns", "Found", "columns_of", "looked_up"]


def columns_of(shape: str) -> Columns:
    """Return what takes the lines of this shape apart, see `formats.known`."""
    if shape in ("combined", "common"):
        return Combined(shape == "common")
    if shape == "json":
        return JsonLines()
    if shape in ("logfmt", "ltsv"):
        return OneByOne()
    its_format = formats.format_of(shape)
    return HaProxyLines(its_format) if isinstance(its_format, formats.HaProxy) else Texts(its_format)
