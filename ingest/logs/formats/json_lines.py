r"""Logs of JSON, an object a line: nginx, Apache, Caddy, Traefik, Envoy, Elastic's names, and clouds' balancers.

Objects inside an object are read as if their fields stood in it, with the names of both; where that is not enough, by
their own names alone, as of a platform that has the request in `proxy` or `properties`. A container's runtime or a
collector puts each line of a program into an object: then the line in it counts. syslog, and others, put their head
before an object.

Format strings of servers make JSON that is none: `\x22` for a quote, nothing or `-` for a number, and an array's commas
behind each object. All these are read.
"""

from __future__ import annotations

import json as plain_json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from activity.zones import ZONES
from ingest.logs.client import address_in
from ingest.logs.formats.combined import combined
from ingest.logs.formats.fields import NAMES, NEEDED, PASSED_ON, compact, fields_of
from ingest.logs.formats.nested import OF_ANOTHER
from ingest.logs.formats.pairs import logfmt
from ingest.logs.formats.queries import as_query
from ingest.logs.formats.request import NotUnderstood, Request, decoded, without_colours
from ingest.logs.formats.texts import may_hold_request, request_in_text
from ingest.logs.formats.w3c import as_sent

_NO_LINE = NotUnderstood("no JSON object")
_NO_LOG = "no field has a name that is known for the "
DEEPEST = 4  # objects inside an object
FIELDS = 256  # of a line are read

_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_HEX = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")
_decoder = msgspec.json.Decoder(dict[str, Any])
WRAPPERS = frozenset(
    ("log", "message", "msg", "line", "raw", "textpayload", "event", "original", "shortmessage", "fullmessage", "body",
     "stringvalue", "payload")
)
_OF_MACHINES = frozenset(("kubernetes", "host", "agent", "container", "docker", "cloud", "labels", "resource"))
_ANYBODYS = frozenset(("host", "ip", "ipaddress", "addr"))  # addresses: of whom, says the name of the object
_OF_UPSTREAM, _OF_SERVER = re.compile(r"upstream|backend|proxied|destination"), re.compile(r"server|local|listen")
_CLIENTS, _HOSTS = frozenset(NAMES["client"]), frozenset(NAMES["host"])
QUERIES = frozenset(NAMES["query"])
ZONE = "timezone_type"  # in an object that is a time
_KINDS_OF_NAMES = ("name", "key", "field")
_LONGEST_HEAD = 512  # characters before an object
_LABELS = re.compile(r'[0-9T:.Z+-]{20,40} \{(?:[a-zA-Z_]\w{0,99}="(?:[^"\\]|\\.){0,400}"(?:, )?){1,40}\} +(?=\{)')
# What Caddy's console has before an object, where a line of the common format comes first.
_CONSOLE = re.compile(r"[0-9/]{10} [0-9:.]{8,15}\t[^\t]{3,20}\thttp\.log\.access[^\t]{0,64}\t[^\t]*+\t(?=\{)")
_NAMES_OF_TIME = frozenset(NAMES["time"])
_TIME = re.compile(
    r"(?<![^ \t])(?:[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9:.,]{8,18}(?: ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?(?=\s)"
    r"|1\.[0-9]{4,17}e\+0?9(?=\t)|1[0-9]{9}\.[0-9]{1,9}(?=\t))"
)
_BETWEEN_TIMES = re.compile(r"[ \t]+(?:[^ |]{1,128} +\| +|(?:stdout|stderr) [FP] +)?")
_WITH_ZONE = re.compile(r"Z$|[+-][0-9]{2}:?[0-9]{2}$|^1[0-9.]{5}")  # or seconds since 1970
# A value without quotes. Possessive: what is taken is never given back, so no line is read twice.
_BARE = re.compile(r'(?<!\\)(":[ \t]*+)([^"{\[}]*+)(?=(["}]))')
_MAY_BE_LAST = re.compile(r",[ \t]*+[}\]]")
# A string, which is left as it is, its end missing or not, or a comma behind the last field or value.
_LAST_COMMA = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|,[ \t]*+(?=[}\]])', re.DOTALL)
_LITERAL = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_EVENT_FIELDS = (("type", "url"), ("type", "name"), ("visitor", "url"), ("user", "url"), ("ts", "url"))


