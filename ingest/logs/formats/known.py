"""The formats that are known: which one a file has, and who parses its lines.

A shape names a format, and all that is needed to parse a line of it: one of `FORMATS`, `w3c` with the names of its
fields behind it, or `layout` with a format string behind it, such as some programs write by default. It is kept with
each line that is not understood.
`events`, lines of our own events, is a format too, but not parsed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingest.logs.formats.fields import NEEDED, compact, fields_of
from ingest.logs.formats.json_lines import begins_object, is_event, json, json_object
from ingest.logs.formats.programs import PATTERNS
from ingest.logs.formats.request import LONGEST, NotUnderstood, Parser, Request, decoded
from ingest.logs.formats.texts import BY_STRING, format_of, text_parser, tried
from ingest.logs.formats.w3c import directive

__all__ = ["FORMATS", "detect", "format_of", "is_comment", "nearest", "parser"]

FORMATS = ("combined", "common", "json", "w3c", "alb", "elb", "s3", "haproxy", *PATTERNS, "logfmt", "ltsv", "events")


# A line of IIS whose head is gone, and with it what its fields are.
_LIKE_W3C = re.compile(r"[0-9]{4}(?:-[0-9]{2}){2} [0-9]{2}(?::[0-9]{2}){2} (?:[^ \"]+ ){1,12}(?:GET|POST|HEAD) /[^\"]*")


def parser(shape: str) -> Parser:
    """Return what parses the lines of this shape. Raises BadLayout for a format string that cannot be used."""
    return json if shape == "json" else text_parser(shape)


def detect(lines: Iterable[bytes]) -> str | None:
    """Return the shape that most of these lines have; None when not one is understood.

    Comments may be among them: `#Fields` is needed for `w3c`."""
    votes = dict.fromkeys((*FORMATS, *BY_STRING), 0)
    for _, shape, found in _read(lines):
        if shape == "events" or isinstance(found, Request):
            votes[shape] += 1
    best = max(votes, key=lambda name: votes[name])
    # A combined log in which some lines lack the agent is a combined log.
    if best == "common" and votes["combined"]:
        return "combined"
    return best if votes[best] else None


def nearest(lines: Iterable[bytes]) -> str:
    """Say of the first of these lines which format it is nearest to, and what of that it lacks."""
    for raw, shape, found in _read(lines):
        if isinstance(found, NotUnderstood):
            if lacking := _lacking_in_table(decoded(raw)):
                return f"the nearest is a table: {lacking}"
            return f"the nearest is {BY_STRING.get(shape) or shape.partition(' ')[0]}: {found.why}"
    return ""


def _lacking_in_table(line: str) -> str:
    """Return what a line lacks to be the names of a table; "" where it has not even two of them."""
    for names in (tuple(map(compact, line.split(separator))) for separator in ",;\t|"):
        missing = fields_of(names).missing if len(names) > len(NEEDED) // 2 else NEEDED
        if 0 < len(missing) <= len(NEEDED) // 2:
            return f"no column has a name that is known for the {missing[0]}"
    return ""


def _read(lines: Iterable[bytes]) -> Iterable[tuple[bytes, str, Request | NotUnderstood]]:
    """Yield each line, its format, and the request; or the nearest format and what is lacking."""
    fields = "w3c"
    for raw in lines:
        line = decoded(raw.rstrip(b"\r\n"))
        if is_comment(raw):
            fields = directive(line, fields)
            continue
        if not line.strip() or len(raw) > LONGEST:
            continue
        yield raw, *_read_one(line, fields)


def _read_one(line: str, fields: str) -> tuple[str, Request | NotUnderstood]:
    if begins_object(line):
        found = json(line)
        if isinstance(found, Request):
            return "json", found
        given = json_object(line)
        if given is not None or line.lstrip().startswith("{"):
            return "events" if given is not None and is_event(given) else "json", found
    if fields == "w3c" and _LIKE_W3C.fullmatch(line):
        return "w3c", NotUnderstood("no #Fields line stands before it: put that of the server's log above it")
    all_tried = list(tried(line, fields))
    shape, last = all_tried[-1]
    if isinstance(last, Request):
        return "common" if shape == "combined" and last.agent is None else shape, last
    # `combined` comes before the others of which as much was found.
    return max(all_tried, key=lambda one: one[1].found if isinstance(one[1], NotUnderstood) else 0)


def is_comment(line: bytes) -> bool:
    """Return whether a line is a comment, such as some programs write above a log."""
    return line.startswith(b"#")
