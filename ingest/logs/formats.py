"""The formats of web-server logs: what a line of each says of a request.

There are three: `combined` (what Apache and nginx write by default), `common` (the same without referrer and agent)
and `json` (an object a line, with nginx's own variable names). A fourth, `events`, holds our own events and is not
parsed here. `detect` finds the format from the first lines.

Servers add fields to these, so a line is taken apart by what its fields are: the client is the first field that is
an address, the request is the quoted field before status and bytes, referrer and agent are the quoted fields after
them. A line in which one of these cannot be found is not understood; nothing is guessed and nothing is read in half.
Every pattern here takes time in proportion to the line, and lines longer than `LONGEST` are not parsed.

A parser returns a `Request` or `NotUnderstood`. Which requests are page views is decided by one rule: `refusal`.
"""

from __future__ import annotations

import calendar
import json as plain_json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from activity.url import normal_path
from ingest.logs.client import Client, address_in, client_of

FORMATS = ("combined", "common", "json", "events")
LONGEST = 65_536  # bytes of a line: servers take a few kB of each header, and a line holds three of them


class Request(NamedTuple):
    """One request, as its line describes it.

    `agent` is None where the log does not record agents, and "" where the client sent none. In `target` and
    `referrer`, a byte that is no UTF-8 is a surrogate, as `surrogateescape` makes it."""

    ip: str  # canonical, see `activity.geo`
    at: int  # milliseconds UTC
    method: str
    target: str  # path and query as sent
    status: int
    referrer: str
    agent: str | None
    host: str = ""


class NotUnderstood(NamedTuple):
    """A line that is no request of its format, and why."""

    why: str


Parser = Callable[[str], Request | NotUnderstood]

_NO_LINE = NotUnderstood("no line of this format")
_NO_TIME = NotUnderstood("no time such as [01/Jun/2025:12:00:00 +0000]")
_NO_ADDRESS = NotUnderstood("no field before the time is a client's address")
_NO_REQUEST = NotUnderstood('no "request" with status and bytes after it')
_NO_AGENT = NotUnderstood("which of the quoted fields after the bytes are referrer and agent is not clear")
_TORN = NotUnderstood("a quoted field has no end")

_STAMP = re.compile(
    r"\[([0-9]{2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?[ \t]+"
    r"([+-][0-9]{2}:?[0-9]{2})\]"
    r"|\[([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{5,20} ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))\]"
)
# Quoted fields may hold escaped quotes. Possessive: what is taken is never given back, so no line is read twice.
_FIELD = re.compile(r'[ \t]+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^ \t"][^ \t]*+))(?![^ \t])')
_STATUS_AND_SIZE = re.compile(r"[0-9]{3} (?:[0-9]+|-)")
_ESCAPE = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+|\\(.)")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# What browsers fetch because of a page, and files that are no page. One list for everybody: see the README.
ASSETS = frozenset(
    [
        "7z", "apk", "asc", "atom", "avi", "avif", "bin", "bmp", "bz2", "cab", "css", "csv", "deb", "dmg",
        "doc", "docx", "dtd", "eot", "exe", "flac", "flv", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg",
        "js", "json", "jsonld", "less", "m3u8", "m4a", "m4v", "map", "md5", "mid", "mjs", "mkv", "mov",
        "mp3", "mp4", "mpeg", "mpg", "msi", "odp", "ods", "odt", "ogg", "ogv", "otf", "pdf", "pkg", "png",
        "ppt", "pptx", "ps", "rar", "rdf", "rpm", "rss", "rtf", "scss", "sha1", "sha256", "sig", "svg",
        "svgz", "swf", "tar", "tgz", "tif", "tiff", "torrent", "ttf", "txt", "wasm", "wav", "webm",
        "webmanifest", "webp", "wma", "wmv", "woff", "woff2", "xls", "xlsx", "xml", "xpi", "xsl", "xz",
        "zip", "zst"
    ]
)


def combined(line: str) -> Request | NotUnderstood:
    """Parse `IP - user [time] "request" status bytes` and, where they follow, `"referrer" "agent"`."""
    return _request(line, referrer_and_agent)


def common(line: str) -> Request | NotUnderstood:
    """Parse as `combined` does, but ignore the fields after the bytes."""
    return _request(line, lambda _: (None, None))