def json(line: str) -> Request | NotUnderstood:
    """Parse an object whose fields have names that `fields.NAMES` knows."""
    given = json_object(line)
    return _NO_LINE if given is None else request_in(given)


def request_in(given: dict[str, Any]) -> Request | NotUnderstood:
    """Read an object as `json` does a line."""
    return _read(given, inside=False)


def begins_object(line: str) -> bool:
    """Return whether an object stands on a line, first or behind a head that has no quotes, or Loki's labels."""
    line = _without_head(line)
    if line.lstrip(" \t[").startswith("{") or 0 <= line.find('{"', 0, _LONGEST_HEAD) < line.find('"'):
        return True
    return line.startswith("<") and '"] {"' in line[:_LONGEST_HEAD]  # behind the structured data of RFC 5424


def _without_head(line: str) -> str:
    """Return a line without what stands before its object, where that may hold quotes and braces."""
    head = _LABELS.match(line) or _CONSOLE.match(line)
    return line[head.end() :] if head else line


def _read(given: dict[str, Any], inside: bool) -> Request | NotUnderstood:
    values = as_sent(_flat(given))
    if is_of_grok(given):
        _as_without_grok(given, values)
    found = _request(values)
    if isinstance(found, Request):
        return found
    objects = list(_inner(given))
    texts: list[str] = []
    for line in _lines_in([given, *(each for each, _ in objects)]) if not inside else ():
        within = json_object(line) if begins_object(line) else None
        if within is None:
            texts.append(without_colours(line.rstrip("\r\n")))
        request = combined(texts[-1]) if within is None else _read(within, inside=True)
        if isinstance(request, Request):
            return request
    # `host` beside an object that is the request: the machine that collected it.
    together = {name: value for name, value in values.items() if name != "host" or address_in(value) is not None}
    layers = [("", together), *((names, _beside(_flat(each), names)) for each, names in objects[::-1])]
    together = {}
    for _, fields in sorted(layers, key=lambda layer: _rank(layer[0])):
        together |= fields
    together = as_sent(together)
    ways = ((together, False), (values, True), (together, True))
    for fields, by_ends in ways:
        request = _request(fields, by_ends)
        if isinstance(request, Request):
            return request
        found = request if request.found > found.found else found
    texts = list(filter(may_hold_request, texts))
    at = fields_of(tuple(values)).time(values) if texts else None
    return next(filter(None, (_in_text(text, at) for text in texts)), found)


