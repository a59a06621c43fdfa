"""Lines of web-server logs, read as requests.

Three shapes: `combined` (what Apache and nginx write unless told otherwise), `common` (the same without
referrer and agent) and `json` (an object a line, with nginx's own variable names). A fourth, `events`, holds
our own events and is not parsed here. `detect` finds the shape from the first lines.

A parser answers with a `Request`, or None for a line that it does not understand. What makes a request a page
view is one table below: `refusal`.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

FORMATS = ("combined", "common", "json", "events")


class Request(NamedTuple):
    """One request as the log tells it. `agent` None: the log does not say, which is not the same as none sent."""

    ip: str
    at: int  # milliseconds UTC
    method: str
    target: str  # path and query as sent
    status: int
    referrer: str
    agent: str | None
    host: str = ""


Parser = Callable[[str], Request | None]

# Quoted parts may hold escaped quotes; the agent of one request must not swallow the end of the line. Unrolled,
# because an alternation for each character costs three times as much.
_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_COMBINED = re.compile(rf"(\S+) [^\[]*\[([^\]]*)\] {_QUOTED} (\d{{3}}) (?:\d+|-)(?: {_QUOTED} {_QUOTED})?")
_ESCAPE = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+|\\(.)")
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}

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


def combined(line: str) -> Request | None:
    """`IP - user [time] "request" status bytes` and, where the log has them, `"referrer" "agent"`."""
    match = _COMBINED.match(line)
    if match is None:
        return None
    ip, stamp, request, status, referrer, agent = match.groups()
    at = _apache_time(stamp)
    return None if at is None else request_of(ip, at, request, status, referrer, agent)


def request_of(ip: str, at: int, request: str, status: str, referrer: str | None, agent: str | None) -> Request:
    """A request of the quoted parts of a line, as they stand there."""
    method, target = _split_request(_unescape(request))
    return Request(
        ip,
        at,
        method,
        target,
        int(status),
        "" if referrer is None or referrer == "-" else _unescape(referrer),
        None if agent is None else "" if agent == "-" else _unescape(agent),
    )


def common(line: str) -> Request | None:
    """As `combined`, with whatever follows the byte count left aside."""
    request = combined(line)
    return None if request is None else request._replace(referrer="", agent=None)


def json(line: str) -> Request | None:
    """An object with nginx's variable names; `request`, or `request_method` and `request_uri`, as one likes."""
    try:
        fields = _json_object(line)
    except msgspec.DecodeError:
        return None
    text = {key: value if isinstance(value, str) else str(value) for key, value in fields.items() if value is not None}
    at = _json_time(text)
    status = _first(text, "status", "response")
    if at is None or not status.isdigit():
        return None
    if "request" in text:
        method, target = _split_request(text["request"])
    else:
        method = _first(text, "request_method", "method")
        target = _first(text, "request_uri", "uri", "path")
        if target and "?" not in target and text.get("args", "-") not in ("", "-"):
            target += "?" + text["args"]
    ip = _first(text, "remote_addr", "remote_ip", "client_ip", "clientip")
    if not method or not ip:
        return None
    agent = _first(text, "http_user_agent", "user_agent", "agent") if _has_agent(text) else None
    return Request(
        ip,
        at,
        method,
        target,
        int(status),
        _first(text, "http_referer", "http_referrer", "referer", "referrer"),
        agent,
        _first(text, "host", "http_host", "server_name"),
    )


PARSERS: dict[str, Parser] = {"combined": combined, "common": common, "json": json}


def detect(lines: Iterable[bytes]) -> str | None:
    """The shape that most of these lines have; None when not one is understood."""
    votes = dict.fromkeys(FORMATS, 0)
    for raw in lines:
        line = raw.decode("utf-8", "replace")
        if line.lstrip().startswith("{"):
            votes["json" if json(line) is not None else "events"] += _is_object(line)
        else:
            request = combined(line)
            if request is not None:
                votes["common" if request.agent is None else "combined"] += 1
    best = max(votes, key=lambda name: votes[name])
    # A combined log in which some lines lack the agent is a combined log.
    if best == "common" and votes["combined"]:
        return "combined"
    return best if votes[best] else None


def refusal(request: Request) -> str | None:
    """Why a request is no page view, None when it is one: the whole rule, first match wins."""
    if request.method != "GET":
        return "method"
    if not (200 <= request.status < 300 or request.status == 304):
        return "status"
    path = request.target.partition("?")[0]
    dot = path.rfind(".")
    if dot > path.rfind("/") and path[dot + 1 :].lower() in ASSETS:
        return "asset"
    return None


@lru_cache(maxsize=4096)
def apache_minute(minute: str, zone: str) -> int | None:
    """Seconds since 1970 of `17/May/2015:10:05` in `+0000`."""
    try:
        day, month, rest = minute.split("/")
        year, hour, minutes = rest.split(":")
        moment = datetime(int(year), _MONTHS[month.title()], int(day), int(hour), int(minutes))  # noqa: DTZ001 - next line
        offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * (-60 if zone[0] == "-" else 60)
    except (ValueError, KeyError, IndexError):
        return None
    return calendar.timegm(moment.timetuple()) - offset


def _apache_time(stamp: str) -> int | None:
    minute, zone, seconds = stamp[:17], stamp[21:], stamp[18:20]
    start = apache_minute(minute, zone)
    if start is None or not seconds.isdigit():
        return None
    return (start + int(seconds)) * 1000


def _split_request(request: str) -> tuple[str, str]:
    """Method and target of `GET /path HTTP/1.1`; a target may hold blanks, an absolute one loses its origin."""
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
    return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "replace")


_json_decoder = msgspec.json.Decoder(dict[str, Any])


def _json_object(line: str) -> dict[str, Any]:
    return _json_decoder.decode(line)


def _is_object(line: str) -> bool:
    try:
        _json_object(line)
    except msgspec.DecodeError:
        return False
    return True


def _first(text: dict[str, str], *names: str) -> str:
    """The first of these fields that says something; nginx writes `-` for nothing."""
    for name in names:
        value = text.get(name, "")
        if value and value != "-":
            return value
    return ""


def _has_agent(text: dict[str, str]) -> bool:
    return any(name in text for name in ("http_user_agent", "user_agent", "agent"))


def _json_time(text: dict[str, str]) -> int | None:
    if "time_local" in text:
        return _apache_time(text["time_local"])
    stamp = _first(text, "time_iso8601", "msec", "timestamp", "@timestamp", "time")
    if not stamp:
        return None
    try:
        return round(float(stamp) * 1000)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