def _request(
    line: str, choose: Callable[[list[str]], tuple[str | None, str | None] | None]
) -> Request | NotUnderstood:
    stamp = _STAMP.search(line)
    if stamp is None:
        return _NO_TIME
    client = client_of(line[: stamp.start()])
    if client is None:
        return _NO_ADDRESS
    at = _time_of(stamp)
    if at is None:
        return _NO_TIME
    fields = _fields(line, stamp.end())
    if fields is None:
        return _TORN
    first = _first_request(fields)
    if first is None:
        return _NO_REQUEST
    request, status = fields[first][0] or "", fields[first + 1][1] or ""
    found = choose([quoted for quoted, _ in fields[first + 3 :] if quoted is not None])
    if found is None:
        return _NO_AGENT
    return request_of(client, at, request, status, *found)


def request_of(
    client: Client, at: int, request: str, status: str, referrer: str | None, agent: str | None
) -> Request:
    """Make a request from the parts of a line, as they stand there; `at` is milliseconds UTC."""
    method, target = _split_request(_unescape(request))
    return Request(
        client.ip,
        at,
        method,
        target,
        int(status),
        "" if referrer is None or referrer == "-" else _unescape(referrer),
        None if agent is None else "" if agent == "-" else as_text(_unescape(agent)),
        client.host,
    )


def referrer_and_agent(quoted: list[str]) -> tuple[str | None, str | None] | None:
    """Find referrer and agent among the quoted fields after the bytes; return (None, None) where there is none.

    Of more than two fields they are the first pair of which the first may be a referrer and the second is no address.
    Return None where they cannot be found: a single field may be either of them."""
    if not quoted:
        return None, None
    if len(quoted) == 2:
        return quoted[0], quoted[1]
    for referrer, agent in pairwise(quoted):
        if (referrer in ("", "-") or _URL.match(referrer)) and not _URL.match(agent):
            return referrer, agent
    return None


def as_text(text: str) -> str:
    """Replace the surrogates that stand for bytes which are no UTF-8 by U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def json(line: str) -> Request | NotUnderstood:
    """Parse an object with nginx's variable names: `request`, or `request_method` and `request_uri`."""
    fields = _json_object(line)
    if fields is None:
        return _NO_LINE
    text = {key: value if isinstance(value, str) else str(value) for key, value in fields.items() if value is not None}
    at = _json_time(text)
    status = _first(text, "status", "response")
    if at is None or not (status.isascii() and status.isdigit() and len(status) <= 9):
        return _NO_LINE
    if "request" in text:
        method, target = _split_request(text["request"])
    else:
        method = _first(text, "request_method", "method")
        target = _first(text, "request_uri", "uri", "path")
        if target and "?" not in target and text.get("args", "-") not in ("", "-"):
            target += "?" + text["args"]
    ip = address_in(_first(text, "remote_addr", "remote_ip", "client_ip", "clientip"))
    if not method:
        return _NO_LINE
    if ip is None:
        return NotUnderstood("no client's address in remote_addr")
    agent = as_text(_first(text, "http_user_agent", "user_agent", "agent")) if _has_agent(text) else None
    return Request(
        ip,
        at,
        method,
        target,
        int(status),
        _first(text, "http_referer", "http_referrer", "referer", "referrer"),
        agent,
        as_text(_first(text, "host", "http_host", "server_name")),
    )


PARSERS: dict[str, Parser] = {"combined": combined, "common": common, "json": json}


def detect(lines: Iterable[bytes]) -> str | None:
    """Return the format that most of these lines have, one of `FORMATS`; None when not one is understood."""
    votes = dict.fromkeys(FORMATS, 0)
    for raw in lines:
        if len(raw) > LONGEST:
            continue
        line = decoded(raw.rstrip(b"\r\n"))
        if line.lstrip().startswith("{"):
            shape = "json" if isinstance(json(line), Request) else "events"
            votes[shape] += _json_object(line) is not None
        else:
            request = combined(line)
            if isinstance(request, Request):
                votes["common" if request.agent is None else "combined"] += 1
    best = max(votes, key=lambda name: votes[name])
    # A combined log in which some lines lack the agent is a combined log.
    if best == "common" and votes["combined"]:
        return "combined"
    return best if votes[best] else None