def _lines_in(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of programs that stand in these objects."""
    for each in objects:
        for name, line in each.items():
            if isinstance(line, list) and name == "MESSAGE":
                line = _of_bytes(line)
            if isinstance(line, str) and compact(name) in WRAPPERS:
                yield line


def _in_text(line: str, at: int | None) -> Request | None:
    """Return the request of a line that a collector put into an object; of one without a time, `at` is it."""
    found = request_in_text(line)
    if found is None and at is not None:
        timed = f"{datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec='milliseconds')} {line}"
        its = (parse(timed) for parse in (combined, logfmt))
        found = next((request for request in its if isinstance(request, Request)), None)
    return found


def _request(values: dict[str, str], by_ends: bool = False) -> Request | NotUnderstood:
    fields = fields_of(tuple(values), by_ends)
    if fields.missing:
        return NotUnderstood(_NO_LOG + fields.missing[0], len(NEEDED) - len(fields.missing))
    return fields.read(values)


def _of_bytes(values: list[Any]) -> str | None:
    """Return the text that the journal writes as a list of bytes, where it holds more than ASCII; None of another."""
    try:
        return decoded(bytes(values))
    except (TypeError, ValueError):
        return None


def _inner(given: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects in an object, outer ones first, those too that are written as text, and the names around."""
    objects = [(given, "", 0)]
    while objects:
        each, names, depth = objects.pop(0)
        for name, value in each.items():
            inner = json_object(value) if isinstance(value, str) and value.startswith("{") else value
            inner = _plain(inner) if isinstance(inner, dict) else inner
            if isinstance(inner, dict) and depth < DEEPEST and compact(name) not in _OF_MACHINES:
                its_names = f"{names} {compact(name)}"
                yield inner, its_names
                objects.append((inner, its_names, depth + 1))


def _rank(names: str) -> int:
    """Return how much an object of these names says of the request: "" is the line itself."""
    if not names:
        return 1
    return 0 if _OF_UPSTREAM.search(names) else 2 if OF_ANOTHER.search(names) else 3


def _beside(values: dict[str, str], names: str) -> dict[str, str]:
    """Return which fields of an inner object count beside those around it, by the names that it has.

    Its `address` may be anybody's. A server's own is no client, nor is its host the page's: the client of an object
    that is not certainly of a server is one by the name of its field."""
    of_another = OF_ANOTHER.search(names)
    no_clients = _CLIENTS if _OF_UPSTREAM.search(names) else _ANYBODYS if of_another or _OF_SERVER.search(names) else ()
    return {
        name: value
        for name, value in values.items()
        if name != "address"
        and not (name in no_clients and "client" not in name and address_in(value) is not None)
        and not (of_another and name in _HOSTS)
    }


def is_of_grok(given: dict[str, Any]) -> bool:
    """Return whether an object is a combined line that Logstash's grok took apart."""
    return "clientip" in given and "verb" in given


def _as_without_grok(given: dict[str, Any], values: dict[str, str]) -> None:
    """Undo what Logstash's grok does to a combined line: it leaves the quotes around agent and referrer.

    Beside its `timestamp`, the line's own time, `@timestamp` may be when the line was collected."""
    for name in ("agent", "referrer"):
        if values.get(name, "").startswith('"'):
            values[name] = values[name].removeprefix('"').removesuffix('"')
    if isinstance(given.get("timestamp"), str):
        values["timestamp"] = given["timestamp"]


def is_event(given: dict[str, Any]) -> bool:
    """Return whether an object looks like an event of our own rather than a line of a log.

    An event may have fields of its sender's, so one field of a request makes it none."""
    is_request = "method" in given and "status" in given and "visitor" not in given and "user" not in given
    return not is_request and any(all(name in given for name in names) for names in _EVENT_FIELDS)


def json_object(line: str) -> dict[str, Any] | None:
    """Return the object on a line; None where there is none."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return _mended_object(line)
    except UnicodeEncodeError:  # a byte that is no UTF-8
        return _mended_object(line)


def _mended_object(line: str) -> dict[str, Any] | None:
    """Return the object on a line that is not quite JSON; None where there is none."""
    found = next((found for text in mended(line) if (found := _plain_json_object(text)) is not None), None)
    if found is not None and _NAMES_OF_TIME.isdisjoint(compact(name) for name in found if found[name] is not None):
        head = line[: max(line.find("{", 0, _LONGEST_HEAD), 0)]
        if time := _time_of_head(head):
            found["time"] = time
    return found


def _time_of_head(head: str) -> str:
    """Return the time in what stands before an object: the first, or those directly behind it, as behind that of a
    container's runtime a program's own. Of these, one that names no zone counts only where none does, or as Caddy's
    console has it, before a tab. "" where there is none."""
    found: re.Match[str] | None = None
    for time in _TIME.finditer(head):
        if found is not None and not _BETWEEN_TIMES.fullmatch(head, found.end(), time.start()):
            break
        is_certain = _WITH_ZONE.search(time[0]) is not None or head.startswith("\t", time.end())
        if found is None or is_certain or not _WITH_ZONE.search(found[0]):
            found = time
        else:
            break
    return found[0] if found else ""


def mended(line: str) -> Iterator[str]:
    """Yield what the object on a line that is not quite JSON may be meant as, with few changes first."""
    if begins_object(line):
        _, brace, rest = _without_head(line).partition("{")
        text = (brace + rest).rstrip(" \t\r\n,]")
        yield text
        if _MAY_BE_LAST.search(text) and (without := _LAST_COMMA.sub(_unless_comma, text)) != text:
            yield without
            text = without
        if "\\x" in text:
            text = _HEX.sub(_as_json, text)
            yield text
        yield _BARE.sub(_as_value, text)


def _unless_comma(match: re.Match[str]) -> str:
    return "" if match[0][0] == "," else match[0]


def _as_value(match: re.Match[str]) -> str:
    """A value that is none as the text that it is; null where nothing stands there."""
    given = match[2].rstrip(" \t")
    value = given.removesuffix(",").rstrip(" \t")
    comma = "," if given.endswith(",") else ""
    if _LITERAL.fullmatch(value) or not (comma or match[3] == "}"):
        return match[0]
    return match[1] + (plain_json.dumps(value) if value else "null") + comma


def _as_json(match: re.Match[str]) -> str:
    text = bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "surrogateescape")
    return plain_json.dumps(text, ensure_ascii=False)[1:-1]


def _plain_json_object(line: str) -> dict[str, Any] | None:
    try:
        found = plain_json.loads(line, strict=False)  # a tab may stand in a text
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return found


def first_of(key: str, value: Any) -> Any:
    """Return what counts of a field's value: of a list its first, and all that is said of who passed the client on."""
    if not isinstance(value, list):
        return value
    if len(value) > 1 and key.endswith(PASSED_ON) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value[0] if value else ""


def named_in(values: list[Any]) -> dict[str, Any] | None:
    """Return the values of a list of names and values, which are objects or pairs; None of another list.

    So Amazon writes headers (`name`, `value`) and the cells of a search (`field`), and OpenTelemetry attributes (`key`,
    and in `value` an object that names its type)."""
    found: dict[str, Any] = {}
    for each in values:
        if isinstance(each, dict) and "value" in each:
            name, value = next((each[kind] for kind in _KINDS_OF_NAMES if kind in each), None), each["value"]
            if isinstance(value, dict) and len(value) == 1 and "kvlistValue" not in value:
                value = _of_array(next(iter(value.values())))
        elif isinstance(each, list) and len(each) == 2:
            name, value = each
        else:
            return None
        if not isinstance(name, str):
            return None
        found[name] = value
    return found or None


def _of_array(value: Any) -> Any:
    """Return the values in one of OpenTelemetry's arrays, without their types; what is none as it is."""
    if not isinstance(value, dict) or not isinstance(value.get("values"), list):
        return value
    return [next(iter(each.values()), "") if isinstance(each, dict) else each for each in value["values"]]


def _plain(value: dict[str, Any]) -> Any:
    """Return an object that stands for a value as that value: OpenTelemetry's list of names and values, as an object,
    and a time with its zone beside it, as PHP writes it."""
    if ZONE in value and isinstance(value.get("date"), str):
        return _with_zone(value["date"], value.get("timezone"))
    values = value.get("kvlistValue")
    if len(value) == 1 and isinstance(values, dict) and isinstance(values.get("values"), list):
        return named_in(values["values"]) or value
    return value


def _with_zone(date: str, zone: Any) -> str:
    """Return a time with its offset; with the zone's name, which makes it no time, where nobody knows the zone."""
    if isinstance(zone, str) and zone in ZONES:
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(zone)).isoformat()
    return f"{date} {zone}"


def _flat(given: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, str]:
    """Return the fields by compact names, those of inner objects behind the name of the object."""
    found: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, list):
            value = named_in(value) or first_of(compact(before + name), value)
        if isinstance(value, dict):
            value = as_query(value) if compact(before + name) in QUERIES else _plain(value)
        if isinstance(value, dict):
            if depth < DEEPEST:
                found |= _flat(value, before + name, depth + 1)
            continue
        text = value if isinstance(value, str) else str(value)
        found.setdefault(compact(before + name), text if text.isascii() else _LONE.sub("\ufffd", text))
        if len(found) >= FIELDS:
            break
    return found
