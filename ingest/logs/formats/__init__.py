"""The formats of logs: what a line of each says of a request.

`known` lists them. A parser of a format returns a `Request` or `NotUnderstood`; `refusal` decides which requests are
page views. Text formats are taken apart by their fields' forms (`combined`) or by the texts between their fields
(`layout`, `w3c`, `balancers`), and JSON by the names of its fields (`json_lines`, `fields`).
"""

from __future__ import annotations

from ingest.logs.formats.balancers import HaProxy
from ingest.logs.formats.combined import client_behind, combined, common, fields_behind_agent
from ingest.logs.formats.dialects import BadLayout
from ingest.logs.formats.json_lines import json
from ingest.logs.formats.known import FORMATS, detect, format_of, is_comment, nearest, parser
from ingest.logs.formats.layout import Layout
from ingest.logs.formats.programs import Program
from ingest.logs.formats.request import (
    ASSETS,
    LONGEST,
    NotUnderstood,
    Request,
    as_text,
    decoded,
    refusal,
    request_of,
)
from ingest.logs.formats.times import apache_minute
from ingest.logs.formats.w3c import W3c, directive

__all__ = [
    "ASSETS", "FORMATS", "LONGEST", "BadLayout", "HaProxy", "Layout", "NotUnderstood", "Program", "Request", "W3c",
    "apache_minute", "as_text", "client_behind", "combined", "common", "decoded", "detect", "directive",
    "fields_behind_agent", "format_of", "is_comment", "json", "nearest", "parser", "refusal", "request_of",
]  # fmt: skip
