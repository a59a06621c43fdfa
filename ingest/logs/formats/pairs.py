"""Lines of names and values: `method=GET path="/a" status=200` (logfmt) and `method:GET<tab>uri:/a` (LTSV).

Heroku's router, lograge and many programs write the first, servers in Japan the second. Names are those of
`fields.NAMES`. Where no pair has a time, that of the line's head counts.
"""

from __future__ import annotations

import re
from itertools import islice

from ingest.logs.formats.fields import NAMES, compact, fields_of
from ingest.logs.formats.request import NotUnderstood, Request, unescape

_FIELDS = 256  # of a line are read
# Possessive: what is taken is never given back, so no line is read twice.
_PAIR = re.compile(
    r'(?<![^ \t,])([A-Za-z_@][A-Za-z0-9_.@-]{0,63})=(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^ \t"]*+))(?![^ \t,])'
)
_HEAD = 512  # characters
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{8,18}(?:Z|[+-][0-9]{2}:?[0-9]{2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(  # behind a day, as Ruby writes a time without quotes
    r" [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?: (?:UTC|[+-][0-9]{4}))?(?![^ \t,])"
)
_TIMES, _CLIENTS = frozenset(NAMES["time"]), frozenset(NAMES["client"]) - {"host"}


def logfmt(line: str) -> Request | NotUnderstood:
    """Parse a line of `name=value`, quoted where there are blanks."""
    values: dict[str, str] = {}
    begin = len(line)
    for pair in islice(_PAIR.finditer(line), _FIELDS):
        begin = min(begin, pair.start())
        value = unescape(pair[2] if pair[2] is not None else pair[3])
        if _DAY.fullmatch(value) and (clock := _CLOCK.match(line, pair.end())):
            value += clock[0]
        values.setdefault(compact(pair[1]), value)
    if values and _TIMES.isdisjoint(values) and (time := _TIME.search(line[: min(begin, _HEAD)])):
        values["time"] = time[0]
    return _request(values, "name=value")


def ltsv(line: str) -> Request | NotUnderstood:
    """Parse a line of `name:value` between tabs; `host` is the client there."""
    pairs = (part.partition(":") for part in line.split("\t", _FIELDS))
    values = {compact(name): unescape(value) for name, colon, value in pairs if colon}
    if "host" in values and _CLIENTS.isdisjoint(values):
        values["remotehost"] = values.pop("host")
    return _request(values, "name:value between tabs")


def _request(values: dict[str, str], form: str) -> Request | NotUnderstood:
    if len(values) < 2:
        return NotUnderstood(f"it is no line of {form}")
    fields = fields_of(tuple(values))
    if fields.missing:
        return NotUnderstood(f"no name is known for the {fields.missing[0]}", fields.found(values))
    return fields.read(values)
