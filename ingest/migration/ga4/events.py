"""Google Analytics 4: the BigQuery export, a JSON object a line and event, or the same as Parquet.

What the tags send by themselves and what tells nothing that an event here would (`session_start`, `first_visit`) is
left out; page views, searches, links out, downloads and engaged time have types of their own, and any other event is
a custom event with its parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from activity.geo import Place
from activity.user_agent import Agent
from ingest.logs.files import ImportFailed
from ingest.migration import names
from ingest.migration.countries import country_code
from ingest.migration.export import Action, Broken, Left, Read, Scratch, Tell, json_objects, parquet_rows
from ingest.migration.members import PARQUET, Member

_AUTOMATIC = frozenset(("session_start", "first_visit", "scroll", "form_start"))
_KINDS = {
    "page_view": "pageview", "screen_view": "pageview", "view_search_results": "search", "search": "search",
    "user_engagement": "engagement", "file_download": "download", "form_submit": "form",
}  # fmt: skip
# Parameters that are fields here, or that only their own reports use.
_OWN = frozenset(
    (
        "page_location", "page_referrer", "page_title", "ga_session_id", "ga_session_number", "engagement_time_msec",
        "session_engaged", "engaged_session_event", "entrances", "batch_ordering_id", "batch_page_id", "debug_mode",
        "ignore_referrer", "search_term", "term", "campaign", "medium", "source", "content", "gclid", "dclid",
        "srsltid", "synthetic_bundle", "percent_scrolled",
    )
)  # fmt: skip
_SALES = frozenset(("purchase", "in_app_purchase", "ecommerce_purchase", "refund"))
_MOST_DIGITS = 18
_MOST_PAID = 10**18
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_EARLIEST = 631_152_000_000  # 1990, in milliseconds: a time in other units is far before
_VALUES = ("string_value", "int_value", "float_value", "double_value")


def read(members: Sequence[Member], site: str, theirs: str, _tell: Tell) -> Iterator[Read]:
    """Yield what each event says; `theirs` is the id of the data stream, where there are several.

    Raises ImportFailed where a file is no such export, or holds several streams and none is chosen."""
    streams: set[str] = set()
    for member in members:
        if member.begins(4) != PARQUET and member.first_byte() not in (b"{", b"[", b""):
            raise ImportFailed(f"{member.name} is neither JSON nor Parquet: reports as CSV are imported by themselves")
        for found in _rows(member):
            if isinstance(found, Broken):
                continue
            number, row = found
            if "event_name" not in row or "event_timestamp" not in row:
                raise ImportFailed(
                    f"{member.name}, line {number}: no event of the BigQuery export, which has event_name and"
                    f" event_timestamp: there is {', '.join(row)[:200]}"
                )
            streams.add(str(row.get("stream_id", "")))
    if len(streams) > 1 and not theirs:
        raise ImportFailed(f"it has several data streams, choose one with --their-site: {', '.join(sorted(streams))}")
    if theirs and theirs not in streams:
        raise ImportFailed(f"there is no data stream {theirs} in it; there is {', '.join(sorted(streams))}")
    for member in members:
        with Scratch() as repeats:  # by file, because exports may overlap
            for found in _rows(member):
                if isinstance(found, Broken):
                    yield found
                elif theirs and str(found[1].get("stream_id", "")) != theirs:
                    yield Left(found[0], "other_site")
                else:
                    yield _action(*found, site, repeats)


def _rows(member: Member) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    if member.begins(4) != PARQUET:
        return json_objects(member)
    return parquet_rows(member)


def _action(number: int, row: dict[str, Any], site: str, repeats: Scratch) -> Read:
    name = str(row["event_name"])
    if name in _AUTOMATIC:
        return Left(number, "automatic")
    try:
        at = int(_micros(row["event_timestamp"])) // 1000
    except (ArithmeticError, ValueError):
        at = 0
    if at < _EARLIEST:
        return Broken(number, repr(row).encode(), f"event_timestamp {row['event_timestamp']!r} is no microseconds")
    visitor = row.get("user_pseudo_id")
    if not visitor:
        return Left(number, "no_consent", "user_pseudo_id is empty, as of visitors who did not consent")
    given = _parameters(row)
    if given is None:
        return Broken(number, repr(row).encode(), "event_params are no list of parameters: export the table as it is")
    place_in_batch = [str(row.get(each) or "") for each in ("batch_page_id", "batch_ordering_id", "batch_event_index")]
    key = ":".join([str(visitor), _micros(row["event_timestamp"]), name, *place_in_batch])
    before = int(repeats.find("event", key).get("times", 0))
    repeats.keep("event", key, {"times": before + 1})
    device = _object(row, "device")
    web = _object(device, "web_info")
    host = web.get("hostname") or device.get("hostname") or site
    kind = _KINDS.get(name, "custom")
    if name == "click":
        kind = "outbound"
    event: dict[str, Any] = {
        "type": kind,
        "name": name if kind == "custom" else "",
        "url": given.get("page_location") or f"https://{host}/",
        "referrer": given.get("page_referrer"),
        "title": given.get("page_title"),
        "props": _props(kind, given),
        "visitor": f"ga4:{visitor}",
        "user": row.get("user_id"),
        "language": names.language_of(str(device.get("language") or "")),
        "ts": at,
        "id": f"ga4:{_digest(key)}-{before}",
    }
    if kind == "search" and given.get("search_term"):
        event["search"] = {"term": str(given["search_term"])}
    amount, currency = given.get("value", ""), given.get("currency")
    is_amount = isinstance(amount, int | float) and abs(amount) < _MOST_PAID
    if name in _SALES and is_amount and isinstance(currency, str) and currency:
        paid = -abs(amount) if name == "refund" else amount  # of a refund the sum that is paid back
        event["revenue"] = {"amount": paid, "currency": currency}
        event["props"] = {key: value for key, value in event["props"].items() if key not in ("value", "currency")}
    if kind == "engagement":
        event["engaged_ms"] = given.get("engagement_time_msec") or 0
    visit = f"{visitor}:{given.get('ga_session_id')}"
    return Action(number, event, _agent(device, web), _place(_object(row, "geo")), visit)


def _micros(value: Any) -> str:
    """Return a time as digits, which tables that were made of the export have as 1.7145648E15."""
    text = str(value)
    if "E" not in text.upper() and not text.endswith(".0"):
        return text
    number = Decimal(text)
    if number.adjusted() > _MOST_DIGITS:  # which would take an age to write down
        raise ValueError(f"{text[:40]} is no time")
    return str(int(number))


def _parameters(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the parameters of an event by name; None where it has none in a form that is known.

    They are a list of keys and values, as BigQuery has them, or an object, as others make of it; or either as text."""
    params = row.get("event_params")
    if isinstance(params, str):
        try:
            params = json.loads(params)
        except (ValueError, RecursionError):
            return None
    if isinstance(params, dict) and isinstance(params.get("list"), list):  # as Parquet is by some programs
        params = [each.get("element", each.get("item")) for each in params["list"] if isinstance(each, dict)]
    if isinstance(params, dict):
        return {name: one for name, value in params.items() if (one := _value(value)) is not None}
    if not isinstance(params, list):
        return None
    pairs = [(str(each.get("key")), _value(each.get("value"))) for each in params if isinstance(each, dict)]
    return {name: one for name, one in pairs if one is not None}