def decoded(line: bytes) -> str:
    """Decode a line; a byte that is no UTF-8 becomes a surrogate."""
    return line.decode("utf-8", "surrogateescape")


def is_comment(line: bytes) -> bool:
    """Return whether a line is a comment, such as some programs write above a log."""
    return line.startswith(b"#")


def refusal(request: Request) -> str | None:
    """Return why a request is no page view (method, status or asset), None when it is one. The first match wins."""
    if request.method != "GET":
        return "method"
    if not (200 <= request.status < 300 or request.status == 304):
        return "status"
    path = normal_path(request.target.partition("?")[0])
    dot = path.rfind(".")
    if dot > path.rfind("/") and path[dot + 1 :].lower() in ASSETS:
        return "asset"
    return None


@lru_cache(maxsize=4096)
def apache_minute(minute: str, zone: str) -> int | None:
    """Return the seconds since 1970 of `17/May/2015:10:05` in `+0000` or `+05:30`; None where there is no such time."""
    try:
        day, month, rest = minute.split("/")
        year, hour, minutes = rest.split(":")
        moment = datetime(int(year), _MONTHS[month.title()], int(day), int(hour), int(minutes))  # noqa: DTZ001 - next line
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[0] == "-" else 60)
    except (ValueError, KeyError, IndexError):
        return None
    return calendar.timegm(moment.timetuple()) - offset


def _time_of(stamp: re.Match[str]) -> int | None:
    minute, seconds, fraction, zone, iso = stamp.groups()
    if iso is not None:
        return _iso_time(iso)
    start = apache_minute(minute, zone)
    return None if start is None else (start + int(seconds)) * 1000 + int(f"{fraction or ''}000"[:3])


def _iso_time(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)


def _fields(line: str, start: int) -> list[tuple[str | None, str | None]] | None:
    """Return the fields from `start` on, each (quoted, None) or (None, bare); None where a quoted one has no end."""
    fields: list[tuple[str | None, str | None]] = []
    while match := _FIELD.match(line, start):
        fields.append((match[1], match[2]))
        start = match.end()
    return None if line[start:].strip(" \t") else fields


def _first_request(fields: list[tuple[str | None, str | None]]) -> int | None:
    """Return the index of the request: the first quoted field before a status and a count of bytes."""
    for index in range(len(fields) - 2):
        status, size = fields[index + 1][1] or "", fields[index + 2][1] or ""
        if fields[index][0] is not None and _STATUS_AND_SIZE.fullmatch(f"{status} {size}"):
            return index
    return None


def _split_request(request: str) -> tuple[str, str]:
    """Return method and target of `GET /path HTTP/1.1`. A target may hold blanks; an absolute one loses its origin."""
    method, _, rest = request.partition(" ")
    target, blank, version = rest.rpartition(" ")
    if not blank or not version.startswith("HTTP/"):
        target = rest
    if "://" in target and not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]
    return method, target


def _unescape(text: str) -> str:
    return text if "\\" not in text else _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    if match.group(1) is not None:
        return {"n": "\n", "t": "\t", "r": "\r"}.get(match.group(1), match.group(1))
    return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "surrogateescape")


_json_decoder = msgspec.json.Decoder(dict[str, Any])


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        return _json_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    except UnicodeEncodeError:  # a byte that is no UTF-8
        return _plain_json_object(line)


def _plain_json_object(line: str) -> dict[str, Any] | None:
    try:
        found = plain_json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {key: _LONE.sub("\ufffd", value) if isinstance(value, str) else value for key, value in found.items()}


def _first(text: dict[str, str], *names: str) -> str:
    """Return the first of these fields that has a value; nginx writes `-` where there is none."""
    for name in names:
        value = text.get(name, "")
        if value and value != "-":
            return value
    return ""


def _has_agent(text: dict[str, str]) -> bool:
    return any(name in text for name in ("http_user_agent", "user_agent", "agent"))


def _json_time(text: dict[str, str]) -> int | None:
    if "time_local" in text:
        stamp = _STAMP.fullmatch(f"[{text['time_local']}]")
        return None if stamp is None else _time_of(stamp)
    time = _first(text, "time_iso8601", "msec", "timestamp", "@timestamp", "time")
    try:
        return round(float(time) * 1000)
    except (ValueError, OverflowError):
        return _iso_time(time)
