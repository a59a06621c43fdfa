r"""Logs of JSON, an object a line: nginx, Apache, Caddy, Traefik, Envoy, Elastic's names, and clouds' balancers.

Objects inside an object are read as if their fields stood in it, with the names of both. nginx without `escape=json`
writes `\x22`, which is no JSON; it is read all the same. A container's runtime puts each line of a program into an
object: then the line in it counts.
"""

from __future__ import annotations

import json as plain_json
import re
from typing import Any

import msgspec

from ingest.logs.formats.combined import combined
from ingest.logs.formats.fields import compact, fields_of
from ingest.logs.formats.request import NotUnderstood, Request
from ingest.logs.formats.w3c import as_sent

_NO_LINE = NotUnderstood("no JSON object")
_NO_LOG = "no field has a name that is known for the "
DEEPEST = 4  # objects inside an object
FIELDS = 256  # of a line are read

_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_HEX = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")
_decoder = msgspec.json.Decoder(dict[str, Any])
WRAPPERS = ("log", "message", "msg", "MESSAGE")
_EVENT_FIELDS = (("type", "url"), ("type", "name"), ("visitor", "url"), ("user", "url"), ("ts", "url"))


def json(line: str) -> Request | NotUnderstood:
    """Parse an object whose fields have names that `fields.NAMES` knows."""
    given = json_object(line)
    return _NO_LINE if given is None else _read(given, inside=False)


def _read(given: dict[str, Any], inside: bool) -> Request | NotUnderstood:
    values = as_sent(_flat(given))
    if is_of_grok(given):
        _as_without_grok(given, values)
    fields = fields_of(tuple(values))
    found = NotUnderstood(_NO_LOG + fields.missing[0]) if fields.missing else fields.read(values)
    if isinstance(found, Request) or inside:
        return found
    for name in WRAPPERS:
        line = given.get(name)
        if isinstance(line, str):
            within = json_object(line) if line.startswith("{") else None
            request = combined(line.rstrip("\r\n")) if within is None else _read(within, inside=True)
            if isinstance(request, Request):
                return request
    return found


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
    """Return whether an object looks like an event of our own rather than a line of a log."""
    return any(all(name in given for name in names) for names in _EVENT_FIELDS)


def json_object(line: str) -> dict[str, Any] | None:
    """Return the object on a line; None where there is none."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return _plain_json_object(_HEX.sub(_as_json, line)) if "\\x" in line else None
    except UnicodeEncodeError:  # a byte that is no UTF-8
        return _plain_json_object(_HEX.sub(_as_json, line))


def _as_json(match: re.Match[str]) -> str:
    text = bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "surrogateescape")
    return plain_json.dumps(text, ensure_ascii=False)[1:-1]


def _plain_json_object(line: str) -> dict[str, Any] | None:
    try:
        found = plain_json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return found


def _flat(given: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, str]:
    """Return the fields by compact names, those of inner objects behind the name of the object."""
    found: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, list):
            value = value[0] if value else ""
        if isinstance(value, dict):
            if depth < DEEPEST:
                found |= _flat(value, before + name, depth + 1)
            continue
        text = value if isinstance(value, str) else str(value)
        found.setdefault(compact(before + name), text if text.isascii() else _LONE.sub("\ufffd", text))
        if len(found) >= FIELDS:
            break
    return found
