"""Formats whose lines are text: a line by whichever of them it has, alone in a file or inside a collector's object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ingest.logs.formats.balancers import S3, Elb, HaProxy, alb
from ingest.logs.formats.combined import combined, common
from ingest.logs.formats.fields import METHOD
from ingest.logs.formats.layout import Layout, layout
from ingest.logs.formats.pairs import logfmt, ltsv
from ingest.logs.formats.programs import PATTERNS, STRINGS, Program, program
from ingest.logs.formats.request import NotUnderstood, Parser, Request
from ingest.logs.formats.w3c import W3c

BY_STRING = {f"layout {string}": name for name, string in STRINGS.items()}
_IN_ORDER = ("combined", "alb", "elb", "s3", "haproxy", *PATTERNS, *BY_STRING, "logfmt", "ltsv")
_CHEAP_FIRST = (*PATTERNS, "logfmt", "alb", "elb", "s3", "haproxy", *BY_STRING, "ltsv")
_METHOD = re.compile(r"\b(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH|PROPFIND|CONNECT)\b", re.IGNORECASE)
_PARSERS: dict[str, Parser] = {"combined": combined, "common": common, "logfmt": logfmt, "ltsv": ltsv}


@lru_cache(maxsize=32)
def text_parser(shape: str) -> Parser:
    """Return what parses the lines of this shape. Raises BadLayout for a format string that cannot be used."""
    known = _PARSERS.get(shape)
    return format_of(shape).read if known is None else known


def format_of(shape: str) -> W3c | Layout | HaProxy | Program:
    """Return the format of a shape that has fields in an order. Raises BadLayout as `text_parser` does."""
    word, _, rest = shape.partition(" ")
    if word == "layout":
        return layout(rest)
    if word == "w3c":
        return W3c(shape)
    if word in PATTERNS:
        return program(word)
    return HaProxy() if word == "haproxy" else {"alb": alb, "elb": Elb, "s3": S3}[shape]()


def tried(line: str, fields: str = "w3c") -> Iterator[tuple[str, Request | NotUnderstood]]:
    """Yield what a line is by each format, W3C first where `fields` names any, up to the one that it has."""
    for shape in (("w3c",) if fields != "w3c" else ()) + _IN_ORDER:
        found = text_parser(fields if shape == "w3c" else shape)(line)
        if isinstance(found, Request) and shape != "combined" and not _may_be_method(found.method):
            found = NotUnderstood("its request has no method", 3)
        yield shape, found
        if isinstance(found, Request):
            return


def request_in_text(line: str) -> Request | None:
    """Return the request of a line of any format but the combined one; None where it has none."""
    tried = ((shape, text_parser(shape)(line)) for shape in _CHEAP_FIRST)
    return next((found for _, found in tried if isinstance(found, Request) and _may_be_method(found.method)), None)


def may_hold_request(line: str) -> bool:
    """Return whether a line may be one of a request: most of what programs say holds no method."""
    return _METHOD.search(line) is not None


def _may_be_method(text: str) -> bool:
    """Return whether a request is one, or one of which the server says that it was none."""
    return METHOD.fullmatch(text) is not None or text in ("-", "<BADREQ>")