def _value(value: Any) -> Any:
    """Return a parameter's value, which is in one of four fields by its type, or plain; None where there is none."""
    if not isinstance(value, dict):
        return value if isinstance(value, str | int | float) else None
    for kind in _VALUES:
        one = value.get(kind)
        if one is not None:
            # JSON has 64-bit numbers as texts.
            return int(one) if kind == "int_value" and isinstance(one, str) and _INTEGER.fullmatch(one) else one
    return None


def _props(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    props = {name: value for name, value in given.items() if name not in _OWN}
    if kind in ("outbound", "download"):
        target = props.pop("link_url", "")
        return {"url": target} if target else {}
    return dict(list(props.items())[:30]) if kind in ("custom", "form") else {}


def _object(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = row.get(name)
    return found if isinstance(found, dict) else {}


def _digest(key: str) -> str:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _agent(device: dict[str, Any], web: dict[str, Any]) -> Agent:
    browser = str(web.get("browser") or device.get("browser") or "")
    version = str(web.get("browser_version") or device.get("browser_version") or "")
    system = str(device.get("operating_system") or "")
    words = str(device.get("operating_system_version") or "").removeprefix(f"{system} ")
    return Agent(
        names.browser_of(browser),
        version.partition(".")[0],
        names.system_of(system),
        words if words[:1].isdigit() else "",
        names.device_of(str(device.get("category") or "")),
    )


def _place(geo: dict[str, Any]) -> Place:
    region, city = (str(geo.get(name) or "") for name in ("region", "city"))
    country = country_code(str(geo.get("country") or ""))
    return Place(country, names.known(region), names.known(city))
